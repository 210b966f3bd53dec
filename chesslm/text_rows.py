"""Any text to a dataset folder: what prose (``text``) and pairs (``pair_rows``) have in common.

    pieces with their splits -> tokenizer, learned or taken -> rows of tokens -> shards -> meta.json

Tokens are byte-level BPE, learned from the first 16 MB that fall in the training split, or those of a text model that
is there already. Memory is a shard and those 16 MB, whatever the input.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from chesslm import __version__, files
from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.gguf import text_tokenizer_of
from chesslm.shards import SPLITS, ShardWriter, write_meta
from chesslm.text_tokenizer import TextTokenizer, learn_text_tokenizer
from chesslm.tokenizer import TokenizedGame

LEARN_CHARACTERS = 1 << 24
VOCABULARY = 4096
LEAST_VOCABULARY = 320
"""All bytes, the special tokens and a few merges."""

Piece = TypeVar("Piece")
Row = tuple[TokenizedGame, dict[str, Any]]
"""A row of tokens with what the table says of it."""


def check_options(vocabulary: int, tokenizer_of: str | None, val: float, test: float, split_by: str) -> None:
    """Refuse options that make no sense, before anything is read.

    Raises:
        InputError: they do not.
    """
    if vocabulary and (tokenizer_of or vocabulary < LEAST_VOCABULARY):
        raise InputError(f"--vocabulary is {LEAST_VOCABULARY} or more, and learned only where --tokenizer names none")
    if not (val > 0 and test > 0 and val + test < 1):
        raise InputError(f"--val and --test are shares of the {split_by}, such as 0.02, and leave some for training")


def write_rows(
    out: Path,
    pieces: Callable[[Seen], Iterator[tuple[str, Piece]]],
    text_of: Callable[[Piece], str],
    rows_of: Callable[[TextTokenizer, Piece], Iterable[Row]],
    about: Callable[[], dict[str, Any]],
    too_little: Callable[[str], str],
    *,
    columns: dict[str, str],
    vocabulary: int,
    tokenizer_of: str | None,
    val: float,
    test: float,
    seed: int,
) -> dict[str, Any]:
    """Write the dataset folder of a text.

    Args:
        out: the folder to make; on any error it is not made.
        pieces: of the text, each with its split; those seen before are left out.
        text_of: what a tokenizer learns from a piece.
        rows_of: the rows of a piece.
        about: what ``meta.json`` says beside shares, seed and version, once all is read.
        too_little: what to say where splits stay empty, given their names.
        columns: of the table of rows, with the names of their pyarrow types.
        vocabulary: tokens to learn; 0 takes 4,096.
        tokenizer_of: folder, hub id or GGUF file of the text model whose tokens are taken instead.
        val, test: expected shares of the splits.
        seed: of the splits.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: bad input, or a split stays empty.
        FailureError: the disk is full or reading failed.
    """
    with files.atomic_folder(out) as folder:
        writers = {split: ShardWriter(folder, split, columns=_schema(columns)) for split in SPLITS}
        given = pieces(Seen(folder))
        held: list[tuple[str, Piece]] = []
        if tokenizer_of:
            tokenizer = text_tokenizer_of(tokenizer_of)
        else:
            held = _enough(given, text_of)
            training = (text_of(piece) for split, piece in held if split == "train")
            tokenizer = learn_text_tokenizer(training, vocabulary or VOCABULARY)
        for split, piece in chain(held, given):
            for row, said in rows_of(tokenizer, piece):
                writers[split].add(row.ids, row.role, said)
        for writer in writers.values():
            writer.flush()
        if empty := [split for split in SPLITS if not writers[split].games]:
            raise InputError(too_little(" and ".join(empty)))
        tokenizer.save(folder / "tokenizer")
        options = {"shares": {"val": val, "test": test}, "seed": seed, "version": __version__}
        return write_meta(folder, writers.values(), about() | options)


def _enough(pieces: Iterator[tuple[str, Piece]], text_of: Callable[[Piece], str]) -> list[tuple[str, Piece]]:
    """The first pieces: enough of them to learn tokens from."""
    held: list[tuple[str, Piece]] = []
    characters = 0
    for split, piece in pieces:
        held.append((split, piece))
        characters += len(text_of(piece)) if split == "train" else 0
        if characters >= LEARN_CHARACTERS:
            break
    return held


def _schema(columns: dict[str, str]) -> Any:
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def print_splits(meta: dict[str, Any], unit: str) -> None:
    """A line a split."""
    for name, split in meta["splits"].items():
        print(f"  {name:<5}  {split['games']:>9,} {unit}  {split['tokens']:>13,} tokens")
