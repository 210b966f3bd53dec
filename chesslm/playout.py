"""Games of uniformly random legal moves by a move generator in Rust, where the extra ``fast`` is installed.

A game comes out word for word as python-chess plays it with the same draws: the legal moves stand in python-chess's
order, and python-chess is asked wherever a draw by material or by repetition is near.
"""

import random
from collections import Counter
from functools import cache
from operator import index, itemgetter
from typing import Any, NamedTuple

import chess

from chesslm import boards
from chesslm.words import disambiguation, san_stem

_STRONG = (chess.PAWN, chess.ROOK, chess.QUEEN)
"""With one of these on the board the material suffices."""
_PROMOTIONS = tuple(promotion << 12 for promotion in (chess.QUEEN, chess.ROOK, chess.BISHOP, chess.KNIGHT))
_BACK_RANKS = chess.BB_RANK_1 | chess.BB_RANK_8
_CORNERS = {chess.E1: chess.BB_A1 | chess.BB_H1, chess.E8: chess.BB_A8 | chess.BB_H8}


class Played(NamedTuple):
    """A game.

    Attributes:
        words: its moves in SAN.
        outcome: how it ended by the rules, if it did.
    """

    words: list[str]
    outcome: chess.Outcome | None


def play_at_random(rng: random.Random, plies: int) -> Played | None:
    """A game of at most so many plies, each drawn from the legal moves, all alike; None without the extra."""
    if (generator := _generator()) is None:
        return None
    board, types = generator.Board(), boards.types_at_start()
    codes, words, seen = list[int](), list[str](), Counter[int]()
    quiet = 0
    while True:
        groups, check = board.generate_piece_moves(), bool(board.checkers())
        legal = sum(map(len, groups))
        if check:
            words[-1] += "+" if legal else "#"
        # Where a pawn could take en passant counts for python-chess, which is asked if this says that it may be time.
        seen[position := board.hash_without_ep()] += 1
        bare = not any(map(types.__contains__, _STRONG)) and chess.Board(board.fen()).is_insufficient_material()
        repeated = seen[position] >= 5 and boards.board_after(codes).is_repetition(5)
        if not legal or bare or repeated or quiet >= 150 or len(codes) >= plies:
            return Played(words, _outcome(len(codes), check, legal, bare, quiet, repeated))
        code, rivals = legal_move(groups, check, types, rng.choice(range(legal)))
        kind, taken = types[code & 63], types[code >> 6 & 63]
        words.append(san_stem(code, kind, disambiguation(code & 63, rivals), bool(taken)))
        quiet = 0 if taken or kind == chess.PAWN else quiet + 1
        board.play_unchecked(_move(code, kind))
        boards.move_types(types, code)
        codes.append(code)


def legal_move(groups: list[Any], check: bool, types: list[int], number: int) -> tuple[int, list[int]]:
    """The legal move with a number, from 0, in python-chess's order.

    Args:
        groups: the legal moves as ``cozy_chess`` has them, by piece. They are looked into no more than needed: taking
            their squares apart is what costs time.
        check: whether the side to move is in check.
        types: of the pieces, by square.
        number: of the move.

    Returns:
        The code of the move, and the squares of the pieces of its kind that can go there, itself among them.
    """
    pieces, pawns = list[tuple[int, int, Any]](), list[tuple[int, Any]]()
    king = castling = 0
    for group in groups:
        origin, moves = index(group.from_square), len(group)
        if types[origin] == chess.PAWN:
            pawns.append((origin, group))
            continue
        if types[origin] == chess.KING:
            king = origin
            # Castling is the king onto its own rook here, and comes behind the moves of all pieces there.
            castling = int(group.to) & _CORNERS[king] if king in _CORNERS else 0
            moves -= castling.bit_count()
            # Out of check the king goes first.
            origin += 64 * check
        pieces.append((origin, moves, group))
    pieces.sort(reverse=True)
    for origin, moves, group in pieces:
        if number < moves:
            origin &= 63
            # No other piece goes where one of its own side stands.
            target = _square(int(group.to) & ~castling, number)
            same = [(at & 63, other) for at, _, other in pieces if types[at & 63] == types[origin]]
            rivals = [at for at, other in same if len(same) > 1 and int(other.to) >> target & 1]
            return origin | target << 6, rivals
        number -= moves
    if number < castling.bit_count():
        return king | (king + 2 if _square(castling, number) > king else king - 2) << 6, []
    return _pawn_codes(pawns, types)[number - castling.bit_count()], []


def _pawn_codes(pawns: list[tuple[int, Any]], types: list[int]) -> list[int]:
    """The moves of pawns: what they take, steps, double steps, en passant."""
    takes, steps, doubles, passing = list[int](), list[int](), list[int](), list[int]()
    for origin, group in sorted(pawns, key=itemgetter(0), reverse=True):
        targets = int(group.to)
        promotions = _PROMOTIONS if targets & _BACK_RANKS else (0,)
        for target in chess.scan_reversed(targets):
            codes = [origin | target << 6 | promotion for promotion in promotions]
            if abs(origin - target) == 16:
                doubles += codes
            elif not (origin ^ target) & 7:
                steps += codes
            elif types[target]:
                takes += codes
            else:
                passing += codes
    return takes + steps + doubles + passing


def _square(squares: int, number: int) -> int:
    """The square of a bitboard with a number, from the highest."""
    for _ in range(number):
        squares ^= 1 << squares.bit_length() - 1
    return squares.bit_length() - 1


def _outcome(plies: int, check: bool, legal: int, bare: bool, quiet: int, repeated: bool) -> chess.Outcome | None:
    """How a game has ended; where it did so in several ways, what python-chess's ``outcome`` says first."""
    if check and not legal:
        return chess.Outcome(chess.Termination.CHECKMATE, plies % 2 == 1)
    for ended, how in (
        (bare, chess.Termination.INSUFFICIENT_MATERIAL),
        (not legal, chess.Termination.STALEMATE),
        (quiet >= 150, chess.Termination.SEVENTYFIVE_MOVES),
        (repeated, chess.Termination.FIVEFOLD_REPETITION),
    ):
        if ended:
            return chess.Outcome(how, None)
    return None


@cache
def _generator() -> Any:
    """The move generator, if it is installed."""
    try:
        import cozy_chess
    except ImportError:
        return None
    return cozy_chess


@cache
def _move(code: int, kind: int) -> Any:
    """A move of a piece of that type as it has them."""
    origin, target = code & 63, code >> 6 & 63
    if kind == chess.KING and abs(origin - target) == 2:
        target = boards.castling_rook(origin, target)
    generator = _generator()
    square, promotion = generator.Square.from_index, code >> 12
    return generator.Move(square(origin), square(target), generator.Piece.ALL[promotion - 1] if promotion else None)
