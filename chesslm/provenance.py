"""How a checkpoint came about: the heart of ``chesslm.json``, all that is needed to make it again, and what it took."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chesslm import files
from chesslm.checkpoint import fetched
from chesslm.config import InitConfig, Recipe
from chesslm.errors import InputError
from chesslm.gguf import SUFFIX
from chesslm.logs import read_log
from chesslm.model import parameters, resolve_precision
from chesslm.shards import Dataset
from chesslm.tables import mapping, number

if TYPE_CHECKING:
    from chesslm.module import ChessModule


ORDER = ("seed", "batch_tokens", "max_games")
"""Settings that determine which games are in which batch."""
COUNTERS = ("steps", "tokens", "games", "minutes")


@dataclass(frozen=True)
class Before:
    """What earlier legs of a training took, and their learning curve."""

    legs: int = 0
    steps: int = 0
    tokens: int = 0
    games: int = 0
    minutes: float = 0.0
    precision: str = ""
    curve: tuple[dict[str, float], ...] = ()


def before_this_leg(recipe: Recipe, dataset: Dataset) -> Before:
    """What the training took that this run goes on with; nothing, if it begins a new one.

    Raises:
        InputError: it was on other data, or in another order, so that there is no place to go on from.
    """
    if not recipe.init.goes_on:
        return Before()
    about = files.read_json(Path(recipe.init.model) / "chesslm.json")
    try:
        order = [about["dataset"]["sha256"], *(about["recipe"]["train"][name] for name in ORDER)]
        counted = {name: about["trained"][name] for name in COUNTERS}
    except KeyError as error:
        raise InputError(
            f"{recipe.init.model}: its chesslm.json does not say {error}; it cannot be gone on with"
        ) from None
    if order != [dataset.sha256, *(getattr(recipe.train, name) for name in ORDER)]:
        raise InputError(f"{recipe.init.model} was trained on other data, or in another order ({', '.join(ORDER)})")
    trained = about["trained"]
    legs, precision = trained.get("legs", 1), trained.get("precision", "")
    return Before(legs, **counted, precision=precision, curve=tuple(about.get("curve", ())))


def trained_before(init: InitConfig) -> dict[str, float]:
    """Minutes and tokens that the weights to start from took, but for those of earlier legs of the same training.

    Returns:
        Nothing, where nothing is known of them.
    """
    if init.model.endswith(SUFFIX):
        return {}
    path = files.within(fetched(init.model), "chesslm.json")
    about = files.read_json(path) if path.is_file() else {}
    parts = [mapping(mapping(about.get("init")).get("trained"))]
    if not init.goes_on:
        parts.append(mapping(about.get("trained")))
    counted = {name: sum(number(part.get(name)) or 0 for part in parts) for name in ("minutes", "tokens")}
    return {"minutes": round(counted["minutes"], 2), "tokens": int(counted["tokens"])} if any(counted.values()) else {}


def describe(
    module: "ChessModule", recipe: Recipe, dataset: Dataset, where: torch.device, before: Before, metrics: Path
) -> dict[str, Any]:
    """The recipe, the data by its hash, what training took in all its legs, and its learning curve."""
    took = {name: getattr(before, name) + getattr(module, name) for name in COUNTERS}
    precision = "bf16" if resolve_precision(recipe.train.precision, where) == torch.bfloat16 else "fp32"
    return {
        "notation": dataset.notation,
        "parameters": parameters(module.model),
        "recipe": recipe.as_dict(),
        "seed": recipe.train.seed,
        "dataset": {
            "sha256": dataset.sha256,
            "splits": dataset.meta["splits"],
            "sources": dataset.meta.get("sources"),
            **({"kinds": dataset.meta["kinds"]} if dataset.is_pairs else {}),
        },
        "trained": {
            **took,
            "minutes": round(took["minutes"], 2),
            **({"legs": before.legs + 1} if before.legs else {}),
            "device": where.type,
            # Of all legs, each named once.
            "precision": " ".join(dict.fromkeys([*before.precision.split(), precision])),
            "threads": torch.get_num_threads(),
        },
        "curve": [*before.curve, *_curve(metrics, before)],
    }


def _curve(metrics: Path, before: Before) -> Iterator[dict[str, float]]:
    """The validations of a run, against what all legs took up to there."""
    for row in read_log(metrics) if metrics.is_file() else []:
        figures = {name: value for name, value in row.items() if name.startswith("val_")}
        if figures:
            counted = {
                "tokens": int(before.tokens + row["tokens"]),
                "minutes": round(before.minutes + row["minutes"], 1),
            }
            yield {**counted, **figures}


def revision() -> str | None:
    """The git revision of this code, with ``-dirty`` if it was changed since; None outside a repository."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() if (root / ".git").exists() else None
