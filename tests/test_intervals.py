"""Intervals: closed forms at the edges, coverage in between, on games whose positions are not independent."""

import math

import numpy as np
import pytest

from chesslm.eval import intervals
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.results import Metric


def test_rule_of_three_is_over_games_at_both_ends() -> None:
    assert intervals.rule_of_three(0.0, 60) == (0.0, 0.05)
    assert intervals.rule_of_three(1.0, 60) == (0.95, 1.0)
    assert intervals.rule_of_three(1.0, 2) == (0.0, 1.0)


def test_rule_of_three_agrees_with_the_exact_bound() -> None:
    """The largest rate under which all of n trials fail with a chance of 5 %."""
    for trials in (30, 100, 1000):
        exact = 1 - 0.05 ** (1 / trials)
        assert intervals.rule_of_three(0.0, trials)[1] == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (7, 10), (499, 500)])
def test_wilson_solves_its_equation(successes: int, trials: int) -> None:
    metric = intervals.of_trials(successes, trials)
    assert metric.low is not None and metric.high is not None
    for bound in (metric.low, metric.high):
        assert abs(metric.value - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / trials), rel=1e-5)


def test_a_rate_at_its_edge_takes_the_rule_and_a_loss_does_not() -> None:
    resampled = np.ones(intervals.RESAMPLES)
    assert intervals.of_resamples(1.0, resampled, 900, 30, rate=True).low == 0.9
    assert intervals.of_resamples(1.0, resampled, 900, 30, rate=False).low == 1.0


def test_one_game_has_no_spread() -> None:
    metric = intervals.of_resamples(0.5, np.full(intervals.RESAMPLES, 0.5), 80, 1, rate=True)
    assert (metric.low, metric.high) == (None, None)


def test_ratios_weigh_games_by_their_length() -> None:
    """Sums over sums: of two games, one of 90 plies all right and one of 10 all wrong, 90 % are right."""
    bootstrap = Bootstrap(2, seed=1)
    ratios = bootstrap.ratios(np.array([90.0, 0.0]), np.array([90.0, 10.0]))
    of_each = {0: 0.0, 1: 0.9, 2: 1.0}
    assert ratios == pytest.approx([of_each[int(first)] for first in bootstrap.weights[:, 0]])


def test_means_are_ratios_of_the_games_that_have_rows() -> None:
    bootstrap, rng = Bootstrap(30, seed=2), np.random.default_rng(3)
    game, values = rng.choice([1, 4, 5, 20, 29], 60), rng.random(60)
    sums, counts = np.zeros(30), np.zeros(30)
    np.add.at(sums, game, values)
    np.add.at(counts, game, 1)
    np.testing.assert_allclose(bootstrap.means(game, values), bootstrap.ratios(sums, counts), rtol=1e-6)
    metric = bootstrap.mean(game, values)
    assert (metric.value, metric.n) == (pytest.approx(values.mean()), 60)
    assert bootstrap.mean(np.array([3, 3, 7]), np.ones(3)) == Metric(1.0, 0.0, 1.0, 3)
    assert bootstrap.mean(np.array([3, 3]), np.array([0.0, 1.0])) == Metric(0.5, None, None, 2)


def test_resamples_hold_as_many_games_as_there_are_and_follow_the_seed() -> None:
    weights = Bootstrap(40, seed=7).weights
    assert (weights.sum(1) == 40).all()
    assert (weights == Bootstrap(40, seed=7).weights).all()
    assert (weights != Bootstrap(40, seed=8).weights).any()


def test_coverage_where_positions_of_a_game_hang_together() -> None:
    """Games of unlike skill: the bootstrap covers the truth about as often as it says, Wilson over plies does not."""
    rng = np.random.default_rng(0)
    truth, covered, covered_by_plies, studies = 0.8, 0, 0, 200
    for seed in range(studies):
        skill = rng.beta(4 * truth, 4 * (1 - truth), 60)
        plies = rng.integers(40, 120, 60)
        right = rng.binomial(plies, skill).astype(float)
        ratios = Bootstrap(60, seed).ratios(right, plies.astype(float))
        metric = intervals.of_resamples(right.sum() / plies.sum(), ratios, int(plies.sum()), 60, rate=True)
        wilson = intervals.of_trials(int(right.sum()), int(plies.sum()))
        covered += holds(metric, truth)
        covered_by_plies += holds(wilson, truth)
    assert 0.89 <= covered / studies <= 0.99
    assert covered_by_plies / studies < 0.7


def holds(metric: Metric, truth: float) -> bool:
    """Whether the interval has the truth in it."""
    assert metric.low is not None and metric.high is not None
    return metric.low <= truth <= metric.high
