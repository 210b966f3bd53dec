"""Preparing that is interrupted, shared among machines, or joined: the dataset is that of one run in one go."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Cli
from odd_games import odd_pgn
from random_games import random_game, write_pgn
from test_prepare import all_games, contents
from test_verify import flip

from chesslm import done, streams
from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.merge import merge
from chesslm.pgn import Share
from chesslm.prepare import prepare
from chesslm.shards import SPLITS, open_dataset

CHUNKS = (8000, 1 << 22)
PROGRAM = f"""
import sys
from chesslm import done, splitter, streams
from chesslm.cli import run
splitter.SHARD_TOKENS, splitter.LEARN_GAMES, done.SAVE_SECONDS = 3000, 100, 0
streams.split_games.__defaults__ = {CHUNKS}
sys.exit(run(sys.argv[1:]))
"""
"""The command line with shards and chunks so small that there are many, and soon a vocabulary."""


@pytest.fixture(scope="module")
def pgn(tiny_games: list[MoveCodes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pgn") / "odd.pgn"
    path.write_text("".join(odd_pgn(seed, tiny_games[: 200 - 80 * seed]) for seed in range(2)))
    return path


def command(pgn: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "prepare", str(pgn), "--out", str(out), "--quiet", *options]


def ran(pgn: Path, out: Path, *options: str) -> Path:
    subprocess.run(command(pgn, out, *options), check=True, stderr=subprocess.DEVNULL)
    return out


@pytest.mark.parametrize("options", [("--workers", "1"), ("--notation", "san", "--workers", "2")])
def test_killed_at_any_moment_and_resumed_it_ends_in_the_same_dataset(
    tmp_path: Path, pgn: Path, options: tuple[str, ...]
) -> None:
    whole = ran(pgn, tmp_path / "whole", *options)
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    began, kills, saved = time.monotonic(), 0, set[int]()
    while not out.exists():
        assert time.monotonic() - began < 120
        resume = ["--resume"] if kills else []
        with subprocess.Popen(command(pgn, out, *options, *resume), stderr=subprocess.DEVNULL) as process:
            state = partial / "work" / "state.json"
            before = state.stat().st_mtime_ns if state.exists() else 0
            # As soon as it has got further, so that every run does something and all of them together everything.
            while process.poll() is None:
                if state.exists() and state.stat().st_mtime_ns != before and len(saved) < 4:
                    saved.add(state.stat().st_mtime_ns)
                    process.send_signal(signal.SIGKILL if kills % 2 else signal.SIGINT)
                    break
                time.sleep(0.001)
            process.wait(timeout=60)
        kills += 1
    assert kills > 2
    assert contents(out) == contents(whole)
    assert not partial.exists()


def test_what_is_kept_is_said_and_not_run_over(tmp_path: Path, pgn: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(command(pgn, out, "--workers", "1"), stderr=subprocess.PIPE, text=True) as process:
        while not done.begun(tmp_path / "out.partial"):
            time.sleep(0.005)
        # A moment later it might have ended, and a lock is waited for.
        process.send_signal(signal.SIGSTOP)
        second = cli("prepare", str(pgn), "--out", str(out), "--quiet")
        assert second.code == 2 and "another process is writing there" in second.err and second.err.count("\n") == 1
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        told = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "out.partial keeps what is done; go on with --resume" in told and told.count("\n") == 2
    kept = contents(tmp_path)
    for options, why in (
        ((), "what an interrupted run kept; go on with --resume"),
        (("--resume", "--seed", "2"), "was begun with seed 1, not 2"),
        (("--resume", "--min-plies", "9"), "was begun with filters"),
    ):
        ended = cli("prepare", str(pgn), "--out", str(out), "--workers", "1", "--quiet", *options)
        assert ended.code == 2 and why in ended.err
        # Whoever went on says once more that it is kept.
        assert ended.err.count("\n") == (2 if options else 1)
        assert contents(tmp_path) == kept
    other = tmp_path / pgn.name
    other.write_text(pgn.read_text().replace("Nf3", "Nh3", 1))
    ended = subprocess.run(command(other, out, "--resume"), capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "not the input that the interrupted run read" in ended.stderr


def test_a_flipped_bit_in_what_an_interrupted_run_kept(
    tmp_path: Path, pgn: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what is gone on with it is refused, in a whole shard noticed when the dataset is opened."""
    monkeypatch.setattr(streams.split_games, "__defaults__", CHUNKS)
    partial = tmp_path / "out.partial"
    with subprocess.Popen(command(pgn, tmp_path / "out", "--workers", "1"), stderr=subprocess.DEVNULL) as process:
        while not done.begun(partial):
            time.sleep(0.005)
        process.kill()
    kept = [path for path in partial.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]
    listed = json.loads((partial / "work" / "state.json").read_text())
    used = [partial / name for each in listed["splitter"]["writers"].values() for name in each["listed"]]
    used += [partial / "work" / name for name in (*listed["files"], "state.json")]
    assert set(used) <= set(kept) and len(used) > 12
    for number, path in enumerate(path for path in used if path.stat().st_size):
        again = tmp_path / str(number) / "out"
        shutil.copytree(partial, again.with_name("out.partial"))
        flip(again.with_name("out.partial") / path.relative_to(partial))
        ended = cli("prepare", pgn, "--out", again, "--resume", "--workers", "1", "--quiet")
        if "work" in path.parts:
            assert ended.code == 2 and re.search("changed|not readable|bytes long", ended.err), (path, ended)
        else:
            assert ended.code == 0
            with pytest.raises(InputError, match="changed"):
                _ = open_dataset(again).splits[path.name.partition("-")[0]]


