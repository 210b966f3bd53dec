"""A checkpoint by its files alone: where it is, whether it is whole, what its games are told. Needs no torch."""

import json
from pathlib import Path

from chesslm import conditions
from chesslm.errors import InputError

DEFAULT_MODEL = "checkpoints/chesslm-small"


def find_model(name: str | None) -> str:
    """A folder or hub id; None is the released default, in the working folder or beside the package.

    Raises:
        InputError: no such folder, or one that is no whole checkpoint.
    """
    if name is None:
        for root in (Path(), Path(__file__).parents[1]):
            if (root / DEFAULT_MODEL / "config.json").is_file():
                return str(root / DEFAULT_MODEL)
        raise InputError(f"no model named and no {DEFAULT_MODEL} here; train one with chesslm train")
    if Path(name).exists():
        _check_folder(Path(name))
    elif name.count("/") != 1 or name.startswith((".", "/")):
        raise InputError(f"{name}: no such folder (and no hub id)")
    return name


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: a model is a folder, and this is a file")
    if not (folder / "config.json").is_file():
        unfinished = (folder / "run").is_dir()
        hint = "training is not finished; go on with chesslm train --resume" if unfinished else "no config.json"
        raise InputError(f"{folder}: not a checkpoint ({hint})")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: no safetensors weights")


def conditions_of(folder: Path) -> tuple[str, ...]:
    """The kinds of conditions in front of a model's games, by its tokenizer; none where that cannot be read."""
    try:
        return conditions.kinds_of_tokens(list(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
