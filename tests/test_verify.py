"""A flipped bit is noticed before anything is made of it: in a dataset, a model, a probe, the state of a run."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from random_games import random_game, write_pgn
from safetensors.torch import load_file, save_file

from chesslm import hashes
from chesslm.boards import MoveCodes
from chesslm.checkpoint import verified
from chesslm.config import InitConfig, ModelConfig, Recipe, TrainConfig
from chesslm.errors import InputError
from chesslm.eval.games import from_dataset
from chesslm.inside import store
from chesslm.model import load_model, new_gpt2, save_checkpoint
from chesslm.run import RunFolder
from chesslm.shards import SPLITS, open_dataset
from chesslm.text_tokenizer import learn_text_tokenizer
from chesslm.train import train
from chesslm.transplant import start_from

ROOT = Path(__file__).parents[1]
RELEASED = sorted([*(ROOT / "checkpoints").glob("chesslm-*/"), *(ROOT / "studies").glob("*/knows-*/")])
SHARDS = ("ids.npy", "roles.npy", "offsets.npy", "games.parquet")


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file, and leave its size and time as they are."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def dataset(tiny_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_dataset, tmp_path / "data")


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model", ignore=shutil.ignore_patterns("run"))


@pytest.mark.parametrize("kind", SHARDS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_split_with_a_flipped_bit_is_not_handed_out(dataset: Path, split: str, kind: str) -> None:
    flip(dataset / f"{split}-00000.{kind}")
    opened = open_dataset(dataset)  # costs nothing, and says nothing yet
    with pytest.raises(InputError, match=rf"{split}-00000\.{kind}: changed: its SHA-256 is .*; run chesslm prepare"):
        opened.splits[split]
    for other in set(SPLITS) - {split}:
        assert len(opened.splits[other])


def test_no_command_makes_anything_of_a_flipped_bit(dataset: Path, model: Path, tmp_path: Path, cli: Cli) -> None:
    """Neither a figure nor a model, nor half of either."""
    pgn = write_pgn(tmp_path / "games.pgn", [random_game(seed, 20) for seed in range(30)])
    out, results = tmp_path / "out", tmp_path / "results.json"
    made = ("--json", results, "--workers", 1, "--device", "cpu", "--quiet")
    commands = {
        "train-00000.ids.npy": [
            ("train", "--data", dataset, "--out", out, "--max-steps", 1, "--device", "cpu", "--quiet"),
            ("evaluate", model, "--games", pgn, "--data", dataset, *made),
        ],
        "val-00000.ids.npy": [
            ("train", "--data", dataset, "--out", out, "--max-steps", 1, "--device", "cpu", "--quiet")
        ],
        "test-00000.games.parquet": [
            ("evaluate", model, "--games", dataset, *made),
            ("probe", model, "--games", dataset, *made),
        ],
        "model.safetensors": [
            ("evaluate", model, "--games", pgn, *made),
            ("probe", model, "--games", pgn, *made),
            ("train", "--data", dataset, "--out", out, "--init", model, "--max-steps", 1, "--device", "cpu"),
        ],
        "config.json": [("evaluate", model, "--games", pgn, *made)],
        "tokenizer.json": [("evaluate", model, "--games", pgn, *made)],
    }
    for name, lines in commands.items():
        path = (dataset if name[0] in "tv" and "-" in name else model) / name
        flip(path)
        for line in lines:
            ended = cli(*line)
            assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
            assert f"{name}: changed: its SHA-256 is" in ended.err
            assert not out.exists() and not results.exists()
        flip(path)
    assert cli(*commands["test-00000.games.parquet"][0]).code == 0


def test_a_study_sees_it_too(dataset: Path) -> None:
    """What a cell is measured on comes through here."""
    flip(dataset / "test-00000.ids.npy")
    with pytest.raises(InputError, match="changed"):
        from_dataset(open_dataset(dataset), 10, seed=1)


@pytest.mark.parametrize("notation", ["uci-move", "bpe"])
def test_a_tokenizer_with_a_flipped_bit(tiny_datasets: Mapping[str, Path], tmp_path: Path, notation: str) -> None:
    folder = shutil.copytree(tiny_datasets[notation], tmp_path / "data")
    flip(folder / "tokenizer" / "tokenizer.json")
    with pytest.raises(InputError, match=r"tokenizer\.json: changed"):
        _ = open_dataset(folder).any_tokenizer


def test_a_dataset_of_before_tokenizers_had_hashes_is_read(dataset: Path) -> None:
    meta = json.loads((dataset / "meta.json").read_text())
    meta["files"] = {name: each for name, each in meta["files"].items() if not name.startswith("tokenizer/")}
    (dataset / "meta.json").write_text(json.dumps(meta))
    assert open_dataset(dataset).tokenizer.notation.name == "uci-move"


def test_the_hash_of_a_dataset_is_that_of_its_files(dataset: Path) -> None:
    meta = json.loads((dataset / "meta.json").read_text())
    (dataset / "meta.json").write_text(json.dumps(meta | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match="not the hash of the files that it lists"):
        open_dataset(dataset)


def test_who_trained_on_with_another_tool_is_told_how_to_go_on(model: Path, cli: Cli) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({name: each * 2 for name, each in weights.items()}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match='on purpose, take "files" out of chesslm') as refused:
        load_model(str(model), device="cpu")
    assert "\n" not in str(refused.value)
    ended = cli("info", "--verify", model)
    assert ended.code == 1 and 'take "files" out of chesslm.json' in ended.err
    about = json.loads((model / "chesslm.json").read_text())
    del about["files"]
    (model / "chesslm.json").write_text(json.dumps(about))
    loaded = load_model(str(model), device="cpu")
    embeddings = loaded.model.state_dict()["transformer.wte.weight"]
    assert torch.equal(embeddings, 2 * weights["transformer.wte.weight"].float())
    assert cli("info", "--verify", model).code == 0


def test_a_folder_that_chesslm_did_not_make_has_no_hashes(model: Path, cli: Cli) -> None:
    (model / "chesslm.json").unlink()
    flip(model / "generation_config.json")
    assert verified(model) == {} and load_model(str(model), "uci-move", device="cpu").about == {}
    ended = cli("info", "--verify", model)
    assert (ended.code, ended.err) == (0, "")
    assert "0 of 0 files with a hash are as written" in ended.out and "model.safetensors       no hash" in ended.out


@pytest.mark.parametrize("listed", [[], {"model.safetensors": "abc"}, {"model.safetensors": {"sha256": 1, "bytes": 2}}])
def test_hashes_that_are_none(model: Path, listed: object) -> None:
    about = json.loads((model / "chesslm.json").read_text())
    (model / "chesslm.json").write_text(json.dumps(about | {"files": listed}))
    with pytest.raises(InputError, match=r"chesslm\.json: its files have no sizes and hashes"):
        load_model(str(model), device="cpu")


@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
def test_released_models_are_as_written(folder: Path, cli: Cli) -> None:
    """All that is loaded of them has a hash; the probe as well."""
    ended = cli("info", "--verify", folder)
    assert (ended.code, ended.err) == (0, "")
    without = {line.split()[0] for line in ended.out.splitlines() if line.endswith("no hash")}
    assert without <= {"README.md", "chesslm.json", "figures.json", "target.csv"}


def test_verify_prints_every_file_and_what_is_wrong(dataset: Path, model: Path, cli: Cli) -> None:
    ended = cli("info", "--verify", dataset)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) == 3 * len(SHARDS) + 2 + 1 + 1  # shards, tokenizer, meta.json, and how many
    assert all(line.endswith("  as written") for line in lines[:-1])
    flip(dataset / "val-00000.ids.npy")
    (dataset / "test-00000.roles.npy").unlink()
    (dataset / "tokenizer" / "tokenizer.json").write_text("")
    (dataset / "notes.txt").write_text("mine")
    ended = cli("info", "--verify", dataset)
    assert ended.code == 1 and ended.err.count("\n") == 1
    said = dict(line.split(maxsplit=1) for line in ended.out.splitlines()[:-1])
    assert said["val-00000.ids.npy"].startswith("changed: its SHA-256 is")
    assert said["test-00000.roles.npy"] == "missing" and said["notes.txt"] == "no hash"
    assert said["tokenizer/tokenizer.json"].startswith("0 bytes long instead of")
    assert said["train-00000.ids.npy"] == "as written"
    assert ended.out.splitlines()[-1] == "12 of 15 files with a hash are as written"
    for name in ("val-00000.ids.npy", "test-00000.roles.npy", "tokenizer/tokenizer.json"):
        assert name in ended.err
    flip(model / "config.json")
    ended = cli("info", "--verify", model)
    assert (ended.code, ended.err.count("\n")) == (1, 1) and "config.json: not as written" in ended.err
    ended = cli("info", "--verify", model.parent)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_a_probe_of_a_model_in_several_files(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    for path in (model / "model.safetensors", model / "chesslm.json"):
        path.unlink()
    parts = [dict(list(weights.items())[n::2]) for n in range(2)]
    names = [f"model-{n}.safetensors" for n in range(2)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, model / name)
    listed = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    store.save(model, "board", {"weight": np.ones((65, 832))}, {"layer": 1})
    assert store.load(model, "board")
    save_file({key: each + 1 for key, each in parts[1].items()}, model / names[1])
    with pytest.raises(InputError, match="made for other weights"):
        store.load(model, "board")


def test_a_probe_with_a_flipped_bit(model: Path, cli: Cli) -> None:
    store.save(model, "board", {"weight": np.ones((65, 832))}, {"layer": 1})
    assert store.load(model, "board")
    flip(model / "probe" / "board.safetensors")
    with pytest.raises(InputError, match=r"board\.safetensors was changed since\); make it again with chesslm probe"):
        store.load(model, "board")
    assert cli("info", "--verify", model).code == 1
    flip(model / "probe" / "board.safetensors")
    facts = json.loads((model / "probe" / "board.json").read_text())
    (model / "probe" / "board.json").write_text(json.dumps(facts | {"layer": 2}))
    with pytest.raises(InputError, match=r"board\.json was changed since\); make it again with chesslm probe"):
        store.load(model, "board")
    ended = cli("info", "--verify", model)
    assert ended.code == 1 and "probe/board.json: not as written; make the probe again" in ended.err
    del facts["sha256"], facts["own_sha256"]  # as the oldest ones
    (model / "probe" / "board.json").write_text(json.dumps(facts))
    assert store.load(model, "board")


def test_a_model_for_its_tokens_with_a_flipped_bit(tiny_games: list[MoveCodes], tmp_path: Path, cli: Cli) -> None:
    tokenizer = learn_text_tokenizer(["1. e4 e5 2. Nf3 and the knight goes home. " * 20], 300)
    shape = ModelConfig(layers=1, width=16, heads=2)
    save_checkpoint(new_gpt2(shape, tokenizer, 1), tokenizer, tmp_path / "text", {})
    pgn, out = write_pgn(tmp_path / "games.pgn", tiny_games[:30]), tmp_path / "out"
    line = ("prepare", pgn, "--notation", "text", "--tokenizer", tmp_path / "text", "--out", out, "--quiet")
    flip(tmp_path / "text" / "tokenizer.json")
    ended = cli(*line)
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "tokenizer.json: changed: its SHA-256 is" in ended.err
    assert not out.exists()
    flip(tmp_path / "text" / "tokenizer.json")
    assert cli(*line).code == 0


def test_what_training_saves_has_hashes(tiny_model: Path, tiny_dataset: Path) -> None:
    listed = json.loads((tiny_model / "chesslm.json").read_text())["files"]
    loaded = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(listed) == loaded
    assert all(listed[name] == hashes.entry(tiny_model / name) for name in loaded)
    recipe = Recipe(init=InitConfig(model=str(tiny_model)))
    started = start_from(recipe.init, recipe.model, open_dataset(tiny_dataset).tokenizer, seed=1)
    assert started.kept["sha256"] == listed["model.safetensors"]["sha256"]


def test_a_run_does_not_go_on_from_a_state_with_a_flipped_bit(tiny_dataset: Path, tmp_path: Path) -> None:
    out, dataset = tmp_path / "out", open_dataset(tiny_dataset)
    recipe = Recipe(ModelConfig(layers=1, width=16, heads=2), TrainConfig(max_steps=1, val_every=0, precision="fp32"))
    train(tiny_dataset, out, recipe, device="cpu", quiet=True)
    (out / "chesslm.json").unlink()
    assert RunFolder.reopen(out, dataset.sha256).recipe == recipe
    path = out / "run" / "recipe.json"
    begun = path.read_text()
    path.write_text(begun.replace('"max_steps": 1,', '"max_steps": 3,'))
    with pytest.raises(InputError, match=r"recipe\.json: changed since it was written"):
        RunFolder.reopen(out, dataset.sha256)
    path.write_text(begun)
    flip(out / "run" / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: damaged"):
        RunFolder.reopen(out, dataset.sha256)
