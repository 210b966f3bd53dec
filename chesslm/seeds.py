"""Runs that differ in their seed alone, and how far apart seeds come out.

Few seeds say little of their own spread, so it is pooled over whatever is compared, and means vary with Student's t of
the pooled degrees of freedom.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    freedom: int

    def half(self, n: float) -> float:
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
    if not (run / "chesslm.json").is_file():
        return run
    about = files.read_json(run / "chesslm.json")
    if not about.get("recipe"):
        return run
    recipe = about["recipe"] | {"train": about["recipe"]["train"] | {"seed": 0}}
    return repr((recipe, about["dataset"]["sha256"], (about.get("init") or {}).get("sha256")))
