"""Writing games: a model chooses token after token, the rules of chess judge each move; many games at once.

Openings go in, written games come out, with how each ended. All rows hold equally many tokens at any time: as many as
every game has to begin with are read in one pass, then one token a row and pass, be it given (the rest of a longer
opening, a move number) or chosen. So rows need no padding and no mask, and a game leaves the batch once it is over.

A move is written as ``forks`` says. A token that ends a move without being part of it is thrown away, and the next
move begins with the same scores.

Cost with a model: one forward pass of one token a row for each token of the longest game, so 290 passes for games of
300 plies from 10 given ones in uci-move, 580 in uci-square; attention reads the keys and values of the whole row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards, generate
from chesslm.eval.steppers import Stepper, write_together
from chesslm.forks import Begun, Forks, choose

MAX_PLIES = generate.MAX_PLIES
"""A game that has not ended by then is broken off."""
GAMES_AT_ONCE = 100
"""Rows of a batch: 0.5 GB of keys and values for 8 layers of 256 at 300 tokens in fp32."""

Moves = tuple[chess.Move, ...]


class Ending(StrEnum):
    """How a written game ended."""

    ILLEGAL = "illegal move"
    CHECKMATE = "checkmate"
    STALEMATE = "stalemate"
    REPETITION = "draw by repetition"
    FIFTY_MOVES = "fifty moves"
    MATERIAL = "insufficient material"
    BROKEN_OFF = "300 plies"
    CONTEXT_FULL = "context full"


BY_THE_RULES = {
    chess.Termination.CHECKMATE: Ending.CHECKMATE,
    chess.Termination.STALEMATE: Ending.STALEMATE,
    chess.Termination.INSUFFICIENT_MATERIAL: Ending.MATERIAL,
    chess.Termination.FIFTY_MOVES: Ending.FIFTY_MOVES,
    chess.Termination.SEVENTYFIVE_MOVES: Ending.FIFTY_MOVES,
    chess.Termination.THREEFOLD_REPETITION: Ending.REPETITION,
    chess.Termination.FIVEFOLD_REPETITION: Ending.REPETITION,
}


@dataclass(frozen=True)
class WrittenGame:
    """A game that was written.

    Attributes:
        moves: all legal ones, those of the opening first.
        given: plies of the opening.
        ending: how it ended.
        illegal: why the move that ended it is illegal; None where none did.
    """

    moves: Moves
    given: int
    ending: Ending
    illegal: boards.Illegal | None = None

    @property
    def written(self) -> int:
        """Legal plies that were written."""
        return len(self.moves) - self.given


def write_games(
    stepper: Stepper,
    openings: Sequence[Moves],
    temperature: float = 0.0,
    seed: int = 1,
    at_once: int = GAMES_AT_ONCE,
    advance: Callable[[int], None] = lambda _: None,
) -> list[WrittenGame]:
    """Have a game written from each opening.

    Args:
        stepper: what chooses.
        openings: moves that are given, legal from the standard start.
        temperature: 0 takes the likeliest token (of equal ones the first of the vocabulary); above, tokens are drawn
            with scores divided by it.
        seed: with the number of a game and of the plies given to it, what all its draws come from: they do not depend
            on the other games, nor on how many are written at once (other than by the rounding of scores).
        at_once: rows of a batch.
        advance: told of games done.

    Returns:
        A game for each opening, in their order.
    """
    pen = _Pen(Forks(stepper.tokenizer), stepper.context, temperature)
    rows = [
        pen.start(opening, np.random.default_rng([seed, len(opening), number]))
        for number, opening in enumerate(openings)
    ]
    for first in range(0, len(rows), at_once):
        batch = rows[first : first + at_once]
        going_on = [row for row in batch if not row.is_over]
        advance(len(batch) - len(going_on))
        write_together(stepper, going_on, pen.write, advance)
    return [row.game() for row in rows]


@dataclass
class _Row:
    """A game being written.

    Attributes:
        board: with the legal moves so far.
        given: plies of the opening.
        random: what its draws come from.
        waiting: tokens of the game that are not read yet.
        length: tokens of the game, those included.
        begun: the move being written.
        before: the move before, as in ``Forks.moves_before``.
        ending: how it ended; None: it goes on.
        illegal: as in ``WrittenGame``.
    """

    board: chess.Board
    given: int
    random: np.random.Generator
    waiting: list[int] = field(default_factory=list)
    length: int = 0
    begun: Begun = ()
    before: Begun = ()
    ending: Ending | None = None
    illegal: boards.Illegal | None = None

    def add(self, ids: Sequence[int]) -> None:
        """More tokens of the game."""
        self.waiting += ids
        self.length += len(ids)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ending is not None

    def game(self) -> WrittenGame:
        """The game, once it has ended."""
        assert self.ending
        return WrittenGame(tuple(self.board.move_stack), self.given, self.ending, self.illegal)


@dataclass(frozen=True)
class _Pen:
    """How games are written: the notation's forks, the tokens that fit into a row, and how a token is chosen."""

    forks: Forks
    context: int
    temperature: float

    def start(self, opening: Moves, random: np.random.Generator) -> _Row:
        """A game of which only the opening is there."""
        row = _Row(chess.Board(), len(opening), random)
        for move in opening:
            row.board.push(move)
        game = self.forks.tokenizer.encode(boards.to_codes(opening))
        row.add(game.ids.tolist())
        row.before = self.forks.moves_before(game)[-1]
        self._next_move(row)
        return row

    def write(self, row: _Row, scores: NDArray[np.float32]) -> None:
        """Choose the next token, by the scores after all tokens of a game that goes on."""
        while not row.waiting and row.ending is None:
            may_follow = self.forks.may_follow(scores, row.begun, row.before)
            begun, over = self.forks.step(row.begun, choose(may_follow, self.temperature, row.random))
            row.add(begun[len(row.begun) :])
            row.begun = begun
            if over:
                self._end_move(row)
        self._check_room(row)

    def _end_move(self, row: _Row) -> None:
        """Make the move that is written, or end the game with it."""
        move = self.forks.tokenizer.notation.parse(self.forks.tokens(row.begun), row.board)
        row.illegal = boards.illegal_kind(row.board, move)
        if row.illegal or move is None:
            row.ending = Ending.ILLEGAL
            return
        row.board.push(move)
        row.begun, row.before = (), row.begun
        self._next_move(row)

    def _next_move(self, row: _Row) -> None:
        """End the game if it is over, else put down what stands before its next move."""
        outcome = boards.outcome(row.board)
        if outcome:
            row.ending = BY_THE_RULES[outcome.termination]
        elif row.board.ply() >= MAX_PLIES:
            row.ending = Ending.BROKEN_OFF
        else:
            if lead := self.forks.tokenizer.lead(row.board.ply()):
                row.add(lead)
                row.before = ()
            self._check_room(row)

    def _check_room(self, row: _Row) -> None:
        if row.ending is None and row.length >= self.context:
            row.ending = Ending.CONTEXT_FULL
