"""Results as data: a metric with its interval, a suite's metrics, breakdowns and examples, the JSON of the contract."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import __version__, files
from chesslm.card import model_card

SCHEMA = 1
FIGURES = "figures.json"
"""In a checkpoint folder: what it was measured to do."""


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
class Idea:
    """A move that a scorer thinks of.

    Attributes:
        text: as its notation writes it, or what it would have written if that is no move.
        move: in UCI; None if it is no move.
        probability: in [0, 1], of this move among all, the illegal ones included.
        legal: whether it can be played.
    """

    text: str
    move: str | None
    probability: float
    legal: bool


@dataclass(frozen=True)
class Example:
    """An illegal move, and how a scorer came to it.

    Attributes:
        game: index of the game.
        moves: of the game up to there, in UCI.
        played: the move of the game, in UCI.
        kind: why the wanted move is illegal (``boards.Illegal``).
        wanted: the greedy move.
        next: the likeliest other moves.
    """

    game: int
    moves: str
    played: str
    kind: str
    wanted: Idea
    next: tuple[Idea, ...]


@dataclass(frozen=True)
class Belief:
    """A game on the board that a model believes in.

    Attributes:
        moves: of the game, in UCI.
        positions: after some plies, what the probe says of each square, a1 first, as in FEN but for ``.``.
    """

    moves: str
    positions: tuple[tuple[int, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"moves": self.moves, "positions": [{"ply": ply, "pieces": pieces} for ply, pieces in self.positions]}


@dataclass(frozen=True)
class Result:
    """What a suite found out.

    Attributes:
        metrics: over everything.
        by: some of them by group: ``by[breakdown][group][key]``.
        examples: some of the illegal moves.
        belief: a game followed, if there is a probe.
    """

    metrics: Metrics
    by: dict[str, dict[str, Metrics]] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    belief: Belief | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, as in the contract."""
        return {
            "metrics": _plain(self.metrics),
            "by": {name: {group: _plain(each) for group, each in groups.items()} for name, groups in self.by.items()},
            **({"examples": [asdict(example) for example in self.examples]} if self.examples else {}),
            **({"belief": self.belief.as_dict()} if self.belief else {}),
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


def write_figures(found: Mapping[str, Any], folder: Path) -> None:
    """Keep a model's figures beside it, in ``figures.json``, and show them in its card.

    Those of other suites stay there, if they are of the same weights and games.

    Groups and examples are left out: they are long, and examples are moves of the games. Folders of games go by their
    names.

    Args:
        found: an object of the results JSON.
        folder: the checkpoint.

    Raises:
        InputError, FailureError: a file cannot be read or written.
    """
    data = {key: Path(value).name if key == "path" else value for key, value in found["data"].items()}
    model = {key: value for key, value in found["model"].items() if key != "path"}
    suites = {name: {"metrics": suite["metrics"]} for name, suite in found["suites"].items()}
    kept = files.read_json(folder / FIGURES) if (folder / FIGURES).is_file() else {}
    if (kept.get("model"), kept.get("data")) == (model, data):
        suites = {**kept["suites"], **suites}
    head = {key: found[key] for key in ("schema", "chesslm", "created")}
    figures = {**head, "model": model, "data": data, "suites": suites}
    write_results([figures], folder / FIGURES)
    with files.atomic(folder / "README.md") as temporary:
        temporary.write_text(model_card(files.read_json(folder / "chesslm.json"), figures))
