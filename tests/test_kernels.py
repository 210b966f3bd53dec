"""What trains gives what torch's own kernels give, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from chesslm.kernels import ROWS, TANH, GeluByExp, causal_attention, fast_kernels, in_whole_blocks

CPU = torch.device("cpu")


def a_model(**settings: Any) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=64, n_embd=32, n_layer=3, n_head=4, **settings))


def gradients(model: GPT2LMHeadModel, ids: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def activations(model: GPT2LMHeadModel) -> list[str]:
    return [type(block.mlp.act).__name__ for block in cast(Any, model.transformer).h]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"scale_attn_by_inverse_layer_idx": True}, {"activation_function": "gelu_pytorch_tanh"}]
)
def test_logits_and_gradients_are_those_of_the_usual_kernels(settings: dict[str, Any], compiled: bool) -> None:
    model = a_model(**settings).eval()
    before = activations(model)
    ids = torch.randint(0, 50, (3, 20))
    usual, theirs = model(ids).logits, gradients(model, ids)
    with fast_kernels(model, CPU, compiled):
        assert model.config._attn_implementation != "sdpa"
        assert activations(model) == (["GeluByExp"] * 3 if compiled else before)
        torch.testing.assert_close(model(ids, use_cache=False).logits, usual, rtol=1e-5, atol=1e-6)
        for ours, other in zip(gradients(model, ids), theirs, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
    assert model.config._attn_implementation == "sdpa" and activations(model) == before


def test_in_bf16_linear_layers_have_whole_blocks_of_rows() -> None:
    layer, seen = torch.nn.Linear(4, 6), list[torch.Size]()
    rows = torch.randn(3, 100, 4)
    with torch.no_grad():
        for autocast, shape in ((False, (3, 100, 4)), (True, (2 * ROWS, 4))):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                found = in_whole_blocks(lambda x: (seen.append(x.shape), layer(x))[1], rows)
                torch.testing.assert_close(found, layer(rows), rtol=0.02, atol=0.02)
            assert seen.pop() == shape


def test_in_bf16_logits_and_gradients_are_those_of_the_usual_kernels_but_for_rounding() -> None:
    model = a_model().eval()
    forward = model.lm_head.forward
    ids = torch.randint(0, 50, (3, 20))
    with torch.autocast("cpu", torch.bfloat16):
        usual, theirs = model(ids, use_cache=False).logits, gradients(model, ids)
        with fast_kernels(model, CPU):
            logits, ours = model(ids, use_cache=False).logits, gradients(model, ids)
    torch.testing.assert_close(logits, usual, rtol=0.02, atol=0.02)
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).norm() / other.norm()) < 0.02
    assert model.lm_head.forward == forward


@pytest.mark.parametrize("name", TANH)
def test_the_activation_by_exp_is_the_one_by_tanh(name: str) -> None:
    # In fp32 the usual one loses digits left of -3, where it subtracts what is nearly equal.
    x, by_exp = torch.linspace(-12, 12, 10_001, dtype=torch.float64, requires_grad=True), GeluByExp()
    usual, ours = ACT2FN[name](x), by_exp(x)
    torch.testing.assert_close(ours, usual, rtol=1e-9, atol=1e-12)
    theirs, mine = (torch.autograd.grad(y.sum(), x)[0] for y in (usual, ours))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    assert torch.isfinite(by_exp(torch.tensor([-1e4, 1e4]))).all()


def test_another_activation_stays() -> None:
    model = a_model(activation_function="relu")
    with fast_kernels(model, CPU, compiled=True):
        assert activations(model) == ["ReLU"] * 3


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 2, 30, 8) for _ in range(3))
    whole, _ = causal_attention(torch.nn.Identity(), query, key, value, scaling=0.1)
    drawn = torch.stack(
        [causal_attention(torch.nn.Identity(), query, key, value, None, 0.5, 0.1)[0] for _ in range(3000)]
    )
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(0), whole, rtol=0, atol=0.25)


def test_a_model_saved_while_training_says_nothing_of_it(tmp_path: Path) -> None:
    model = a_model()
    model.save_pretrained(tmp_path / "before")
    with fast_kernels(model, CPU):
        model.save_pretrained(tmp_path / "during")
    before, during = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("before", "during"))
    assert before == during


def test_elsewhere_the_usual_kernel_stays() -> None:
    model = a_model()
    with fast_kernels(model, torch.device("cuda")):
        assert model.config._attn_implementation == "sdpa"


def test_it_is_given_back_when_training_fails() -> None:
    model = a_model()
    before = activations(model)
    with pytest.raises(KeyError), fast_kernels(model, CPU, compiled=True):
        raise KeyError
    assert model.config._attn_implementation == "sdpa" and activations(model) == before
