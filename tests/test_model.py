"""Models on disk: what is saved comes back, plain transformers reads it alike, what is not whole is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_games import tokenizer_of
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from chesslm.boards import MoveCodes, to_moves
from chesslm.config import SIZES, ModelConfig
from chesslm.errors import InputError
from chesslm.model import (
    load_model,
    new_gpt2,
    parameters,
    resolve_device,
    resolve_precision,
    save_checkpoint,
    tune_memory,
)
from chesslm.notation import NAMES, Notation
from chesslm.san import write_moves
from chesslm.spelling import pieces_of
from chesslm.tokenizer import get_tokenizer
from chesslm.tokenizer_files import save_tokenizer

SHAPE = ModelConfig(layers=1, width=16, heads=2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole checkpoint folder of a model that has learned nothing."""
    tokenizer = get_tokenizer("uci-move")
    save_checkpoint(new_gpt2(SHAPE, tokenizer, seed=1), tokenizer, tmp_path / "model", {"notation": "uci-move"})
    return tmp_path / "model"


def test_the_seed_makes_the_weights_and_touches_no_other_random_number():
    tokenizer = get_tokenizer("uci-square")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (new_gpt2(SHAPE, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    name = "transformer.h.0.attn.c_attn.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_heads_must_divide_the_width():
    with pytest.raises(InputError, match=r"model.width \(16\) must be a multiple of model.heads \(3\)"):
        new_gpt2(ModelConfig(width=16, heads=3), get_tokenizer("uci-move"), seed=1)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.1), ("small", 7.0), ("base", 13.1), ("gpt2", 87)])
def test_the_sizes_are_what_their_description_says(size: str, millions: float):
    with torch.device("meta"):
        model = new_gpt2(SIZES[size], get_tokenizer("uci-move"), seed=1)
    assert parameters(model) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("notation", NAMES)
def test_a_model_comes_back_as_its_weights_in_bf16(notation: str, tiny_games: list[MoveCodes], tmp_path: Path):
    tokenizer = tokenizer_of(notation)
    model = new_gpt2(SHAPE, tokenizer, seed=1).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    about = {"notation": notation, "anything": [1, 2]}
    save_checkpoint(model, tokenizer, tmp_path / "model", about)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    loaded = load_model(str(tmp_path / "model"), device="cpu", precision="fp32")
    assert {name: value for name, value in loaded.about.items() if name != "files"} == about
    assert loaded.name == "model"
    assert loaded.tokenizer == tokenizer
    assert loaded.context == tokenizer.notation.context
    model.load_state_dict({name: tensor.to(torch.bfloat16).float() for name, tensor in before.items()})
    ids = torch.from_numpy(tokenizer.encode(tiny_games[0]).ids.astype("int64"))[None]
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, model(ids).logits)


def test_a_small_model_takes_less_than_20_mb(tmp_path: Path):
    tokenizer = get_tokenizer("uci-move")
    save_checkpoint(new_gpt2(SIZES["small"], tokenizer, seed=1), tokenizer, tmp_path, {"notation": "uci-move"})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000_000
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}


