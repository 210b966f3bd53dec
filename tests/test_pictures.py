"""The README's pictures can be taken again: the real page and the real terminal, by their script."""

import subprocess
import sys
from pathlib import Path

from test_web import folder as folder

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "pictures.py"


def taken(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def size(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG in pixels."""
    start = picture.read_bytes()[:24]
    assert start.startswith(b"\x89PNG")
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")


def test_both_are_taken(folder: Path, tmp_path: Path) -> None:
    done = taken(folder, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    shown = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert size(tmp_path / "page.png") == size(ROOT / "docs" / "pictures" / "page.png")
    # 17 lines of at least 15 pixels, one and a half pixels for each.
    assert size(tmp_path / "terminal.png")[1] > 17 * 15 * 1.5


def test_a_model_without_a_probe(tiny_model: Path) -> None:
    done = taken(tiny_model)
    assert done.returncode == 2 and "has no probe; make one with chesslm probe" in done.stderr
