"""Random games that make for an item of the rules exam which chance alone seldom brings about.

An item in, a legal game out that ends where the item stands on the board, if it comes to that. Most of the time the
players take a uniformly random one of the moves that make for the item, else of all: so castling is made ready by
moving what stands between king and rook, a pawn capture in passing by pawn moves, and a mate is given when seen.
"""

import random
from collections.abc import Callable
from functools import partial

import chess

from chesslm import boards
from chesslm.eval import items
from chesslm.eval.items import Finder

EAGER = 0.8
"""How often a player heeds what the item asks for."""
MAX_PLIES = 120
"""A game that has not come to the item by then is of little use; most come to it within 60."""

Moves = list[chess.Move]
Style = Callable[[chess.Board, Moves], Moves]
"""A position and its legal moves -> those that make for an item; none: all are alike."""


def steered_game(goal: str, finder: Finder, rng: random.Random) -> boards.MoveCodes:
    """Play until an item stands on the board, or there is no more move, or at most ``MAX_PLIES`` plies.

    Args:
        goal: the item.
        finder: sees each position; it wants the goal, and maybe other items.
        rng: what all chance is drawn from.
    """
    board, style = chess.Board(), _style(goal, rng)
    while True:
        finder.look(board)
        moves = boards.to_moves(finder.legal[-1])
        if finder.found[goal] or not moves or board.ply() >= MAX_PLIES:
            return boards.to_codes(board.move_stack)
        eager = style(board, moves) if rng.random() < EAGER else []
        board.push(rng.choice(eager or moves))


def _style(goal: str, rng: random.Random) -> Style:
    if goal in items.CASTLING or goal in items.NO_CASTLING:
        color, short = items.CASTLING.get(goal) or rng.choice(list(items.CASTLING.values()))
        return partial(_castler, goal=goal, color=color, short=short)
    return _STYLES.get(goal, _indifferent)


def _castler(board: chess.Board, moves: Moves, goal: str, color: chess.Color, short: bool) -> Moves:
    """Clears the way between king and rook and keeps both at home; the opponent gives check if that is wanted."""
    if board.turn != color:
        return [move for move in moves if goal == items.OUT_OF_CHECK and board.gives_check(move)]
    home, _, corner = items.castling_squares(color, short)
    between = chess.SquareSet(chess.between(home, corner))
    leaving = [move for move in moves if move.from_square in between and move.to_square not in between]
    if leaving:
        return leaving
    if goal == items.AFTER_MOVING:
        at_home = board.king(color) == home and board.castling_rights & chess.BB_SQUARES[corner]
        return [move for move in moves if (move.from_square if at_home else move.to_square) in (home, corner)]
    return [move for move in moves if move.from_square not in (home, corner) and move.to_square not in between]


def _pawn_lover(board: chess.Board, moves: Moves) -> Moves:
    """Moves pawns, by two squares past an enemy pawn above all, and takes nothing in passing."""
    pushes = [move for move in moves if board.pawns & chess.BB_SQUARES[move.from_square]]
    enemy = board.pawns & board.occupied_co[not board.turn]
    passing = [
        move
        for move in pushes
        if abs(move.to_square - move.from_square) == 16
        and enemy & chess.BB_RANKS[chess.square_rank(move.to_square)] & chess.BB_KING_ATTACKS[move.to_square]
    ]
    return passing or [move for move in pushes if not board.is_en_passant(move)]


def _mater(board: chess.Board, moves: Moves) -> Moves:
    """Mates if it can, else gives check."""
    checks = [move for move in moves if board.gives_check(move)]
    return [move for move in checks if _after(board, move, chess.Board.is_checkmate)] or checks


def _double_checker(board: chess.Board, moves: Moves) -> Moves:
    """Gives double check if it can."""
    return [
        move
        for move in moves
        if board.gives_check(move) and _after(board, move, lambda after: after.checkers_mask().bit_count() > 1)
    ]


def _stalemater(board: chess.Board, moves: Moves) -> Moves:
    """White takes all it can and then leaves few moves, without check; Black does as it likes."""
    if board.turn != chess.WHITE:
        return []
    takes = [move for move in moves if board.is_capture(move) or move.promotion == chess.QUEEN]
    if takes:
        return takes
    if (board.occupied_co[chess.BLACK] & ~board.pawns).bit_count() > 1:
        return []
    quiet = [move for move in moves if not board.gives_check(move)]
    left = [_after(board, move, lambda after: after.legal_moves.count()) for move in quiet]
    return [move for move, n in zip(quiet, left, strict=True) if n == min(left)]


def _indifferent(board: chess.Board, moves: Moves) -> Moves:
    return []


def _after(board: chess.Board, move: chess.Move, what: Callable[[chess.Board], int]) -> int:
    board.push(move)
    found = what(board)
    board.pop()
    return found


_STYLES: dict[str, Style] = {
    items.EN_PASSANT: _pawn_lover,
    items.TOO_LATE: _pawn_lover,
    **dict.fromkeys(items.PROMOTIONS.values(), _pawn_lover),
    items.DOUBLE_CHECK: _double_checker,
    items.CHECKMATE: _mater,
    items.STALEMATE: _stalemater,
}
