"""Choices: what a player thought of, what it played, and how it is to choose. Needs nothing heavy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import chess

from chesslm.errors import InputError

if TYPE_CHECKING:
    from chesslm.boards import Illegal

POLICIES = ("mask", "retry")
DRAWS = 3
"""Raw choices that ``retry`` makes at most."""
POLICY_SAYS = {
    "mask": "Policy mask: it chooses again among the legal moves alone.",
    "retry": "Policy retry: its next draw is legal.",
    "context": "The game is longer than the model can look back: a random legal move.",
    "history": "No moves lead to this position from the start, and a model reads nothing else: a random legal move.",
}


@dataclass(frozen=True)
class Candidate:
    """A move that a player thinks of.

    Attributes:
        text: the word of the move, in UCI or SAN as the notation has it; what is junk in quotation marks.
        move: None if the text is no move, or that of a piece that is not there and of which SAN names no square.
        probability: in [0, 1], of this text among all that could be written, illegal moves included.
        illegal: why it cannot be played; None if it can.
    """

    text: str
    move: chess.Move | None
    probability: float
    illegal: "Illegal | None"


@dataclass(frozen=True)
class Style:
    """How a model's player chooses.

    Attributes:
        policy: what to do about an illegal raw choice: mask or retry.
        temperature: 0 takes the likeliest token; above, tokens are drawn with logits divided by it.
        top_p: share of the probability that is drawn from, the likeliest first; 1: all.

    Raises:
        InputError: no such policy, temperature or share.
    """

    policy: str = "mask"
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"unknown policy {self.policy!r}; policies are {' and '.join(POLICIES)}")
        if self.temperature != 0 and not 0.01 <= self.temperature <= 100:
            raise InputError(f"the temperature is 0 or from 0.01 to 100, not {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top p is a share above 0, at most 1, not {self.top_p:g}")


@dataclass(frozen=True)
class Choice:
    """A player's move and how it came about.

    Attributes:
        move: the legal move to play.
        raw: raw choices in the order they were made; a legal one is the last, and is the move.
        policy: None where the first raw choice is the move, else what led to it: ``mask``, ``retry`` or, where the
            model could not be asked, ``context`` or ``history``.
        candidates: as ``Player.candidates`` gives them.
    """

    move: chess.Move
    raw: tuple[Candidate, ...]
    policy: str | None
    candidates: tuple[Candidate, ...]


class Player(Protocol):
    """Anything that chooses moves. Boards carry the moves of their games."""

    @property
    def name(self) -> str:
        """What to call it in tables and PGN."""
        ...

    def candidates(self, board: chess.Board) -> tuple[Candidate, ...]:
        """Its likeliest moves and every legal one, likeliest first; empty where it cannot say."""
        ...

    def choose(self, board: chess.Board) -> Choice:
        """Its move in a game that is not over; the board is not changed."""
        ...


def explained(choice: Choice) -> list[str]:
    """What was illegal about the raw choices and what the policy made of it; empty where nothing was."""
    illegal = [raw for raw in choice.raw if raw.illegal]
    lines = [f"raw choice {raw.text} ({raw.probability:.1%}) is illegal: {raw.illegal}." for raw in illegal]
    return [*lines, POLICY_SAYS[choice.policy]] if choice.policy else lines
