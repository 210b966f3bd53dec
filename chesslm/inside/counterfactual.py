"""What would be legal were other pieces on the board; python-chess is the judge.

It stands apart from what runs a model, so that a process that only judges loads no torch.
"""

from collections.abc import Sequence

import chess

from chesslm import boards
from chesslm.inside.truths import Codes, put


def legal_otherwise(asked: Sequence[tuple[boards.MoveCodes, int, Codes]]) -> list[bool]:
    """Whether each move would be legal after the moves before it, were those pieces, (64,), on the board."""
    true = boards.boards_after(codes for codes, _, _ in asked)
    return [
        legal_on(with_pieces(board, pieces), boards.code_move(move))
        for board, (_, move, pieces) in zip(true, asked, strict=True)
    ]


def with_pieces(true: chess.Board, pieces: Codes) -> chess.Board:
    """A board with other pieces; rights and en passant are kept as far as the pieces for them stand there.

    Without a king of the side to move nothing would be a check, and anything allowed: then it stands where it is.
    """
    board = chess.Board(None)
    board.turn = true.turn
    put(board, pieces)
    king = true.king(true.turn)
    if board.king(true.turn) is None and king is not None:
        board.set_piece_at(king, chess.Piece(chess.KING, true.turn))
    keep_rights(board, true)
    return board


def keep_rights(board: chess.Board, true: chess.Board) -> None:
    """Give a board the castling rights and the en passant of the true one, as far as its pieces allow them."""
    board.castling_rights = true.castling_rights
    board.castling_rights = board.clean_castling_rights()
    board.ep_square = None
    if true.ep_square is not None:
        passed = true.ep_square + (-8 if true.turn else 8)
        if board.piece_at(passed) == chess.Piece(chess.PAWN, not true.turn) and not board.piece_at(true.ep_square):
            board.ep_square = true.ep_square


def legal_on(board: chess.Board, move: chess.Move) -> bool:
    """Whether a move is legal on any board, even one that no game leads to."""
    return boards.illegal_kind(board, move) is None
