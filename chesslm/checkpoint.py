"""A checkpoint by its files alone: where it is, whether it is whole, what its games are told. Needs no torch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chesslm import conditions, files, hashes, weights
from chesslm.errors import InputError, first_line

DEFAULT_MODEL = "checkpoints/chesslm-small"
ABOUT = "chesslm.json"
CHANGED = f'copy it again, or, if it was changed on purpose, take "files" out of {ABOUT}'
"""What to do about a file that is not what was saved, be it by a bad disk or by another tool that trained on."""


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
    elif not is_hub_id(name):
        raise InputError(f"{name}: no such folder (and no hub id)")
    return name


def is_hub_id(name: str) -> bool:
    """Whether the hub might have a model of that name: owner and name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: a model is a folder, and this is a file")
    if not (folder / "config.json").is_file():
        unfinished = (folder / "run").is_dir()
        hint = "training is not finished; go on with chesslm train --resume" if unfinished else "no config.json"
        raise InputError(f"{folder}: not a checkpoint ({hint})")
    check_links(folder)
    weights.weight_files(folder)


def check_links(folder: Path) -> None:
    """See that nothing that is read or written in a model's folder lies elsewhere.

    Raises:
        InputError: a file, or the folder of the probe or of the run, is a link that leads out.
    """
    within = [path for pattern in ("*.*", "probe/*", "run/*") for path in folder.glob(pattern)]
    for path in (*within, folder / "probe" / "board.json"):
        if not path.is_dir():
            files.within(folder, str(path.relative_to(folder)))


def fetched(name: str) -> Path:
    """The folder of a model: its own, or the one in the hub's cache, downloaded if it is not there.

    Of the hub's files JSON and safetensors are taken, and nothing else: no pickles and no code.

    Raises:
        InputError: it is no whole checkpoint, the hub has no such model, or cannot be reached.
    """
    if Path(name).exists():
        _check_folder(Path(name))
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=["*.json", "model*.safetensors"], ignore_patterns=["*/*"])
    except Exception as error:
        raise InputError(f"{name}: cannot be had from the hub ({first_line(error)})") from error
    _check_folder(Path(folder))
    return Path(folder)


def verified(folder: Path) -> dict[str, Any]:
    """What is known of a checkpoint (``chesslm.json``), once all files that it lists are what they were.

    Cost: 12 ms for the released model (see ``hashes``), paid whenever a model is loaded.

    Returns:
        Nothing for a folder that chesslm did not make, which has no hashes either.

    Raises:
        InputError: a file is not what was saved.
    """
    path = files.within(folder, ABOUT)
    if not path.is_file():
        return {}
    about = files.read_json(path)
    of_files = listed(folder, about)
    hashes.check(folder, of_files, of_files, CHANGED)
    return about


def listed(folder: Path, about: Mapping[str, Any]) -> hashes.Listed:
    """The files of a checkpoint that its ``chesslm.json`` lists, with their hashes.

    Raises:
        InputError: it lists something that is no file of the folder.
    """
    found = hashes.listed(about, folder / ABOUT)
    for name in found:
        files.within(folder, name)
    return found


def conditions_of(folder: Path) -> tuple[str, ...]:
    """The kinds of conditions in front of a model's games, by its tokenizer; none where that cannot be read."""
    try:
        return conditions.kinds_of_tokens(list(files.read_json(folder / "tokenizer.json")["model"]["vocab"]))
    except (ValueError, KeyError, TypeError):
        return ()
