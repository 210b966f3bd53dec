"""The bundled openings: eight uniformly random legal moves each, after which an engine sees neither side ahead.

    python games/openings.py games/openings.pgn --count 1000 --seed 2028

No two lead to the same position. The engine looks at a fixed number of nodes, its hash cleared each time, so the file
comes out the same with the same version of it.
"""

import argparse
from pathlib import Path

import chess
import chess.engine
import chess.pgn

from chesslm import boards, files
from chesslm.engines import engine_command
from chesslm.generate import random_opening

PLIES = 8
NODES = 10_000
LEVEL = 60
"""Centipawns that a side may be ahead."""


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(description="Openings in which neither side is ahead.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--engine", default="stockfish")
    options = parser.parse_args()
    found: dict[str, chess.Board] = {}
    with chess.engine.SimpleEngine.popen_uci(engine_command(options.engine)) as engine:
        engine.configure({"Threads": 1, "Hash": 16})
        number = 0
        while len(found) < options.count:
            *_, board = boards.replay(random_opening(number, options.seed, PLIES))
            number += 1
            if board.ply() < PLIES or board.is_game_over() or board.epd() in found:
                continue
            score = engine.analyse(board, chess.engine.Limit(nodes=NODES), game=number)["score"].relative.score()
            if score is not None and abs(score) <= LEVEL:
                found[board.epd()] = board.copy()
    with files.atomic(options.out) as path, path.open("w") as file:
        for number, board in enumerate(found.values(), start=1):
            game = chess.pgn.Game.from_board(board)
            game.headers.update(Event="Openings", Site="games/openings.py", Round=str(number), White="?", Black="?")
            file.write(f"{game}\n\n")


if __name__ == "__main__":
    main()
