"""How a checkpoint came about: the heart of ``chesslm.json``, all that is needed to make it again, and what it took."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chesslm.config import Recipe
from chesslm.model import parameters, resolve_precision
from chesslm.shards import Dataset

if TYPE_CHECKING:
    from chesslm.train import ChessModule


def describe(module: "ChessModule", recipe: Recipe, dataset: Dataset, where: torch.device) -> dict[str, Any]:
    """The recipe, the data by its hash, and what training took."""
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
            "steps": module.steps,
            "tokens": module.tokens,
            "games": module.games,
            "minutes": round(module.minutes, 2),
            "device": where.type,
            "precision": "bf16" if resolve_precision(recipe.train.precision, where) == torch.bfloat16 else "fp32",
            "threads": torch.get_num_threads(),
        },
    }


def revision() -> str | None:
    """The git revision of this code, with ``-dirty`` if it was changed since; None outside a repository."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() if (root / ".git").exists() else None
