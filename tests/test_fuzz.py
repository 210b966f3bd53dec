"""PGN that nobody writes by hand: nothing of it crashes, hangs or fills the memory, and what is kept is legal."""

import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SOAK
from hostile import BOMBS, SHUFFLE, TAGS, check, is_legal, many, mutated, real_games, write_packed

from chesslm import fast, parsing
from chesslm.errors import InputError
from chesslm.game import Dropped, Game
from chesslm.parsing import MOST_PLIES, TAG, parse_chunk
from chesslm.pgn import read_games
from chesslm.streams import Source, split_games

TEXTS = 20_000 if SOAK else 500
"""Of one to four games each."""
SMALL, SECONDS = (1 << 18, 30) if SOAK else (1 << 16, 3)
"""Bytes of a small bomb, and seconds of a processor that it may take: most take a hundredth of it."""
MIB = 1 << 20
HEAP = 1024 * MIB


@pytest.mark.parametrize("part", range(10))
def test_mutated_games_are_read_alike_on_both_roads_and_legal(part: int) -> None:
    games, found = real_games(), Counter[str]()
    for seed in range(part, TEXTS, 10):
        data = mutated(random.Random(seed), games)
        try:
            found += Counter(item.reason if isinstance(item, Dropped) else "" for item in check(data))
        except Exception as error:
            error.add_note(f"mutated(random.Random({seed}), real_games())")
            raise
    assert min(found[""], found["illegal move"], found["not a game"], found["no moves"]) > 0, found


