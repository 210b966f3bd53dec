"""Boards: replay of games, legal moves at each ply, and a compact code for moves. python-chess is the judge.

A move travels between processes and to disk as a *move code*, one uint16:
``from + 64 * to + 4096 * promotion`` with squares a1 = 0 ... h8 = 63 and promotion 0 (none) or
2 to 5 (knight, bishop, rook, queen, python-chess's piece types). Castling is the king's move, as in UCI.
"""

from collections.abc import Iterable, Iterator, Sequence

import chess
import numpy as np
from numpy.typing import NDArray

MoveCodes = NDArray[np.uint16]
"""Moves of a game, shape (plies,), dtype uint16."""


def move_code(move: chess.Move) -> int:
    """The code of a move."""
    return move.from_square | move.to_square << 6 | (move.promotion or 0) << 12


def code_move(code: int) -> chess.Move:
    """The move of a code."""
    code = int(code)
    return chess.Move(code & 63, code >> 6 & 63, code >> 12 or None)


def to_codes(moves: Iterable[chess.Move]) -> MoveCodes:
    """Codes of many moves, shape (plies,)."""
    return np.fromiter((move_code(move) for move in moves), dtype=np.uint16)


def to_moves(codes: Sequence[int] | MoveCodes) -> list[chess.Move]:
    """Moves of many codes."""
    return [code_move(code) for code in codes]


def replay(moves: Iterable[chess.Move]) -> Iterator[chess.Board]:
    """The board before each move and after the last one, from the standard start.

    It is one board that moves on: copy it to keep it. Moves are not checked for legality.
    """
    board = chess.Board()
    yield board
    for move in moves:
        board.push(move)
        yield board


def legal_codes(board: chess.Board) -> list[int]:
    """Codes of the legal moves in a position, in python-chess's order."""
    return [move_code(move) for move in board.generate_legal_moves()]
