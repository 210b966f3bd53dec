"""Elo from results: two players by pairs of games, several by a ladder.

The two games of a pair begin with one opening, colours swapped, so they are no independent trials: the pair is, with a
score of 0, 1/4, 1/2, 3/4 or 1 (the pentanomial model of Stockfish's testing framework). A difference in Elo is
400 log10(s / (1 - s)) of the expected score s (Elo 1978). A score near 0 or 1 says hardly more than which one is
stronger: from outside of ``SCORES`` no Elo is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SCORES = (0.05, 0.95)
"""Scores from which Elo is made."""
RESAMPLES = 1000
PER_LOGIT = 400 / np.log(10)
"""Elo of a difference of 1 in the logarithm of odds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """How one player did against another.

    Attributes:
        pairs: how many were played to their ends.
        score: mean score of a pair, in [0, 1], with its 95 % interval.
        elo: difference in Elo with its interval; None where the score makes none, an end where it is out of bounds.
        superiority: likelihood of superiority, the probability that the player is the stronger one; None of one pair.
    """

    pairs: int
    score: float
    low: float
    high: float
    elo: float | None
    elo_low: float | None
    elo_high: float | None
    superiority: float | None


def compare(pairs: Sequence[float]) -> Comparison:
    """How a player did, from the scores of pairs in [0, 1].

    The interval is Student's t of the pairs; where all of them were won or lost it is the rule of three (Hanley and
    Lippman-Hand 1983), and one of the score 1/2 that never varied is as wide.
    """
    from scipy import stats

    scores = np.asarray(pairs, np.float64)
    n, score = len(scores), float(scores.mean())
    error = float(scores.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    # What never varied may yet.
    half = float(stats.t.ppf(0.975, n - 1)) * error if error else min(1.0, 3 / n)
    low, high = max(score - half, 0.0), min(score + half, 1.0)
    superiority = None
    if n > 1:
        superiority = NormalDist().cdf((score - 0.5) / error) if error else float(np.sign(score - 0.5) + 1) / 2
    counts = SCORES[0] <= score <= SCORES[1]
    elo, elo_low, elo_high = (_elo(s) if counts else None for s in (score, low, high))
    return Comparison(n, score, low, high, elo, elo_low, elo_high, superiority)


def _elo(score: float) -> float | None:
    return PER_LOGIT * float(np.log(score / (1 - score))) if 0 < score < 1 else None


@dataclass(frozen=True)
class Rung:
    """A player's place on a ladder: Elo above the anchor, with its 95 % interval; None where no results lead there."""

    name: str
    games: int
    elo: float | None
    low: float | None = None
    high: float | None = None


def ladder(results: Mapping[tuple[str, str], Sequence[float]], anchor: str, seed: int = 1) -> list[Rung]:
    """Elo of players that makes their results the likeliest, draws being half points (Bradley and Terry 1952).

    Only pairings with a score within ``SCORES`` count, and only players that they connect with the anchor have a place.
    Intervals are by bootstrap over the pairs of each pairing.

    Args:
        results: of two names, the scores of the first in their pairs, in [0, 1].
        anchor: the player at 0.
        seed: of the resamples.

    Returns:
        The strongest first; those without a place are last.
    """
    played: dict[str, int] = {}
    for names, pairs in results.items():
        for name in names:
            played[name] = played.get(name, 0) + 2 * len(pairs)
    counted = {names: np.asarray(pairs, np.float64) for names, pairs in results.items() if pairs}
    counted = {names: pairs for names, pairs in counted.items() if SCORES[0] <= pairs.mean() <= SCORES[1]}
    placed = [anchor]
    for name in placed:
        placed += [other for names in counted if name in names for other in names if other not in placed]
    counted = {names: pairs for names, pairs in counted.items() if names[0] in placed}
    rungs = [Rung(name, games, None) for name, games in played.items() if name not in placed]
    if not counted:
        return [Rung(anchor, played.get(anchor, 0), 0.0), *rungs]
    where = np.array([[placed.index(name) for name in names] for names in counted])
    random = np.random.default_rng(seed)
    drawn = ([random.choice(pairs, len(pairs)) for pairs in counted.values()] for _ in range(RESAMPLES))
    means = [np.array([pairs.mean() for pairs in each]) for each in (counted.values(), *drawn)]
    weights = np.array([len(pairs) for pairs in counted.values()], np.float64)
    elos = np.array([_fit(where, mean, weights, len(placed)) for mean in means])
    low, high = np.percentile(elos[1:], [2.5, 97.5], axis=0)
    places = [
        Rung(name, played[name], float(elos[0, i]), *((float(low[i]), float(high[i])) if i else ()))
        for i, name in enumerate(placed)
    ]
    return [*sorted(places, key=lambda rung: -(rung.elo or 0.0)), *rungs]


def _fit(where: NDArray[np.int64], scores: Floats, weights: Floats, players: int) -> Floats:
    """Elo of all players, the first at 0, by Newton's method.

    Args:
        where: the two players of each pairing, (pairings, 2).
        scores: of the first of them, (pairings,).
        weights: pairs of each, (pairings,).
        players: how many.
    """
    design = np.zeros((len(where), players))
    rows = np.arange(len(where))
    design[rows, where[:, 0]], design[rows, where[:, 1]] = 1.0, -1.0
    design = design[:, 1:]
    # A resample may have lost everything in a pairing: half a point of one pair keeps it finite.
    scores = np.clip(scores, 0.25 / weights, 1 - 0.25 / weights)
    logits = np.zeros(players - 1)
    for _ in range(100):
        expected = 1 / (1 + np.exp(-design @ logits))
        gradient = design.T @ (weights * (scores - expected))
        curvature = design.T @ ((weights * expected * (1 - expected))[:, None] * design)
        step = np.linalg.solve(curvature + 1e-9 * np.eye(players - 1), gradient)
        logits += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return np.array([0.0, *(PER_LOGIT * logits)])
