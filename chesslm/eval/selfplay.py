"""Suite ``selfplay``: games that a model writes alone, to their end or an illegal move (docs/metrics.md, Free running).

What chooses tokens goes in (``steppers``), metrics with intervals and breakdowns come out. The games are written in
``writing``; here are the openings they start from, and what follows from how they ended. Games are independent trials:
Wilson's intervals for rates of them, a bootstrap over games for the rest.

How long a model stays legal is a matter of survival: an illegal move is the death of a game, while mate, a draw or the
300th ply only end its being watched. The estimate is Kaplan and Meier's (1958).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval import intervals
from chesslm.eval.games import RANDOM_NUMBERS
from chesslm.eval.intervals import Bootstrap, Floats
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.steppers import Stepper
from chesslm.eval.writing import GAMES_AT_ONCE, Ending, Moves, WrittenGame, write_games
from chesslm.generate import random_opening

GAMES = 200
"""Games of each setting, but for the one greedy game from the start."""
PLIES_A_POINT = 10
"""The curve of survival is given at so many plies, twice as many, and so on."""
UNIQUE_AT = 20
"""Ply at which games are compared."""
HALF = 0.5 + 1e-9
"""A product of fractions that is one half is rounded."""


@dataclass(frozen=True)
class Setting:
    """How games are written.

    Attributes:
        given: plies of the random opening.
        temperature: 0 is greedy, 1 the model's own probabilities.
    """

    given: int
    temperature: float

    @property
    def name(self) -> str:
        """As in the results."""
        start = f"{self.given} random plies" if self.given else "start"
        return f"{'sampled' if self.temperature else 'greedy'}, {start}"

    def n_games(self, games: int) -> int:
        """Number of games, where so many are asked for: greedy play from one position is one game."""
        return games if self.given or self.temperature else 1


SETTINGS = tuple(Setting(given, temperature) for temperature in (0.0, 1.0) for given in (0, 10, 20))
HEADLINE = Setting(10, 0.0)
"""The setting of the metrics of the whole suite."""
FROM_THE_START = Setting(0, 1.0)
"""The setting in which games are looked at for being different."""


def selfplay(
    stepper: Stepper,
    seed: int = 1,
    games: int = GAMES,
    at_once: int = GAMES_AT_ONCE,
    advance: Callable[[int], None] = lambda _: None,
) -> Result:
    """Have games written in every setting, and measure them.

    Args:
        stepper: a model (``ModelStepper``), or any scorer.
        seed: of openings, draws and intervals.
        games: of each setting.
        at_once: games written at the same time.
        advance: told of games done, ``total_games`` in all.
    """
    return summarize(play(stepper, seed, games, at_once, advance), seed)


def total_games(games: int = GAMES) -> int:
    """Number of games of all settings."""
    return sum(setting.n_games(games) for setting in SETTINGS)


def play(
    stepper: Stepper,
    seed: int = 1,
    games: int = GAMES,
    at_once: int = GAMES_AT_ONCE,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[Setting, list[WrittenGame]]:
    """The games of every setting."""
    played: dict[Setting, list[WrittenGame]] = {}
    for setting in SETTINGS:
        openings = random_openings(setting.given, setting.n_games(games), seed)
        played[setting] = write_games(stepper, openings, setting.temperature, seed, at_once, advance)
    return played


def random_openings(plies: int, games: int, seed: int) -> list[Moves]:
    """The first plies of games of uniformly random legal moves, none of them over by then, no two alike.

    They are those of ``chesslm generate --by random``, with numbers that games for training never have.
    """
    if not plies:
        return [()] * games
    found: dict[Moves, None] = {}
    number = RANDOM_NUMBERS
    while len(found) < games:
        moves = tuple(random_opening(number, seed, plies))
        *_, last = boards.replay(moves)
        if len(moves) == plies and boards.outcome(last) is None:
            found[moves] = None
        number += 1
    return list(found)


def summarize(played: Mapping[Setting, Sequence[WrittenGame]], seed: int) -> Result:
    """Metrics and breakdowns of written games."""
    metrics: Metrics = {}
    by: dict[str, dict[str, Metrics]] = {"setting": {}}
    for setting, games in played.items():
        survival = Survival.of(games, seed)
        found = _fully_legal(games, seed) | survival.metrics()
        unique = _unique(games) if setting == FROM_THE_START else {}
        by["setting"][setting.name] = found | unique
        metrics |= unique
        if setting == HEADLINE:
            metrics |= found
        for name, groups in _breakdowns(games, survival):
            if setting == HEADLINE:
                by[name] = groups
            by[f"{name} {setting.name}"] = groups
    return Result(metrics, by)


def _fully_legal(games: Sequence[WrittenGame], seed: int) -> Metrics:
    """A game that did not fit into the context is not known to be legal to its end, and is not counted as such."""
    to_the_end = np.array([game.ending not in (Ending.ILLEGAL, Ending.CONTEXT_FULL) for game in games], np.float64)
    resampled = Bootstrap(len(games), seed).weights @ to_the_end / len(games)
    rate = intervals.of_trials(int(to_the_end.sum()), len(games))
    return {"fully_legal_games": replace(rate, resampled=resampled, games=len(games))}


def _unique(games: Sequence[WrittenGame]) -> Metrics:
    """Share of different move sequences; a resample holds games twice, so there is no interval."""
    there = [game.moves[:UNIQUE_AT] for game in games if len(game.moves) >= UNIQUE_AT]
    return {f"unique_at_ply_{UNIQUE_AT}": Metric(len(set(there)) / len(there), None, None, len(there))} if there else {}


def _breakdowns(games: Sequence[WrittenGame], survival: "Survival") -> Iterator[tuple[str, dict[str, Metrics]]]:
    """How games end, kinds of illegal move, the curve of survival; what there is none of is left out."""
    endings = Counter(game.ending for game in games)
    yield "ending", _shares({ending.value: endings[ending] for ending in Ending}, len(games))
    kinds = Counter(game.illegal for game in games if game.illegal)
    if kinds:
        yield "illegal", _shares({kind.value: kinds[kind] for kind in boards.Illegal}, kinds.total())
    if curve := survival.curve():
        yield "survival", curve


def _shares(counts: Mapping[str, int], total: int) -> dict[str, Metrics]:
    """Share of each; where there is one alone, of that one."""
    return {name: {"share": intervals.of_trials(n, total)} for name, n in counts.items() if n or total > 1}


@dataclass(frozen=True)
class Survival:
    """The Kaplan-Meier estimate of how many legal plies are written before the first illegal move.

    M is the number of moves asked for in the longest game. ``legal[m - 1]`` is the estimated probability that the first
    m moves are all legal: the product over i up to m of 1 - d(i) / n(i), where n(i) games were asked for an i-th move
    and d(i) of them answered with an illegal one. No game is counted where it was not asked, so ties between illegal
    moves and other endings need no rule.

    Attributes:
        games: how many there are.
        asked: games that were asked for each move, (M,).
        legal: the estimate over all games, (M,).
        resampled: of each resample of the games, (RESAMPLES, M).
    """

    games: int
    asked: Floats
    legal: Floats
    resampled: Floats

    @classmethod
    def of(cls, games: Sequence[WrittenGame], seed: int) -> "Survival":
        """The estimate for some games."""
        written = np.array([game.written for game in games])
        illegal = np.array([game.ending is Ending.ILLEGAL for game in games])
        n = len(games)
        asked, legal = kaplan_meier(written, illegal, np.ones((1, n)))
        _, resampled = kaplan_meier(written, illegal, Bootstrap(n, seed).weights.astype(np.float64))
        return cls(n, asked[0], legal[0], resampled)

    def metrics(self) -> Metrics:
        """Mean and median."""
        if not len(self.asked):
            return {}
        value, resampled = float(self.legal.sum()), self.resampled.sum(1)
        mean = intervals.of_resamples(value, resampled, self.games, self.games, rate=False)
        if np.ptp(resampled) == 0:
            mean = replace(mean, low=None, high=None)
        found = {"plies_to_illegal": mean}
        if self.games > 1 and self.legal[-1] <= HALF:
            found["plies_to_illegal_median"] = self._median()
        return found

    def _median(self) -> Metric:
        """The fewest plies that at most half of the games outlive; a resample that keeps more has it at infinity."""
        medians = np.where(self.resampled[:, -1] <= HALF, (self.resampled <= HALF).argmax(1), np.inf)
        between = np.percentile(medians, intervals.ends(self.games), method="nearest")
        low, high = (float(end) if np.isfinite(end) else None for end in between)
        return Metric(float((self.legal <= HALF).argmax()), low, high, self.games)

    def curve(self) -> dict[str, Metrics]:
        """The estimate every so many plies, as far as games were asked; none of one game alone."""
        points = range(PLIES_A_POINT, len(self.legal) + 1, PLIES_A_POINT) if self.games > 1 else ()
        return {str(m): {"legal": self._point(m)} for m in points}

    def _point(self, m: int) -> Metric:
        """For the rule of three, as many games stand behind it as would leave those asked (Peto et al. 1977)."""
        asked = int(self.asked[m - 1])
        behind = round(asked / self.legal[m - 2])
        return intervals.of_resamples(float(self.legal[m - 1]), self.resampled[:, m - 1], asked, behind, rate=True)


def kaplan_meier(written: NDArray[np.int64], illegal: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """The estimates of K weighted samples of games.

    Args:
        written: legal plies of each game, (games,).
        illegal: whether an illegal move came after them, (games,).
        weights: how often each sample holds each game, (K, games).

    Returns:
        Games asked for an m-th move, and the probability that all moves up to it are legal, both (K, M). Where no game
        of a sample was asked any more, the estimate stays as it is.
    """
    moves = 1 + np.arange((written + illegal).max(initial=0))
    asked = weights @ (moves <= (written + illegal)[:, None])
    failed = weights @ (illegal[:, None] & (moves == written[:, None] + 1))
    return asked, np.cumprod(1 - failed / np.maximum(asked, 1), axis=1)
