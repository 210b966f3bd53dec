"""A game followed on the board that a model believes in: what the results JSON says of it in, small boards out.

The JSON may be someone else's: what cannot be replayed or is no board is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import chess

from chesslm.report.examples import Board, corner, drawn, replayed
from chesslm.tables import mapping, number

MOST = 16
"""Boards of a game, at most."""


@dataclass(frozen=True)
class Belief:
    """The believed board after some plies, with what is wrong marked."""

    words: str
    board: Board


def beliefs_of(result: Mapping[str, Any]) -> tuple[Belief, ...]:
    """The believed boards of a suite's result, without those that make no sense."""
    given = mapping(result.get("belief"))
    positions = given.get("positions")
    moves = given.get("moves")
    board = replayed(moves)
    if board is None or not isinstance(positions, list):
        return ()
    return tuple(_beliefs(board.move_stack, positions[:MOST]))


def _beliefs(moves: Sequence[chess.Move], positions: Sequence[Any]) -> Iterator[Belief]:
    for position in map(mapping, positions):
        ply, pieces = number(position.get("ply")), str(position.get("pieces"))
        if ply is None or not 0 <= ply <= len(moves) or len(pieces) != 64 or set(pieces) - set(".PNBRQKpnbrqk"):
            continue
        true = chess.Board()
        for move in moves[: int(ply)]:
            true.push(move)
        shown = chess.BaseBoard(None)
        for square, symbol in enumerate(pieces):
            shown.set_piece_at(square, None if symbol == "." else chess.Piece.from_symbol(symbol))
        wrong = [square for square in chess.SQUARES if true.piece_at(square) != shown.piece_at(square)]
        last = f", {_numbered(true)}" if true.move_stack else ""
        says = "all right" if not wrong else f"{len(wrong)} wrong"
        yield Belief(
            f"Ply {ply:g}{last}: {says}",
            Board(
                words=f"The believed board after ply {ply:g}, {says}",
                pieces=drawn(shown),
                wrong=tuple(map(corner, wrong)),
            ),
        )


def _numbered(board: chess.Board) -> str:
    """The move that led there, as 12. Nf3 or 12... Nf6."""
    before = board.copy()
    move = before.pop()
    return f"{before.fullmove_number}{'.' if before.turn else '...'} {before.san(move)}"
