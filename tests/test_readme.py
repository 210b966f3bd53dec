"""The README is true: its commands run, its Python runs, its links lead somewhere, its commands are all there are.

Commands run in one folder, in the order of the page, on small stand-ins: the bundled games are the tiny ones of these
tests, and so is the released model. Budgets are cut as ``SMALLER`` says.
"""

import io
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from conftest import Cli
from random_games import write_pgn

import chesslm
from chesslm import demo
from chesslm.boards import MoveCodes
from chesslm.cli import app
from chesslm.inside import editing

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TINIEST = "--size tiny --set model.layers=2 --set model.width=32 --set model.heads=2"
SMALLER = {
    "--max-minutes 60": "--max-steps 2",
    "--max-steps 2000": f"--max-steps 2 {TINIEST}",
    "--size small": TINIEST,
    "--games 1000": "--games 20",
    "--games 100 ": "--games 2 ",
    "--games 200": "--games 2",
    # A game of two who know nothing of winning is long.
    "--against random --against": "--against",
    "--port 8000": "--port 0",
    "uci:stockfish": f"uci:{shutil.which('stockfish') or '/usr/games/stockfish'}",
    "--random 1000 --edit": "--random 20 --limit 20 --edit",
    "--random 1000": "--random 20",
    "--out data/first": "--out data/first --workers 1",
    "--random 100": "--random 5",
    "--limit 200": "--limit 5",
    "--minutes 10": "--minutes 0.02",
    "--text BOOKS.txt": "--text BOOKS.txt --vocabulary 400 --val 0.3 --test 0.3",
}


def blocks(language: str) -> list[str]:
    """Contents of the fenced blocks of a language ("" for none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [content for named, content in fenced if named == language]


def commands() -> list[str]:
    """Every command line; what begins with a dollar is a transcript."""
    return [
        line for block in blocks("") if not block.startswith("$") for line in block.splitlines() if "chesslm" in line
    ]


@pytest.fixture(scope="module")
def folder(tiny_games: list[MoveCodes], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has, small."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("games", "checkpoints"):
        (folder / name).mkdir()
    shutil.copytree(tiny_model, folder / "checkpoints" / "chesslm-small")
    for name, games in (("engine", tiny_games[:120]), ("random", tiny_games[120:])):
        text = write_pgn(folder / "some.pgn", games, ECO="B20").read_bytes()
        (folder / "games" / f"bundle-{name}.pgn.zst").write_bytes(zstandard.ZstdCompressor().compress(text))
    (folder / "some.pgn").rename(folder / "GAMES.pgn")
    shutil.copytree(ROOT / "checkpoints" / "chesslm-text-tiny", folder / "checkpoints" / "chesslm-text-tiny")
    (folder / "BOOKS.txt").write_text("".join(f"{n}: {README[n % 9000 : n % 9000 + 900]}\n" for n in range(600)))
    study = (ROOT / "recipes" / "transfer-first.toml").read_text()
    for large, small in {"[500, 2000]": "[20]", "4000": "2", "= 100": "= 4", "= 50": "= 2"}.items():
        assert large in study
        study = study.replace(large, small)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "transfer-first.toml").write_text(study)
    return folder


def test_the_commands_run(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    for name in ("CASES", "CHOOSING", "CURVE"):
        monkeypatch.setattr(editing, name, 10)
    monkeypatch.setattr(demo, "RANDOM_GAMES", 5)
    assert len(commands()) > 12
    for line in commands():
        for large, small in SMALLER.items():
            line = line.replace(large, small)
        if line.startswith("chesslm serve "):
            with subprocess.Popen(
                [sys.executable, "-m", *shlex.split(line)], stdout=subprocess.PIPE, text=True
            ) as server:
                assert server.stdout and "http://127.0.0.1:" in server.stdout.readline()
                server.send_signal(signal.SIGINT)
        elif line.startswith("chesslm "):
            ended = cli(*shlex.split(line)[1:])
            assert ended.code == 0, (line, ended)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)


def test_every_budget_that_is_cut_is_there():
    unused = [large for large in SMALLER if not any(large in line for line in commands())]
    assert not unused


@pytest.mark.parametrize("script", blocks("python"), ids=lambda script: script.split()[1])
def test_the_python_runs(script: str, folder: Path):
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_it_shows_every_command_and_no_other():
    shown = set(re.findall(r"\bchesslm ([a-z]+)\b", "\n".join(commands())))
    assert shown == {command.callback.__name__ for command in app.registered_commands if command.callback}


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert link.startswith("https://") or (ROOT / link).exists(), f"{document}: {link}"


def test_what_is_shown_from_a_run_stands_between_its_marks():
    begun, ended = (re.findall(rf"<!-- {word}: (.*) -->", README) for word in ("begin", "end"))
    assert begun == ended and len(set(begun)) == len(begun)


@pytest.mark.parametrize(
    ("target", "last"), [("demo", "chesslm demo"), ("check", "pytest -n auto --dist loadfile --no-loadscope-reorder")]
)
def test_the_two_commands_are_there(target: str, last: str):
    steps = subprocess.run(
        ["make", "--no-print-directory", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert steps.strip().endswith(last)
    assert f"`make {target}`" in README


def test_ci_does_what_make_check_does():
    assert (ROOT / ".ci" / "run").read_text().splitlines() == ["#!/usr/bin/env bash", "set -euo pipefail", "make check"]


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {chesslm.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_map_names_every_module():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in (ROOT / "chesslm").glob("*.py"):
        assert path.name in text or path.name == "__init__.py", path.name


def test_what_is_promised_is_held_by_tests_that_are_there():
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = set(re.findall(r"test_\w+\.py", text))
    assert len(named) > 10 and all((ROOT / "tests" / name).is_file() for name in named)
    soak = re.search(r"CHESSLM_SOAK=1 .*", (ROOT / "Makefile").read_text())
    assert soak and set(re.findall(r"test_\w+\.py", soak[0])) <= named
