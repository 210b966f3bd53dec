"""kill -9 at random moments: nothing torn is taken for whole, nothing finished is lost, and the end is the same.

A command is run once in peace; then it is killed, begun again and killed again until it ends by itself, and all that
over and over until it was killed often enough: a hundred times each in ``make soak``. The check kills once, and only
the command that no other test kills.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chess.pgn
import pytest
from conftest import SOAK
from test_prepare import contents
from test_resume import PROGRAM

KILLS = 100 if SOAK else 1


@dataclass(frozen=True)
class Job:
    """A command that is killed.

    Attributes:
        command: what to run, given where its output goes and whether it was begun there before.
        result: what has to be the same at the end, given where its output is.
        whole: whether that stands there, by its name alone.
    """

    command: Callable[[Path, bool], list[str]]
    result: Callable[[Path], Any]
    whole: Callable[[Path], bool] = Path.exists


def without_times(objects: Any) -> Any:
    """Results without when they were made."""
    if isinstance(objects, Mapping):
        return {name: without_times(value) for name, value in objects.items() if name not in ("created", "seconds")}
    return [without_times(each) for each in objects] if isinstance(objects, list) else objects


def read(path: Path) -> Any:
    return without_times(json.loads(path.read_text()))


def rounds(path: Path) -> list[tuple[str, str]]:
    """Round and result of the games of a match, every one of them whole."""
    with path.open() as file:
        games = list(iter(lambda: chess.pgn.read_game(file), None))
    assert not any(game.errors for game in games)
    return sorted((game.headers["Round"], game.headers["Result"]) for game in games)


@pytest.fixture
def jobs(tiny_pgn: Path, tiny_dataset: Path, tiny_model: Path, tmp_path: Path) -> dict[str, Job]:
    """The commands that take long."""
    study = tmp_path / "study.toml"
    study.write_text(
        f'[study]\ndata = "{tiny_dataset}"\ngames = [40]\nrates = [0.5, 1.0]\ntest_games = 3\nrandom_games = 2\n'
        "[model]\nlayers = 1\nwidth = 16\nheads = 1\n[train]\nbatch_tokens = 512\nval_every = 4\nval_games = 4\n"
        'patience = 2\nmax_steps = 12\nprecision = "fp32"\n[arms.scratch]\n'
    )
    chesslm = [sys.executable, "-m", "chesslm"]
    small = ["--set", "model.layers=2", "--set", "model.width=32", "--set", "model.heads=2", "--size", "tiny"]

    def prepared(out: Path, begun: bool) -> list[str]:
        resume = ["--resume"] if begun else []
        return [sys.executable, "-c", PROGRAM, "prepare", str(tiny_pgn), "--out", str(out), "--quiet", *resume]

    def trained(out: Path, begun: bool) -> list[str]:
        command = [*chesslm, "train", "--data", str(tiny_dataset), "--out", str(out), "--device", "cpu", "--quiet"]
        return [*command, "--resume"] if begun else [*command, *small, "--max-steps", "60", "--save-steps", "4"]

    def evaluated(out: Path, begun: bool) -> list[str]:
        return [*chesslm, "evaluate", str(tiny_model), "--games", str(tiny_pgn), "--limit", "10", "--json", str(out)]

    def studied(out: Path, begun: bool) -> list[str]:
        return [*chesslm, "transfer", str(study), "--out", str(out), "--workers", "1", "--quiet"]

    def matched(out: Path, begun: bool) -> list[str]:
        return [*chesslm, "match", str(tiny_model), "--against", "random", "--games", "20", "--out", str(out)]

    return {
        "prepare": Job(prepared, contents),
        "train": Job(
            trained, lambda out: (out / "model.safetensors").read_bytes(), lambda out: (out / "chesslm.json").exists()
        ),
        "evaluate": Job(evaluated, read),
        "transfer": Job(
            studied, lambda out: read(out / "study.json")["rows"], lambda out: (out / "study.json").exists()
        ),
        "match": Job(matched, rounds, lambda out: out.exists() and out.read_text().count("[Event ") == 20),
    }


def begun(out: Path) -> bool:
    """Whether an earlier run left something to go on with."""
    return out.exists() or (out.with_name(f"{out.name}.partial") / "work" / "state.json").exists()


@pytest.mark.parametrize("name", ["prepare", "train", "evaluate", "transfer", "match"] if SOAK else ["evaluate"])
def test_killed_at_random_moments_it_ends_in_the_same(name: str, jobs: dict[str, Job], tmp_path: Path) -> None:
    job, draw, kills = jobs[name], random.Random(name), 0
    whole = tmp_path / "whole"
    start = time.monotonic()
    subprocess.run(job.command(whole, False), check=True, capture_output=True)
    lasted = time.monotonic() - start
    expected = job.result(whole)
    for number in range(KILLS):
        out = tmp_path / f"out{number}"
        while not job.whole(out):
            command = job.command(out, begun(out))
            with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
                try:
                    _, said = process.communicate(timeout=draw.uniform(0, lasted) if kills < KILLS else None)
                    assert process.returncode == 0, said
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
        assert job.result(out) == expected
        if kills == KILLS:
            return
