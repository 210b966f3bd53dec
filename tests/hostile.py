"""PGN that nobody writes by hand: real games with bytes changed, cut, joined and nested, and small texts that become
large ones, or long work. What is asked of any of it stands here too, for the tests and for the fuzzers."""

import bz2
import gzip
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import chess
import zstandard
from test_pgn import judged, usable

from chesslm import fast
from chesslm.boards import to_codes, to_moves
from chesslm.game import Dropped, Game
from chesslm.parsing import MOST_PLIES, _pieces, _redecoded, parse_chunk
from chesslm.streams import Source, _unix_lines

GAMES = Path(__file__).parents[1] / "games"
PIECES = (
    *("{", "}", "(", ")", ";", "%", "\n", "\n\n", "\n%", "\n;", "\r", "\r\n", "\t", " \n \n", "\0", "\x1c", "\x85"),
    *("\ufeff", "\xa0", "\u2028", "é", "\xff", "½", "٣", "[", "]", '[Event "', '"]', '[Result "1-0"]\n', "\\", '"'),
    *('[FEN "8/8/8/8/8/8/8/K1k5 w - - 0 1"]\n', '[Variant "Atomic"]\n', '[SetUp "1"]\n', '[WhiteElo "٢٠٠٠"]\n'),
    *("1-0", "0-1", "1/2-1/2", "*", "1.", "...", "$1", "$" + "9" * 400, "!", "?!", "+", "#", "=", "x", "-", "/", "0"),
    *("e4", "e2e4", "e2-e4", "Nf3", "Ngf3", "N1f3", "Ng1f3", "O-O", "0-0", "O-O-O", "o-o", "e8=Q", "bxa8=N", "exd6"),
    *("--", "Z0", "0000", "@@@@", "P@e4", "N", "K", "Q", "e.p.", "{[%clk 0:00:01]}", "{ { }", "(1. e4 (1. d4) e5)"),
)


@cache
def real_games(many: int = 300) -> list[bytes]:
    """Games of an engine and games of random moves, as they stand in the bundles, so many of each."""
    games = []
    for name in ("bundle-engine.pgn.zst", "bundle-random.pgn.zst"):
        text = b""
        chunks = Source(str(GAMES / name)).chunks()
        while len(found := re.split(rb"(?<=\n\n)(?=\[)", text)) <= many:
            text += next(chunks)
        chunks.close()
        games += found[:many]
    return games


def mutated(draw: random.Random, games: list[bytes]) -> bytes:
    """A real game, or two or three, changed in a few ways; often with a whole one behind."""
    text = b"".join(draw.choice(games) for _ in range(draw.choice((1, 1, 1, 2, 3))))
    for _ in range(draw.choice((1, 1, 2, 2, 3, 5))):
        text = draw.choice(CHANGES)(draw, text)
    return text + draw.choice(games) if draw.random() < 0.3 else text


def _span(draw: random.Random, text: bytes, most: int = 1 << 30) -> tuple[int, int]:
    start = draw.randrange(len(text) + 1)
    return start, min(len(text), start + draw.randrange(min(len(text), most) + 1))


def _flipped(draw: random.Random, text: bytes) -> bytes:
    changed = bytearray(text or b" ")
    for _ in range(draw.choice((1, 1, 3, 20))):
        changed[draw.randrange(len(changed))] = draw.randrange(256) if draw.random() < 0.3 else draw.randrange(32, 127)
    return bytes(changed)


def _cut(draw: random.Random, text: bytes) -> bytes:
    start, stop = _span(draw, text, draw.choice((3, 30, 3000)))
    return text[:start] + text[stop:]


def _joined(draw: random.Random, text: bytes) -> bytes:
    other = draw.choice(real_games())
    return text[: _span(draw, text)[0]] + other[_span(draw, other)[0] :]


def _repeated(draw: random.Random, text: bytes) -> bytes:
    start, stop = _span(draw, text, 200)
    return text[:stop] + text[start:stop] * draw.choice((1, 2, 30)) + text[stop:]


