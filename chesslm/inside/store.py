"""What was fitted to a model, beside it: ``probe/NAME.safetensors`` with its facts in ``probe/NAME.json``.

Among the facts are the hashes of the model's weights, of the arrays and of the facts themselves: other ones are not
used.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import files, hashes
from chesslm.errors import InputError
from chesslm.weights import weight_files

FOLDER = "probe"
"""Of a checkpoint, where it lies."""

MOST_BYTES = 1 << 30
"""Of the arrays: those of an editor of 48 layers of 1,600 have 128 MB."""

Arrays = dict[str, NDArray[np.float32]]


def save(folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays in half precision, and what is known of them.

    Args:
        folder: of the checkpoint.
        name: of both files.
        arrays: by their names.
        about: plain JSON.
    """
    from safetensors.numpy import save as packed

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    with files.atomic(place / f"{name}.safetensors") as path:
        # Not save_file, whose files nobody else may read.
        path.write_bytes(packed({key: np.ascontiguousarray(each, np.float16) for key, each in arrays.items()}))
    made_for = {
        "model": _weights(folder),
        "sha256": files.sha256(place / f"{name}.safetensors"),
    }
    with files.atomic(place / f"{name}.json") as path:
        path.write_text(json.dumps(hashes.with_own({**made_for, **about}), indent=1) + "\n")


def load(folder: Path, name: str) -> tuple[Arrays, dict[str, Any]] | None:
    """Arrays by their names, and what is known of them; None if there are none.

    Raises:
        InputError: they were made for other weights, were changed since, or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place, facts = folder / FOLDER, files.within(folder, f"{FOLDER}/{name}.json")
    if not facts.is_file():
        return None
    about = files.read_json(facts)
    if about.get("model") != _weights(folder):
        raise InputError(f"{place}: made for other weights than those of {folder}; make it again with chesslm probe")
    arrays = files.within(folder, f"{FOLDER}/{name}.safetensors")
    try:
        # The oldest probes recorded neither hash.
        if hashes.OWN in about and not hashes.has_own(about):
            raise ValueError(f"{facts.name} was changed since")
        if (size := arrays.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{arrays.name} has {size / 1e6:.0f} MB")
        if about.get("sha256") not in (None, files.sha256(arrays)):
            raise ValueError(f"{arrays.name} was changed since")
        found = load_file(arrays)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    return {key: each.astype(np.float32) for key, each in found.items()}, about


def _weights(folder: Path) -> str:
    """The hash of a model's weights; of their hashes where there are several files."""
    found = [files.sha256(path) for path in weight_files(folder)]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def unreadable(folder: Path, error: Exception) -> InputError:
    """What to say of files that are not what they should be."""
    return InputError(f"{folder / FOLDER}: not a readable probe ({error}); make it again with chesslm probe")
