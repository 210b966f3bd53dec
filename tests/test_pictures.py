"""The README's pictures can be taken again: the real page and the real terminal, by their script."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_web import folder as folder

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "pictures.py"


Take = Callable[..., None]


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Take:
    """Run the script in this process, which has made its imports."""

    def run(*arguments: Path | str) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def size(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG in pixels."""
    start = picture.read_bytes()[:24]
    assert start.startswith(b"\x89PNG")
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")


def test_both_are_taken(folder: Path, tmp_path: Path, take: Take) -> None:
    take(folder, "--out", tmp_path)
    shown = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert size(tmp_path / "page.png") == size(ROOT / "docs" / "pictures" / "page.png")
    # 17 lines of at least 15 pixels, one and a half pixels for each.
    assert size(tmp_path / "terminal.png")[1] > 17 * 15 * 1.5


def test_a_model_without_a_probe(tiny_model: Path, take: Take, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        take(tiny_model)
    assert "has no probe; make one with chesslm probe" in capsys.readouterr().err
