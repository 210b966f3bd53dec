"""Intervals: closed forms at the edges, coverage in between, on games whose positions are not independent."""

import math

import numpy as np
import pytest
from scipy import stats

from chesslm.eval import intervals
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.legality import Groups, Rows, Tables
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
    never = intervals.of_resamples(0.0, np.zeros(intervals.RESAMPLES), 80, 1, rate=True)
    assert (never.low, never.high) == (None, None)


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    """An average over twenty items with a row each: a resample that has them all has them all alike."""
    bootstrap = Bootstrap(20, seed=1)
    items = [bootstrap.means(np.array([game]), np.array([game / 20])) for game in range(20)]
    metric = intervals.of_resamples(0.475, np.mean(items, axis=0), 20, 20, rate=True)
    assert (metric.low, metric.high) == (None, None)
    assert intervals.difference(metric, metric) == Metric(0.0, None, None, 20)


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


# Coverage: how often an interval holds the truth, which is known where the games are made up

STUDIES_AT_ONCE = 200
SPREAD = 0.45
"""Standard deviation of the logarithm of a game's length, about 85 plies; as that of our engine games."""
HARDER = 0.2
"""By how much the logarithm of a game's illegal share rises with each of these; the released model's does by 0.2."""
ALIKE = 50
"""How much the plies of a game hang together: a game's own rate is drawn from a beta distribution of so many
pseudo-plies. The released model's legality on engine games has 45 to 70, be it on all plies or on the first 30.
"""


def played(rng: np.random.Generator, games: int, rate: float, harder: float) -> tuple[np.ndarray, np.ndarray]:
    """Legal plies and plies of each game in many studies, (games, studies); a long game has more illegal ones."""
    z = rng.standard_normal((games, STUDIES_AT_ONCE))
    illegal = (1 - rate) * np.exp(harder * z)
    plies = rng.poisson(85 * np.exp(SPREAD * z))
    return rng.binomial(plies, rng.beta(ALIKE * (1 - illegal), ALIKE * illegal)).astype(float), plies.astype(float)


def true_rate(rate: float, harder: float) -> float:
    """Expected legal plies of a game over its expected plies."""
    return 1 - (1 - rate) * math.exp(harder * SPREAD + harder**2 / 2)


@pytest.mark.parametrize(
    ("games", "rate", "harder", "least"),
    [
        (20, 0.8, 0.0, 0.93),
        (60, 0.8, 0.0, 0.93),
        (60, 0.8, HARDER, 0.93),
        (60, 0.9, HARDER, 0.93),
        (60, 0.98, 0.0, 0.93),
        (120, 0.98, HARDER, 0.93),
        (500, 0.98, HARDER, 0.93),
        # Too few games have an illegal move in them: docs/metrics.md says so.
        (20, 0.9, HARDER, 0.91),
        (20, 0.98, HARDER, 0.88),
        (60, 0.98, HARDER, 0.91),
    ],
)
def test_intervals_over_games_hold_the_truth(games: int, rate: float, harder: float, least: float) -> None:
    """In 4,000 studies of games of unlike length and skill; ``pytest -s`` tells the shares that docs/metrics.md has."""
    rng, truth, covered, studies = np.random.default_rng(1), true_rate(rate, harder), 0, 0
    for seed in range(20):
        right, plies = played(rng, games, rate, harder)
        ratios = Bootstrap(games, seed).ratios(right, plies)
        for value, resampled in zip(right.sum(0) / plies.sum(0), ratios.T, strict=True):
            covered += holds(intervals.of_resamples(value, resampled, 1, games, rate=True), truth)
            studies += 1
    print(f"{games} games, {rate}, {harder}: {covered / studies:.3f}")
    assert studies == 4000
    assert least <= covered / studies <= 0.97


def test_intervals_from_plies_hold_the_truth() -> None:
    """The whole way of the suite: short games ply by ply, a study to a group. Plies taken for trials do not hold it."""
    games, truth, rng = 60, 0.9, np.random.default_rng(1)
    covered = covered_by_plies = 0
    names = [str(study) for study in range(STUDIES_AT_ONCE)]
    for seed in range(10):
        skill = rng.beta(5 * truth, 5 * (1 - truth), (games, STUDIES_AT_ONCE))
        plies = rng.integers(5, 21, skill.shape)
        game, study = (which.repeat(plies.ravel()) for which in np.indices(skill.shape).reshape(2, -1))
        legal = rng.random(len(game)) < skill.ravel().repeat(plies.ravel())
        figure = Rows(legal.astype(float), np.ones(len(game), np.bool_))
        found = Tables(game, Bootstrap(games, seed)).metrics({"legal": figure}, Groups(names, study))
        for name in names:
            metric = found[name]["legal"]
            covered += holds(metric, truth)
            covered_by_plies += holds(intervals.of_trials(round(metric.value * metric.n), metric.n), truth)
    print(f"from plies: {covered / 2000:.3f}, plies as trials: {covered_by_plies / 2000:.3f}")
    assert 0.93 <= covered / 2000 <= 0.97
    assert covered_by_plies / 2000 < 0.8


def test_intervals_of_differences_hold_the_truth() -> None:
    """Two models on the same games, some of which are hard for both: paired, the interval is far narrower."""
    games, covered, paired, apart = 60, 0, 0.0, 0.0
    rng = np.random.default_rng(1)
    for seed in range(10):
        z = rng.standard_normal((games, STUDIES_AT_ONCE))
        plies, hard = rng.poisson(85 * np.exp(SPREAD * z)), rng.beta(5, 5, z.shape)
        bootstrap, metrics = Bootstrap(games, seed), []
        for illegal in (0.2, 0.16):
            right = plies - rng.binomial(plies, illegal * hard)
            ratios = bootstrap.ratios(right.astype(float), plies.astype(float))
            metrics.append(
                [
                    intervals.of_resamples(value, resampled, 1, games, rate=True)
                    for value, resampled in zip(right.sum(0) / plies.sum(0), ratios.T, strict=True)
                ]
            )
        for first, other in zip(*metrics, strict=True):
            metric = intervals.difference(other, first)
            assert metric
            covered += holds(metric, 0.02)
            paired += width(metric)
            apart += math.hypot(width(first), width(other))
    print(f"differences: {covered / 2000:.3f}")
    assert 0.93 <= covered / 2000 <= 0.97
    assert paired < 0.8 * apart


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.98])
def test_intervals_of_trials_hold_the_truth(rate: float) -> None:
    """Exactly: over all numbers of successes."""
    trials = np.arange(201)
    covered = [holds(intervals.of_trials(n, 200), rate) for n in trials.tolist()]
    assert 0.93 <= stats.binom.pmf(trials, 200, rate) @ covered <= 0.97


@pytest.mark.parametrize("games", [10, 20, 60, 500])
def test_few_games_widen_an_interval_as_students_t_does(games: int) -> None:
    exact = stats.t.ppf(0.975, games - 1) * math.sqrt(games / (games - 1))
    low, high = stats.norm.ppf(np.array(intervals.ends(games)) / 100)
    assert -low == pytest.approx(high) == pytest.approx(exact, rel=0.03 if games < 20 else 0.01)


def holds(metric: Metric, truth: float) -> bool:
    """Whether the interval has the truth in it."""
    assert metric.low is not None and metric.high is not None
    return metric.low <= truth <= metric.high


def width(metric: Metric) -> float:
    assert metric.low is not None and metric.high is not None
    return metric.high - metric.low