def test_saving_leaves_nothing_but_the_checkpoint(checkpoint: Path):
    names = {path.name for path in checkpoint.iterdir()}
    assert names == {
        "README.md", "chesslm.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip


def written(notation: Notation, codes: MoveCodes) -> str:
    """A game as people write it, with which a checkpoint's own tokenizer has to cope."""
    if not notation.reads_board:
        return " ".join(move.uci() for move in to_moves(codes))
    numbered = len(notation.lead(0)) > 0
    words = [f"{i // 2 + 1}.{san}" if numbered and i % 2 == 0 else san for i, san in enumerate(write_moves(codes))]
    return " ".join(words) + " "


def test_plain_transformers_reads_a_trained_model_alike(
    tiny_models: Mapping[str, Path], tiny_games: list[MoveCodes], tmp_path: Path
):
    """In a process that cannot import chesslm: the same ids from text, and the same logits from those."""
    models = {
        notation: load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
        for notation in ("uci-move", "uci-square", "san", "bpe")
    }
    asked = {
        str(tiny_models[notation]): [written(loaded.tokenizer.notation, codes) for codes in tiny_games[:20]]
        for notation, loaded in models.items()
    }
    (tmp_path / "games.json").write_text(json.dumps(asked))
    script = """
import json, sys
sys.modules["chesslm"] = None
try:
    import chesslm
    sys.exit("chesslm can be imported")
except ImportError:
    pass
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
result = []
for model, games in json.load(open("games.json")).items():
    tokenizer = AutoTokenizer.from_pretrained(model)
    model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for game in games:
        ids = tokenizer(game, return_tensors="pt").input_ids
        with torch.inference_mode():
            result.append((ids[0], model(ids).logits[0]))
torch.save(result, "result.pt")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    result = iter(torch.load(tmp_path / "result.pt"))
    for loaded in models.values():
        for codes in tiny_games[:20]:
            ids, logits = next(result)
            assert ids.tolist() == loaded.tokenizer.encode(codes).ids.tolist()
            with torch.inference_mode():
                assert torch.equal(logits, loaded.model(ids[None]).logits[0])
    assert not list(result)


def without_hashes(folder: Path) -> None:
    """What is wrong is found without them as well."""
    about = json.loads((folder / "chesslm.json").read_text())
    (folder / "chesslm.json").write_text(json.dumps({"notation": about["notation"]}))


def reshape(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.0.mlp.c_fc.weight"] = tensors["transformer.h.0.mlp.c_fc.weight"][:, :-1].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def drop(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.ln_f.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def add(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.ln_1.weight"] = torch.ones(16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def unfinished(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "run").mkdir()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def broken_about(folder: Path) -> None:
    (folder / "chesslm.json").write_text("{")


def strange_about(folder: Path) -> None:
    (folder / "chesslm.json").write_text('{"notation": "morse"}')


def no_about(folder: Path) -> None:
    (folder / "chesslm.json").unlink()


def other_tokenizer(folder: Path) -> None:
    save_tokenizer(get_tokenizer("uci-square"), folder)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def small_vocabulary(folder: Path) -> None:
    squares = get_tokenizer("uci-square")
    save_checkpoint(new_gpt2(SHAPE, squares, seed=1), squares, folder, {"notation": "uci-move"})
    save_tokenizer(get_tokenizer("uci-move"), folder)
    without_hashes(folder)


def file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (reshape, r"mismatched keys: transformer\.h\.0\.mlp\.c_fc\.weight is \[16, 63\] instead of \[16, 64\]"),
        (drop, r"weights do not fit config\.json \(missing keys: transformer\.ln_f\.weight"),
        (add, r"weights do not fit config\.json \(unexpected keys: transformer\.h\.1"),
        (cut, "not whole"),
        (empty, "not whole"),
        (no_weights, "no safetensors weights"),
        (no_config, r"not a checkpoint \(no config\.json\)"),
        (unfinished, "training is not finished; go on with chesslm train --resume"),
        (broken_config, r"config\.json: not readable"),
        (broken_about, r"chesslm\.json: not readable"),
        (strange_about, "unknown notation 'morse'"),
        (no_about, "does not say how it writes moves; name it with --notation"),
        (other_tokenizer, "78 tokens are not those of uci-move"),
        (no_tokenizer, r"no tokenizer\.json"),
        (small_vocabulary, "78 embeddings, but uci-move has 1972 tokens"),
        (file_instead, "a model is a folder, and this is a file"),
    ],
)
def test_a_damaged_checkpoint_is_refused(checkpoint: Path, damage: Callable[[Path], None], message: str):
    load_model(str(checkpoint), device="cpu")
    without_hashes(checkpoint)
    damage(checkpoint)
    with pytest.raises(InputError, match=message) as refused:
        load_model(str(checkpoint), device="cpu")
    assert "\n" not in str(refused.value)


def test_a_model_that_does_not_say_its_notation_can_be_told(checkpoint: Path):
    (checkpoint / "chesslm.json").unlink()
    assert load_model(str(checkpoint), notation="uci-move", device="cpu").tokenizer == get_tokenizer("uci-move")
    with pytest.raises(InputError, match="cannot write e2e4 as uci-square has it"):
        load_model(str(checkpoint), notation="uci-square", device="cpu")


def test_a_notation_that_does_not_match_is_refused(checkpoint: Path):
    assert load_model(str(checkpoint), notation="uci-move", device="cpu").about["notation"] == "uci-move"
    with pytest.raises(InputError, match="writes uci-move, not uci-square; leave --notation out"):
        load_model(str(checkpoint), notation="uci-square", device="cpu")


@pytest.mark.parametrize("name", ["nowhere", "./no/where", "/no/where", "no/such/folder"])
def test_a_model_that_is_not_there_is_named(name: str):
    with pytest.raises(InputError, match=f"{name}: no such folder"):
        load_model(name)


def test_a_hub_id_that_cannot_be_had_is_one_line():
    with pytest.raises(InputError, match="nobody/nothing: cannot be had from the hub") as refused:
        load_model("nobody/nothing", notation="uci-move")
    assert "\n" not in str(refused.value)


def test_devices_and_precisions_are_known_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="unknown device 'gpu'; devices are auto, cpu, cuda and mps"):
        resolve_device("gpu")
    assert resolve_precision("fp32", torch.device("cpu")) == torch.float32
    assert resolve_precision("bf16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(InputError, match="unknown precision 'fp16'; precisions are auto, fp32 and bf16"):
        resolve_precision("fp16", torch.device("cpu"))


def test_auto_takes_the_best_device_and_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, best in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert resolve_device("auto") == torch.device(best)
    for avx512, amx, dtype in (
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert resolve_precision("auto", torch.device("cpu")) == dtype


def test_fresh_positions_are_sinusoids_of_the_usual_size() -> None:
    made = [new_gpt2(replace(SHAPE, sinusoids=on), get_tokenizer("uci-move"), seed=1) for on in (True, False)]
    smooth, random = (model.transformer.wpe.weight.detach() for model in made)
    assert float(smooth.std()) == pytest.approx(float(random.std()), rel=0.1)
    near, far = ((smooth[step:] * smooth[:-step]).sum(1).mean() for step in (1, 60))
    assert near > 2 * far.abs() and near > 0.8 * (smooth * smooth).sum(1).mean()
    assert torch.equal(made[0].transformer.wte.weight, made[1].transformer.wte.weight)


def test_a_head_of_its_own_begins_as_the_embeddings_and_is_kept(tmp_path: Path) -> None:
    tokenizer = get_tokenizer("uci-move")
    model = new_gpt2(replace(SHAPE, tied=False), tokenizer, seed=1, pieces=pieces_of(tokenizer))
    table, head = model.transformer.wte.weight, model.lm_head.weight
    assert torch.equal(table, head) and table.data_ptr() != head.data_ptr()
    with torch.no_grad():
        head *= 2
    save_checkpoint(model, tokenizer, tmp_path / "model", {})
    plain = GPT2LMHeadModel.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.allclose(plain.lm_head.weight, 2 * plain.transformer.wte.weight)
    tied = new_gpt2(SHAPE, tokenizer, seed=1)
    assert tied.lm_head.weight is tied.transformer.wte.weight


def test_a_number_of_kernels_that_the_user_gives_is_kept(monkeypatch: pytest.MonkeyPatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    tune_memory()
    assert os.environ[name] == "64"
    monkeypatch.setenv(name, "500")
    tune_memory()
    assert os.environ[name] == "500"
