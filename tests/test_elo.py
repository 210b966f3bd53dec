"""Elo against closed forms, planted strengths, and how often intervals hold the truth."""

import math

import numpy as np
import pytest

from chesslm.play.elo import compare, ladder


def pairs_of(score: float, n: int, random: np.random.Generator) -> list[float]:
    """Scores of pairs in which each game is won, drawn (a third) or lost independently."""
    games = random.choice([1.0, 0.5, 0.0], size=(n, 2), p=[score - 1 / 6, 1 / 3, 5 / 6 - score])
    return games.mean(1).tolist()


def expected(difference: float) -> float:
    return 1 / (1 + 10 ** (-difference / 400))


def test_a_score_of_three_quarters_is_191_elo() -> None:
    found = compare([1.0, 0.5, 0.75, 0.75])
    assert found.score == 0.75 and found.elo == pytest.approx(400 * math.log10(3))
    assert found.low < 0.75 < found.high and found.superiority is not None and found.superiority > 0.9


def test_both_sides_see_the_same() -> None:
    pairs = pairs_of(0.6, 50, np.random.default_rng(1))
    mine, yours = compare(pairs), compare([1 - pair for pair in pairs])
    assert mine.elo is not None and yours.elo == pytest.approx(-mine.elo)
    assert mine.elo_low is not None and yours.elo_high == pytest.approx(-mine.elo_low)
    assert mine.superiority is not None and yours.superiority == pytest.approx(1 - mine.superiority)


@pytest.mark.parametrize(("pairs", "score"), [([1.0] * 30, 1.0), ([0.0] * 30, 0.0), ([1.0] * 29 + [0.75], 0.99)])
def test_far_off_scores_make_no_elo(pairs: list[float], score: float) -> None:
    found = compare(pairs)
    assert found.score == pytest.approx(score, abs=0.01) and found.elo is None
    assert found.low < found.high


def test_what_never_varied_is_not_certain() -> None:
    found = compare([0.5] * 30)
    assert (found.low, found.score, found.high) == (0.4, 0.5, 0.6) and found.superiority == 0.5
    assert compare([0.75]).superiority is None


def test_intervals_hold_the_truth_in_95_of_100() -> None:
    random = np.random.default_rng(2)
    held = [found.low <= 0.6 <= found.high for found in (compare(pairs_of(0.6, 40, random)) for _ in range(2000))]
    assert 0.935 < np.mean(held) < 0.965


def test_pairs_of_one_opening_are_no_independent_games() -> None:
    # Each opening is won by White: every game is decided, every pair even.
    even, mixed = compare([0.5] * 100), compare([1.0] * 50 + [0.0] * 50)
    assert even.high - even.low < (mixed.high - mixed.low) / 3


def test_a_ladder_finds_planted_strengths() -> None:
    true = {"random": 0.0, "a": 150.0, "b": 300.0, "c": 420.0}
    random = np.random.default_rng(3)
    results = {
        (one, other): pairs_of(expected(true[one] - true[other]), 400, random)
        for one, other in [("random", "a"), ("b", "a"), ("b", "c"), ("c", "a")]
    }
    rungs = ladder(results, "random")
    assert [rung.name for rung in rungs] == ["c", "b", "a", "random"]
    for rung in rungs[:-1]:
        assert rung.elo is not None and rung.low is not None and rung.high is not None
        assert rung.low < true[rung.name] < rung.high and rung.low < rung.elo < rung.high
        assert rung.elo == pytest.approx(true[rung.name], abs=40)
    assert (rungs[-1].elo, rungs[-1].low, rungs[-1].games) == (0.0, None, 800)


def test_two_players_on_a_ladder_are_a_comparison() -> None:
    pairs = pairs_of(0.7, 200, np.random.default_rng(4))
    (top, bottom), alone = ladder({("a", "random"): pairs}, "random"), compare(pairs)
    assert (top.name, bottom.name) == ("a", "random")
    assert top.elo == pytest.approx(alone.elo, abs=0.01)
    assert top.low == pytest.approx(alone.elo_low, abs=6) and top.high == pytest.approx(alone.elo_high, abs=6)


def test_only_scores_that_say_something_lead_to_a_place() -> None:
    results = {("a", "random"): [1.0] * 50, ("b", "a"): [0.5, 0.75, 0.25] * 10, ("c", "random"): [0.5, 1.0] * 10}
    rungs = ladder(results, "random")
    assert [(rung.name, rung.elo is None) for rung in rungs] == [
        ("c", False),
        ("random", False),
        ("a", True),
        ("b", True),
    ]
    assert [rung.elo for rung in ladder({("a", "random"): [1.0] * 50}, "random")] == [0.0, None]


def test_a_resample_that_lost_every_pair_is_finite() -> None:
    top, _ = ladder({("a", "random"): [1.0, 1.0, 1.0, 0.25]}, "random")
    assert top.low is not None and top.high is not None and np.isfinite([top.low, top.high]).all()
