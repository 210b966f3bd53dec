"""How sharply the loss of each class of token falls while a model learns (docs/metrics.md, Loss sinks).

The log of ``chesslm train --track sinks`` in, log-steps from 75 % to 25 % of the reducible loss out. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chesslm.errors import InputError
from chesslm.learning import crossing
from chesslm.logs import whole_rows

Floats = NDArray[np.float64]

HIGH, LOW = 0.75, 0.25
"""Shares of the reducible loss between which a fall is measured."""
FREE = ("free", "token", "bits_per_move")
"""What has a floor of its own: the choice of the players. All else could be known, and falls to 0."""
FLOORS = (1.0, 0.9, 0.75, 0.5)
"""Shares of the lowest loss that was seen, as floors to try: it is above what more training would reach."""


@dataclass(frozen=True)
class Curves:
    """The losses of a run; arrays of shape (measurements,).

    Attributes:
        steps, tokens: done by each measurement, rising; the first one is before the first step.
        bits: by what they are of: ``board``, ``syntax``, ``free``, ``free_legality``, ``forced`` and ``token`` (all) in
            bits a token, and ``bits_per_move``. A class that has no tokens is left out.
    """

    steps: NDArray[np.int64]
    tokens: NDArray[np.int64]
    bits: Mapping[str, Floats]


@dataclass(frozen=True)
class Fall:
    """How a loss fell.

    Attributes:
        start: bits before the first step.
        floor: bits that cannot be reduced.
        high, low: steps at which 75 % and 25 % of what is between them were left; None: it never got there.
        doublings: of the steps in between, log2(low / high).
    """

    start: float
    floor: float
    high: float | None
    low: float | None

    @property
    def doublings(self) -> float | None:
        """Of the steps from ``high`` to ``low``."""
        return None if self.high is None or self.low is None else float(np.log2(self.low / self.high))


def mean_curves(seeds: Sequence[Curves]) -> Curves:
    """The mean of the losses of runs that differ in their seed, where all of them were measured."""
    steps = sorted(set.intersection(*(set(curves.steps.tolist()) for curves in seeds)))
    at = [np.searchsorted(curves.steps, steps) for curves in seeds]
    names = [name for name in seeds[0].bits if all(name in curves.bits for curves in seeds)]
    bits = {name: np.mean([c.bits[name][i] for c, i in zip(seeds, at, strict=True)], axis=0) for name in names}
    return Curves(seeds[0].steps[at[0]], seeds[0].tokens[at[0]], bits)


def read_curves(path: Path) -> Curves:
    """The curves of a run.

    Args:
        path: its folder, also while it goes on, or the CSV file itself.

    Raises:
        InputError: there are none.
    """
    tried = [path / "sinks.csv", path / "run" / "sinks.csv"] if path.is_dir() else [path]
    file = next((each for each in tried if each.is_file()), None)
    if file is None:
        raise InputError(f"{path}: no curves of the loss by class; train with --track sinks")
    rows = whole_rows(file, ("step", "tokens"))
    steps, tokens = (np.array([row[name] for row in rows], np.int64) for name in ("step", "tokens"))
    bits = {name: np.array([row[name] for row in rows]) for name in rows[0] if "bits" in name}
    return Curves(steps, tokens, {name.removesuffix("_bits"): values for name, values in bits.items()})


def floors(runs: Sequence[Curves], share: float = 1.0) -> dict[str, float]:
    """The loss of each class that cannot be reduced.

    Args:
        runs: of one notation and on the same games; the longest run that there is should be among them.
        share: of the lowest loss that any of them reached, where there is a choice of players in it (``FREE``).
    """
    names = dict.fromkeys(name for run in runs for name in run.bits)
    lowest = {name: min(run.bits[name].min() for run in runs if name in run.bits) for name in names}
    return {name: share * float(bits) if name in FREE else 0.0 for name, bits in lowest.items()}


def falls(curves: Curves, floor: Mapping[str, float]) -> dict[str, Fall]:
    """How each loss of a run fell to its floor (``floors``)."""
    return {name: _fall(curves.steps, bits, floor[name]) for name, bits in curves.bits.items()}


def _fall(steps: NDArray[np.int64], bits: Floats, floor: float) -> Fall:
    start = float(bits[0])
    if start <= floor:
        return Fall(start, floor, None, None)
    crossings = (crossing(steps.tolist(), bits.tolist(), floor + share * (start - floor)) for share in (HIGH, LOW))
    return Fall(start, floor, *crossings)
