"""The two sides of a match: boards on which a side has to move go in, its moves come out, for all boards at once.

    random                              uniformly random legal moves
    stockfish:skill=0,nodes=1000        a UCI engine: its command, then limits and options
    checkpoints/mine                    a model: a folder or a hub id

Limits of an engine are nodes, depth and movetime (in milliseconds); 1,000 nodes where none is given, since what time
is worth depends on the machine. ``skill`` is Stockfish's Skill Level, ``random`` the share of its moves that are random
ones instead, and any other name an option of the engine's.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import chess
import chess.engine
import numpy as np

from chesslm import engines
from chesslm.checkpoint import find_model, is_hub_id
from chesslm.errors import FailureError, InputError
from chesslm.play.choice import Style
from chesslm.play.player import ModelPlayer, RandomPlayer

LIMITS = ("nodes", "depth", "movetime")
NODES = 1000
SECONDS = 60.0
"""How long an engine may take for a move, beyond the time that it was given."""


@dataclass(frozen=True)
class Turn:
    """A board on which a side has to move.

    Attributes:
        board: with its moves.
        game: its number.
        slot: of the boards that are played on side by side, which one.
    """

    board: chess.Board
    game: int
    slot: int


@dataclass(frozen=True)
class Answer:
    """What a side does.

    Attributes:
        move: a legal one; None: it has lost.
        why: it has lost.
        illegal: whether the raw choice of a model was illegal.
    """

    move: chess.Move | None
    why: str = ""
    illegal: bool = False


class Side(Protocol):
    """One side of a match."""

    @property
    def name(self) -> str:
        """As in the PGN."""
        ...

    @property
    def weights(self) -> str:
        """Of a model, as in ``record.Player``."""
        ...

    async def answers(self, turns: Sequence[Turn]) -> list[Answer]:
        """What it does on each board."""
        ...

    async def close(self) -> None:
        """End the processes that it has started."""
        ...


class PlayerSide:
    """A model, or the random player, in this process.

    Args:
        player: who chooses.
        seed: with the number of a game and of a ply, what a move is drawn from, whatever was drawn before.
        strict: whether an illegal raw choice loses the game.
        weights: of a model, as in ``record.Player``.
    """

    def __init__(self, player: ModelPlayer | RandomPlayer, seed: int, strict: bool = False, weights: str = "") -> None:
        self._player, self._seed, self._strict = player, seed, strict
        self.name, self.weights = player.name, weights
        if isinstance(player, ModelPlayer):
            temperature = f", temperature {player.style.temperature:g}" if player.style.temperature else ""
            self.name += f" ({'strict' if strict else player.style.policy}{temperature})"

    async def answers(self, turns: Sequence[Turn]) -> list[Answer]:
        """Moves that are thought about while engines think."""
        draws = [_draws(self._seed, turn) for turn in turns]
        choices = await asyncio.to_thread(self._player.choose_all, [turn.board for turn in turns], draws)
        found: list[Answer] = []
        for choice in choices:
            wrong = choice.raw[0] if choice.raw and choice.raw[0].illegal else None
            why = f"illegal move {wrong.text}: {wrong.illegal}" if wrong and self._strict else ""
            found.append(Answer(None if why else choice.move, why, wrong is not None))
        return found

    async def close(self) -> None:
        """Nothing was started."""


@dataclass(frozen=True)
class EngineSpec:
    """An engine and how strong it is.

    Attributes:
        command: its words, the path first.
        limits: of each move.
        options: by name.
        random: share of moves that are random.
        said: the part of its name that says all this.
    """

    command: tuple[str, ...]
    limits: dict[str, int] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    random: float = 0.0
    said: str = ""


class EngineSide:
    """A UCI engine, a process for each board; one that hangs or dies loses the game and is started again.

    Args:
        spec: the engine.
        seed: with the number of a game and of a ply, what a random move is drawn from.
    """

    def __init__(self, spec: EngineSpec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self._engines: dict[int, tuple[AsyncExitStack, chess.engine.UciProtocol]] = {}
        self._limit = chess.engine.Limit(
            nodes=spec.limits.get("nodes"),
            depth=spec.limits.get("depth"),
            time=spec.limits["movetime"] / 1000 if "movetime" in spec.limits else None,
        )
        self.name, self.weights = Path(spec.command[0]).name, ""

    async def start(self) -> None:
        """Start the engine for the first board, to learn its name.

        Raises:
            InputError: it is no UCI engine, or has no such option.
        """
        engine = await self._engine(0)
        self.name = f"{engine.id.get('name', self.name)} {self._spec.said}".strip()

    async def answers(self, turns: Sequence[Turn]) -> list[Answer]:
        """All engines think at once."""
        return await asyncio.gather(*map(self._answer, turns))

    async def close(self) -> None:
        """End all of them."""
        for slot in list(self._engines):
            await self._end(slot)

    async def _answer(self, turn: Turn) -> Answer:
        random = _draws(self._seed, turn)
        if random.random() < self._spec.random:
            legal = list(turn.board.generate_legal_moves())
            return Answer(legal[random.integers(len(legal))])
        try:
            engine = await self._engine(turn.slot)
            played = engine.play(turn.board, self._limit, game=turn.game)
            answer = await asyncio.wait_for(played, SECONDS + (self._limit.time or 0.0))
        except (chess.engine.EngineError, FailureError, TimeoutError) as error:
            await self._end(turn.slot)
            return Answer(None, f"engine failed: {str(error) or 'no move in time'}")
        return Answer(answer.move, "" if answer.move else "resigned")

    async def _engine(self, slot: int) -> chess.engine.UciProtocol:
        if slot not in self._engines:
            stack = AsyncExitStack()
            engine = await stack.enter_async_context(engines.open_engine(list(self._spec.command)))
            self._engines[slot] = stack, engine
            try:
                await engine.configure(self._spec.options)
            except chess.engine.EngineError as error:
                await self._end(slot)
                raise InputError(f"{self.name}: {error}") from error
        return self._engines[slot][1]

    async def _end(self, slot: int) -> None:
        if slot in self._engines:
            stack, _ = self._engines.pop(slot)
            await stack.aclose()


def _draws(seed: int, turn: Turn) -> np.random.Generator:
    """What a move is drawn from: the same when a match that was interrupted goes on."""
    return np.random.default_rng([seed, turn.game, turn.board.ply()])


def side(spec: str, style: Style, strict: bool, seed: int, device: str = "auto") -> PlayerSide | EngineSide:
    """The side that a word on the command line means; an engine is not started yet.

    Raises:
        InputError: it is neither random, a model nor an engine.
    """
    if spec == "random":
        return PlayerSide(RandomPlayer(), seed)
    if Path(spec).is_dir() or (is_hub_id(spec) and not Path(spec).exists()):
        from chesslm.model import load_model

        loaded = load_model(find_model(spec), None, device, precision="fp32")
        return PlayerSide(ModelPlayer(loaded, style), seed, strict, (loaded.sha256 or "")[:8])
    return EngineSide(engine_spec(spec), seed)


def engine_spec(text: str) -> EngineSpec:
    """An engine from its command line and what follows behind a colon.

    Raises:
        InputError: there is no such command, or a limit makes no sense.
    """
    line, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail:
        line, tail = text, ""
    limits, options, random = dict[str, int](), dict[str, str](), 0.0
    for pair in filter(None, tail.split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        try:
            if name in LIMITS:
                limits[name] = int(value)
            elif name == "random":
                random = float(value)
            else:
                options["Skill Level" if name == "skill" else name] = value
        except ValueError as error:
            raise InputError(f"{text}: {name} is a number, not {value!r}") from error
    if not 0 <= random <= 1 or any(limit < 1 for limit in limits.values()):
        raise InputError(f"{text}: limits are 1 or more, and random is a share")
    limits = limits or {"nodes": NODES}
    shown = {**limits, **{name.lower().replace(" level", ""): value for name, value in options.items()}}
    shown |= {"random": random} if random else {}
    said = ",".join(f"{name}={value}" for name, value in sorted(shown.items()))
    return EngineSpec(tuple(engines.engine_command(line)), limits, options, random, said)
