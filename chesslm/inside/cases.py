"""Changed boards: a piece of the side to move is erased, moved or swapped for another, and other moves are legal.

Positions of games go in, cases come out: what changes, and what is legal before and after. python-chess is the judge.
"""

from dataclasses import dataclass
from typing import NamedTuple

import chess
import numpy as np

from chesslm import boards

KINDS = ("erase", "move", "swap")
PLIES = range(10, 150)
"""Positions are taken after so many plies."""


class Change(NamedTuple):
    """A square whose right answer changes, colours as mine and yours."""

    square: int
    before: int
    after: int


@dataclass(frozen=True)
class Case:
    """A position and a change of it.

    Attributes:
        game: index of the game.
        codes: its moves up to the position.
        kind: of the change (``KINDS``).
        changes: the squares that change.
        true: legal moves, as codes.
        edited: those that would be legal on the changed board.
        square: where the piece stood.
    """

    game: int
    codes: boards.MoveCodes
    kind: str
    changes: tuple[Change, ...]
    true: frozenset[int]
    edited: frozenset[int]
    square: int


def make_case(
    game: int, codes: boards.MoveCodes, board: chess.Board, kind: str, square: int, random: np.random.Generator
) -> Case | None:
    """A change of the piece of the side to move on a square.

    Args:
        game: index of the game.
        codes: its moves up to the position.
        board: the position.
        kind: of the change.
        square: of a piece of the side to move other than the king.
        random: says where to, or into what.

    Returns:
        None if there is no such piece, or every change leaves no legal position, no legal moves, or the same ones.
    """
    piece = board.piece_at(square)
    true = frozenset(boards.legal_codes(board))
    if piece is None or piece.color != board.turn or piece.piece_type == chess.KING:
        return None
    for target, after in _targets(board, piece, square, kind, random):
        changed = board.copy(stack=False)
        changed.remove_piece_at(square)
        if after:
            changed.set_piece_at(target, chess.Piece(after, board.turn))
        changed.castling_rights = changed.clean_castling_rights()
        edited = frozenset(boards.legal_codes(changed))
        # The side that is not to move must not be in check, as in any position that a game can reach.
        if edited and edited != true and not changed.was_into_check():
            changes = [Change(square, piece.piece_type, after if target == square else 0)]
            if target != square:
                changes.append(Change(target, 0, after))
            return Case(game, codes, kind, tuple(changes), true, edited, square)
    return None


def _targets(
    board: chess.Board, piece: chess.Piece, square: int, kind: str, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Squares and kinds of piece (0: none) that the piece may become, in a random order."""
    if kind == "erase":
        return [(square, 0)]
    if kind == "move":
        found = [(other, piece.piece_type) for other in chess.SQUARES if board.piece_at(other) is None]
    else:
        # Nobody has nine pawns.
        first = chess.PAWN if len(board.pieces(chess.PAWN, board.turn)) < 8 else chess.KNIGHT
        found = [(square, other) for other in range(first, chess.KING) if other != piece.piece_type]
    allowed = [(at, what) for at, what in found if what != chess.PAWN or chess.square_rank(at) not in (0, 7)]
    return [allowed[i] for i in random.permutation(len(allowed))]
