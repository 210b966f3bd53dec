"""What a dataset's ``meta.json`` says of its folder: which files there are, and what they should be.

    {"schema": 1, "notation", ..., "sha256": of the token files,
     "splits": {"train": {"games", "tokens", "shards"}, ...},
     "files": {"train-00000.ids.npy": {"bytes", "sha256"}, ..., "tokenizer/tokenizer.json": ...}}

Needs no torch.
"""

import hashlib
from pathlib import Path
from typing import Any

from chesslm import files, hashes
from chesslm.errors import InputError

SCHEMA = 1
SPLITS = ("train", "val", "test")
TOKENIZER = "tokenizer"
KINDS = ("ids.npy", "roles.npy", "offsets.npy", "games.parquet")
AGAIN = "run chesslm prepare again"


def stems(split: str, shards: int) -> list[str]:
    """How the names of a split's files begin, shard by shard."""
    return [f"{split}-{shard:05d}" for shard in range(shards)]


def digest_of(listed: hashes.Listed) -> str:
    """A dataset's hash, by those of the files that hold its tokens."""
    token_files = [f"{name} {entry['sha256']}" for name, entry in sorted(listed.items()) if name.endswith(".npy")]
    return hashlib.sha256("\n".join(token_files).encode()).hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    """The content of a dataset's ``meta.json``.

    Raises:
        InputError: the folder is no dataset, or an unfinished one.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make a dataset with chesslm prepare")
    path = files.child(folder, "meta.json")
    if not path.is_file():
        raise InputError(f"{folder}: no meta.json, so no finished dataset; {AGAIN}")
    try:
        meta = files.read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {AGAIN}") from error
    if meta.get("schema") != SCHEMA or not {"notation", "sha256", "splits", "files"} <= meta.keys():
        raise InputError(f"{path}: not a dataset of this version; {AGAIN}")
    listed, splits = hashes.listed(meta, path), meta["splits"]
    try:
        # Counted before they are named: it may say any number.
        whole = all(counts["shards"] <= len(listed) for counts in splits.values()) and all(
            f"{stem}.{kind}" in listed
            for split, counts in splits.items()
            for stem in stems(split, counts["shards"])
            for kind in KINDS
        )
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole or not set(splits) <= set(SPLITS):
        raise InputError(f"{path}: not the splits of a dataset; {AGAIN}")
    return meta