def test_mutated_games_come_whole_through_any_blocks(tmp_path: Path) -> None:
    games = real_games()
    for seed in range(TEXTS // 10):
        draw = random.Random(seed)
        data = mutated(draw, games).translate(None, b"{}\r\0")
        size = draw.choice((7, 300, 5000))
        chunks = list(split_games((data[at : at + size] for at in range(0, len(data), size)), chunk_bytes=500))
        assert b"".join(chunks) == data
        apart = [item for chunk in chunks for item in parse_chunk(chunk).items]
        assert moves(apart) == moves(parse_chunk(data).items)


def moves(items: Iterable[Game | Dropped]) -> list[list[int]]:
    return [item.codes.tolist() for item in items if isinstance(item, Game)]


@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize("name", BOMBS)
def test_small_bombs_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: bool) -> None:
    if not extra:
        monkeypatch.setattr(fast, "_reader", lambda: None)
    monkeypatch.setattr(parsing, "MOST_COPIED", parsing.MOST_COPIED // 10)
    path = tmp_path / "x.pgn"
    path.write_bytes(b"\n" + BOMBS[name](SMALL))
    began = time.process_time()
    kept = [game for _, game in read_anything(path) if isinstance(game, Game)]
    assert time.process_time() - began < SECONDS
    for game in kept[:3]:
        assert is_legal(game)
        assert len(game.event or "") <= TAG


def read_anything(path: Path) -> list[tuple[Source, Game | Dropped]]:
    """What there is before an error, if there is one."""
    read = []
    with suppress(InputError):
        read.extend(read_games([Source(str(path))], workers=1))
    return read


# What was found


@pytest.mark.parametrize("odd", [b"", b"(Nh3) "])
def test_a_game_has_no_more_moves_than_the_rules_allow(odd: bytes) -> None:
    """Read by either road: a variation keeps a game off the quick one."""
    for plies, kept in ((MOST_PLIES, True), (MOST_PLIES + 1, False)):
        first, *words = (SHUFFLE * (plies // 4 + 1)).split()[:plies]
        (item,) = parse_chunk(TAGS + first + b" " + odd + b" ".join(words) + b" *\n\n").items
        assert isinstance(item, Game) if kept else item == Dropped("too long")


def test_variations_are_followed_as_deep_as_anyone_writes() -> None:
    for deep, kept in ((20, True), (30, False), (10_000, False)):
        text = TAGS + b"1. Nf3 " + b"(Nh3 (Nf3 " * deep + b"))" * deep + b" Nf6 *\n\n" + TAGS + b"1. e4 e5 *\n\n"
        first, second = parse_chunk(text).items
        assert moves([second]) == moves(parse_chunk(TAGS + b"1. e4 e5 *\n\n").items)
        assert len(moves([first])[0]) == 2 if kept else first == Dropped("too long")


def test_some_variations_of_a_game_are_read_and_any_number_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST_COPIED", 10_000)
    for number, kept in ((50, True), (200, False)):
        (item,) = parse_chunk(TAGS + SHUFFLE * 25 + b"(Ng8)" * number + b" *\n\n").items
        assert isinstance(item, Game) if kept else item == Dropped("too long")


def test_games_behind_a_line_of_too_many_comments_are_read() -> None:
    good = TAGS + b"1. e4 e5 *\n\n"
    bad = TAGS + b"1. e4 (1. d4) " + b"{}" * 80_000 + b" *\n\n"
    first, second, third = parse_chunk(good + bad + good).items
    assert second == Dropped("too long") and moves([first, third]) == moves([first]) * 2


def test_long_tags_are_cut() -> None:
    tags = "".join(f'[{name} "{"1" * 5000}"]\n' for name in ("Event", "Date", "UTCDate", "ECO", "TimeControl"))
    (game,) = parse_chunk(f"{tags}\n1. e4 *\n\n".encode()).items
    assert isinstance(game, Game)
    assert {len(text or "") for text in (game.event, game.date, game.eco, game.time_control)} == {TAG}


def test_words_of_any_length_are_not_remembered() -> None:
    before = len(parsing._words)
    parse_chunk(TAGS + b" ".join(b"%d" % (10**50 + number) for number in range(100)) + b" e4 *\n\n")
    assert len(parsing._words) - before < 5


def test_a_panic_of_the_extra_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Reader:
        def parse_games_from_strings(self, texts: list[str], num_threads: int) -> None:
            raise PanicException("index out of bounds")

    monkeypatch.setattr(fast, "_reader", Reader)
    (game,) = parse_chunk(TAGS + b"1. e4 e5 *\n\n").items
    assert isinstance(game, Game) and len(game.codes) == 2
    monkeypatch.setattr(Reader, "parse_games_from_strings", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        parse_chunk(TAGS + b"1. e4 e5 *\n\n")


@pytest.mark.parametrize("name", ["x.pgn.bz2", "x.pgn.zst", "x.pgn.gz"])
def test_what_unpacks_to_more_is_handed_over_in_parts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_packed(path, [TAGS + b"1. e4 {", *many(b" ", 100 * MIB), b"} *\n\n"])
    assert path.stat().st_size < 200_000
    assert max(map(len, Source(str(path)).text())) <= 40 * MIB


# Large ones, for the soak

LIMITED = """
import resource, subprocess, sys
limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, preexec_fn=limit).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command with ten minutes of a processor, so that a hang is killed; prints its exit code and the most it held.

A process of its own, for what a command is said to have held begins with what the process did that forked it, and
that of the tests may hold more than a command is allowed.
"""
PAWNS = [[file + rank for file in "abcdefgh" for rank in ranks] for ranks in ("34", "65")]
LARGE: dict[str, Callable[[], Iterable[bytes]]] = {
    "zeros.pgn.zst": lambda: many(b"\0", 1024 * MIB),
    "zeros.pgn.gz": lambda: many(b"\0", 1024 * MIB),
    "zeros.pgn.bz2": lambda: many(b"\0", 1024 * MIB),
    "spaces.pgn.zst": lambda: many(b" ", 1024 * MIB),
    "spaces.pgn.gz": lambda: many(b" ", 1024 * MIB),
    "spaces.pgn.bz2": lambda: many(b" ", 1024 * MIB),
    "game, then zeros.pgn.zst": lambda: [TAGS + b"1. e4 e5 *\n\n", *many(b"\0", 1024 * MIB)],
    "long line.pgn": lambda: [TAGS + b"1. e4 ", *many(b"a", 100 * MIB)],
    "open comment.pgn": lambda: [TAGS + b"1. e4 {", *many(b"prose and prose \n", 100 * MIB)],
    "open comment over games.pgn": lambda: [TAGS + b"1. e4 {\n\n", *many(TAGS + b"1. e4 *\n\n", 20 * MIB)],
    "empty games.pgn": lambda: [b"*\n\n" * 1_000_000],
    "empty games with tags.pgn": lambda: [(TAGS + b"*\n\n") * 1_000_000],
    "short games.pgn": lambda: [b"1. e4\n\n" * 1_000_000],
    "short games with long tags.pgn.zst": lambda: many(
        b"".join(b'[%s "%s"]\n' % (name, b"x" * 20_000) for name in (b"Event", b"ECO", b"Date")) + b"\n1. e4\n\n",
        500 * MIB,
    ),
    "games that differ.pgn": lambda: (
        b'[Event "%s"]\n\n1. %s %s 2. %s %s 3. N%s3\n\n' % (b"x" * 190, *(each.encode() for each in played))
        for played in itertools.product(*([PAWNS[0], PAWNS[1]] * 2), "acfh")
    ),
    "tag.pgn": lambda: [b'[Event "', *many(b"x", 50 * MIB), b'"]\n\n1. e4 *\n\n'],
    "moves.pgn": lambda: [TAGS, *many(SHUFFLE, 50 * MIB), b"*\n\n"],
    "long words.pgn.zst": lambda: (TAGS + b"%d" % number + b"a" * MIB + b" *\n\n" for number in range(300)),
    "nested.pgn": lambda: [TAGS + b"1. Nf3 " + b"(Nf3 Nf6 Ng1 Ng8 " * 10_000 + b")" * 10_000 + b"\n\n"],
    **{f"{name}.pgn": (lambda bomb=bomb: [bomb(4 * MIB)]) for name, bomb in BOMBS.items()},
}  # fmt: skip


@pytest.mark.skipif(not SOAK, reason="minutes; make soak")
@pytest.mark.parametrize("name", LARGE)
def test_large_bombs_take_bounded_time_and_memory(tmp_path: Path, name: str) -> None:
    path, out = tmp_path / name.replace(" ", "-"), tmp_path / "out"
    good = b"".join(real_games()[:20])
    # What is whole in front of it is kept; what unpacks to nothing but zeros is refused.
    write_packed(path, LARGE[name]() if name.startswith("zeros.") else [good, *LARGE[name]()])
    command = [sys.executable, "-m", "chesslm", "prepare", path, "--out", out, "--workers", "1", "--quiet"]
    done = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, check=True)
    (code, kilobytes), err = map(int, done.stdout.split()), done.stderr
    assert code in (0, 2) and (code == 0) == out.exists(), (code, err)
    assert err.count("\n") == (1 if code else err.count("is truncated")), err
    assert kilobytes * 1024 < HEAP, f"{kilobytes // 1024} MiB"
