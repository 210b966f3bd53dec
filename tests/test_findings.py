"""What docs/findings.md shows of results that are kept is what the commands make of them, to the last digit."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from conftest import Cli

from chesslm import files

ROOT = Path(__file__).parents[1]
FINDINGS = (ROOT / "docs" / "findings.md").read_text()
PLOTS = re.findall(r"^ {4}(chesslm plot [^\n]*) --out (\S+)\n(.*?)(?=^#|^ {4}chesslm plot|\Z)", FINDINGS, re.M | re.S)
"""The command, the figure, and what stands below, up to the next heading or figure."""
BENCHMARKS = re.findall(
    r"^ {4}python (benchmarks/[^\n]* studies/\S+)\n(.*?)(?=^#|^ {4}python|\Z)", FINDINGS, re.M | re.S
)
"""Likewise of benchmarks whose results are kept."""


def test_there_are_figures() -> None:
    assert PLOTS and all(f"]({Path(svg).relative_to('docs')})" in FINDINGS for _, svg, _ in PLOTS)
    assert {ROOT / svg for _, svg, _ in PLOTS} == set((ROOT / "docs" / "figures").iterdir())


@pytest.mark.parametrize(("command", "svg", "below"), PLOTS, ids=[svg for _, svg, _ in PLOTS])
def test_they_follow_from_results(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, svg: str, below: str
) -> None:
    monkeypatch.chdir(ROOT)
    paths = [found for pattern in shlex.split(command)[2:] for found in sorted(map(str, Path().glob(pattern)))]
    ended = cli("plot", *paths, "--out", tmp_path / "new.svg")
    assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / "new.svg").read_text() == (ROOT / svg).read_text()
    shown = [line for line in below.splitlines() if line.startswith("|")]
    assert len(shown) > 2 and not set(shown) - set(ended.out.splitlines())


@pytest.mark.parametrize(("command", "below"), BENCHMARKS, ids=[command.split()[0] for command, _ in BENCHMARKS])
def test_benchmarks_follow_from_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, below: str
) -> None:
    monkeypatch.chdir(ROOT)
    script, *arguments = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    runpy.run_path(script, run_name="__main__")
    shown = [line for line in below.splitlines() if line.startswith("|")]
    assert len(shown) > 2 and shown == [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]


def test_the_readme_shows_the_same_of_the_released_model() -> None:
    readme = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"<!-- begin: figures of chesslm-small -->(.*?)<!-- end", readme, re.DOTALL)
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(table) > 5 and "\n".join(table) in FINDINGS


@pytest.mark.parametrize("name", ["chesslm-small", "chesslm-small-plain", "chesslm-small-square", "chesslm-small-char"])
def test_what_is_said_of_a_released_model_is_of_its_weights(name: str) -> None:
    weights = files.sha256(ROOT / "checkpoints" / name / "model.safetensors")
    for path in (ROOT / "studies" / name).iterdir():
        assert json.loads(path.read_text())[0]["model"]["sha256"] == weights
    for probe in (ROOT / "checkpoints" / name).glob("probe/board.json"):
        assert json.loads(probe.read_text())["model"] == weights
