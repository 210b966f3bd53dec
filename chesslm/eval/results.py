"""Results as data: a metric with its interval, a suite's metrics and breakdowns, and the JSON of the contract."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import __version__, files

SCHEMA = 1


@dataclass(frozen=True)
class Metric:
    """A measured figure.

    Attributes:
        value: rates are fractions in [0, 1], losses bits.
        low, high: 95 % interval; None where one game alone says nothing of its spread.
        n: rows that it was measured on (plies, or games where the figure is one of games).
        resampled: the figure of each resample of the games, (RESAMPLES,), where it has any: what a difference to
            another scorer's figure on the same games has its interval from. No part of the JSON.
        games: that have such rows, likewise for that difference.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    resampled: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    games: int = field(default=0, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


Metrics = dict[str, Metric]
"""Metrics by their flat keys."""


@dataclass(frozen=True)
class Result:
    """What a suite found out: its metrics, and some of them by group (``by[breakdown][group][key]``)."""

    metrics: Metrics
    by: dict[str, dict[str, Metrics]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, as in the contract."""
        return {
            "metrics": _plain(self.metrics),
            "by": {name: {group: _plain(each) for group, each in groups.items()} for name, groups in self.by.items()},
        }


def _plain(metrics: Metrics) -> dict[str, Any]:
    return {key: metric.as_dict() for key, metric in metrics.items()}


def results_object(model: Mapping[str, Any], data: Mapping[str, Any], suites: Mapping[str, Result]) -> dict[str, Any]:
    """One model's results, as in the contract.

    Args:
        model: path, sha256, parameters, notation.
        data: path, sha256, games, seed.
        suites: result by suite.
    """
    return {
        "schema": SCHEMA,
        "chesslm": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": dict(model),
        "data": dict(data),
        "suites": {name: result.as_dict() for name, result in suites.items()},
    }


def write_results(objects: Iterable[dict[str, Any]], path: Path) -> None:
    """Write results as JSON: one object, or a list of several.

    Raises:
        InputError, FailureError: the file cannot be written.
    """
    listed = list(objects)
    with files.atomic(path) as temporary:
        text = json.dumps(listed[0] if len(listed) == 1 else listed, indent=1, allow_nan=False)
        temporary.write_text(text + "\n")
