"""``train.compile``: a file of its own, for the compiler takes a minute."""

import shutil
from pathlib import Path

import pytest
from conftest import SOAK
from test_train import RECIPE, rows

from chesslm.config import changed
from chesslm.errors import InputError
from chesslm.model import load_model
from chesslm.train import train


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-4), ("bf16", 1e-2)] if SOAK else [("fp32", 1e-4)])
def test_compiled_it_learns_the_same(tiny_dataset: Path, tmp_path: Path, precision: str, within: float) -> None:
    losses: list[list[float]] = []
    short = changed(changed(RECIPE, "train.max_steps", 10), "model.layers", 1)
    short = changed(short, "train.precision", precision)
    for compiled in ("false", "true"):
        recipe = changed(short, "train.compile", compiled)
        folder = train(tiny_dataset, tmp_path / compiled, recipe, device="cpu", quiet=True)
        losses.append([float(row["loss"]) for row in rows(folder)])
        load_model(str(folder))
    assert losses[1] == pytest.approx(losses[0], rel=within)


def test_to_compile_takes_a_compiler(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="install g\\+\\+, or name one in CXX"):
        train(tiny_dataset, tmp_path / "out", changed(RECIPE, "train.compile", True), device="cpu", quiet=True)
    assert not (tmp_path / "out").exists()