def test_killed_before_its_folder_has_its_name_it_is_not_taken_for_another(tmp_path: Path, pgn: Path, cli: Cli) -> None:
    whole = ran(pgn, tmp_path / "whole", "--workers", "1")
    shutil.copytree(whole, tmp_path / "out.partial")
    line = ("prepare", pgn, "--out", tmp_path / "out", "--resume", "--workers", "1", "--quiet")
    for options, why in ((("--seed", "2"), "seed 1, not 2"), (("--exclude", pgn), "exclude [], not")):
        ended = cli(*line, *options)
        assert ended.code == 2 and f"was begun with {why}" in ended.err
    assert cli(*line).code == 0 and contents(tmp_path / "out") == contents(whole)


def test_the_shares_of_an_input_join_to_the_dataset_of_one_run(tmp_path: Path, pgn: Path, cli: Cli) -> None:
    whole = ran(pgn, tmp_path / "whole", "--workers", "1")
    parts = [ran(pgn, tmp_path / f"part{n}", "--shard", f"{n}/3", "--workers", "1") for n in (3, 1, 2)]
    sizes = [sum(len(split) for split in open_dataset(part).splits.values()) for part in parts]
    assert min(sizes) > 20 and sum(sizes) > len(all_games(whole))
    arguments = ["prepare", "--merge", *map(str, parts), "--out", str(tmp_path / "merged")]
    said = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert contents(tmp_path / "merged") == contents(whole)
    assert "duplicate" in said.stdout
    for chosen, why in (
        (parts[:2], "share 2/3 is missing"),
        ([*parts, parts[0]], "the same share"),
        ([*parts, whole], "no share of an input"),
    ):
        ended = cli("prepare", "--merge", *map(str, chosen), "--out", str(tmp_path / "bad"))
        assert ended.code == 2 and why in ended.err
    assert not list(tmp_path.glob("bad*"))
    # Killed before the folder had its name: made anew, since joining cannot be gone on with.
    (tmp_path / "merged").rename(tmp_path / "again.partial")
    arguments[-1] = str(tmp_path / "again")
    subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, check=True)
    assert contents(tmp_path / "again") == contents(whole)


