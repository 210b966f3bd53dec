"""The UCI engine: how soon it answers, and what a move costs late in a game, with and without what is remembered.

    OMP_NUM_THREADS=1 python benchmarks/uci.py [MODEL] [--plies 150] [--repeats 20]

A real process, asked over its pipe. Moves late in a game: one more ply each time, then the same positions in a shuffled
order, then each by an engine that has read nothing (a new game from the first token).
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import chess
import numpy as np

from chesslm.generate import random_opening
from chesslm.model import load_model
from chesslm.play.player import ModelPlayer


class Engine:
    """``chesslm uci`` as a process."""

    def __init__(self, model: str) -> None:
        command = [sys.executable, "-m", "chesslm", "uci", model]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, lines: str, until: str) -> float:
        """Seconds from sending lines to a line that begins so."""
        assert self._process.stdin and self._process.stdout
        began = time.perf_counter()
        self._process.stdin.write(lines)
        self._process.stdin.flush()
        while not self._process.stdout.readline().startswith(until):
            pass
        return time.perf_counter() - began

    def quit(self) -> None:
        """End it."""
        self._process.communicate("quit\n")


def shown(what: str, seconds: Sequence[float]) -> None:
    """A line of the result."""
    middle, most = statistics.median(seconds), max(seconds)
    print(f"{what}: median {1000 * middle:.1f} ms, most {1000 * most:.1f} ms, of {len(seconds)}", flush=True)


def timed(act: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="What the UCI engine costs.")
    parser.add_argument("model", nargs="?", default="checkpoints/chesslm-small")
    parser.add_argument("--plies", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    starts, ready = list[float](), list[float]()
    for _ in range(5):
        began = time.perf_counter()
        engine = Engine(options.model)
        engine.ask("uci\n", "uciok")
        starts.append(time.perf_counter() - began)
        ready.append(engine.ask("isready\n", "readyok"))
        engine.quit()
    shown("from the start of the process to uciok", starts)
    shown("from there to readyok", ready)
    number = next(n for n in range(1000) if len(random_opening(n, 1, 300)) == 300)
    moves = random_opening(number, 1, options.plies + options.repeats)
    words = [move.uci() for move in moves]
    plies = list(range(options.plies, options.plies + options.repeats))
    engine = Engine(options.model)
    engine.ask("isready\n", "readyok")

    def move(ply: int) -> float:
        return engine.ask(f"position startpos moves {' '.join(words[:ply])}\ngo movetime 1000\n", "bestmove")

    move(plies[0] - 1)
    shown(f"a move at ply {plies[0]} and after, ply by ply", [move(ply) for ply in plies])
    shuffled = np.random.default_rng(1).permutation(plies).tolist()
    shown("the same in a shuffled order", [move(ply) for ply in shuffled])
    engine.quit()
    loaded = load_model(options.model, precision="fp32", device="cpu")
    games = [board_after(moves[:ply]) for ply in plies]
    fresh = [timed(lambda board=board: ModelPlayer(loaded).choose(board)) for board in games]
    shown("the same by a player that has read nothing", fresh)


def board_after(moves: Sequence[chess.Move]) -> chess.Board:
    """The board after moves."""
    board = chess.Board()
    for move in moves:
        board.push(move)
    return board


if __name__ == "__main__":
    main()
