"""The weights and settings of a model folder that anybody may have made: looked at before anything is loaded.

Weights are read from safetensors only, whose headers are checked against the length of the file; never from pickles,
which can run code. Nothing in ``config.json`` can name other files, ask for code, or ask for a model that is larger
than the weights beside it. Needs no torch but for ``check_size``.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.errors import InputError, first_line

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
REFUSED = {
    "configuration_files": "names other files to be read in its place",
    "transformers_weights": "names other weights than model.safetensors",
    "quantization_config": "says that its weights are quantized; take the model as it was before",
}
"""What ``config.json`` must not have, and why."""
LAYERS = re.compile(r"(layers?|experts)$")
"""Settings that say how many modules are made, one by one, before a shape can be looked at."""
MOST_LAYERS = 1000
"""That even a file of few tensors may ask for."""
MOST_BUFFERED = 2**28
"""Numbers in tables that are no weights, such as positions: 1 GB."""

Tensors = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type by name."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights, in the order of their names.

    Raises:
        InputError: there are none, one is missing, or the index names a file elsewhere.
    """
    if (single := files.within(folder, SINGLE)).is_file():
        return [single]
    if not (index := files.within(folder, INDEX)).is_file():
        pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        why = f"; {pickled[0]} is a pickle, which can run code, and is not read: save it as {SINGLE}" if pickled else ""
        raise InputError(f"{folder}: no safetensors weights{why}")
    named = files.read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise InputError(f"{index}: does not say where the weights are")
    found = [files.within(folder, name) for name in sorted(set(named.values()))]
    for path in found:
        if path.suffix != ".safetensors" or not path.is_file():
            raise InputError(f"{index}: names {path.name}, which is no safetensors file here")
    return found


def tensors(folder: Path) -> Tensors:
    """Shape and type of each tensor in the weights, from the files' headers alone.

    Raises:
        InputError: there are none, or a file is cut short or its header lies.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118  (no dict)
                    part = file.get_slice(name)
                    found[name] = tuple(part.get_shape()), str(part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not whole ({error}); copy or train it again") from error
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        InputError: it is not readable, or asks for what is not done.
    """
    path = files.within(folder, "config.json")
    config = files.read_json(path)
    for key, why in REFUSED.items():
        if config.get(key):
            raise InputError(f"{path}: {why} ({key})")
    # With peft installed transformers would add it unasked, and without leave it out.
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder}: an adapter lies beside the weights (adapter_config.json); save them merged")
    return config


def check_size(config: Any, held: int, tensors: int, where: str) -> None:
    """See that a model is no larger than its weights, before room is made for it: 20 ms.

    Twice as large is let pass, since a table may serve two ends; what does not fit then is found when it is loaded.

    Args:
        config: of transformers.
        held: numbers in the weights.
        tensors: in which they are.
        where: what to call the model in an error.

    Raises:
        InputError: it is larger.
    """
    import torch
    from transformers import AutoModelForCausalLM

    for name, count in _counts(config.to_dict()):
        if count > max(MOST_LAYERS, tensors):
            raise InputError(f"{where}: asks for {name} = {count}, more than its weights can hold")
    options = {"attn_implementation": "sdpa", "trust_remote_code": False}
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config), **options)
    except Exception as error:
        raise InputError(f"{where}: the model cannot be loaded ({first_line(error)})") from error
    asked = sum(each.numel() for each in model.parameters())
    if asked > 2 * held or sum(each.numel() for each in model.buffers()) > max(2 * held, MOST_BUFFERED):
        raise InputError(f"{where}: its weights do not fit it (they are {held:,} numbers, and it asks for {asked:,})")


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif isinstance(value, int) and LAYERS.search(str(name)):
            yield str(name), value


def held_in(found: Tensors) -> int:
    """Numbers in weights."""
    return sum(prod(shape) for shape, _ in found.values())
