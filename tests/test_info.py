"""What a folder is said to be, and that no torch is needed to say it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Cli

from chesslm.errors import InputError
from chesslm.info import describe
from chesslm.shards import open_dataset


def said(path: Path) -> dict[str, str]:
    """The first value of each name."""
    return {name.strip(): value for name, value in reversed(list(describe(path)))}


def test_a_checkpoint(tiny_model: Path) -> None:
    about = json.loads((tiny_model / "chesslm.json").read_text())
    lines = said(tiny_model)
    assert lines["notation"] == "uci-move"
    assert (lines["architecture"], lines["n_layer"], lines["n_embd"]) == ("GPT2LMHeadModel", "2", "64")
    assert lines["weights"] == "BF16"
    assert ("  sha256", about["dataset"]["sha256"]) in list(describe(tiny_model))
    assert lines["seed"] == str(about["seed"])
    assert lines["max_steps"] == str(about["recipe"]["train"]["max_steps"])
    size = sum(path.stat().st_size for path in tiny_model.iterdir() if path.is_file())
    assert lines["size on disk"] == f"{size / 1e6:.1f} MB"


def test_parameters_are_counted_as_the_model_counts_them(tiny_model: Path, tmp_path: Path) -> None:
    from chesslm.model import load_model, parameters

    copied = shutil.copytree(tiny_model, tmp_path / "copy")
    (copied / "chesslm.json").unlink()
    counted = parameters(load_model(str(tiny_model), device="cpu").model)
    assert said(copied)["parameters"] == said(tiny_model)["parameters"] == f"{counted:,}"
    assert "--notation" in said(copied)["notation"]


def test_a_dataset(tiny_datasets: Mapping[str, Path]) -> None:
    for notation, folder in tiny_datasets.items():
        dataset, lines = open_dataset(folder), said(folder)
        assert lines["notation"] == notation
        assert ("sha256", dataset.sha256) in list(describe(folder))
        for split, games in dataset.splits.items():
            assert lines[split].startswith(f"{len(games):,} games, {games.lengths.sum():,} tokens")


def test_a_run_shows_its_curve(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"recipe": {"train": {"seed": 3}}}))
    assert said(tmp_path)["run"].endswith("not finished; go on with chesslm train --resume")
    rows = [f"{2**n},{1000 * 2**n},{10 - n},{n / 10 if n > 2 else ''}" for n in range(8)]
    (tmp_path / "run" / "metrics.csv").write_text("\n".join(["step,tokens,loss,val_legal_argmax", *rows, "256,1"]))
    lines = said(tmp_path)
    assert lines["trained"] == "256 steps, 1 tokens"
    assert lines["loss"].split() == ["10", "".join("█▇▆▅▄▃▂▁"[round(7 * i / 39)] for i in range(40)), "3"]
    assert lines["val_legal_argmax"].split()[::2] == ["0.3", "0.7"] and lines["seed"] == "3"


def test_it_prints_lines_in_columns(tiny_dataset: Path, cli: Cli) -> None:
    ended = cli("info", tiny_dataset)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    described = list(describe(tiny_dataset))
    assert len(lines) == len(described)
    for line, (name, value) in zip(lines, described, strict=True):
        assert line.startswith(name)
        assert line.endswith(value)
    assert len({len(line) - len(value) for line, (_, value) in zip(lines, described, strict=True) if value}) == 1


def test_no_torch_is_loaded(tiny_model: Path, tiny_dataset: Path) -> None:
    script = f"""
import sys
from chesslm.cli import run
assert run(["info", {str(tiny_model)!r}]) == run(["info", {str(tiny_dataset)!r}]) == 0
assert not {{"torch", "transformers", "lightning"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: cut(folder / "model.safetensors"), "not whole"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "not whole"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
        (lambda folder: (folder / "chesslm.json").write_bytes(b"\xff\xfe"), "not readable"),
        (lambda folder: (folder / "config.json").unlink(), "neither a checkpoint"),
    ],
)
def test_a_checkpoint_that_is_not_whole(spoil, says: str, tiny_model: Path, tmp_path: Path, cli: Cli) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in tiny_model.iterdir():
        if path.is_file():
            shutil.copy(path, copied)
    spoil(copied)
    one_line(cli, copied, says)


def test_what_is_neither(tiny_dataset: Path, tiny_pgn: Path, tmp_path: Path, cli: Cli) -> None:
    one_line(cli, tmp_path / "missing", "no such folder")
    one_line(cli, tiny_pgn, "is a file")
    one_line(cli, tmp_path, "neither a checkpoint")
    copied = shutil.copytree(tiny_dataset, tmp_path / "copy")
    cut(next(copied.glob("train-*.ids.npy")))
    one_line(cli, copied, "instead of")
    (copied / "meta.json").unlink()
    one_line(cli, copied, "no meta.json")
    with pytest.raises(InputError):
        describe(tmp_path / "missing")


def one_line(cli: Cli, path: Path, says: str) -> None:
    ended = cli("info", path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert says in ended.err