def test_too_few_games_are_said_of_shares_and_of_what_they_join_to(tmp_path: Path, cli: Cli) -> None:
    pgn = write_pgn(tmp_path / "two.pgn", [random_game(number, plies=20) for number in range(2)])
    parts = [ran(pgn, tmp_path / f"part{n}", "--shard", f"{n}/2", "--workers", "1") for n in (1, 2)]
    ended = cli("prepare", "--merge", *parts, "--out", tmp_path / "merged")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "2 games left of 2" in ended.err
    assert not list(tmp_path.glob("merged*"))
    ended = cli("train", "--data", parts[0], "--out", tmp_path / "model", "--max-steps", "1")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "nothing in its split" in ended.err
    assert not (tmp_path / "model").exists()


def test_a_cut_game_alone_in_the_last_share_is_left_out_as_in_one_run(tmp_path: Path) -> None:
    """That others end with a marker, as this one does not, is seen in other shares; each game is a chunk."""
    moves = ("Nf3", "Nc3", "f4", "d4", "Bc4", "c3")
    games = [f'[Event "x"]\n\n1. e4 {{{"long " * 1800}}} e5 2. {move} ' for move in moves]
    pgn = tmp_path / "cut.pgn"
    pgn.write_text("1-0\n\n".join(games) + "\n")
    whole = ran(pgn, tmp_path / "whole", "--workers", "1")
    assert len(all_games(whole)) == len(games) - 1
    parts = [ran(pgn, tmp_path / f"part{n}", "--shard", f"{n}/6", "--workers", "1") for n in range(1, 7)]
    merge(parts, tmp_path / "merged", quiet=True)
    assert contents(tmp_path / "merged") == contents(whole)


def test_games_that_are_in_two_splits_are_reported(tiny_games: list[MoveCodes], tmp_path: Path) -> None:
    both = tiny_games[:120], tiny_games[60:180]
    first, second = (write_pgn(tmp_path / f"{n}.pgn", games) for n, games in enumerate(both))
    prepare([str(first)], tmp_path / "a", val=0.3, test=0.2, seed=1, workers=1, quiet=True)
    prepare([str(second)], tmp_path / "b", val=0.3, test=0.2, seed=2, workers=1, quiet=True)
    meta = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c", quiet=True)
    a, b = ({game: split for split in SPLITS for game in games_of(tmp_path / name, split)} for name in ("a", "b"))
    twice = [game for game in a.keys() & b.keys() if a[game] != b[game]]
    assert 10 < len(twice) < 50
    assert meta["games"]["dropped"] == {"duplicate": 60 - len(twice), "in two splits": len(twice)}
    assert {game: split for split in SPLITS for game in games_of(tmp_path / "c", split)} == {**b, **a}
    assert meta["merged"] == [open_dataset(tmp_path / name).sha256 for name in "ab"]


def games_of(folder: Path, split: str) -> list[tuple[int, ...]]:
    """Without <eos>, as the result depends on the order."""
    games = open_dataset(folder).splits[split]
    return [tuple(t for t in games.game_ids(n).tolist() if t != 2) for n in range(len(games))]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--shard", "0/3"), "--shard takes a number out of how many"),
        (("--shard", "4/3"), "--shard takes a number out of how many"),
        (("--shard", "1/2", "--notation", "san"), "--shard is for notations whose tokens are known before"),
        (("--shard", "1/2", "--max-games", "50"), "without --max-games"),
        (("--merge", "--seed", "2"), "--seed was for the datasets"),
        (("--text", "--resume"), "--resume is for games"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, pgn: Path, cli: Cli, options: tuple[str, ...], why: str) -> None:
    ended = cli("prepare", str(pgn), "--out", str(tmp_path / "out"), *options)
    assert ended.code == 2 and why in ended.err and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_share_of_what_has_no_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file"):
        prepare(["-"], tmp_path / "out", share=Share(0, 2), workers=1, quiet=True)
