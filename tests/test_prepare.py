"""chesslm prepare: what is in the dataset, what decides it, and every way in which it may not go well."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_games import lively_game, odd_pgn
from random_games import random_game, result_of, write_pgn

from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.filters import Filters
from chesslm.prepare import prepare
from chesslm.shards import SPLITS, open_dataset, split_of
from chesslm.tokenizer import get_tokenizer

GAMES = [lively_game(seed, plies=12 + seed % 40) for seed in range(120)]


@pytest.fixture(scope="module")
def pgn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pgn(tmp_path_factory.mktemp("pgn") / "games.pgn", GAMES, WhiteElo="2100", BlackElo="2000", ECO="C42")


def games_of(folder: Path, split: str) -> set[tuple[int, ...]]:
    """A split's games by their tokens."""
    return {tuple(game.ids.tolist()) for game in open_dataset(folder).splits[split]}


def all_games(folder: Path) -> set[tuple[int, ...]]:
    return set().union(*(games_of(folder, split) for split in SPLITS))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("notation", ["uci-move", "uci-square"])
def test_every_game_is_there_once_with_its_tags(tmp_path: Path, pgn: Path, notation: str) -> None:
    meta = prepare([str(pgn)], tmp_path / "data", notation=notation, val=0.1, test=0.2, workers=1, quiet=True)
    data, tokenizer = open_dataset(tmp_path / "data"), get_tokenizer(notation)
    expected = {
        tuple(tokenizer.encode(codes, result_of(index)).ids.tolist()): (len(codes), result_of(index))
        for index, codes in enumerate(GAMES)
    }
    found = {}
    for split in data.splits.values():
        for number, row in enumerate(split.table().to_pylist()):
            found[tuple(split[number].ids.tolist())] = row.pop("plies"), row.pop("result")
            assert row == {
                "white_elo": 2100, "black_elo": 2000, "eco": "C42", "date": None, "event": "test", "time_control": None,
                "source": "games.pgn",
            }  # fmt: skip
    assert found == expected
    assert meta == data.meta == json.loads((tmp_path / "data" / "meta.json").read_text())
    assert meta["games"] == {"read": len(GAMES), "kept": len(GAMES), "dropped": {}}
    assert sum(split["games"] for split in meta["splits"].values()) == len(GAMES)
    assert meta["sources"] == [
        {"name": "games.pgn", "bytes": pgn.stat().st_size, "sha256": hashlib.sha256(pgn.read_bytes()).hexdigest()}
    ]


def test_the_dataset_is_the_same_whatever_the_workers(tmp_path: Path) -> None:
    path = tmp_path / "x.pgn.gz"
    path.write_bytes(gzip.compress("".join(odd_pgn(seed, GAMES * 4) for seed in range(2)).encode()))
    for workers in (1, 3):
        prepare([str(path)], tmp_path / str(workers), workers=workers, quiet=True)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_splits_have_no_game_in_common_and_are_about_as_large_as_asked_for(tmp_path: Path) -> None:
    codes = [random_game(seed, 12) for seed in range(2000)]
    meta = prepare(
        [str(write_pgn(tmp_path / "x.pgn", codes))], tmp_path / "data", val=0.1, test=0.2, workers=1, quiet=True
    )
    splits = {split: games_of(tmp_path / "data", split) for split in SPLITS}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == meta["games"]["kept"]
    # Five standard deviations of a binomial count.
    for split, share in (("val", 0.1), ("test", 0.2)):
        assert abs(len(splits[split]) - 2000 * share) < 5 * (2000 * share * (1 - share)) ** 0.5


def test_a_game_is_in_the_same_split_of_every_dataset(tmp_path: Path) -> None:
    def splits(codes: list[MoveCodes], name: str, seed: int) -> dict[tuple[int, ...], str]:
        path = write_pgn(tmp_path / f"{name}.pgn", codes)
        prepare([str(path)], tmp_path / name, val=0.2, test=0.2, seed=seed, workers=1, quiet=True)
        # Without <eos>, as the result depends on the order.
        tokens = {split: games_of(tmp_path / name, split) for split in SPLITS}
        return {tuple(t for t in ids if t != 2): split for split, games in tokens.items() for ids in games}

    some, all_ = splits(GAMES[40:80], "some", seed=1), splits(GAMES[::-1], "all", seed=1)
    assert some.items() <= all_.items()
    assert splits(GAMES[::-1], "other", seed=2) != all_


