"""What a probe found in positions, as figures with their intervals (docs/metrics.md, The board inside)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chesslm.eval.intervals import Bootstrap, of_resamples
from chesslm.eval.results import Metric, Metrics
from chesslm.inside.truths import CODES

PLIES_A_GROUP = 20
BINS = 1000
"""Into which scores are sorted for the area under the curve, alike many in each."""
KINDS = ("pawn", "knight", "bishop", "rook", "queen", "king")

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """A board probe's answers in P positions.

    Attributes:
        game: of each, (P,).
        ply: moves that were played, (P,).
        labels: what stands on each square, in the colours that were asked for, (P, 64).
        right: whether the probe's answer was that, (P, 64).
    """

    game: NDArray[np.int64]
    ply: NDArray[np.int64]
    labels: NDArray[np.int8]
    right: Bools

    def only(self, rows: Bools) -> "Found":
        """Some of the positions."""
        return Found(self.game[rows], self.ply[rows], self.labels[rows], self.right[rows])


def of_board(found: Found, over: Bootstrap) -> Metrics:
    """Share of squares, of those with a piece on them, and of whole boards that are right."""
    there = found.labels > 0
    return {
        "piece_accuracy": over.mean(found.game, np.asarray(found.right.sum(1) / 64)),
        "piece_accuracy_nonempty": _squares(found, there, over),
        "board_exact": over.mean(found.game, np.asarray(found.right.all(1), np.float64)),
    }


def by_ply(found: Found, over: Bootstrap) -> dict[str, Metrics]:
    """The same for ranges of plies."""
    group = found.ply // PLIES_A_GROUP
    return {
        f"{i * PLIES_A_GROUP}-{(i + 1) * PLIES_A_GROUP - 1}": of_board(found.only(group == i), over)
        for i in np.unique(group)
    }


def by_piece(found: Found, over: Bootstrap) -> dict[str, Metrics]:
    """Share of squares found by what stands there, colours as mine and yours."""
    names = ["empty", *(f"own {kind}" for kind in KINDS), *(f"other {kind}" for kind in KINDS)]
    shares = {name: (found.labels == code) for code, name in zip(range(len(CODES)), names, strict=True)}
    return {name: {"piece_accuracy": _squares(found, there, over)} for name, there in shares.items() if there.any()}


def _squares(found: Found, rows: Bools, over: Bootstrap) -> Metric:
    """Share of some squares that are right; n counts squares."""
    counts, n = rows.sum(1), int(rows.sum())
    games = len(np.unique(found.game[counts > 0]))
    return over.ratio(found.game, (found.right & rows).sum(1), counts, n=n, games=games, rate=True)


def auc(game: NDArray[np.int64], scores: NDArray[np.float32], true: Bools, over: Bootstrap) -> Metric | None:
    """Area under the ROC curve: how often what is true somewhere has a higher score there than where it is not.

    Ties count half (Hanley and McNeil 1982). The mean over items where there are several.

    Args:
        game: of each position, (P,).
        scores: (P, items).
        true: (P, items).
        over: resamples of the games.

    Returns:
        None if no item is both true and false somewhere.
    """
    values, resampled = [], []
    for score, there in zip(scores.T, true.T, strict=True):
        if there.all() or not there.any():
            continue
        edges = np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1])
        cell = game * BINS + np.searchsorted(edges, score, "right")
        each, none = (
            np.bincount(cell[rows], minlength=over.games * BINS).reshape(over.games, BINS).astype(np.float32)
            for rows in (there, ~there)
        )
        # Right pairs by the games of their true and their false one: resamples then weigh games, not bins.
        above = each @ (np.cumsum(none, 1) - none / 2).astype(np.float32).T
        values.append(float(_share(np.ones((1, over.games), np.float32), above, each, none)[0]))
        resampled.append(_share(over.weights, above, each, none))
    if not values:
        return None
    games = len(np.unique(game))
    return of_resamples(float(np.mean(values)), np.mean(resampled, 0), len(game), games, rate=True)


def _share(
    weights: NDArray[np.float32], above: NDArray[np.float32], true: NDArray[np.float32], false: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Of the pairs in each resample of games, the share in which the true one is above, (resamples,).

    Args:
        weights: how often each game is drawn, (resamples, games).
        above: right pairs by the game of the true and that of the false one, (games, games).
        true, false: counts of each game by bins, (games, bins).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = (weights @ true.sum(1)).astype(np.float64) * (weights @ false.sum(1))
        return ((weights @ above) * weights).sum(1, dtype=np.float64) / pairs


def explained(
    game: NDArray[np.int64], said: NDArray[np.float32], true: NDArray[np.float32], over: Bootstrap
) -> Metric | None:
    """R2: the share of a number's variance over positions that is explained; below 0 the mean would do better.

    Args:
        game: of each position, (P,).
        said, true: (P,) each.
        over: resamples of the games.

    Returns:
        None if the number never varies.
    """
    if not len(true) or true.min() == true.max():
        return None
    about = (true - true.mean()).astype(np.float64)
    parts = (np.ones(len(true)), about, about**2, (said - true).astype(np.float64) ** 2)
    sums = np.stack([np.bincount(game, part, over.games) for part in parts]).astype(np.float64)

    def share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n, first, second, error = sums
        variance = second - first**2 / np.maximum(n, 1)
        # Not a number where a resample holds one game whose number is the same all along.
        return 1 - error / np.where(variance > 0, variance, np.nan)

    resampled = share(sums @ over.weights.T.astype(np.float64))
    return of_resamples(float(share(sums.sum(1))), resampled, len(true), len(np.unique(game)), rate=False)
