"""The command line as a person meets it: usage, bad input, a full disk, Ctrl-C; one line on stderr and an exit code."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SOAK, Cli, Ended

import chesslm

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6300010000")


def one_line(ended: Ended, code: int, message: str) -> None:
    """A command failed as commands do: this code, one line that says why, and nothing else."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert re.fullmatch(r"chesslm: [^\n]+\n", ended.err), ended.err
    assert re.search(message, ended.err), ended.err


# Usage


def test_the_version_is_the_packages(run_cli: Cli):
    assert run_cli("--version") == Ended(0, f"chesslm {chesslm.__version__}\n", "")


def test_without_a_command_there_is_help(cli: Cli):
    assert cli() == cli("--help") == cli("-h")
    assert cli().code == 0 and "Commands:" in cli().out


def test_control_c_in_an_exec_ends_with_its_code_too(tmp_path: Path):
    """CPython remembers an interrupted exec, and python -m then ends by SIGINT at its very end."""
    (tmp_path / "interrupted.py").write_text(
        "from chesslm import cli\n"
        "def run(arguments):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "cli.run = run\n"
        "cli.main()\n"
    )
    assert subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False).returncode == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reckon"], "No such command 'reckon'"),
        (["--loud"], "No such option: --loud"),
        (["prepare"], "Missing argument"),
        (["train", "--out", "x"], "Missing option '--data'"),
        (
            ["train", "--data", "x", "--out", "y", "--max-steps", "many"],
            "'--max-steps': Input should be a valid integer",
        ),
        (["generate", "x.pgn", "--games", "1", "2"], "unexpected extra argument"),
        (["train", "--data", "x", "--out", "y", "--size", "huge"], "unknown size 'huge'; sizes are tiny"),
        (["train", "--data", "x", "--out", "y", "--set", "train.lr=1"], "unknown setting 'train.lr'"),
        (["train", "--data", "x", "--out", "y", "--recipe", "nowhere.toml"], r"nowhere\.toml: no such recipe"),
        (["train", "--data", "x", "--out", "y", "--recipe", "/"], r"/: cannot be read \(Is a directory\)"),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, tmp_path: Path, arguments: list[str], message: str):
    one_line(cli(*arguments), 2, message)


# Bad input. {dir} is an empty folder, {pgn}, {data} and {model} are whole; nothing may be left in {dir}.

BAD_INPUT: dict[str, tuple[str, str]] = {
    "prepare: a missing file": ("prepare {dir}/nowhere.pgn --out {dir}/out", "nowhere.pgn: no such file"),
    "prepare: an empty file": ("prepare {bad}/empty.pgn --out {dir}/out", "empty.pgn"),
    "prepare: a PNG": ("prepare {bad}/png.pgn --out {dir}/out", "png.pgn"),
    "prepare: no zstd under the name": ("prepare {bad}/text.pgn.zst --out {dir}/out", "text.pgn.zst.*zst"),
    "prepare: no game left": ("prepare {pgn} --min-elo 4000 --out {dir}/out", "no game|0 games|games"),
    "prepare: unknown notation": ("prepare {pgn} --notation morse --out {dir}/out", "unknown notation 'morse'"),
    "prepare: out exists": ("prepare {pgn} --out {data}", "exists already"),
    "prepare: out below a file": ("prepare {pgn} --out {pgn}/out", "no such file or folder|not a folder"),
    "generate: no folder": ("generate {dir}/no/where.pgn --games 1", "no such file or folder"),
    "generate: below a file": ("generate {pgn}/x.pgn --games 1", "no such file or folder"),
    "generate: unknown player": ("generate {dir}/x.pgn --games 1 --by magic", "magic"),
    "generate: a negative number": ("generate {dir}/x.pgn --games -1", "-1|games"),
    "generate: no folder to be named": ("generate {dir}/no/x.pgn --games 1", r"no/x\.pgn: no such file or folder"),
    "generate: onto a device": ("generate /dev/null --games 1", "/dev/null: no regular file"),
    "generate: more than there can be": ("generate {dir}/x.pgn --games 9999999999999999999", "are the most"),
    "prepare: no day can pass": ("prepare {pgn} --out {dir}/out --since 2025 --until 2024.5", "no game can pass"),
    "prepare: no opening can pass": ("prepare {pgn} --out {dir}/out --eco C99-C60", "no code is in that range"),
    "train: no dataset": ("train --data {dir}/nowhere --out {dir}/out --max-steps 1", "nowhere: no such folder"),
    "train: no meta.json": ("train --data {bad}/unfinished --out {dir}/out --max-steps 1", "no meta.json"),
    "train: a file cut short": ("train --data {bad}/cut --out {dir}/out --max-steps 1", "bytes long instead of"),
    "train: no budget": ("train --data {data} --out {dir}/out", "no budget"),
    "train: out exists": ("train --data {data} --out {model} --max-steps 1", "exists already"),
    "train: out below a file": ("train --data {data} --out {pgn}/x --max-steps 1", "no such file or folder"),
    "train: nothing to resume": ("train --data {data} --out {dir}/out --resume", "no run to resume"),
    "train: unknown device": ("train --data {data} --out {dir}/out --max-steps 1 --device tpu", "unknown device"),
    "train: save steps": ("train --data {data} --out {dir}/out --max-steps 1 --save-steps often", "--save-steps"),
    "evaluate: no model": ("evaluate {dir}/nowhere --games {pgn}", "nowhere: no such folder"),
    "evaluate: cut weights": ("evaluate {bad}/model --games {pgn}", "bytes long instead of .*copy it again"),
    "evaluate: no games": ("evaluate {model} --games {dir}/nowhere.pgn", "nowhere.pgn: no such file"),
    "evaluate: nothing to measure on": ("evaluate {model}", "--games"),
    "evaluate: unknown suite": ("evaluate {model} --games {pgn} --suite vibes", "unknown suite 'vibes'"),
    "evaluate: an engine for nothing": ("evaluate {model} --games {pgn} --engine x", "--engine is for puzzles"),
    "evaluate: random games for nothing": ("evaluate {model} --suite rules --random 9", "--random is for legality"),
    "evaluate: data for nothing": ("evaluate {model} --suite selfplay --data {dir}", "--data is for legality, squares"),
    "evaluate: another notation": ("evaluate {model} --games {pgn} --notation uci-square", "writes uci-move, not"),
    "evaluate: unwritable JSON": ("evaluate {model} --games {pgn} --json {dir}/no/x.json", "no such file or folder"),
    "evaluate: one place for both": ("evaluate {model} --games {pgn} --json {dir}/x --html {dir}/x", "cannot be both"),
    "evaluate: onto a device": ("evaluate {model} --games {pgn} --json /dev/null", "no regular file"),
    "play: no model": ("play {dir}/nowhere", "nowhere: no such folder"),
    "play: unknown policy": ("play {model} --policy strict", "strict"),
    "info: nothing there": ("info {dir}/nowhere", "nowhere: no such folder"),
    "info: neither": ("info {bad}", "neither a checkpoint .* nor"),
    "demo: out exists": ("demo --out {model}", "exists already"),
}