def _put_in(draw: random.Random, text: bytes) -> bytes:
    for _ in range(draw.choice((1, 2, 5, 20))):
        at = draw.randrange(len(text) + 1)
        piece = draw.choice(PIECES).encode("latin-1" if draw.random() < 0.1 else "utf-8", "replace")
        text = text[:at] + draw.choice((b"", b" ")) + piece + draw.choice((b"", b" ")) + text[at:]
    return text


def _wrapped(draw: random.Random, text: bytes) -> bytes:
    """A part in a comment or a variation, or in several."""
    start, stop = _span(draw, text, 300)
    deep = draw.choice((1, 1, 2, 3, 60))
    opening, closing = draw.choice(((b"{", b"}"), (b"(", b")"), (b"( {", b"} )"), (b"{ (", b") }")))
    return text[:start] + opening * deep + text[start:stop] + closing * draw.choice((deep, deep, 0)) + text[stop:]


def _varied(draw: random.Random, text: bytes) -> bytes:
    """A part of the moves again as a variation, as it would be if it came from there, and inside of itself."""
    words = text.split(b" ")
    for _ in range(draw.choice((1, 3, 60))):
        at = draw.randrange(len(words))
        words[at] += b" (" + b" ".join(words[at : at + draw.randrange(1, 4)]) + draw.choice((b")", b")", b""))
    return b" ".join(words)


def _tagged(draw: random.Random, text: bytes) -> bytes:
    value = draw.choice(('"', '"]', "\\", "{", "a", "é", "\n")) * draw.choice((1, 300, 30_000))
    return b'[%s "%s"]\n' % (draw.choice((b"Event", b"Date", b"X", b"Result", b"FEN")), value.encode()) + text


def _zeros(draw: random.Random, text: bytes) -> bytes:
    at = draw.randrange(len(text) + 1)
    return text[:at] + bytes(draw.choice((1, 4, 5000))) + text[at:]


def _other_newlines(draw: random.Random, text: bytes) -> bytes:
    return text.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"\n \n", b" ", b"\x0b", b"\x85")))


CHANGES = (
    *(_flipped, _flipped, _cut, _joined, _repeated, _put_in, _put_in, _wrapped, _varied, _tagged, _zeros),
    _other_newlines,
)


# What is asked of any text


def check(data: bytes) -> list[Game | Dropped]:
    """The games of any bytes: both roads read the same, all of it legal, and it is what python-chess reads."""
    chunk = b"".join(_unix_lines([data]))
    items = parse_chunk(chunk).items
    with mock.patch.object(fast, "_reader", lambda: None):
        assert list(map(_plain, parse_chunk(chunk).items)) == list(map(_plain, items))
    for game in items:
        assert not isinstance(game, Game) or is_legal(game)
    _judge(chunk, items)
    return items


def _plain(item: Game | Dropped) -> Any:
    return item if isinstance(item, Dropped) else (item.codes.tolist(), replace(item, codes=None))  # pyright: ignore[reportArgumentType]


def is_legal(game: Game) -> bool:
    """Whether python-chess lets all its moves pass, of which there are some."""
    board = chess.Board()
    for move in to_moves(game.codes):
        if not board.is_legal(move):
            return False
        board.push(move)
    return 0 < len(game.codes) <= MOST_PLIES


def _judge(chunk: bytes, items: list[Game | Dropped]) -> None:
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        text = None
    pieces = list(_pieces(text)) if text is not None else list(map(_redecoded, _pieces(chunk.decode("latin-1"))))
    # Where no brace closes a comment, ours no longer swallows the games behind it: they are judged apart.
    whole = "".join(pieces)
    apart = whole.rfind("{") > whole.rfind("}")
    try:
        theirs = [game for part in (pieces if apart else [whole]) for game in judged(part)]
    except ValueError:
        # A NAG of thousands of digits.
        return
    assert len(theirs) == len(items), (len(theirs), len(items))
    for ours, judge in zip(items, theirs, strict=True):
        if isinstance(ours, Dropped):
            assert ours.reason in OURS or not usable(judge), (ours, judge)
        else:
            assert usable(judge) and ours.codes.tolist() == to_codes(judge.mainline_moves()).tolist(), judge


