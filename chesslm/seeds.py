"""Runs that differ in their seed alone, and how far apart seeds come out.

Few seeds say little of their own spread, so it is pooled over whatever is compared, and means vary with Student's t of
the pooled degrees of freedom. Not so where each seed draws other weights to start from (``init.shuffle``): such runs
lie further apart, and have a spread of their own.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import files

POWER = 0.8
"""With which the smallest effect that could have been seen is stated."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """The pooled spread of one figure over seeds: standard deviation of a run, and its degrees of freedom."""

    deviation: float
    freedom: float

    def half(self, n: int) -> float:
        """Half the width of a 95 % interval of a mean of n seeds; NaN where the spread is not known."""
        return self._reach() * self.deviation / n**0.5

    def detectable(self, n: int) -> float:
        """The effect that a mean over n seeds shows in 80 % of studies; NaN where the spread is not known.

        Its t then follows the noncentral t distribution (Johnson and Welch 1940).
        """
        if not self.freedom:
            return float("nan")
        from scipy import optimize, stats

        def missed(effect: float) -> float:
            return float(stats.nct.sf(self._reach(), self.freedom, effect)) - POWER

        root = optimize.root_scalar(missed, bracket=(0.0, 100.0)).root
        return float(root) * self.deviation / n**0.5

    def _reach(self) -> float:
        from scipy import stats  # takes half a second, and half of the callers have one seed

        return float(stats.t.ppf(0.975, self.freedom)) if self.freedom else float("nan")


def pooled(groups: Iterable[Floats]) -> Spread:
    """The spread within groups of values, each about its own mean."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in several)
    return Spread((squares / freedom) ** 0.5 if freedom else 0.0, freedom)


def spreads(groups: Mapping[str, Floats], apart: Collection[str]) -> dict[str, Spread]:
    """The spread of each group of values: pooled, but for those that stand apart."""
    alike = pooled(values for name, values in groups.items() if name not in apart)
    return {name: pooled([values]) if name in apart else alike for name, values in groups.items()}


def half_of_difference(one: tuple[Spread, int], other: tuple[Spread, int]) -> float:
    """Half the width of a 95 % interval of the difference of two means that are independent.

    Args:
        one, other: a spread, and the number of seeds; two spreads are taken to be unequal if they are not one object
            (Welch 1947).

    Returns:
        Half a width; NaN where a spread is not known.
    """
    variances = [spread.deviation**2 / n for spread, n in (one, other)]
    freedoms = [spread.freedom for spread, _ in (one, other)]
    if not all(freedoms):
        return float("nan")
    weights = [variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True)]
    same = one[0] is other[0] or not sum(weights)
    freedom = freedoms[0] if same else sum(variances) ** 2 / sum(weights)
    return Spread(sum(variances) ** 0.5, freedom).half(1)


def about(run: Path) -> dict[str, Any]:
    """What a run says of itself (``chesslm.json``); nothing while it goes on."""
    file = run / "chesslm.json"
    return files.read_json(file) if file.is_file() else {}


def permuted(run: Path) -> bool:
    """Whether a run started from permuted weights, as far as it is known."""
    return bool(about(run).get("recipe", {}).get("init", {}).get("shuffle"))


def by_recipe(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Runs that differ in their seed alone, under the beginning that the names of their folders share.

    Args:
        runs: folders; one without ``chesslm.json``, of a run that goes on, stands alone.
    """
    groups: dict[object, list[Path]] = {}
    for run in runs:
        groups.setdefault(_but_for_seed(run), []).append(run)
    named = {_shared_name(group): group for group in groups.values()}
    if "" in named or len(named) < len(groups):
        return {group[0].name: group for group in groups.values()}
    return named


def _shared_name(group: Sequence[Path]) -> str:
    """How the names of folders begin, without the number of the seed: ``text`` of ``text-1`` and ``text-10``."""
    if len(group) == 1:
        return group[0].name
    shared = os.path.commonprefix([run.name for run in group])  # noqa: RUF071 -- letter by letter
    return re.sub(r"[-_. ]?\d*$", "", shared)


def _but_for_seed(run: Path) -> object:
    """What a run was made from, as far as it is known."""
    known = about(run)
    if not known.get("recipe"):
        return run
    recipe = known["recipe"] | {"train": known["recipe"]["train"] | {"seed": 0}}
    return repr((recipe, known["dataset"]["sha256"], (known.get("init") or {}).get("sha256")))
