"""95 % intervals: bootstrap over games, Wilson's where trials are independent, the rule of three at 0 and 1.

Positions of one game are not independent, so whole games are drawn anew (Efron and Tibshirani 1993, ch. 8); the
figure of each resample is a ratio of sums over its games. Intervals say how much the choice of games matters,
nothing of training seeds. How often they hold the truth is in docs/metrics.md, Intervals.
"""

import math
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm.eval.results import Metric

RESAMPLES = 1000
Z = 1.959964
"""The normal distribution has 2.5 % above."""
Floats = NDArray[np.float64]


class Bootstrap:
    """Resamples of games, the same for every figure, so that differences of figures have intervals too.

    Args:
        games: how many there are.
        seed: of the resamples.
    """

    def __init__(self, games: int, seed: int) -> None:
        self.games, self.seed = games, seed

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """How often each resample holds each game, shape (RESAMPLES, games)."""
        rng = np.random.default_rng(self.seed)
        return rng.multinomial(self.games, np.full(self.games, 1 / self.games), RESAMPLES).astype(np.float32)

    def ratios(self, sums: Floats, counts: Floats) -> Floats:
        """Ratio of sums of each resample; not a number where a resample has no rows.

        Args:
            sums: of each game, (games, ...).
            counts: likewise.

        Returns:
            Shape (RESAMPLES, ...).
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.tensordot(self.weights, sums, 1) / np.tensordot(self.weights, counts, 1)

    def means(self, game: NDArray[np.int64], values: Floats) -> Floats:
        """Mean over rows in each resample, shape (RESAMPLES,); not a number where a resample has no rows.

        Args:
            game: of each row, (rows,).
            values: of each row, (rows,).
        """
        games, where = np.unique(game, return_inverse=True)
        weights = self.weights[:, games]
        with np.errstate(invalid="ignore", divide="ignore"):
            return weights @ np.bincount(where, values) / (weights @ np.bincount(where))

    def mean(self, game: NDArray[np.int64], values: Floats, rate: bool = True) -> Metric:
        """Mean over rows, with its interval; arguments as for ``means``, and whether it is a rate."""
        resampled = self.means(game, values)
        return of_resamples(float(values.mean()), resampled, len(values), len(np.unique(game)), rate)

    def ratio(
        self, game: NDArray[np.int64], above: NDArray[Any], below: NDArray[Any], *, n: int, games: int, rate: bool
    ) -> Metric:
        """A sum over rows over another one, with its interval.

        Args:
            game: of each row, (rows,).
            above, below: what is summed up, (rows,) each.
            n, games, rate: as for ``of_resamples``.
        """
        sums, counts = (np.bincount(game, each, self.games).astype(float) for each in (above, below))
        return of_resamples(float(above.sum() / below.sum()), self.ratios(sums, counts), n, games, rate)


def of_resamples(value: float, resampled: Floats, n: int, games: int, rate: bool) -> Metric:
    """A metric from its resamples.

    Args:
        value: over all games.
        resampled: of each resample, (RESAMPLES,).
        n: rows.
        games: games that have rows.
        rate: whether it is a rate, for which the rule of three holds at 0 and 1.
    """
    if rate and value in (0.0, 1.0) and games > 1:
        return Metric(value, *rule_of_three(value, games), n, resampled, games)
    return Metric(value, *_between(resampled, games), n, resampled, games)


def ends(games: int) -> tuple[float, float]:
    """Percentiles of the resamples that an interval goes from and to; those of the normal distribution at +-Z for many
    games, further out for few: 2.2 and 97.8 for 60, 1.6 and 98.4 for 20.

    The spread of the resamples is too small by sqrt((n - 1) / n) and known only from the n games themselves, for which
    Student's t makes up (Hesterberg 2015, the expanded percentile interval); both to first order in 1 / n.
    """
    tail = 100 * NormalDist().cdf(-Z * (1 + (Z**2 + 3) / (4 * (games - 1))))
    return tail, 100 - tail


def _between(resampled: Floats, games: int) -> tuple[float, float] | tuple[None, None]:
    """Low and high; one game alone says nothing of its spread, nor do a few resamples that happen to have rows."""
    if games < 2 or np.isnan(resampled).mean() > 0.5:
        return None, None
    low, high = np.nanpercentile(resampled, ends(games))
    return float(low), float(high)


def difference(metric: Metric, other: Metric) -> Metric | None:
    """How much a figure lies above another on the same games, with its paired interval; None if one has no resamples.

    Both were resampled alike, so the difference of the resampled figures is the resampled difference: what makes
    some games hard for both cancels out.
    """
    if metric.resampled is None or other.resampled is None:
        return None
    between = _between(metric.resampled - other.resampled, min(metric.games, other.games))
    return Metric(metric.value - other.value, *between, min(metric.n, other.n))


def rule_of_three(value: float, trials: int) -> tuple[float, float]:
    """Interval of a rate that was 0 or 1 in every trial (Hanley and Lippman-Hand 1983): 3 / trials wide."""
    width = min(1.0, 3 / trials)
    return (0.0, width) if value == 0 else (1 - width, 1.0)


def of_trials(successes: int, trials: int) -> Metric:
    """A rate of independent trials, with Wilson's score interval (Wilson 1927)."""
    rate = successes / trials
    if rate in (0.0, 1.0):
        return Metric(rate, *rule_of_three(rate, trials), trials)
    middle = (successes + Z**2 / 2) / (trials + Z**2)
    half = Z / (trials + Z**2) * math.sqrt(trials * rate * (1 - rate) + Z**2 / 4)
    return Metric(rate, middle - half, middle + half, trials)
