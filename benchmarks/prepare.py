"""Games a second of ``chesslm prepare`` beside a loop of ``chess.pgn.read_game`` in one process, on the same games.

    python benchmarks/prepare.py masters.pgn.zst [--games 20000] [--notation NAME] [--workers 2] [--rounds 3] [--check]

Both sides read the first games of the PGN from one plain file, alternated, and the median counts. Preparing is the
whole command: start-up, worker processes, parsing, splits, tokens, shards and their hashes. Run it on an idle machine.
"""

import argparse
import itertools
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import chess.pgn
from rich.console import Console
from rich.table import Table

from chesslm import boards
from chesslm.pgn import Game, parse_chunk, read_games
from chesslm.streams import Source

TARGET = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pgn", help="path or URL of a PGN, also .zst, .gz, .bz2")
    parser.add_argument("--games", type=int, default=20000, help="how many of its games; 0: all")
    parser.add_argument("--notation", default="uci-move", help="what the games are prepared in")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="compare the moves of every game as well")
    options = parser.parse_args()
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.pgn"
        games = write_sample(options.pgn, options.games, sample)
        ours, theirs = [], []
        for number in range(options.rounds):
            theirs.append(games / seconds_of_loop(sample))
            ours.append(
                games / seconds_of_prepare(sample, Path(folder) / str(number), options.notation, options.workers)
            )
        report(games, options.workers, theirs, ours)
        if options.check:
            check(sample, options.workers)


def write_sample(source: str, games: int, path: Path) -> int:
    """Copy whole games, at least so many, and count them."""
    count = 0
    with path.open("wb") as file:
        for chunk in Source(source).chunks():
            file.write(chunk)
            count += len(parse_chunk(chunk).items)
            if games and count >= games:
                break
    return count


def judged(path: Path) -> Iterator[chess.pgn.Game]:
    with path.open(encoding="utf-8", errors="replace") as file:
        while (game := chess.pgn.read_game(file)) is not None:
            yield game


def seconds_of_loop(path: Path) -> float:
    began = time.perf_counter()
    for _ in judged(path):
        pass
    return time.perf_counter() - began


def seconds_of_prepare(path: Path, out: Path, notation: str, workers: int) -> float:
    command = [sys.executable, "-m", "chesslm", "prepare", path, "--notation", notation, "--out", out]
    command += ["--workers", str(workers), "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def report(games: int, workers: int, theirs: list[float], ours: list[float]) -> None:
    table = Table(title=f"games a second, {games:,} games, {len(ours)} rounds")
    for column in ("", "median", "least", "most"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rates in (("read_game loop, one process", theirs), (f"chesslm prepare, {workers} workers", ours)):
        table.add_row(name, *(f"{value:,.0f}" for value in (statistics.median(rates), min(rates), max(rates))))
    console = Console()
    console.print(table)
    ratio = statistics.median(ours) / statistics.median(theirs)
    console.print(f"{ratio:.1f} times as fast; the target is {TARGET}", highlight=False)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    console.print(f"largest process of prepare: {peak:,.0f} MiB", highlight=False)


def check(path: Path, workers: int) -> None:
    """Compare every game with read_game's; the first difference ends it with an error."""
    read = 0
    for (_, game), judge in itertools.zip_longest(read_games([Source(str(path))], workers), judged(path)):
        moves = boards.to_codes(judge.mainline_moves()).tolist()
        good = bool(moves) and all(moves) and not judge.errors and judge.board().fen() == chess.STARTING_FEN
        if good != isinstance(game, Game) or (isinstance(game, Game) and game.codes.tolist() != moves):
            sys.exit(f"game {read + 1} differs: {game} against\n{judge}")
        read += 1
    print(f"all {read:,} games as read_game reads them")


if __name__ == "__main__":
    main()