@pytest.fixture(scope="session")
def places(
    tiny_pgn: Path, tiny_dataset: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Paths that the bad commands name."""
    bad = tmp_path_factory.mktemp("bad")
    (bad / "empty.pgn").touch()
    (bad / "png.pgn").write_bytes(PNG)
    shutil.copy(tiny_pgn, bad / "text.pgn.zst")
    for name in ("unfinished", "cut"):
        shutil.copytree(tiny_dataset, bad / name)
    (bad / "unfinished" / "meta.json").unlink()
    ids = bad / "cut" / "train-00000.ids.npy"
    ids.write_bytes(ids.read_bytes()[:-2])
    shutil.copytree(tiny_model, bad / "model", ignore=shutil.ignore_patterns("run"))
    weights = bad / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return {"pgn": tiny_pgn, "data": tiny_dataset, "model": tiny_model, "bad": bad}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(cli: Cli, places: dict[str, Path], tmp_path: Path, case: str):
    command, message = BAD_INPUT[case]
    before = {name: sorted(path.rglob("*")) for name, path in places.items()}
    one_line(cli(*command.format(dir=tmp_path, **places).split()), 2, message)
    assert not list(tmp_path.iterdir())
    assert before == {name: sorted(path.rglob("*")) for name, path in places.items()}


# A disk that fills up: a real one, of 16 KB, in a mount namespace of its own


def on_small_disk(folder: Path, *arguments: str | Path) -> Ended:
    """Run a command whose outputs in ``folder`` are on a disk of 16 KB; what is on it afterwards comes out alone."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = 'mount -t tmpfs -o size=16k none "$0"; "$@" > /dev/null; code=$?; ls -A "$0"; exit $code'
    run = ["unshare", *as_root, "--mount", "sh", "-c", script, str(folder)]
    done = subprocess.run(
        [*run, sys.executable, "-m", "chesslm", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("generate {dir}/x.pgn --games 300 --workers 1 --quiet", []),
        ("prepare {pgn} --out {dir}/out --workers 1 --quiet", []),
        # What can be gone on with.
        ("train --data {data} --out {dir}/out --max-steps 1 --size tiny --set model.width=64 --quiet", ["out"]),
        ("evaluate {model} --games {pgn} --limit 2 --quiet --html {dir}/x.html", []),
        ("match {model} --against random --games 80 --policy strict --out {dir}/x.pgn --quiet", ["x.pgn"]),
        ("transfer {study} --out {dir}/out --workers 1 --quiet", ["out"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    places: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, command: str, left: list[str]
):
    study = tmp_path_factory.mktemp("study") / "study.toml"
    study.write_text(
        f'[study]\ndata = "{places["data"]}"\ngames = [40]\n[model]\nlayers = 2\nwidth = 64\n'
        "[train]\nmax_steps = 1\n[arms.scratch]\n"
    )
    ended = on_small_disk(tmp_path, *command.format(dir=tmp_path, study=study, **places).split())
    assert ended.code == 1, ended
    assert re.fullmatch(r"chesslm: \S+: the disk is full; free some space and run again\n", ended.err), ended.err
    assert ended.out.split() == left


# Being stopped, as a terminal does it: the signal goes to the whole process group


def stop(
    arguments: list[str | Path], ready: Callable[[subprocess.Popen[bytes]], bool], number: signal.Signals
) -> tuple[int, str]:
    """Start a command, wait until it is at work, signal it and its children; its exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chesslm", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not ready(process):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "never got to work"
        time.sleep(0.02)
    os.killpg(process.pid, number)
    try:
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, err.decode()


STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def signals(one: signal.Signals) -> pytest.MarkDecorator:
    """One of the two ways to be stopped; by hand, both."""
    return pytest.mark.parametrize("number", STOPPED if SOAK else [one], ids=lambda number: number.name)


@signals(signal.SIGTERM)
def test_generate_stops_and_leaves_nothing(tmp_path: Path, number: signal.Signals):
    arguments = ["generate", tmp_path / "x.pgn", "--games", "100000", "--workers", "2", "--quiet"]
    code, err = stop(arguments, lambda _: any(path.stat().st_size for path in tmp_path.iterdir()), number)
    assert (code, err) == (STOPPED[number], "chesslm: stopped\n" if number == signal.SIGINT else "")
    assert not list(tmp_path.iterdir())


@signals(signal.SIGINT)
def test_prepare_stops_and_leaves_nothing(tiny_pgn: Path, tmp_path: Path, number: signal.Signals):
    """It reads from a pipe that never ends."""
    text = tiny_pgn.read_bytes()

    def ready(process: subprocess.Popen[bytes]) -> bool:
        assert process.stdin
        process.stdin.write(text)
        return any(path.is_dir() for path in tmp_path.iterdir())

    code, err = stop(["prepare", "-", "--out", tmp_path / "out", "--workers", "2", "--quiet"], ready, number)
    assert (code, err) == (STOPPED[number], "chesslm: stopped\n" if number == signal.SIGINT else "")
    assert not list(tmp_path.iterdir())


@signals(signal.SIGTERM)
def test_train_stops_and_says_how_to_go_on(tiny_dataset: Path, tmp_path: Path, number: signal.Signals):
    out = tmp_path / "out"
    small = ["--set", "model.layers=1", "--set", "model.width=16", "--set", "model.heads=1"]
    arguments = ["train", "--data", tiny_dataset, "--out", out, "--max-minutes", "10", "--quiet", *small]
    code, err = stop(arguments, lambda _: (out / "run" / "metrics.csv").is_file(), number)
    saved = f"saved; go on with: chesslm train --data {tiny_dataset} --out {out} --resume\n"
    assert (code, err) == (STOPPED[number], saved + ("chesslm: stopped\n" if number == signal.SIGINT else ""))
    assert {path.name for path in out.iterdir()} == {"run"}
    state = torch.load(out / "run" / "last.ckpt", weights_only=True)
    assert state["counters"]["steps"] == state["global_step"] > 0


@signals(signal.SIGINT)
def test_play_stops(tiny_model: Path, number: signal.Signals):
    """It waits for a move."""
    asked: list[bytes] = []

    def ready(process: subprocess.Popen[bytes]) -> bool:
        assert process.stdin and process.stdout
        if not asked:
            process.stdin.write(b"board\n")
            process.stdin.flush()
            asked.append(process.stdout.readline())
        return bool(asked[0])

    code, err = stop(["play", tiny_model], ready, number)
    assert (code, err) == (STOPPED[number], "chesslm: stopped\n" if number == signal.SIGINT else "")


@signals(signal.SIGINT)
def test_evaluate_stops_and_writes_nothing(tiny_model: Path, tiny_pgn: Path, tmp_path: Path, number: signal.Signals):
    """While it loads and works; whatever it is at, it ends."""
    begun = time.monotonic()
    arguments = ["evaluate", tiny_model, "--games", tiny_pgn, "--random", "5000", "--json", tmp_path / "x.json"]
    code, err = stop([*arguments, "--quiet"], lambda _: time.monotonic() - begun > 6, number)
    assert (code, err) == (STOPPED[number], "chesslm: stopped\n" if number == signal.SIGINT else "")
    assert not list(tmp_path.iterdir())


# Output that nobody reads


@pytest.mark.parametrize("arguments", [["--help"], ["info", "{data}"]], ids=["help", "info"])
def test_a_closed_pipe_is_no_error(tiny_dataset: Path, arguments: list[str]):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "chesslm", *(argument.format(data=tiny_dataset) for argument in arguments)]
    with os.fdopen(write, "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
