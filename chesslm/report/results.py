"""The results JSON as the report reads it: models as columns, sets of games, groups of breakdowns.

It may be someone else's, so anything may be missing or of another kind; what is not there comes out empty.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chesslm.tables import mapping

Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """A model in the report; ``slot`` is its colour and dash pattern."""

    name: str
    slot: int
    model: Mapping[str, Any]


def key_of(thing: Any) -> str:
    """What tells models and sets of games apart."""
    thing = mapping(thing)
    return json.dumps([thing.get("path"), thing.get("sha256")], default=str)


def columns_of(results: Objects) -> dict[str, Column]:
    """The models in the order in which they come, under the last part of their path where that tells them apart."""
    models = {key_of(each.get("model")): mapping(each.get("model")) for each in results}
    names = {key: _names(model) for key, model in models.items()}
    taken = Counter(name for of_model in names.values() for name in dict.fromkeys(of_model))
    return {
        key: Column(next((name for name in names[key] if taken[name] == 1), names[key][-1]), slot, models[key])
        for slot, key in enumerate(models)
    }


def _names(model: Mapping[str, Any]) -> list[str]:
    """What to call a model, the shortest first."""
    path = str(model.get("path") or "model").rstrip("/")
    return [str(model.get("name") or Path(path).name), path, f"{path} {str(model.get('sha256'))[:8]}"]


def data_of(results: Objects) -> list[Mapping[str, Any]]:
    """The sets of games, each once."""
    both = [mapping(each.get("data")) for each in results]
    both += [mapping(data.get("random")) for data in both]
    return list({key_of(data): data for data in both if data}.values())


def data_name(data: Mapping[str, Any]) -> str:
    """What to call a set of games."""
    return str(data.get("name") or data.get("path") or "games")


def groups_of(name: str, by: Objects) -> list[str]:
    """The groups of a breakdown, those of all models."""
    return list(dict.fromkeys(group for each in by for group in mapping(each.get(name))))


def metrics_of(by: Mapping[str, Any], name: str, group: str) -> Mapping[str, Any]:
    """A model's metrics of one group."""
    return mapping(mapping(by.get(name)).get(group))


def metric_of(by: Mapping[str, Any], name: str, group: str, key: str) -> Mapping[str, Any]:
    """One of them."""
    return mapping(metrics_of(by, name, group).get(key))
