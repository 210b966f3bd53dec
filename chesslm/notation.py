"""How a game is written: a notation is data and three small functions.

A notation has a vocabulary of move tokens and says how one move is spelled in a position. Everything else
follows from spelling: the legal continuations of a prefix are what the spellings of the legal moves allow next,
the legal mass is the sum over those spellings, constrained decoding walks the same tree. So a new notation
touches this file alone.

- ``uci-move``: one token a move, e.g. ``e2e4`` or ``e7e8q``; all 1,968 moves that some piece could make on an
  empty board.
- ``uci-square``: the squares and promotion letters of UCI, e.g. ``e7 e8 q`` (Toshniwal et al. 2022, "Chess as a
  Testbed for Language Model State Tracking"); 68 tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import chess

from chesslm.errors import InputError

PROMOTIONS = ("q", "r", "b", "n")


@dataclass(frozen=True)
class Notation:
    """A way of writing moves as tokens.

    Attributes:
        name: as in ``--notation``.
        context: tokens that a model of this notation looks back at, unless its recipe says otherwise.
        vocabulary: the move tokens, in the order of their ids; special tokens come before them.
        spell: (move, board before it) -> its tokens. The board must not be changed.
        parse: (tokens, board before it) -> the move they spell, legal or not; None if they spell none.
        extensions: tokens of a move begun -> the tokens by which the notation alone could go on with it.
            Empty: the move is over. Where the tokens already spell a move and extensions are left (``e7 e8``,
            with or without ``q``), the move ends as soon as the next token is none of them.
        pattern: regular expression of one token in plain text, for the text side of the tokenizer.
        reads_board: whether ``spell`` and ``parse`` look at the board (UCI never does, SAN must).
    """

    name: str
    context: int
    vocabulary: tuple[str, ...]
    spell: Callable[[chess.Move, chess.Board], tuple[str, ...]]
    parse: Callable[[tuple[str, ...], chess.Board], chess.Move | None]
    extensions: Callable[[tuple[str, ...]], frozenset[str]]
    pattern: str
    reads_board: bool = False


def geometric_moves() -> tuple[str, ...]:
    """The 1,968 UCI moves that a queen, a knight or a promoting pawn could make on an empty board, sorted."""
    moves: list[str] = []
    for origin in chess.SQUARES:
        empty = chess.Board(None)
        queen = empty.copy()
        queen.set_piece_at(origin, chess.Piece(chess.QUEEN, chess.WHITE))
        for target in queen.attacks(origin) | chess.SquareSet(chess.BB_KNIGHT_ATTACKS[origin]):
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


def legal_spellings(notation: Notation, board: chess.Board) -> dict[tuple[str, ...], chess.Move]:
    """Every legal move of a position by its tokens."""
    return {notation.spell(move, board): move for move in board.generate_legal_moves()}


def legal_continuations(notation: Notation, board: chess.Board, begun: tuple[str, ...] = ()) -> frozenset[str]:
    """The tokens that can still become a legal move after the tokens of a move already begun."""
    return next_tokens(legal_spellings(notation, board), begun)


def next_tokens(spellings: Iterable[tuple[str, ...]], begun: tuple[str, ...]) -> frozenset[str]:
    """The tokens that go on from ``begun`` in some of the spellings."""
    n = len(begun)
    return frozenset(tokens[n] for tokens in spellings if len(tokens) > n and tokens[:n] == begun)


def _parse_uci(tokens: tuple[str, ...], board: chess.Board) -> chess.Move | None:
    """UCI says the same on every board; a null move or junk is no move."""
    try:
        move = chess.Move.from_uci("".join(tokens))
    except chess.InvalidMoveError:
        return None
    return move or None


def _uci_move() -> Notation:
    vocabulary = geometric_moves()
    first = frozenset(vocabulary)
    return Notation(
        name="uci-move",
        context=512,
        vocabulary=vocabulary,
        spell=lambda move, board: (move.uci(),),
        parse=_parse_uci,
        extensions=lambda begun: frozenset() if begun else first,
        # Without the look-ahead, c3a5 and b2a4 written together would be read as c3a5b and junk.
        pattern=r"[a-h][1-8][a-h][1-8](?:[qrbn](?![1-8]))?",
    )


def _uci_square() -> Notation:
    squares = frozenset(chess.SQUARE_NAMES)

    def spell(move: chess.Move, board: chess.Board) -> tuple[str, ...]:
        uci = move.uci()
        return (uci[:2], uci[2:4], uci[4:]) if move.promotion else (uci[:2], uci[2:])

    def extensions(begun: tuple[str, ...]) -> frozenset[str]:
        if len(begun) < 2:
            return squares
        if len(begun) == 2 and is_promotion_step(*map(chess.parse_square, begun)):
            return frozenset(PROMOTIONS)
        return frozenset()

    return Notation(
        name="uci-square",
        context=1024,
        vocabulary=(*chess.SQUARE_NAMES, *PROMOTIONS),
        spell=spell,
        parse=_parse_uci,
        extensions=extensions,
        pattern=r"[a-h][1-8]|[qrbn]",
    )


NAMES = ("uci-move", "uci-square")


@cache
def get_notation(name: str) -> Notation:
    """The notation of that name.

    Raises:
        InputError: there is none.
    """
    if name == "uci-move":
        return _uci_move()
    if name == "uci-square":
        return _uci_square()
    raise InputError(f"unknown notation {name!r}; known: {', '.join(NAMES)}")
