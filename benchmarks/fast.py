"""Random games a second, and positions a second whose legal moves are found, with the extra ``fast`` and without it.

    python benchmarks/fast.py [--games 200] [--rounds 5]

In one process, alternated; the median counts, and both sides must come to the same. Run it on an idle machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeVar
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from chesslm import fast, playout
from chesslm.boards import MoveCodes
from chesslm.game import Game
from chesslm.generate import random_games
from chesslm.parsing import parse_chunk

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if fast._reader() is None or playout._generator() is None:
        parser.error("pip install 'chesslm-testbed[fast]' first")
    pgn = "".join(random_games(range(options.games), seed=1)).encode()
    games = [item.codes for item in parse_chunk(pgn).items if isinstance(item, Game)]
    table = Table(title=f"{options.games} random games, {options.rounds} rounds, one process")
    for column in ("", "with the extra", "python-chess", "times as fast"):
        table.add_column(column, justify="left" if not column else "right")
    numbers, positions = range(options.games), sum(map(len, games))
    for what, work, count in (
        ("random games a second", lambda: random_games(numbers, seed=1), options.games),
        ("positions with legal moves a second", lambda: legal_moves(games), positions),
    ):
        ours, theirs = compared(work, options.rounds)
        table.add_row(what, f"{count / ours:,.0f}", f"{count / theirs:,.0f}", f"{theirs / ours:.1f}")
    Console().print(table)


def legal_moves(games: list[MoveCodes]) -> list[tuple[bytes, bytes]]:
    """As bytes, which can be compared."""
    return [(codes.tobytes(), counts.tobytes()) for codes, counts in fast.legal_moves(games)]


def compared(work: Callable[[], T], rounds: int) -> tuple[float, float]:
    """Median seconds with the extra and without it."""
    took: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        seconds, made = timed(work)
        took[0].append(seconds)
        with patch.object(fast, "_reader", lambda: None), patch.object(playout, "_generator", lambda: None):
            seconds, expected = timed(work)
        took[1].append(seconds)
        assert made == expected
    return statistics.median(took[0]), statistics.median(took[1])


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


if __name__ == "__main__":
    main()
