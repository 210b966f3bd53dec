"""Examples of illegal moves: what the results JSON says of them in, boards to be drawn and sentences out.

The JSON may be someone else's: what cannot be replayed, or turns out to be legal, is left out. A board is 8 by 8 units
of ``SQUARE``; its pieces are those of python-chess, drawn once a page and shown again where they stand.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import chess
import chess.svg

from chesslm import boards
from chesslm.report.illegal import in_words, read_move, why
from chesslm.tables import mapping, number, percent

SQUARE = chess.svg.SQUARE_SIZE
PIECES = "".join(chess.svg.PIECES.values())
"""SVG of each piece, with ``white-pawn`` and so on as its id."""
MOST, MOST_IDEAS, LONGEST = 12, 6, 16
"""Examples of a result, moves thought of next and characters of a move, at most."""


@dataclass(frozen=True)
class Arrow:
    """From the middle of a square to that of another: a line and the corners of its head; ``kind`` is its colour."""

    kind: str
    x1: float
    y1: float
    x2: float
    y2: float
    head: str


@dataclass(frozen=True)
class Board:
    """A position as geometry.

    Attributes:
        words: for those who cannot see it.
        pieces: corner of the square and name of the piece.
        check: corner of the square of a king in check.
        aim: corner of the square that is wanted, where there is no arrow to it.
        arrows: the move played, then the move wanted.
        wrong: corners of squares on which something else stands.
    """

    words: str
    pieces: tuple[tuple[int, int, str], ...]
    check: tuple[int, int] | None = None
    aim: tuple[int, int] | None = None
    arrows: tuple[Arrow, ...] = ()
    wrong: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Idea:
    """A move thought of: its probability as text, and as the length of a bar beside that of the likeliest."""

    text: str
    legal: bool
    probability: str
    share: float


@dataclass(frozen=True)
class Example:
    """An illegal move.

    Attributes:
        kind: why it is illegal, as in the tables.
        wanted: the move; nothing if the model wrote nothing that can be shown.
        probability: that it was given; nothing if that is not known.
        why: why it is illegal, in this position.
        when: number of the move and the side to move.
        played: the move of the game, or nothing.
        ideas: what it thought next.
        board: the position.
    """

    kind: str
    wanted: str
    probability: str
    why: str
    when: str
    played: str
    ideas: tuple[Idea, ...]
    board: Board


def examples_of(result: Mapping[str, Any]) -> tuple[Example, ...]:
    """The examples that a suite's result holds, without those that make no sense."""
    given = result.get("examples")
    found = (_example(mapping(each)) for each in (given[:MOST] if isinstance(given, list) else ()))
    return tuple(each for each in found if each)


def _example(given: Mapping[str, Any]) -> Example | None:
    wanted = mapping(given.get("wanted"))
    board = replayed(given.get("moves"))
    text, move = _text(wanted), _move(wanted)
    if board is None or board.is_game_over() or not (text or move):
        return None
    kind = boards.illegal_kind(board, move)
    if kind is None:
        return None
    played = read_move(str(given.get("played")))
    played = played if played and board.is_legal(played) else None
    # Where SAN names a piece that is not there, its square is anyone's guess.
    from_nowhere = kind is boards.Illegal.NO_PIECE and read_move(text) is None
    side = chess.COLOR_NAMES[board.turn].capitalize()
    name = in_words(board, move, text)
    return Example(
        kind=kind.value,
        wanted=name,
        probability=_probability(wanted),
        why=why(board, move, text),
        when=f"Move {board.fullmove_number}, {side}",
        played=board.san(played) if played else "",
        ideas=_ideas(board, given.get("next"), _share(wanted) or 0),
        board=_draw(board, move, played, from_nowhere, f"{side} to move; it wanted {name}"),
    )


def replayed(moves: Any) -> chess.Board | None:
    """The position after a game's moves in UCI; None if one of them is not legal."""
    board = chess.Board()
    try:
        for move in str(moves).split() if isinstance(moves, str) else ():
            board.push_uci(move)
    except ValueError:
        return None
    return board if isinstance(moves, str) else None


def _text(idea: Mapping[str, Any]) -> str:
    text = idea.get("text")
    return text[:LONGEST] if isinstance(text, str) else ""


def _move(idea: Mapping[str, Any]) -> chess.Move | None:
    return read_move(str(idea.get("move")))


def _share(idea: Mapping[str, Any]) -> float | None:
    share = number(idea.get("probability"))
    return None if share is None else min(1.0, max(0.0, share))


def _probability(idea: Mapping[str, Any]) -> str:
    share = _share(idea)
    return "" if share is None else percent(share, 1 if share >= 0.001 else 2)


def _ideas(board: chess.Board, given: Any, of_wanted: float) -> tuple[Idea, ...]:
    found = list(_thought(board, given))
    most = max([of_wanted, *(idea.share for idea in found)]) or 1
    return tuple(replace(idea, share=idea.share / most) for idea in found)


def _thought(board: chess.Board, given: Any) -> Iterator[Idea]:
    for idea in map(mapping, given[:MOST_IDEAS] if isinstance(given, list) else ()):
        text, move, share = _text(idea), _move(idea), _share(idea)
        if share is not None and (text or move):
            legal = move is not None and boards.illegal_kind(board, move) is None
            shown = board.san(move) if legal and move else in_words(board, move, text)
            yield Idea(shown, legal, _probability(idea), share)


def _draw(
    board: chess.Board, move: chess.Move | None, played: chess.Move | None, from_nowhere: bool, words: str
) -> Board:
    wanted = [] if move is None or from_nowhere or move.from_square == move.to_square else [("wanted", move)]
    king = board.king(board.turn)
    return Board(
        words=words,
        pieces=drawn(board),
        check=corner(king) if king is not None and board.is_check() else None,
        aim=corner(move.to_square) if move and not wanted else None,
        arrows=tuple(_arrow(kind, each) for kind, each in ([("played", played)] if played else []) + wanted),
    )


def drawn(board: chess.BaseBoard) -> tuple[tuple[int, int, str], ...]:
    """The pieces of a ``Board``."""
    return tuple(
        (*corner(square), f"{chess.COLOR_NAMES[piece.color]}-{chess.piece_name(piece.piece_type)}")
        for square, piece in board.piece_map().items()
    )


def corner(square: int) -> tuple[int, int]:
    """The upper left corner of a square, in the units of a board."""
    return chess.square_file(square) * SQUARE, (7 - chess.square_rank(square)) * SQUARE


def _arrow(kind: str, move: chess.Move) -> Arrow:
    (x1, y1), (x2, y2) = (
        [coordinate + SQUARE / 2 for coordinate in corner(square)] for square in (move.from_square, move.to_square)
    )
    length = math.hypot(x2 - x1, y2 - y1)
    across, down = (x2 - x1) / length, (y2 - y1) / length
    size = 0.55 * SQUARE
    neck_x, neck_y = x2 - across * size, y2 - down * size
    corners = [
        (x2, y2),
        (neck_x + down * size / 2, neck_y - across * size / 2),
        (neck_x - down * size / 2, neck_y + across * size / 2),
    ]
    return Arrow(kind, x1, y1, round(neck_x, 1), round(neck_y, 1), " ".join(f"{x:.1f},{y:.1f}" for x, y in corners))
