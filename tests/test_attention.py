"""Attention for training gives what torch's own kernel gives, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from chesslm.attention import attention_for_training, causal_attention

CPU = torch.device("cpu")


def a_model(**settings: Any) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=64, n_embd=32, n_layer=3, n_head=4, **settings))


def gradients(model: GPT2LMHeadModel, ids: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("settings", [{}, {"scale_attn_by_inverse_layer_idx": True}])
def test_logits_and_gradients_are_those_of_the_usual_kernel(settings: dict[str, Any]) -> None:
    model = a_model(**settings).eval()
    ids = torch.randint(0, 50, (3, 20))
    usual, theirs = model(ids).logits, gradients(model, ids)
    with attention_for_training(model, CPU):
        assert model.config._attn_implementation != "sdpa"
        torch.testing.assert_close(model(ids, use_cache=False).logits, usual, rtol=1e-5, atol=1e-6)
        for ours, other in zip(gradients(model, ids), theirs, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
    assert model.config._attn_implementation == "sdpa"


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
    with attention_for_training(model, CPU):
        model.save_pretrained(tmp_path / "during")
    before, during = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("before", "during"))
    assert before == during


def test_elsewhere_the_usual_kernel_stays() -> None:
    model = a_model()
    with attention_for_training(model, torch.device("cuda")):
        assert model.config._attn_implementation == "sdpa"


def test_it_is_given_back_when_training_fails() -> None:
    model = a_model()
    with pytest.raises(KeyError), attention_for_training(model, CPU):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