OURS = ("unclosed comment", "too long")
"""Why games are dropped that python-chess would read."""


# Small texts that become large ones, or long work

SHUFFLE = b"Nf3 Nf6 Ng1 Ng8 "
TAGS = b'[Event "x"]\n\n'
BOMBS: dict[str, Callable[[int], bytes]] = {
    "zeros behind a game": lambda size: TAGS + b"e4 *\n\n" + bytes(size),
    "newlines": lambda size: b"\n" * size,
    "one line": lambda size: TAGS + b"a" * size,
    "one word after another": lambda size: TAGS + b"abcdefg " * (size // 8),
    "a comment never closed": lambda size: TAGS + b"e4 { " + (b"prose " * 20 + b"\n") * (size // 121),
    "a comment never closed over games": lambda size: TAGS + b"e4 { \n\n" + (TAGS + b"e4 *\n\n") * (size // 19),
    "braces never closed": lambda size: TAGS + b"e4 " + b"{" * size,
    "braces closed late": lambda size: TAGS + b"e4 " + b"{" * size + b"}",
    "comments on a line": lambda size: TAGS + b"e4 " + b"{}" * (size // 2) + b" (d4)",
    "braces in tags": lambda size: b'[Event "{"]\n\ne4\n\n' * (size // 17) + b"}",
    "braces in tags never closed": lambda size: b'[Event "{"]\n\ne4\n\n' * (size // 17),
    "empty games": lambda size: b"*\n\n" * (size // 3),
    "empty games with tags": lambda size: (TAGS + b"*\n\n") * (size // 16),
    "short games without tags": lambda size: b"e4\n\n" * (size // 4),
    "a tag": lambda size: b'[Event "' + b"x" * size + b'"]\n\n1. e4 *\n\n',
    "a tag that almost ends": lambda size: b'[Event "' + b'"] ' * (size // 3) + b"x\n\n1. e4 *\n\n",
    "tags": lambda size: b'[A "b"]\n' * (size // 8) + b"\n1. e4 *\n\n",
    "moves without end": lambda size: TAGS + SHUFFLE * (size // 16) + b"*\n\n",
    "moves without end and a comment": lambda size: TAGS + SHUFFLE * (size // 16) + b"(Ng8) *\n\n",
    "variations of a long game": lambda size: TAGS + SHUFFLE * (size // 32) + b"(Ng8)" * (size // 10) + b"\n\n",
    "variations in each other": lambda size: TAGS + b"Nf3 " + b"(Nf3 Nf6 Ng1 Ng8 " * (size // 17) + b"\n\n",
    "variations that are none": lambda size: TAGS + b"e4 " + b"(Ke5)" * (size // 5) + b"\n\n",
    "parentheses": lambda size: TAGS + b"e4 e5 " + b"(" * (size // 2) + b")" * (size // 2) + b"\n\n",
    "a NAG": lambda size: TAGS + b"e4 $" + b"9" * size + b" *\n\n",
    "numbers": lambda size: TAGS + b"1." * (size // 2) + b" *\n\n",
}


def write_packed(path: Path, parts: Iterable[bytes]) -> None:
    """Write parts to a file, compressed as its suffix says, without ever having all of them in memory."""
    opened: Any = {".zst": zstandard.open, ".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    with opened(path, "wb") as file:
        for part in parts:
            file.write(part)


def many(part: bytes, size: int) -> Iterator[bytes]:
    """A part over and over, up to so many bytes, in blocks of a megabyte."""
    block = part * ((1 << 20) // len(part))
    return (block for _ in range(-(-size // len(block))))
