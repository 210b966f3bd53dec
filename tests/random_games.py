"""Games for the tests: random legal ones with a seed, and a hypothesis strategy that shrinks to short games."""

import random
from functools import cache
from pathlib import Path

import chess
import chess.pgn
from hypothesis import strategies as st

from chesslm.boards import MoveCodes, to_codes, to_moves
from chesslm.notation import TRAINED, Notation, get_notation, train_notation
from chesslm.tokenizer import GameTokenizer
from chesslm.words import san_words


def random_game(seed: int, plies: int) -> MoveCodes:
    """Uniformly random legal moves, at most so many plies."""
    draw = random.Random(seed)
    board = chess.Board()
    while board.ply() < plies and (legal := list(board.legal_moves)):
        board.push(draw.choice(legal))
    return to_codes(board.move_stack)


def san_game(moves: str) -> MoveCodes:
    """A game from its moves in SAN."""
    board = chess.Board()
    for word in moves.split():
        board.push_san(word)
    return to_codes(board.move_stack)


@st.composite
def games(draw: st.DrawFn, max_plies: int = 200) -> list[chess.Move]:
    """Legal games of any length up to ``max_plies``; smaller examples are shorter games."""
    plies = draw(st.integers(0, max_plies))
    return to_moves(random_game(draw(st.integers(0, 10**6)), plies))


def result_of(index: int) -> str:
    """Results that a test PGN gives its games, in turn."""
    return ("1-0", "0-1", "1/2-1/2", "*")[index % 4]


def write_pgn(path: Path, codes: list[MoveCodes], **headers: str) -> Path:
    """Write games as python-chess writes them."""
    with path.open("w") as file:
        for index, moves in enumerate(codes):
            game = chess.pgn.Game(headers={"Event": "test", "Round": str(index + 1), **headers})
            game.headers["Result"] = result_of(index)
            game.add_line(to_moves(moves))
            print(game, file=file, end="\n\n")
    return path


@cache
def notation_of(name: str) -> Notation:
    """A notation; a learned vocabulary comes from a few games, so that it lacks many moves."""
    if name not in TRAINED:
        return get_notation(name)
    return train_notation(name, [san_words(to_moves(random_game(seed, 60))) for seed in range(40)], size=300)


def tokenizer_of(name: str) -> GameTokenizer:
    """Its tokenizer."""
    return GameTokenizer(notation_of(name))
