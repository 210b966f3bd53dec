"""docs/interp.md is true: its session gives what it shows, and other tools see in our checkpoints what we see."""

import doctest
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "docs" / "interp.md"
TOOLS = {"transformer_lens": "TransformerLens", "nnsight": "nnsight"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TOUR.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tour_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    session = doctest.DocTestParser().get_doctest("\n".join(blocks("pycon")), {}, TOUR.name, str(TOUR), 0)
    found = doctest.DocTestRunner(verbose=False).run(session)
    assert found.attempted > 8 and not found.failed


@pytest.mark.parametrize("module", TOOLS)
def test_other_tools_load_our_checkpoints(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(module, reason=f"make interp tests it with {TOOLS[module]}")
    monkeypatch.chdir(ROOT)
    (code,) = (
        block for block in re.findall(r"^```python\n(.*?)^```$", TOUR.read_text(), re.M | re.S) if module in block
    )
    assert code.count("assert") == 2
    # nnsight reads the source of what it traces.
    example = tmp_path / "example.py"
    example.write_text(code)
    runpy.run_path(str(example))
