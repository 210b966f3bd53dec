"""Boards: replay of games, legal moves at each ply, and a compact code for moves. python-chess is the judge.

A move travels between processes and to disk as a *move code*, one uint16:
``from + 64 * to + 4096 * promotion`` with squares a1 = 0 ... h8 = 63 and promotion 0 (none) or
2 to 5 (knight, bishop, rook, queen, python-chess's piece types). Castling is the king's move, as in UCI.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

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


def types_at_start() -> list[int]:
    """The type of the piece on each square of the standard start, 1 (pawn) to 6 (king), 0 for none; shape (64,)."""
    return _TYPES.copy()


_TYPES = [chess.Board().piece_type_at(square) or 0 for square in chess.SQUARES]


def types_before(codes: Sequence[int] | MoveCodes) -> Iterator[list[int]]:
    """The type of the piece on each square before each move of a legal game, as in ``types_at_start``.

    A tenth of the time of ``replay``, where no more is asked. It is one list that moves on.
    """
    types = types_at_start()
    # As Python's numbers in one go: made one by one they are a quarter of the time.
    for code in np.asarray(codes).tolist():
        yield types
        move_types(types, code)


def move_types(types: list[int], code: int) -> None:
    """Make a legal move on the types of the pieces by square."""
    origin, target = code & 63, code >> 6 & 63
    kind = types[origin]
    if kind == chess.PAWN and (origin ^ target) & 7 and not types[target]:
        types[origin & 56 | target & 7] = 0
    elif kind == chess.KING and abs(origin - target) == 2:
        types[castling_rook(origin, target)] = 0
        types[(origin + target) // 2] = chess.ROOK
    types[origin], types[target] = 0, code >> 12 or kind


def castling_rook(origin: int, target: int) -> int:
    """The square of the rook that castles with a king which goes from one square to another."""
    return origin | 7 if target > origin else origin & 56


def board_after(codes: Sequence[int] | MoveCodes) -> chess.Board:
    """The board after a game's moves, from the standard start, with the moves on its stack."""
    *_, board = replay(to_moves(codes))
    return board


def boards_after(games: Iterable[MoveCodes]) -> Iterator[chess.Board]:
    """The board after each of many games' moves, replayed only as far as a game does not begin with the one before.

    It is one board that moves on as long as it can: copy it to keep it.
    """
    board, played = chess.Board(), np.zeros(0, np.uint16)
    for codes in games:
        if not np.array_equal(codes[: len(played)], played):
            board, played = chess.Board(), codes[:0]
        for code in codes[len(played) :]:
            board.push(code_move(code))
        played = codes
        yield board


def legal_codes(board: chess.Board) -> list[int]:
    """Codes of the legal moves in a position, in python-chess's order."""
    return [move_code(move) for move in board.generate_legal_moves()]


class Illegal(StrEnum):
    """Why a move is illegal; where several reasons hold, the one that comes first here."""

    NOT_A_MOVE = "not a move"
    NO_PIECE = "no piece of the side to move there"
    NEVER_MOVES_SO = "that piece never moves so"
    BLOCKED = "path blocked"
    OWN_PIECE = "own piece on the target"
    CASTLING = "castling not allowed"
    SPECIAL_PAWN = "en passant or promotion wrong"
    CHECK = "king left in check"


def illegal_kind(board: chess.Board, move: chess.Move | None) -> Illegal | None:
    """Why a move (None: no move at all) is illegal in a position; None if it is legal.

    Castling is the king's step of two squares. The king onto its own rook is illegal here, although
    ``board.is_legal`` lets it pass.
    """
    if not move:
        return Illegal.NOT_A_MOVE
    piece = board.piece_at(move.from_square)
    if piece is None or piece.color != board.turn:
        return Illegal.NO_PIECE
    if _castles(piece, move):
        return None if board.is_legal(move) else Illegal.CASTLING
    if piece.piece_type == chess.PAWN:
        kind = _illegal_pawn(board, move)
    elif not _reaches(piece, move):
        kind = Illegal.NEVER_MOVES_SO
    elif board.occupied & chess.between(move.from_square, move.to_square):
        kind = Illegal.BLOCKED
    elif board.color_at(move.to_square) == board.turn:
        kind = Illegal.OWN_PIECE
    else:
        kind = Illegal.SPECIAL_PAWN if move.promotion else None
    return kind or (None if board.is_legal(move) else Illegal.CHECK)


def _castles(piece: chess.Piece, move: chess.Move) -> bool:
    """Whether it is the king's step of two squares from where it stands at the start."""
    home = chess.E1 if piece.color else chess.E8
    return (
        piece.piece_type == chess.KING
        and move.from_square == home
        and abs(move.to_square - home) == 2
        and not move.promotion
    )


def _reaches(piece: chess.Piece, move: chess.Move) -> bool:
    """Whether a piece other than a pawn could go there on an empty board."""
    empty = chess.BaseBoard(None)
    empty.set_piece_at(move.from_square, piece)
    return move.to_square in empty.attacks(move.from_square)


def _illegal_pawn(board: chess.Board, move: chess.Move) -> Illegal | None:
    """The reasons that hold for a pawn of the side to move, all but the check."""
    origin, target = move.from_square, move.to_square
    up = 8 if board.turn else -8
    beside = abs(chess.square_file(target) - chess.square_file(origin))
    captures = beside == 1 and target - up in (origin - 1, origin + 1)
    double = target == origin + 2 * up and chess.square_rank(origin) == (1 if board.turn else 6)
    if not (captures or double or target == origin + up):
        return Illegal.NEVER_MOVES_SO
    if not captures and board.occupied & (
        chess.between(origin, target) | chess.BB_SQUARES[target] & ~board.occupied_co[board.turn]
    ):
        return Illegal.BLOCKED
    if board.color_at(target) == board.turn:
        return Illegal.OWN_PIECE
    if captures and board.color_at(target) is None and target != board.ep_square:
        # Beside an enemy pawn, on the rank from which pawns take en passant, that is what was meant.
        passed = board.piece_at(target - up) == chess.Piece(chess.PAWN, not board.turn)
        on_rank = chess.square_rank(origin) == (4 if board.turn else 3)
        return Illegal.SPECIAL_PAWN if passed and on_rank else Illegal.NEVER_MOVES_SO
    promotes = chess.square_rank(target) in (0, 7)
    right = move.promotion in (chess.KNIGHT, chess.BISHOP, chess.ROOK, chess.QUEEN) if promotes else not move.promotion
    return None if right else Illegal.SPECIAL_PAWN


def outcome(board: chess.Board) -> chess.Outcome | None:
    """How a game has ended by the rules, or None; a draw that may be claimed (third repetition, fifty moves) is one.

    ``board.outcome(claim_draw=True)`` would also end games in which such a draw is only one move away.
    """
    ended = board.outcome()
    if ended is None and board.halfmove_clock >= 100:
        ended = chess.Outcome(chess.Termination.FIFTY_MOVES, None)
    if ended is None and board.is_repetition(3):
        ended = chess.Outcome(chess.Termination.THREEFOLD_REPETITION, None)
    return ended
