"""kill -9 at random moments: nothing torn is taken for whole, nothing finished is lost, and the end is the same.

A command is run once in peace; then it is killed, begun again and killed again until it ends by itself, and all that
over and over until it was killed often enough: a hundred times each in ``make soak``. The check kills once, and only
the command that no other test kills.
"""

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chess.pgn
import pytest
from conftest import SOAK, Cli, without
from test_prepare import contents
from test_resume import PROGRAM

from chesslm import files
from chesslm.play.record import whole_games

KILLS = 100 if SOAK else 1
WRITING = "another process is writing there; let it end or choose another --out"


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


def read(path: Path) -> Any:
    return without(json.loads(path.read_text()), "created", "seconds")


def played(path: Path) -> list[tuple[str, str, str]]:
    """Round, result and moves of the games of a match, every one of them whole."""
    with path.open() as file:
        games = list(iter(lambda: chess.pgn.read_game(file), None))
    assert not any(game.errors for game in games)
    return sorted((game.headers["Round"], game.headers["Result"], str(game.mainline_moves())) for game in games)


def is_played(path: Path) -> bool:
    """Whether all twenty games stand there; the last may be torn."""
    text = path.read_text() if path.exists() else ""
    return text.count("[Event ") == 20 and whole_games(text) == text


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
        "match": Job(matched, played, is_played),
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


def test_the_same_seed_gives_the_same_bits(jobs: dict[str, Job], tmp_path: Path, cli: Cli) -> None:
    """Weights of the same recipe, and figures but for when they were taken; with one worker process or two.

    The check runs them in this process, the soak in one each.
    """
    for name, more in (("train", ["--set", "model.dropout=0.1"]), ("evaluate", ["--workers", "1"])):
        found = []
        for number in range(2):
            out = tmp_path / f"{name}-{number}"
            command = [*jobs[name].command(out, False), *(more if name == "train" or number else [])]
            if SOAK:
                subprocess.run(command, check=True, capture_output=True)
            else:
                assert cli(*command[3:]).code == 0
            found.append(jobs[name].result(out))
        assert found[0] == found[1]


def test_what_another_process_writes_is_refused(
    jobs: dict[str, Job], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is done to it."""
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.1)
    for name, locked in (("transfer", files.alone_in), ("match", files.alone_at)):
        out = tmp_path / name
        with locked(out):
            there = sorted(tmp_path.rglob("*"))
            ended = cli(*jobs[name].command(out, False)[3:])
            assert (ended.code, ended.out) == (2, "")
            assert ended.err == f"chesslm: {out}: {WRITING}\n"
            assert sorted(tmp_path.rglob("*")) == there
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not SOAK, reason="a dozen processes, one after another")
@pytest.mark.parametrize("name", ["train", "transfer", "match"])
def test_of_two_runs_in_one_place_the_second_refuses(name: str, jobs: dict[str, Job], tmp_path: Path) -> None:
    """It says so and does no harm; who was killed holds nothing."""
    job, out, whole = jobs[name], tmp_path / "out", tmp_path / "whole"
    subprocess.run(job.command(whole, False), check=True, capture_output=True)
    begins = {"train": out / "run" / "metrics.csv", "transfer": out / "cells", "match": out}[name]
    with subprocess.Popen(job.command(out, False), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as first:
        while not begins.exists():
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        second = subprocess.run(job.command(out, True), capture_output=True, text=True, check=False)
        first.send_signal(signal.SIGKILL)
    assert (second.returncode, second.stdout) == (2, "")
    assert WRITING in second.stderr and second.stderr.count("\n") == 1
    subprocess.run(job.command(out, True), check=True, capture_output=True)
    assert job.result(out) == job.result(whole)


def test_a_file_that_cannot_be_read_to_its_end(tiny_pgn: Path, tmp_path: Path) -> None:
    """The end of a terminal that is gone gives what was in it, and then an error as a bad disk does (EIO)."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    command = [sys.executable, "-m", "chesslm", "prepare", "-", "--out", str(tmp_path / "out"), "--quiet"]
    with subprocess.Popen(command, stdin=ours, stderr=subprocess.PIPE, text=True) as process:
        os.write(theirs, tiny_pgn.read_bytes()[:3000])
        while select.select([ours], [], [], 0)[0]:
            time.sleep(0.01)
        os.close(theirs)
        _, said = process.communicate()
    os.close(ours)
    assert process.returncode == 1 and re.fullmatch(r"chesslm: -: reading failed .*Input/output error.*\n", said), said
    assert not list(tmp_path.glob("out*"))
