"""Datasets of games joined into one.

    shares of one input, each prepared by a machine of its own -> the dataset that one machine would have made
    any datasets of the same tokens                            -> their games in order, each once

A game that is in several of them stays where it was first. Where splits were drawn alike, the same game is in the same
split everywhere; where they were not, games turn up in two splits, and that is reported: what was trained on one of the
datasets must not be tested on another.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from chesslm import boards, files
from chesslm.done import WORK, Done, interrupted
from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.game_rows import Row, Work
from chesslm.prepare import summarise, too_few
from chesslm.shards import SPLITS, Dataset, open_dataset, read_keys
from chesslm.splitter import Splitter

TWICE = "in two splits"
_ALIKE = ("notation", "conditions", "hints")


def merge(parts: Sequence[Path], out: Path, quiet: bool = False) -> dict[str, Any]:
    """Join datasets of games.

    Args:
        parts: their folders; all the shares of an input, in any order, or any datasets whose games are written alike.
        out: the folder to make; on any error it is not made.
        quiet: no summary.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: a folder is no dataset of games, shares are missing or of different inputs, tokens differ, or
            ``out`` exists or cannot be written.
        FailureError: the disk is full.
    """
    datasets = [open_dataset(part) for part in parts]
    if any(dataset.is_text for dataset in datasets):
        raise InputError("--merge joins datasets of games; text and pairs are prepared in one go")
    shares = any("share" in dataset.meta for dataset in datasets)
    datasets = _all_shares(datasets) if shares else datasets
    first = datasets[0]
    for dataset in datasets[1:]:
        differ = next((name for name in _ALIKE if dataset.meta[name] != first.meta[name]), None)
        if differ or dataset.tokenizer.tokens != first.tokenizer.tokens:
            raise InputError(f"{dataset.folder} has other {differ or 'tokens'} than {first.folder}; prepare them alike")
    began = time.monotonic()
    # What a merge has left is made anew; what prepare has left is not its to remove.
    with files.resumable_folder(out, False, interrupted) as folder:
        (folder / WORK).mkdir()
        in_split = Seen(folder / WORK)
        work = Work(None, first.tokenizer.conditions, False, False, Filters(), 0, (0.0, 0.0))
        done = Done(folder, Splitter(folder, work, first.tokenizer, keys=False), Seen(folder / WORK), {})
        for row in (row for dataset in datasets for row in _rows(dataset)):
            new_here = in_split.add(_mixed(row.key, row.split))
            before = done.splitter.kept
            done.take(row)
            if new_here and done.splitter.kept == before:
                done.dropped["duplicate"] -= 1
                done.dropped[TWICE] += 1
        for dataset in datasets:
            done.dropped.update(dataset.meta["games"]["dropped"])
        if (kept := done.splitter.kept) < len(SPLITS):
            raise InputError(too_few(kept, sum(dataset.meta["games"]["read"] for dataset in datasets), done.dropped))
        done.splitter.finish()
        meta = done.finish(_about(datasets, done, shares), keys=False)
    if not quiet:
        summarise(out, meta, time.monotonic() - began)
    return meta


def _all_shares(datasets: list[Dataset]) -> list[Dataset]:
    """The shares of one input in their order.

    Raises:
        InputError: one is missing or there twice, or they are not of one input or prepared alike.
    """
    numbers = {}
    for dataset in datasets:
        share = dataset.meta.get("share")
        if not share:
            raise InputError(
                f"{dataset.folder} is no share of an input, as others are; join whole datasets by themselves"
            )
        if share["number"] in numbers:
            raise InputError(f"{dataset.folder} and {numbers[share['number']].folder} are the same share")
        numbers[share["number"]] = dataset
        for name in ("sources", "exclude", "filters", "shares", "seed", "version"):
            if dataset.meta[name] != datasets[0].meta[name] or share["of"] != datasets[0].meta["share"]["of"]:
                raise InputError(f"{dataset.folder} has other {name} than {datasets[0].folder}; prepare them alike")
    missing = [number + 1 for number in range(datasets[0].meta["share"]["of"]) if number not in numbers]
    if missing:
        of = datasets[0].meta["share"]["of"]
        raise InputError(f"share {missing[0]}/{of} is missing; prepare it with --shard {missing[0]}/{of}")
    return [numbers[number] for number in sorted(numbers)]


def _rows(dataset: Dataset) -> Iterator[Row]:
    """The games of a dataset: of a share those first that were first, then split by split."""
    rows = {split: _rows_of(dataset, split) for split in SPLITS}
    for split in dataset.meta.get("first", ()):
        yield next(rows[split])
    for split in SPLITS:
        yield from rows[split]


def _rows_of(dataset: Dataset, name: str) -> Iterator[Row]:
    split, path = dataset.splits[name], dataset.folder / f"{name}.keys"
    known = read_keys(path) if path.exists() else None
    number = 0
    for table in split.tables:
        for about in pq.read_table(table).to_pylist():
            game = split[number]
            if known:
                key = next(known)
            else:
                key = Seen.key(boards.to_codes(dataset.tokenizer.decode_moves(game.ids)).tobytes())
            yield Row(key, b"", name, about, None, game.ids.tobytes(), game.role.tobytes())
            number += 1


def _mixed(key: int, split: str) -> int:
    """A number for a game in a split."""
    return Seen.key(key.to_bytes(8, "little") + split.encode())


def _about(datasets: list[Dataset], done: Done, shares: bool) -> dict[str, Any]:
    """What ``meta.json`` says: of shares what it would say of the whole, otherwise what the datasets agree in."""
    metas = [dataset.meta for dataset in datasets]
    read = sum(meta["games"]["read"] for meta in metas)
    about = {name: metas[0][name] for name in (*_ALIKE, "filters", "shares", "seed", "version")}
    for name in about:
        if any(meta[name] != about[name] for meta in metas):
            about[name] = None
    games = {"read": read, "kept": done.splitter.kept, "dropped": dict(sorted((+done.dropped).items()))}
    if shares:
        return {**about, "sources": metas[0]["sources"], "exclude": metas[0]["exclude"], "games": games}
    sources, exclude = ([each for meta in metas for each in meta[name]] for name in ("sources", "exclude"))
    return {
        **about,
        "sources": sources,
        "exclude": exclude,
        "games": games,
        "merged": [meta["sha256"] for meta in metas],
    }
