"""Learning curves: read from the log of a run, and how many examples a skill took.

    step,tokens,games,bits_per_target,...      (OUT/target.csv, written by ``train --track target``)
    0,0,0,61.3,...
    1,3766,204,60.1,...                        games are examples seen: games, or pairs

Steps are spaced evenly in their logarithm, four to a doubling, since losses fall so.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from chesslm.logs import whole_rows
from chesslm.seeds import Floats

Curve = Mapping[str, Floats]
"""A run's measurements by the names of the log's columns, each of shape (measurements,), in the order of the steps."""


def read_curve(path: Path, needed: Sequence[str] = ()) -> Curve:
    """The curve in a log of what was followed all along.

    Args:
        path: of the log.
        needed: columns that it has to have beside ``step`` and ``games``.

    Raises:
        InputError: it cannot be read, or is none.
    """
    rows = whole_rows(path, ("step", "games", *needed))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def mean_curve(seeds: Sequence[Curve]) -> Curve:
    """The mean of runs that differ in their seed, at the steps where all of them were measured."""
    steps = sorted(set.intersection(*(set(curve["step"].tolist()) for curve in seeds)))
    at = [np.searchsorted(curve["step"], steps) for curve in seeds]
    names = [name for name in seeds[0] if all(name in curve for curve in seeds)]
    return {name: np.mean([curve[name][i] for curve, i in zip(seeds, at, strict=True)], axis=0) for name in names}


def examples_needed(
    examples: Sequence[float] | Floats,
    bits: Sequence[float] | Floats,
    share: float,
    floor: float = 0.0,
    start: float | None = None,
) -> float | None:
    """How many examples it took until a share of the reducible loss was gone.

    The reducible loss is that at the start less the floor, so the threshold is ``start - share * (start - floor)``. The
    curve is taken at its best so far (a loss that rises again takes nothing back), and between two points as a straight
    line over the logarithm of the examples. Where the first of them is the untrained model, at no examples, which has
    no logarithm, it is the second one's examples: an upper bound.

    Args:
        examples: seen at each point of the curve, increasing.
        bits: the loss there.
        share: such as 0.5 or 0.9, above 0 and up to 1.
        floor: the loss that no model can go below.
        start: the loss that counts as nothing learned; None: that of the first point.

    Returns:
        Examples; those of the first point where it is already there, None where the curve never comes so far or there
        is nothing to reduce.
    """
    if len(examples) != len(bits) or not len(bits):
        raise ValueError("a curve has a loss for each number of examples, and at least one")
    start = float(bits[0]) if start is None else start
    if start <= floor:
        return None
    return crossing(examples, bits, start - share * (start - floor))


def crossing(places: Sequence[float] | Floats, losses: Sequence[float] | Floats, level: float) -> float | None:
    """Where a loss first comes down to a level.

    The curve is taken at its best so far, and between two places as a straight line over their logarithm.

    Args:
        places: of the curve's points, rising from 0 or above.
        losses: there.
        level: to come down to.

    Returns:
        The place: the first one where the curve begins there, the second where the first is 0, which has no logarithm;
        None where it never comes so far.
    """
    best = math.inf
    for i, (place, loss) in enumerate(zip(places, losses, strict=True)):
        if loss <= level:
            if i == 0 or places[i - 1] <= 0:
                return float(place)
            way = (best - level) / (best - loss)
            return float(places[i - 1] * (place / places[i - 1]) ** way)
        best = min(best, float(loss))
    return None
