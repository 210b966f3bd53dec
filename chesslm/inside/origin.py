"""Where a model comes from, so that a worker on another machine can have the very same one.

It is not sent: the worker finds it under its path, or draws its weights anew where they are random, and sees by their
hash that they, and the settings that they are run with, are those of here.
"""

import hashlib
import json
import socket
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from chesslm.errors import InputError
from chesslm.model import LoadedModel, load_model

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Origin:
    """What it takes to have a model.

    Attributes:
        path: of its folder, absolute, or its hub id.
        notation, device, precision: as ``load_model`` takes them.
        seed: of the random weights that it has in place of its own, if it has.
        sha256: of its settings and weights.
    """

    path: str
    notation: str
    device: str
    precision: str
    seed: int | None
    sha256: str


def origin_of(loaded: LoadedModel) -> Origin:
    """Of a model that was loaded here, or of the one with random weights in its place."""
    path = Path(loaded.path)
    return Origin(
        str(path.absolute()) if path.exists() else loaded.path,
        loaded.tokenizer.notation.name,
        loaded.device.type,
        PRECISIONS[loaded.precision],
        loaded.seed,
        sha256_of(loaded),
    )


@lru_cache(maxsize=2)
def model_of(origin: Origin) -> LoadedModel:
    """The model, kept for the next call: a probe asks one and its control by turns.

    Raises:
        InputError: it is not here, or is another one.
    """
    try:
        loaded = load_model(origin.path, origin.notation, origin.device, origin.precision)
        if origin.seed is not None:
            loaded = random_weights(loaded, origin.seed)
        if sha256_of(loaded) != origin.sha256:
            drawn = "other random weights are drawn" if origin.seed is not None else "it has other weights or settings"
            raise InputError(f"{origin.path}: {drawn} there than here; have the same on all machines")
    except InputError as error:
        raise InputError(f"on {socket.gethostname()}: {error}") from error
    return loaded


def sha256_of(loaded: LoadedModel) -> str:
    """Of the settings and the weights as they are in memory: of a folder's, a hub id's and random ones alike."""
    settings = loaded.model.config.to_diff_dict()
    # As many heads as there, for one, which no shape tells; but another version may write them.
    kept = {key: value for key, value in settings.items() if key not in ("_name_or_path", "transformers_version")}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    for name, weights in sorted(loaded.model.state_dict().items()):
        digest.update(f"{name} {list(weights.shape)}".encode())
        digest.update(weights.cpu().float().numpy())
    return digest.hexdigest()


def random_weights(loaded: LoadedModel, seed: int) -> LoadedModel:
    """A model of the same shape that has learned nothing: the weights with which transformers would begin."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: Any = AutoModelForCausalLM.from_config(
            loaded.model.config, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False
        )
    return replace(loaded, model=fresh.eval().to(loaded.device), name=f"{loaded.name}, random weights", seed=seed)
