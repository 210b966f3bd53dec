"""The items of the rules exam (docs/metrics.md, The rules exam), and where they stand in a game. python-chess judges.

A ``Finder`` is shown the positions of one game in turn and notes every question that an item could ask there: the
position, the move or moves asked about, and for a forbidden move the position of the same game in which it was legal.
A forbidden move is noted only where exactly one thing forbids it: without that it would be legal.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import chess

from chesslm import boards
from chesslm.eval.positions import pinned

CASTLING = {
    f"{side} castles {wing}": (color, wing == "short")
    for side, color in (("white", chess.WHITE), ("black", chess.BLACK))
    for wing in ("short", "long")
}
"""Castling that is allowed: the side, and whether it is the short wing."""
OUT_OF_CHECK, THROUGH_CHECK = "castling out of check", "castling through check"
AFTER_MOVING, OVER_A_PIECE = "castling after king or rook moved", "castling over a piece"
NO_CASTLING = (OUT_OF_CHECK, THROUGH_CHECK, AFTER_MOVING, OVER_A_PIECE)
EN_PASSANT, TOO_LATE = "en passant", "en passant too late"
PROMOTIONS = {
    piece: f"promotion to a {chess.piece_name(piece)}"
    for piece in (chess.QUEEN, chess.ROOK, chess.BISHOP, chess.KNIGHT)
}
PINNED = "pinned piece moves"
KING_MOVES, BLOCK, CAPTURE = "check: king moves", "check: block", "check: capture"
DOUBLE_CHECK = "double check"
CAPTURED, WAY_BACK = "captured piece moves", "piece goes back"
CHECKMATE, STALEMATE = "checkmate", "stalemate"

ALLOWED = (*CASTLING, EN_PASSANT, *PROMOTIONS.values(), KING_MOVES, BLOCK, CAPTURE, WAY_BACK)
"""Items that ask about a legal move, or about several."""
REFUSED = (*NO_CASTLING, TOO_LATE, PINNED, CAPTURED)
"""Items that ask about a forbidden move."""
ENDED = (CHECKMATE, STALEMATE)
"""Items of games that are over."""
ITEMS = (*ALLOWED, *REFUSED, DOUBLE_CHECK, *ENDED)


@dataclass(frozen=True)
class Candidate:
    """A question that an item could ask in a game.

    Attributes:
        ply: the position before this move.
        moves: codes of the moves asked about: several for the ways out of check; none where it is about the position.
        control: an earlier position of the same game and the code of a move that was legal there; None: none is known.
    """

    ply: int
    moves: tuple[int, ...]
    control: tuple[int, int] | None = None


Found = Iterator[tuple[str, Candidate]]


@dataclass
class Seen:
    """The positions of a game so far.

    Attributes:
        boards: each position, without its moves.
        legal: codes of its legal moves.
        last: the move that led to the newest one.
        last_legal: the newest position in which a piece could go somewhere, by move code, piece type and colour.
        came_from: the square that each piece that has moved stood on before, by where it stands now.
    """

    boards: list[chess.Board] = field(default_factory=list)
    legal: list[tuple[int, ...]] = field(default_factory=list)
    last: chess.Move = field(default_factory=chess.Move.null)
    last_legal: dict[tuple[int, int, bool], int] = field(default_factory=dict)
    came_from: dict[int, int] = field(default_factory=dict)

    @property
    def ply(self) -> int:
        """Of the newest position."""
        return len(self.boards) - 1


class Finder:
    """Notes what some items could ask in one game.

    Args:
        wanted: the items.

    Attributes:
        found: candidates by item, in the order of the game.
    """

    def __init__(self, wanted: Iterable[str] = ITEMS) -> None:
        self.found: dict[str, list[Candidate]] = {item: [] for item in wanted}
        self._seen = Seen()
        self._searches = [search for search, items in _SEARCHES.items() if not self.found.keys().isdisjoint(items)]

    @property
    def legal(self) -> list[tuple[int, ...]]:
        """Codes of the legal moves of each position seen."""
        return self._seen.legal

    def look(self, board: chess.Board) -> None:
        """See the next position of the game, the start first; the board carries its moves and is not changed."""
        self._seen.boards.append(board.copy(stack=False))
        self._seen.legal.append(tuple(boards.legal_codes(board)))
        if board.move_stack:
            self._seen.last = board.peek()
        for search in self._searches:
            for item, candidate in search(self._seen):
                if item in self.found:
                    self.found[item].append(candidate)


def _castling(seen: Seen) -> Found:
    board = seen.boards[-1]
    for short in (True, False):
        item = castling_item(board, short)
        if item:
            home, target = castling_squares(board.turn, short)[:2]
            yield item, Candidate(seen.ply, (boards.move_code(chess.Move(home, target)),))


def castling_item(board: chess.Board, short: bool) -> str | None:
    """The item that castling with king and rook at home belongs to; None where two things forbid it, or two pieces.

    What stands between king and rook shields none of the king's squares: it is only one fault.
    """
    home, target, corner = castling_squares(board.turn, short)
    if board.king(board.turn) != home or board.piece_at(corner) != chess.Piece(chess.ROOK, board.turn):
        return None
    between = chess.between(home, corner) & board.occupied
    path = chess.between(home, target) | chess.BB_SQUARES[target]
    faults: list[str] = []
    if _attacked(board, chess.BB_SQUARES[home]):
        faults.append(OUT_OF_CHECK)
    if _attacked(board, path):
        faults.append(THROUGH_CHECK)
    if not board.castling_rights & chess.BB_SQUARES[corner]:
        faults.append(AFTER_MOVING)
    if between:
        faults.append(OVER_A_PIECE)
    if len(faults) > 1 or between.bit_count() > 1:
        return None
    return faults[0] if faults else f"{chess.COLOR_NAMES[board.turn]} castles {'short' if short else 'long'}"


def castling_squares(color: chess.Color, short: bool) -> tuple[int, int, int]:
    """Where the king starts and ends, and where the rook starts."""
    home = chess.E1 if color else chess.E8
    return (home, home + 2, home + 3) if short else (home, home - 2, home - 4)


def _attacked(board: chess.Board, squares: int) -> bool:
    """Whether the king of the side to move would be in check on one of the squares."""
    occupied = board.occupied & ~(board.kings & board.occupied_co[board.turn])
    return any(board.attackers_mask(not board.turn, square, occupied) for square in chess.scan_forward(squares))


def _en_passant(seen: Seen) -> Found:
    for move in seen.boards[-1].generate_legal_ep():
        yield EN_PASSANT, Candidate(seen.ply, (boards.move_code(move),))


def _too_late(seen: Seen) -> Found:
    """Captures that were legal a full move ago and would still be, were it not for the time that has passed."""
    if seen.ply < 2 or seen.boards[-3].ep_square is None:
        return
    before, board = seen.boards[-3], seen.boards[-1].copy()
    board.ep_square = before.ep_square
    for move in before.generate_legal_ep():
        passed = chess.square(chess.square_file(move.to_square), chess.square_rank(move.from_square))
        squares = move.from_square, passed, move.to_square
        if all(board.piece_at(square) == before.piece_at(square) for square in squares) and board.is_legal(move):
            code = boards.move_code(move)
            yield TOO_LATE, Candidate(seen.ply, (code,), (seen.ply - 2, code))


def _promotions(seen: Seen) -> Found:
    for code in seen.legal[-1]:
        piece = boards.code_move(code).promotion
        if piece:
            yield PROMOTIONS[piece], Candidate(seen.ply, (code,))


def _pinned(seen: Seen) -> Found:
    """Moves of pinned pieces that only the pin forbids, and the last position in which the piece could make them."""
    board = seen.boards[-1]
    if not board.checkers_mask():
        for move in board.generate_pseudo_legal_moves(from_mask=pinned(board)):
            code = boards.move_code(move)
            if code not in seen.legal[-1] and not board.is_en_passant(move):
                ply = seen.last_legal.get((code, board.piece_type_at(move.from_square) or 0, board.turn))
                yield PINNED, Candidate(seen.ply, (code,), None if ply is None else (ply, code))
    for code in seen.legal[-1]:
        seen.last_legal[code, board.piece_type_at(code & 63) or 0, board.turn] = seen.ply


def _check(seen: Seen) -> Found:
    """Ways out of single checks; double checks."""
    board, codes = seen.boards[-1], seen.legal[-1]
    checkers = board.checkers_mask().bit_count()
    if not checkers or not codes:
        return
    if checkers > 1:
        yield DOUBLE_CHECK, Candidate(seen.ply, ())
        return
    ways: dict[str, list[int]] = {}
    for code in codes:
        move = boards.code_move(code)
        king = move.from_square == board.king(board.turn)
        # Whatever is captured then is the piece that gives check.
        way = KING_MOVES if king else CAPTURE if board.is_capture(move) else BLOCK
        ways.setdefault(way, []).append(code)
    for way, moves in ways.items():
        yield way, Candidate(seen.ply, tuple(moves))


def _captured(seen: Seen) -> Found:
    """Moves of the piece that was just captured: it could have made them on its last turn, and still could now."""
    if seen.ply < 2 or not seen.boards[-2].piece_at(seen.last.to_square):
        return
    square, board = seen.last.to_square, seen.boards[-1].copy()
    board.set_piece_at(square, seen.boards[-2].piece_at(square))
    for code in seen.legal[-3]:
        if code & 63 == square and board.is_legal(boards.code_move(code)):
            yield CAPTURED, Candidate(seen.ply, (code,), (seen.ply - 2, code))


def _way_back(seen: Seen) -> Found:
    """Moves of a piece to the square from which it made its last move."""
    if seen.last:
        origin, target = seen.last.from_square, seen.last.to_square
        seen.came_from.pop(origin, None)
        seen.came_from.pop(target, None)
        if not seen.boards[-2].is_castling(seen.last) and not seen.last.promotion:
            seen.came_from[target] = origin
    for code in seen.legal[-1]:
        if seen.came_from.get(code & 63) == code >> 6:
            yield WAY_BACK, Candidate(seen.ply, (code,))


def _ended(seen: Seen) -> Found:
    if not seen.legal[-1]:
        item = CHECKMATE if seen.boards[-1].is_check() else STALEMATE
        yield item, Candidate(seen.ply, (), (seen.ply - 1, boards.move_code(seen.last)))


_SEARCHES: dict[Callable[[Seen], Found], tuple[str, ...]] = {
    _castling: (*CASTLING, *NO_CASTLING),
    _en_passant: (EN_PASSANT,),
    _too_late: (TOO_LATE,),
    _promotions: tuple(PROMOTIONS.values()),
    _pinned: (PINNED,),
    _check: (KING_MOVES, BLOCK, CAPTURE, DOUBLE_CHECK),
    _captured: (CAPTURED,),
    _way_back: (WAY_BACK,),
    _ended: ENDED,
}
"""What looks for which items."""
