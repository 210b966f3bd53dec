"""The word of a move: its text in UCI or in SAN, written, read, and everything that such a word can be.

UCI says the same on every board. SAN has to look at it: which other piece could go there, whether the move checks or
mates. Written for legal moves exactly as python-chess does (the tests hold it to that); an illegal move is written as
if it were legal, so that one can ask how likely it is. Whole games ``san`` writes, four times as fast.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal

import chess

from chesslm import boards

Kind = Literal["uci", "san"]

PROMOTIONS = ("q", "r", "b", "n")
_LETTERS = "NBRQK"


def uci_word(move: chess.Move, board: chess.Board) -> str:
    """A move in UCI; the board says nothing here."""
    return move.uci()


def san_word(move: chess.Move, board: chess.Board) -> str:
    """A move in SAN, e.g. ``Nbxd7+``.

    Args:
        move: of a piece of the side to move, legal or not; castling is the king's step of two squares.
        board: the position before it; not changed in the end.

    Raises:
        ValueError: no piece stands there.
    """
    stem = _san_stem(move, board)
    board.push(move)
    suffix = _san_suffix(board)
    board.pop()
    return stem + suffix


def legal_words(board: chess.Board, kind: Kind) -> dict[str, chess.Move]:
    """Every legal move of a position by its word."""
    write = uci_word if kind == "uci" else san_word
    return {write(move, board): move for move in board.generate_legal_moves()}


def _san_stem(move: chess.Move, board: chess.Board) -> str:
    """All but the check mark."""
    kind = board.piece_type_at(move.from_square)
    if kind is None:
        square = chess.SQUARE_NAMES[move.from_square]
        raise ValueError(f"no piece on {square}, so {move.uci()} cannot be written in SAN")
    captures = bool(board.occupied & chess.BB_SQUARES[move.to_square])
    return san_stem(
        boards.move_code(move), kind, disambiguation(move.from_square, _rivals(move, kind, board)), captures
    )


def san_stem(code: int, kind: int, hint: str, captures: bool) -> str:
    """The SAN of a move without check marks.

    Args:
        code: of the move.
        kind: type of the piece that moves.
        hint: what tells it from others of its kind; of a pawn and a king it is not asked.
        captures: whether the target is occupied; of a pawn it is not asked.
    """
    origin, target = code & 63, code >> 6 & 63
    name = chess.SQUARE_NAMES[target]
    if kind == chess.PAWN:
        stem = name if origin & 7 == target & 7 else f"{chess.FILE_NAMES[origin & 7]}x{name}"
        return f"{stem}={chess.PIECE_SYMBOLS[code >> 12].upper()}" if code >> 12 else stem
    if kind == chess.KING:
        if abs(origin - target) == 2:
            return "O-O" if target > origin else "O-O-O"
        hint = ""
    return f"{chess.PIECE_SYMBOLS[kind].upper()}{hint}{'x' if captures else ''}{name}"


def _rivals(move: chess.Move, kind: int, board: chess.Board) -> Iterator[int]:
    """From where another piece of the kind could legally go to the same square."""
    origin, target = move.from_square, move.to_square
    others = board.pieces_mask(kind, board.turn) & ~chess.BB_SQUARES[origin]
    if kind in (chess.PAWN, chess.KING) or not others:
        return
    for square in chess.scan_forward(others & board.attackers_mask(board.turn, target)):
        if board.is_legal(chess.Move(square, target)):
            yield square


def disambiguation(origin: int, rivals: Iterable[int]) -> str:
    """File, rank or square of the origin: what tells the piece there from those of its kind that could go there too."""
    mask = 0
    for square in rivals:
        mask |= chess.BB_SQUARES[square]
    mask &= ~chess.BB_SQUARES[origin]
    if not mask:
        return ""
    file, rank = chess.FILE_NAMES[origin & 7], chess.RANK_NAMES[origin >> 3]
    if not mask & chess.BB_FILES[origin & 7]:
        return file
    return file + rank if mask & chess.BB_RANKS[origin >> 3] else rank


def _san_suffix(board: chess.Board) -> str:
    """The check mark of the move that led here."""
    if not board.is_check():
        return ""
    return "+" if any(board.generate_legal_moves()) else "#"


def read_word(word: str, board: chess.Board, kind: Kind) -> chess.Move | None:
    """The move that a word means, legal or not; None if it means none.

    SAN is read as python-chess reads it: a check mark too many or too few and needless disambiguation are forgiven,
    and what two pieces could do is no move. Where no piece can do it, it is the move of the one that comes closest
    (``boards.Illegal`` says to what); with no such piece at all, of an empty square.
    """
    return _read_uci(word) if kind == "uci" else _read_san(word, board)


def _read_uci(word: str) -> chess.Move | None:
    try:
        move = chess.Move.from_uci(word)
    except chess.InvalidMoveError:
        return None
    return move or None


def _read_san(word: str, board: chess.Board) -> chess.Move | None:
    castling = re.fullmatch(r"(O-O(?:-O)?)[+#]?", word)
    if castling:
        king = chess.E1 if board.turn else chess.E8
        return chess.Move(king, king + 2 if castling[1] == "O-O" else king - 2)
    match = re.fullmatch(r"([NBRQK])?([a-h])?([1-8])?(x)?([a-h][1-8])(?:=([QRBN]))?[+#]?", word)
    if match is None:
        return None
    letter, file, rank, captures, name, promotes = match.groups()
    kind = chess.PIECE_SYMBOLS.index(letter.lower()) if letter else chess.PAWN
    target = chess.parse_square(name)
    promotion = chess.PIECE_SYMBOLS.index(promotes.lower()) if promotes else None
    if kind == chess.PAWN and (bool(captures) != bool(file) or rank):
        return None
    wanted = chess.BB_FILES[chess.FILE_NAMES.index(file)] if file else chess.BB_ALL
    if rank:
        wanted &= chess.BB_RANKS[int(rank) - 1]
    if kind == chess.PAWN and not file:
        wanted &= chess.BB_FILES[target & 7]
    own = board.pieces_mask(kind, board.turn) & wanted
    moves = [chess.Move(square, target, promotion) for square in chess.scan_forward(own)]
    legal = [move for move in moves if board.is_legal(move) and not _onto_own_rook(move, board)]
    if legal:
        return legal[0] if len(legal) == 1 else None
    if moves:
        order = list(boards.Illegal)
        return max(moves, key=lambda move: order.index(boards.illegal_kind(board, move) or boards.Illegal.NOT_A_MOVE))
    empty = (
        wanted & ~board.occupied_co[board.turn] & ~chess.BB_SQUARES[target] or chess.BB_ALL & ~chess.BB_SQUARES[target]
    )
    return chess.Move(next(chess.scan_forward(empty)), target, promotion)


def _onto_own_rook(move: chess.Move, board: chess.Board) -> bool:
    """The king onto its own rook, which ``board.is_legal`` takes for castling."""
    return bool(board.occupied_co[board.turn] & chess.BB_SQUARES[move.to_square])


# Everything that a word can be


@cache
def geometric_moves() -> tuple[str, ...]:
    """The 1,968 UCI moves that a queen, a knight or a promoting pawn could make on an empty board, sorted."""
    moves: list[str] = []
    for origin in chess.SQUARES:
        for target in _reach(chess.QUEEN, origin) | _reach(chess.KNIGHT, origin):
            move = chess.SQUARE_NAMES[origin] + chess.SQUARE_NAMES[target]
            moves.append(move)
            if is_promotion_step(origin, target):
                moves += [move + letter for letter in PROMOTIONS]
    return tuple(sorted(moves))


def is_promotion_step(origin: int, target: int) -> bool:
    """Whether a pawn that goes from one square to the other promotes."""
    ranks = chess.square_rank(origin), chess.square_rank(target)
    step = abs(chess.square_file(origin) - chess.square_file(target))
    return ranks in ((6, 7), (1, 0)) and step <= 1


def _reach(kind: int, origin: int) -> chess.SquareSet:
    """Where a piece could go on an empty board."""
    board = chess.BaseBoard(None)
    board.set_piece_at(origin, chess.Piece(kind, chess.WHITE))
    return board.attacks(origin)


@cache
def geometric_sans() -> tuple[str, ...]:
    """Every SAN that the geometry allows, about 30,000, sorted: pieces, captures, disambiguation, check marks."""
    stems = {"O-O", "O-O-O", *_pawn_stems()}
    for letter, kind in zip(_LETTERS, (chess.KNIGHT, chess.BISHOP, chess.ROOK, chess.QUEEN, chess.KING), strict=True):
        for target in chess.SQUARES:
            # On an empty board a piece comes from where it could go.
            origins = [chess.SQUARE_NAMES[square] for square in _reach(kind, target)] if kind != chess.KING else []
            hints = {"", *origins, *(name[0] for name in origins), *(name[1] for name in origins)}
            stems |= {f"{letter}{hint}{x}{chess.SQUARE_NAMES[target]}" for hint in hints for x in ("", "x")}
    return tuple(sorted(stem + mark for stem in stems for mark in ("", "+", "#")))


def _pawn_stems() -> Iterator[str]:
    for square in chess.SQUARES:
        name, file = chess.SQUARE_NAMES[square], chess.square_file(square)
        beside = [chess.FILE_NAMES[other] for other in (file - 1, file + 1) if 0 <= other < 8]
        for stem in (name, *(f"{other}x{name}" for other in beside)):
            if chess.square_rank(square) in (0, 7):
                yield from (f"{stem}={letter}" for letter in "QRBN")
            else:
                yield stem
