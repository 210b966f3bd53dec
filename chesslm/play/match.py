"""Matches: a model plays others, two games from each opening with colours swapped; a PGN comes out, game by game.

Several games are played side by side, so that a model reads all its boards in one pass while engines think. A game ends
by the rules (a draw that may be claimed is one), or where a side loses it by an illegal move, by hanging or by dying.
Every game is in the PGN as soon as it has ended (``record``); the same command goes on with those that are missing.
"""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import chess
import numpy as np

from chesslm import boards, files
from chesslm.bundled import bundled
from chesslm.errors import InputError
from chesslm.game import Game
from chesslm.pgn import read_games
from chesslm.play.choice import Style
from chesslm.play.record import Played, Player, Record, table
from chesslm.play.sides import Answer, EngineSide, Side, Turn, side
from chesslm.progress import counting
from chesslm.streams import Source

OPENING_PLIES = 8
POLICIES = ("mask", "retry", "strict")


@dataclass(frozen=True)
class Fixture:
    """A game to be played.

    Attributes:
        pair: number of its pair.
        second: whether it is the second game of it, in which the first side has Black.
        opening: moves that are given.
    """

    pair: int
    second: bool
    opening: tuple[chess.Move, ...]

    @property
    def round(self) -> str:
        """As in the PGN."""
        return f"{self.pair + 1}.{self.second + 1}"


@dataclass
class Live:
    """A game that is being played.

    Attributes:
        fixture: which one.
        board: the position with its moves.
        chosen: moves chosen by White and Black.
        illegal: those of which the raw choice was illegal.
        ending: result and how it came about; None while it goes on.
    """

    fixture: Fixture
    board: chess.Board = field(default_factory=chess.Board)
    chosen: Counter[chess.Color] = field(default_factory=Counter)
    illegal: Counter[chess.Color] = field(default_factory=Counter)
    ending: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for move in self.fixture.opening:
            self.board.push(move)

    def take(self, answer: Answer) -> None:
        """Play a move, or end the game."""
        mover = self.board.turn
        self.chosen[mover] += 1
        self.illegal[mover] += answer.illegal
        if answer.move is None:
            self.ending = ("0-1" if mover == chess.WHITE else "1-0", answer.why)
            return
        self.board.push(answer.move)
        if outcome := boards.outcome(self.board):
            self.ending = (outcome.result(), outcome.termination.name.replace("_", " ").lower())

    def played(self, sides: Sequence[Player]) -> Played:
        """The game once it has ended, between the two sides."""
        assert self.ending
        result, how = self.ending
        players = (sides[self.fixture.second], sides[not self.fixture.second])
        white, black = (f"{self.illegal[color]} of {self.chosen[color]}" for color in (chess.WHITE, chess.BLACK))
        given = len(self.fixture.opening)
        return Played(self.board, self.fixture.round, players, given, (white, black), result, how)

    def mover(self) -> int:
        """Which of the two sides is to move."""
        return int((self.board.turn == chess.BLACK) != self.fixture.second)


def match(
    model: str,
    against: Sequence[str],
    out: Path,
    games: int = 100,
    policy: str = "mask",
    temperature: float = 0.0,
    openings: str | None = None,
    at_once: int = 8,
    seed: int = 1,
    device: str = "auto",
    quiet: bool = False,
) -> list[str]:
    """Play a match against each opponent.

    Args:
        model: the first side: a model or, as for the opponents, random or an engine (``sides``).
        against: the opponents.
        out: the PGN; games of this match that are in it already are not played again.
        games: against each, an even number.
        policy: of models: mask, retry, or strict, where an illegal raw choice loses the game.
        temperature: of models.
        openings: a PGN whose games' first plies are played from; None: the bundled ones.
        at_once: games played side by side.
        seed: of the choice of openings and of every draw.
        device: of models.
        quiet: no progress.

    Returns:
        The table, a line for each opponent, in Markdown.

    Raises:
        InputError: arguments that make no sense, or a PGN of something else, or of a model that had other weights.
        FailureError: the disk is full.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown policy {policy!r}; policies are {', '.join(POLICIES)}")
    if games < 2 or games % 2:
        raise InputError(f"--games {games}: games come in pairs, so give an even number")
    style, strict = Style("mask" if policy == "strict" else policy, temperature), policy == "strict"
    lines = read_openings(openings or str(bundled("openings.pgn")[0]))
    if len(lines) < games // 2:
        raise InputError(f"{games} games need {games // 2} openings, and there are {len(lines)}")
    order = np.random.default_rng(seed).permutation(len(lines))[: games // 2]
    fixtures = [Fixture(pair, second, lines[n]) for pair, n in enumerate(order.tolist()) for second in (False, True)]
    digest = hashlib.sha256(repr(lines).encode()).hexdigest()[:8]
    names: list[str] = []
    with files.alone_at(out):
        record = Record(out, f"seed {seed}, openings {digest}")
        one = side(model, style, strict, seed, device)
        for spec in against:
            other = side(spec, style, strict, seed + 1, device)
            with counting(games, quiet) as advance:
                asyncio.run(_play((one, other), fixtures, record, at_once, advance))
            names.append(other.name)
    return [f"{one.name}:", "", *table(record, one.name, names)]


async def _play(
    sides: tuple[Side, Side],
    fixtures: Sequence[Fixture],
    record: Record,
    at_once: int,
    advance: Callable[[], None],
) -> None:
    """Play the games that are not recorded yet, some at a time."""
    live: dict[int, Live] = {}
    try:
        for each in sides:
            if isinstance(each, EngineSide):
                await each.start()
        players = [Player(each.name, each.weights) for each in sides]
        if players[0].name == players[1].name:
            raise InputError(f"both sides are called {players[0].name}, so nobody could tell who won")
        record.check(players)
        done = {headers["Round"] for headers in record.of(*(each.name for each in players))}
        for _ in done:
            advance()
        waiting = deque(fixture for fixture in fixtures if fixture.round not in done)
        while waiting or live:
            for slot in set(range(at_once)) - live.keys():
                if waiting:
                    live[slot] = Live(waiting.popleft())
            await asyncio.gather(*(_move(n, each, live) for n, each in enumerate(sides)))
            for slot in [slot for slot, game in live.items() if game.ending]:
                record.add(live.pop(slot).played(players))
                advance()
    finally:
        for each in sides:
            await each.close()


async def _move(number: int, mover: Side, live: Mapping[int, Live]) -> None:
    """Have a side move on all boards where it is its turn now."""
    slots = [slot for slot, game in live.items() if game.mover() == number]
    turns = [Turn(live[slot].board, 2 * live[slot].fixture.pair + live[slot].fixture.second, slot) for slot in slots]
    for slot, answer in zip(slots, await mover.answers(turns) if turns else (), strict=True):
        live[slot].take(answer)


def read_openings(path: str) -> list[tuple[chess.Move, ...]]:
    """The first plies of the games of a PGN, each once, as far as there is a game to be played from there.

    Raises:
        InputError: it cannot be read.
    """
    found: dict[tuple[chess.Move, ...], None] = {}
    with closing(read_games([Source(path)], workers=1)) as games:
        for _, game in games:
            if isinstance(game, Game):
                moves = tuple(boards.to_moves(game.codes[:OPENING_PLIES]))
                *_, last = boards.replay(moves)
                if boards.outcome(last) is None:
                    found[moves] = None
    return list(found)
