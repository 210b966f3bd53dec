"""Starting from another model's weights: what is kept is equal, what is made follows its rule."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from chesslm import hashes
from chesslm.config import InitConfig, ModelConfig
from chesslm.model import load_weights
from chesslm.text_tokenizer import TextTokenizer, learn_text_tokenizer, read_text_tokenizer
from chesslm.tokenizer import BOS, EOS, PAD, get_tokenizer
from chesslm.transplant import body_of, embeddings_of, sha256_of, start_from

TEXT = ["The knight takes e4 and then e2 or g1f3; rooks e7e8 went home. " * 20]
MOVES = get_tokenizer("uci-move")
SHAPE = {"layers": 3, "heads": 2, "width": 32}


@pytest.fixture(scope="module")
def text_tokenizer() -> TextTokenizer:
    return learn_text_tokenizer(TEXT, 330)


@pytest.fixture(scope="module")
def gpt2(text_tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text model with tied embeddings and learned positions, in a folder."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=len(text_tokenizer), n_positions=600, n_embd=32, n_layer=3, n_head=2)
    return saved(GPT2LMHeadModel(config), text_tokenizer, folder)


@pytest.fixture(scope="module")
def llama(text_tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One with a head of its own, rotary positions and a few unused embeddings."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=len(text_tokenizer) + 6, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=600, tie_word_embeddings=False,
    )  # fmt: skip
    return saved(LlamaForCausalLM(config), text_tokenizer, folder)


def saved(model: PreTrainedModel, tokenizer: TextTokenizer, folder: Path) -> str:
    # Fresh norms and biases are all alike, and a test could not tell them apart.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return str(folder)


def weights(module: Any) -> torch.Tensor:
    return module.weight


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("rule", ["random", "mean", "pieces"])
def test_the_body_is_equal_and_embeddings_follow_the_rule(
    name: str, rule: str, text_tokenizer: TextTokenizer, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(name)
    source = load_weights(Path(path))
    started = start_from(InitConfig(model=path, embeddings=rule), ModelConfig(), MOVES, seed=1)
    theirs = dict(source.named_parameters())
    body = body_of(started.model)
    assert sum(map(torch.numel, body.values())) > 0.8 * sum(map(torch.numel, body_of(source).values()))
    for key, parameter in body.items():
        kept = theirs[key][: len(parameter)] if "wpe" in key else theirs[key]
        assert torch.equal(parameter, kept), key
    assert len(embeddings_of(source)) == len(embeddings_of(started.model)) == (2 if name == "llama" else 1)
    for old, new in zip(embeddings_of(source), embeddings_of(started.model), strict=True):
        old_VD, new_VD = weights(old), weights(new)
        assert new_VD.shape == (len(MOVES), 32)
        if rule == "random":
            assert abs(new_VD.std().item() - 0.02) < 0.001
        elif rule == "mean":
            assert torch.equal(new_VD, old_VD.mean(0).expand_as(new_VD))
        else:
            for move in ("e2e4", "g1f3", "a7a8q"):
                pieces = text_tokenizer.plain.encode(move, add_special_tokens=False).ids
                assert torch.allclose(new_VD[MOVES.ids[move]], old_VD[pieces].mean(0))
            assert torch.equal(new_VD[[BOS, EOS]], old_VD[[text_tokenizer.bos, text_tokenizer.eos]])
            assert torch.equal(new_VD[PAD], old_VD.mean(0))
    assert started.kept["layers"] == "3 of 3"
    assert started.kept["positions"] == "512 of 600"
    assert started.kept["embeddings"] == rule
    shape = ModelConfig(layers=3, heads=2, width=32, context=512, sinusoids=False)
    assert started.shape == replace(shape, tied=name == "gpt2")
    out = started.model(torch.tensor([[1, 5, 9]])).logits
    assert out.shape == (1, 3, len(MOVES))


def test_the_same_tokens_keep_their_embeddings(llama: str) -> None:
    source = load_weights(Path(llama))
    started = start_from(InitConfig(model=llama), ModelConfig(), read_text_tokenizer(llama), seed=1)
    for key, parameter in started.model.named_parameters():
        assert torch.equal(parameter, dict(source.named_parameters())[key])
    assert started.kept["embeddings"] == "kept"


def test_a_chess_model_goes_on_as_it_is(tiny_model: Path) -> None:
    started = start_from(InitConfig(model=str(tiny_model)), ModelConfig(), MOVES, seed=1)
    source = dict(load_weights(tiny_model).named_parameters())
    assert all(torch.equal(parameter, source[key]) for key, parameter in started.model.named_parameters())


def test_later_layers_are_cut_off(gpt2: str) -> None:
    started = start_from(InitConfig(model=gpt2, keep_layers=2), ModelConfig(context=100), MOVES, seed=1)
    source = dict(load_weights(Path(gpt2)).named_parameters())
    kept = {key.split(".")[2] for key in body_of(started.model) if ".h." in key}
    assert kept == {"0", "1"}
    key = "transformer.h.1.mlp.c_fc.weight"
    assert torch.equal(started.model.state_dict()[key], source[key])
    assert (started.kept["layers"], started.kept["positions"]) == ("2 of 3", "100 of 600")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_shuffled_tensors_keep_their_values_and_nothing_else(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    plain = start_from(InitConfig(model=path), ModelConfig(), MOVES, seed=1).model
    shuffled = start_from(InitConfig(model=path, shuffle=True), ModelConfig(), MOVES, seed=1)
    assert shuffled.kept["shuffled"] is True
    other = start_from(InitConfig(model=path, shuffle=True), ModelConfig(), MOVES, seed=2).model
    parameters = zip(plain.named_parameters(), shuffled.model.parameters(), other.parameters(), strict=True)
    for (key, was), now, again in parameters:
        assert torch.equal(was.flatten().sort().values, now.flatten().sort().values), key
        assert not torch.equal(was, now), key
        assert not torch.equal(now, again), key


@pytest.mark.parametrize("part", ["body", "embeddings"])
def test_what_is_frozen_stays(part: str, gpt2: str, tiny_dataset: Path, tmp_path: Path, cli: Cli) -> None:
    options = ["--max-steps", "2", "--set", "train.val_games=2", "--set", "train.precision=fp32", "--quiet"]
    ended = cli("train", "--data", tiny_dataset, "--out", tmp_path / "m", "--init", gpt2, "--freeze", part, *options)
    assert ended.code == 0, ended.err
    # Saved in bf16, so what was not trained is the start in bf16.
    begun = start_from(InitConfig(model=gpt2), ModelConfig(), MOVES, seed=1).model
    after = load_weights(tmp_path / "m")
    trained = dict(after.named_parameters())
    body = body_of(begun)
    for key, parameter in begun.named_parameters():
        same = torch.equal(parameter.to(torch.bfloat16).float(), trained[key])
        # Positions that no game reaches get no gradient.
        assert same == ((part == "body") == (key in body)), key
    about = json.loads((tmp_path / "m" / "chesslm.json").read_text())
    assert about["init"]["frozen"] == part
    assert about["recipe"]["model"] == {**SHAPE, "context": 512, "dropout": 0.0, "sinusoids": False, "tied": True}


def test_a_run_from_another_model_resumes(gpt2: str, tiny_dataset: Path, tmp_path: Path, cli: Cli) -> None:
    options = ["--set", "train.val_every=0", "--set", "train.val_games=2", "--set", "train.precision=fp32", "--quiet"]
    out = tmp_path / "m"
    train = ["train", "--data", tiny_dataset, "--out", out, *options]
    assert cli(*train, "--init", gpt2, "--keep-layers", "1", "--max-steps", "3").code == 0
    whole = load_weights(out).state_dict()

    def kill() -> None:
        """As if between the last step and the checkpoint."""
        for path in out.iterdir():
            if path.is_file():
                path.unlink()

    kill()
    assert cli(*train, "--resume").code == 0
    again = load_weights(out).state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert json.loads((out / "chesslm.json").read_text())["init"]["layers"] == "1 of 3"

    kill()
    begun = json.loads((out / "run/recipe.json").read_text())
    (out / "run/recipe.json").write_text(json.dumps(hashes.with_own(begun | {"initial_sha256": 64 * "0"})))
    ended = cli(*train, "--resume")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "begun from other weights" in ended.err


def test_a_model_that_scales_its_logits_is_no_start(gpt2: str, tiny_dataset: Path, tmp_path: Path, cli: Cli) -> None:
    """Training takes the head by itself: it would learn a model that this one is not."""
    config = GraniteConfig(
        vocab_size=600, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=600, logits_scaling=8.0, initializer_range=0.5,
    )  # fmt: skip
    folder = shutil.copytree(gpt2, tmp_path / "scaled")
    GraniteForCausalLM(config).save_pretrained(folder)
    ended = cli("train", "--data", tiny_dataset, "--out", tmp_path / "m", "--max-steps", "1", "--init", folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "its logits are not those of its head alone" in ended.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--init", "nowhere"], "no tokenizer that can be loaded"),
        (["--init", "gpt2", "--keep-layers", "4"], "--keep-layers 4, but"),
        (["--init", "gpt2", "--set", "model.context=700"], "say --set model.context=600"),
        (["--init", "gpt2", "--freeze", "head"], "init.freeze is one of"),
        (["--init", "gpt2", "--set", "init.embeddings=best"], "init.embeddings is one of"),
        (["--init", __file__], "a model is a folder, and this is a file"),
        (["--init", "missing.gguf"], "missing.gguf: no such file"),
        (["--freeze", "body"], "name it with --init"),
    ],
)
def test_bad_starts_are_one_line(
    options: list[str], said: str, gpt2: str, tiny_dataset: Path, tmp_path: Path, cli: Cli
) -> None:
    given = [gpt2 if option == "gpt2" else option for option in options]
    ended = cli("train", "--data", tiny_dataset, "--out", tmp_path / "m", "--max-steps", "1", "--quiet", *given)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_released_models_of_text_are_a_chain(size: str) -> None:
    """The one of formal mathematics went on from the one of prose that is released beside it."""
    released = Path(__file__).parents[1] / "checkpoints"
    about = json.loads((released / f"chesslm-formal-{size}/chesslm.json").read_text())
    assert about["init"]["sha256"] == sha256_of(str(released / f"chesslm-text-{size}"))
    assert about["init"]["embeddings"] == "kept"
