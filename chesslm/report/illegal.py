"""Illegal moves in plain words: a position and a move in, what it is and why it cannot be played out.

Bf1–b5: the pawn on e2 stands in the way
"""

import re

import chess

from chesslm.boards import Illegal, illegal_kind

_UCI = re.compile("([a-h][1-8])([a-h][1-8])([nbrq])?")


def read_move(text: str) -> chess.Move | None:
    """A move in UCI, also one from a square to itself; None if it is none."""
    found = _UCI.fullmatch(text)
    if not found:
        return None
    origin, target, letter = found.groups()
    promotion = chess.PIECE_SYMBOLS.index(letter) if letter else None
    # a1a1 is python-chess's move for none.
    return chess.Move(chess.parse_square(origin), chess.parse_square(target), promotion) or None


def in_words(board: chess.Board, move: chess.Move | None, text: str) -> str:
    """A move with its piece and both squares (``Bf1–b5``), or the text where a model did not write it in UCI."""
    if move is None or read_move(text) is None:
        return text
    squares = chess.SQUARE_NAMES
    piece = board.piece_at(move.from_square)
    if illegal_kind(board, move) is Illegal.CASTLING:
        return "O-O" if move.to_square > move.from_square else "O-O-O"
    letter = piece.symbol().upper() if piece and piece.piece_type != chess.PAWN else ""
    straight = not letter and chess.square_file(move.from_square) == chess.square_file(move.to_square)
    captures = board.color_at(move.to_square) is (not board.turn) and not straight
    promotion = f"={chess.PIECE_SYMBOLS[move.promotion].upper()}" if move.promotion else ""
    return f"{letter}{squares[move.from_square]}{'x' if captures else '–'}{squares[move.to_square]}{promotion}"


def why(board: chess.Board, move: chess.Move | None, text: str) -> str:
    """Why an illegal move is illegal.

    Args:
        board: the position.
        move: None if the text is no move.
        text: as a model wrote it.
    """
    kind = illegal_kind(board, move)
    if move is None or kind is None:
        return _why_no_move(board, text)
    piece, target = board.piece_at(move.from_square), chess.SQUARE_NAMES[move.to_square]
    if kind is Illegal.NO_PIECE:
        return _why_no_piece(board, move, text)
    assert piece
    name = chess.piece_name(piece.piece_type)
    match kind:
        case Illegal.NEVER_MOVES_SO if move.from_square == move.to_square:
            return f"the {name} stands there already"
        case Illegal.NEVER_MOVES_SO if _steps_sideways(move, piece):
            return f"there is nothing for the pawn to capture on {target}"
        case Illegal.NEVER_MOVES_SO:
            return f"a {name} never moves so"
        case Illegal.BLOCKED:
            return f"the {_in_the_way(board, move)} stands in the way"
        case Illegal.OWN_PIECE:
            return f"its own {_name(board, move.to_square)} stands there"
        case Illegal.CASTLING:
            return _why_no_castling(board, move)
        case Illegal.SPECIAL_PAWN:
            return _why_not_special(move, piece)
        case _:
            return _why_check(board, move)


def _name(board: chess.Board, square: int) -> str:
    return f"{chess.piece_name(board.piece_type_at(square) or chess.PAWN)} on {chess.SQUARE_NAMES[square]}"


def _why_no_move(board: chess.Board, text: str) -> str:
    try:
        board.parse_san(text)
    except chess.AmbiguousMoveError:
        return "two pieces could do that"
    except ValueError:
        pass
    return "that is no move"


def _why_no_piece(board: chess.Board, move: chess.Move, text: str) -> str:
    """In SAN nothing says from where."""
    side, other = chess.COLOR_NAMES[board.turn].capitalize(), chess.COLOR_NAMES[not board.turn].capitalize()
    if read_move(text) is None:
        return f"{side} has no such {'piece' if text[:1].isupper() else 'pawn'}"
    if board.piece_at(move.from_square):
        return f"the {_name(board, move.from_square)} is {other}'s"
    return f"{chess.SQUARE_NAMES[move.from_square]} is empty"


def _steps_sideways(move: chess.Move, piece: chess.Piece) -> bool:
    """Whether it is a pawn's way to capture."""
    up = 1 if piece.color else -1
    files, ranks = (at(move.to_square) - at(move.from_square) for at in (chess.square_file, chess.square_rank))
    return piece.piece_type == chess.PAWN and abs(files) == 1 and ranks == up


def _in_the_way(board: chess.Board, move: chess.Move) -> str:
    """What a piece meets first."""
    on_the_way = board.occupied & chess.between(move.from_square, move.to_square)
    squares = chess.SquareSet(on_the_way) or [move.to_square]
    return _name(board, min(squares, key=lambda square: chess.square_distance(square, move.from_square)))


def _why_no_castling(board: chess.Board, move: chess.Move) -> str:
    short = move.to_square > move.from_square
    corner = move.from_square + (3 if short else -4)
    if not board.castling_rights & chess.BB_SQUARES[corner]:
        return "the right to castle there is gone"
    if board.occupied & chess.between(move.from_square, corner):
        return f"the {_in_the_way(board, chess.Move(move.from_square, corner))} stands in between"
    return "the king is in check" if board.is_check() else "the king would pass through check or end in it"


def _why_not_special(move: chess.Move, piece: chess.Piece) -> str:
    last_rank = chess.square_rank(move.to_square) in (0, 7)
    if piece.piece_type != chess.PAWN:
        return "only pawns promote"
    if move.promotion:
        return "a pawn promotes on the last rank only"
    return "the pawn has to promote" if last_rank else "there is no pawn to take in passing"


def _why_check(board: chess.Board, move: chess.Move) -> str:
    after = board.copy(stack=False)
    after.push(move)
    king = after.king(board.turn)
    attackers = after.attackers(not board.turn, king) if king is not None else None
    by = f" from the {_name(after, min(attackers))}" if attackers else ""
    if board.piece_type_at(move.from_square) == chess.KING:
        return f"the king would step into check{by}"
    return f"the king would {'still ' * board.is_check()}be in check{by}"