@given(st.integers(3, 9), st.integers(1, 1000), st.sampled_from([0.0, 0.02, 0.4]))
@settings(max_examples=25, deadline=None)
def test_every_split_has_a_game_however_few_there_are(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("few")
    path = write_pgn(folder / "x.pgn", GAMES[:count])
    prepare([str(path)], folder / "data", val=share, test=share, seed=seed, workers=1, quiet=True)
    assert all(games_of(folder / "data", split) for split in SPLITS)
    assert len(all_games(folder / "data")) == count


def test_the_split_is_the_hash_s() -> None:
    shares = [split_of(codes.tobytes(), 1, 0.3, 0.3) for codes in GAMES]
    assert set(shares) == set(SPLITS)
    assert shares == [split_of(codes.tobytes(), 1, 0.3, 0.3) for codes in GAMES]
    assert {split_of(codes.tobytes(), 1, 0.0, 0.0) for codes in GAMES} == {"train"}


def test_duplicates_are_dropped_whatever_their_tags(tmp_path: Path, pgn: Path) -> None:
    again = write_pgn(tmp_path / "again.pgn", GAMES[:50], Event="again")
    meta = prepare([str(pgn), str(again)], tmp_path / "data", workers=1, quiet=True)
    assert meta["games"] == {"read": 170, "kept": 120, "dropped": {"duplicate": 50}}
    assert [source["name"] for source in meta["sources"]] == ["games.pgn", "again.pgn"]


def test_filtered_and_broken_games_are_counted_by_reason(tmp_path: Path, pgn: Path) -> None:
    broken = tmp_path / "broken.pgn"
    broken.write_text(
        '[FEN "8/8/8/8/8/8/8/K1k5 w - - 0 1"]\n\n1. Kb1 *\n\n[Event "x"]\n\n1. e4 Ke5 *\n\n'
        '[Variant "Atomic"]\n\n1. e4 *\n'
    )
    short = sum(len(codes) < 20 for codes in GAMES)
    meta = prepare([str(pgn), str(broken)], tmp_path / "data", filters=Filters(min_plies=20), workers=1, quiet=True)
    dropped = {"FEN start": 1, "illegal move": 1, "plies": short, "variant": 1}
    assert meta["games"] == {"read": 123, "kept": 120 - short, "dropped": dropped}
    assert list(meta["games"]["dropped"]) == sorted(dropped)


def test_games_that_begin_like_an_excluded_one_are_dropped(tmp_path: Path) -> None:
    long = [lively_game(seed, plies=60) for seed in range(300, 340)]
    # The same 40 plies and then another end; 39 plies alike are no reason.
    same = [codes[:40] for codes in long[:10]]
    nearly = [codes[:39] for codes in long[10:20]]
    games = write_pgn(tmp_path / "games.pgn", long)
    held_out = write_pgn(tmp_path / "held-out.pgn", [*same, *nearly])
    meta = prepare([str(games)], tmp_path / "data", exclude=[str(held_out)], workers=1, quiet=True)
    assert meta["games"]["dropped"] == {"excluded": 10}
    assert meta["exclude"][0]["sha256"] == hashlib.sha256(held_out.read_bytes()).hexdigest()
    # A game shorter than 40 plies is excluded by itself alone.
    meta = prepare(
        [str(held_out)], tmp_path / "short", exclude=[str(write_pgn(tmp_path / "one.pgn", nearly[:1]))], workers=1,
        quiet=True,
    )  # fmt: skip
    assert meta["games"]["dropped"] == {"excluded": 1}


def test_max_games_takes_the_first_ones(tmp_path: Path, pgn: Path) -> None:
    big = tmp_path / "big.pgn"
    big.write_text(pgn.read_text() * 60)
    meta = prepare([str(pgn), str(big)], tmp_path / "some", max_games=30, workers=1, quiet=True)
    assert meta["games"] == {"read": 30, "kept": 30, "dropped": {}}
    # Although not all of it was read.
    assert meta["sources"][1]["sha256"] == hashlib.sha256(big.read_bytes()).hexdigest()
    prepare([str(write_pgn(tmp_path / "x.pgn", GAMES[:30]))], tmp_path / "same", workers=1, quiet=True)
    assert all_games(tmp_path / "some") == all_games(tmp_path / "same")


def test_a_table_without_elos_keeps_its_types(tmp_path: Path) -> None:
    path = write_pgn(tmp_path / "x.pgn", GAMES[:5])
    prepare([str(path)], tmp_path / "data", workers=1, quiet=True)
    table = open_dataset(tmp_path / "data").splits["train"].table()
    assert {name: str(table.schema.field(name).type) for name in ("white_elo", "eco", "plies")} == {
        "white_elo": "int16", "eco": "string", "plies": "int32",
    }  # fmt: skip


# The command


def test_standard_input_and_the_summary(tmp_path: Path, pgn: Path, run_cli: Cli) -> None:
    data = zstandard.ZstdCompressor().compress(pgn.read_bytes())
    ended = run_cli("prepare", "-", "--out", tmp_path / "data", "--workers", 2, input=data)
    assert (ended.code, ended.err) == (0, "")
    assert "kept" in ended.out
    assert f"{len(GAMES)}" in ended.out
    assert open_dataset(tmp_path / "data").meta["sources"][0] == {
        "name": "standard input", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def test_all_filters_have_an_option(tmp_path: Path, pgn: Path, cli: Cli) -> None:
    options = (
        "--min-elo 1900 --max-elo 2500 --result 1-0,0-1 --min-plies 10 --max-plies 50 --max-games 20 --eco C --seed 3 "
        "--val 0.1 --test 0.1 --workers 1 --notation uci-square --quiet"
    )
    ended = cli("prepare", pgn, "--out", tmp_path / "data", *options.split())
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    meta = open_dataset(tmp_path / "data").meta
    assert meta["games"]["kept"] == 20
    assert set(meta["games"]["dropped"]) == {"result"}
    assert meta["filters"] == {
        "min_elo": 1900, "max_elo": 2500, "result": "1-0,0-1", "min_plies": 10, "max_plies": 50, "since": None,
        "until": None, "eco": "C", "max_games": 20,
    }  # fmt: skip
    dated = cli("prepare", pgn, "--out", tmp_path / "none", "--since", "2000", "--until", "2001", "--workers", "1")
    assert dated.code == 2
    assert "120 date" in dated.err


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_file_keeps_its_whole_games(tmp_path: Path, cli: Cli, suffix: str) -> None:
    text = "".join(odd_pgn(seed, GAMES) for seed in range(9)).encode()
    path = tmp_path / f"x.pgn{suffix}"
    data = gzip.compress(text) if suffix == ".gz" else zstandard.ZstdCompressor().compress(text)
    path.write_bytes(data[: 3 * len(data) // 4])
    ended = cli("prepare", path, "--out", tmp_path / "data", "--workers", "1")
    assert ended.code == 0
    assert ended.err.count("\n") == 1
    assert "truncated" in ended.err
    assert open_dataset(tmp_path / "data").meta["games"]["dropped"]["truncated"] == 1


PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("missing.pgn", None, "", "no such file"),
        ("x.pgn", b"", "", "the file is empty"),
        ("x.pgn", PNG, "", "binary data, not text"),
        ("x.png", PNG, "", "binary data, not text"),
        ("x.pgn", b"Dear reader,\n\nthis is no chess.\n", "", "no chess game"),
        ("x.pgn.zst", b"1. e4 e5 1-0\n", "", "not zst data"),
        ("x.pgn.gz", b"\x1f\x8b\x08\0rubbish rubbish rubbish", "", "corrupt"),
        ("x.pgn", b"1. e4 e5 1-0\n\n1. d4 d5 1-0\n", "", "2 games left of 2"),
        ("games", ..., "--min-elo 3000", "no games left of 120, .* 120 elo"),
        ("games", ..., "--notation morse", "unknown notation 'morse'"),
        ("games", ..., "--val 0.6 --test 0.5", "--val and --test"),
        ("games", ..., "--val -1", "--val and --test"),
        ("games", ..., "--max-games 2", "--max-games"),
        ("games", ..., "--since monday", "--since"),
        ("games", ..., "--eco Q", "--eco"),
        ("games", ..., "--workers -3", "--workers"),
        ("games", ..., "--workers many", "--workers"),
        ("games", ..., "--exclude missing.pgn", "missing.pgn: no such file"),
        ("games", ..., "--colour blue", "--colour"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    tmp_path: Path, pgn: Path, cli: Cli, name: str, data: object, options: str, message: str
) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    if data is ...:
        shutil.copy(pgn, path)
    elif isinstance(data, bytes):
        path.write_bytes(data)
    arguments = options.split() if "--workers" in options else [*options.split(), "--workers", "1"]
    ended = cli("prepare", path, "--out", tmp_path / "new" / "data", *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert re.search(message, ended.err)
    assert names(tmp_path) == ["in"]


def test_an_error_of_a_worker_or_in_the_middle_leaves_nothing_either(tmp_path: Path, pgn: Path, run_cli: Cli) -> None:
    path = tmp_path / "x.pgn.gz"
    good = gzip.compress(pgn.read_bytes() * 30)
    path.write_bytes(good + b"rubbish")
    ended = run_cli("prepare", path, "--out", tmp_path / "data", "--workers", 2)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "corrupt" in ended.err
    assert names(tmp_path) == ["x.pgn.gz"]


def test_an_output_that_exists_is_left_alone(tmp_path: Path, pgn: Path, cli: Cli) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more of it")
    before = contents(tmp_path)
    for out in ("data", "file"):
        ended = cli("prepare", pgn, "--out", tmp_path / out, "--workers", "1")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "exists already" in ended.err
    ended = cli("prepare", pgn, "--out", tmp_path / "file" / "data", "--workers", "1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert contents(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert cli("prepare", pgn, "--out", tmp_path / "empty", "--workers", "1", "--quiet").code == 0


def test_an_output_that_may_not_be_written(pgn: Path, cli: Cli) -> None:
    # Not even root can make a folder there.
    ended = cli("prepare", pgn, "--out", "/proc/data", "--workers", "1")
    assert ended.err.count("\n") == 1
    assert ended.code == 2
    assert "/proc/data" in ended.err


@pytest.mark.parametrize("size", ["64k", "536k"])
def test_a_disk_that_fills_up(tmp_path: Path, pgn: Path, size: str) -> None:
    """At the start, and when the shards are written."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk takes the right to mount one")
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "chesslm", "prepare", pgn, "--out", small / "data", "--workers", "1"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert names(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "disk is full" in ended.stderr


def test_a_file_that_may_not_grow(tmp_path: Path, pgn: Path) -> None:
    """As with a quota, and without any right to mount a disk."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); from chesslm.cli import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "prepare", str(pgn), "--out", str(tmp_path / "data"), "--workers", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "too large" in ended.stderr
    assert names(tmp_path) == []


@pytest.fixture
def running(tmp_path: Path, pgn: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A prepare in mid-work, in a process group of its own as a terminal would give it."""
    command = [sys.executable, "-m", "chesslm", "prepare", "-", "--out", tmp_path / "data", "--workers", "2"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:  # pyright: ignore[reportArgumentType, reportCallIssue]
        assert process.stdin is not None
        process.stdin.write(pgn.read_bytes() * 20)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
        process.kill()


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.0])
def test_ctrl_c_at_any_moment(running: subprocess.Popen[bytes], tmp_path: Path, delay: float) -> None:
    time.sleep(delay)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", b"chesslm: stopped\n")
    assert names(tmp_path) == []


def test_sigterm(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    running.terminate()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (143, b"", b"")
    assert names(tmp_path) == []


def test_what_a_killed_run_left_is_no_dataset_and_in_nobody_s_way(
    running: subprocess.Popen[bytes], tmp_path: Path, pgn: Path
) -> None:
    running.kill()
    running.communicate(timeout=60)
    (left,) = tmp_path.iterdir()
    with pytest.raises(InputError, match=r"no meta\.json"):
        open_dataset(left)
    assert not (tmp_path / "data").exists()
    prepare([str(pgn)], tmp_path / "data", workers=1, quiet=True)
    assert len(all_games(tmp_path / "data")) == len(GAMES)


def test_no_torch() -> None:
    program = "import sys, chesslm.prepare; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_token_ids_are_two_bytes(tmp_path: Path, pgn: Path) -> None:
    prepare([str(pgn)], tmp_path / "data", workers=1, quiet=True)
    assert np.load(tmp_path / "data" / "train-00000.ids.npy", mmap_mode="r").dtype == np.uint16
