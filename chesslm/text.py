"""Prose to a dataset folder, in the same shards as games (``shards``), for the text stage of a model.

    files -> documents -> blocks of 32 KB -> duplicate? -> split -> tokens -> rows of one context each -> shards

A document is a file, or a line of a JSONL file. It is cut into blocks at line ends, and a block's hash decides its
split: validation text was never trained on, though it may come from the same book. A row is <bos> and the tokens
that fit behind it; <eos> ends a document.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.notation import PROSE
from chesslm.shards import split_of
from chesslm.streams import Source
from chesslm.text_rows import Row, check_options, print_splits, write_rows
from chesslm.text_tokenizer import CONTEXT, TextTokenizer
from chesslm.tokenizer import Role, TokenizedGame

BLOCK_CHARACTERS = 1 << 15


@dataclass(frozen=True)
class Block:
    """A piece of a document.

    Attributes:
        text: at most ``BLOCK_CHARACTERS``, up to the end of a line unless that is too long.
        source: the file's name.
        ends: whether the document ends with it.
    """

    text: str
    source: str
    ends: bool


def prepare_text(
    inputs: Sequence[str],
    out: Path,
    *,
    vocabulary: int = 0,
    tokenizer_of: str | None = None,
    val: float = 0.02,
    test: float = 0.02,
    seed: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn prose into a dataset folder.

    Args:
        inputs: plain text or JSONL (the field ``text`` of each line), also compressed; folders of such files; URLs;
            - for standard input.
        out: the folder to make; on any error it is not made.
        vocabulary: tokens to learn; 0 takes 4,096.
        tokenizer_of: folder, hub id or GGUF file of the text model whose tokens are taken instead.
        val, test: expected shares of the splits, by blocks.
        seed: of the splits.
        quiet: no progress and no summary.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: bad values, bad input, too little text, or ``out`` exists or cannot be written.
        FailureError: the disk is full or reading failed.
    """
    check_options(vocabulary, tokenizer_of, val, test, split_by="text")
    sources = [Source(where) for each in inputs for where in _files(each)]
    began, counts = time.monotonic(), Counter[str]()

    def about() -> dict[str, Any]:
        return {"notation": PROSE, "sources": [source.about() for source in sources], "blocks": dict(counts)}

    def too_little(empty: str) -> str:
        return (
            f"too little text: {counts['kept']} blocks of {BLOCK_CHARACTERS >> 10} KB, and none of them for {empty}; "
            "give more text, or a larger --val and --test"
        )

    meta = write_rows(
        out, lambda seen: _split(sources, seen, seed, (val, test), counts, quiet), lambda block: block.text, _rows,
        about, too_little, columns={"bytes": "int32", "source": "string"}, vocabulary=vocabulary,
        tokenizer_of=tokenizer_of, val=val, test=test, seed=seed,
    )  # fmt: skip
    if not quiet:
        _summarise(out, meta, time.monotonic() - began)
    return meta


def _files(where: str) -> list[str]:
    """The files of a folder, by name; anything else is one itself."""
    folder = Path(where)
    if not folder.is_dir():
        return [where]
    found = sorted(str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{where}: no files in this folder")
    return found


def _split(
    sources: Sequence[Source],
    seen: Seen,
    seed: int,
    shares: tuple[float, float],
    counts: Counter[str],
    quiet: bool,
) -> Iterator[tuple[str, Block]]:
    """Every block that was not there before, with its split; counts them."""
    shown = time.monotonic()
    for source in sources:
        for block in read_blocks(source):
            content = block.text.encode()
            counts["read"] += 1
            if not seen.add_content(content):
                counts["duplicate"] += 1
                continue
            counts["kept"] += 1
            if not quiet and time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f"{counts['read'] * BLOCK_CHARACTERS / 1e6:,.0f} million characters read", file=sys.stderr)
            yield split_of(content, seed, *shares), block


def read_blocks(source: Source) -> Iterator[Block]:
    """The documents of a file, cut into blocks.

    Raises:
        InputError: it is missing, empty, corrupt, or no text; or a line is no JSON object with a text.
        FailureError: reading failed.
    """
    if ".jsonl" in source.name.lower():
        for number, line in enumerate(source.lines(), 1):
            if line.strip():
                yield from _blocks([_text_of(source, number, line)], source)
    else:
        yield from _blocks(source.characters(), source)


def _text_of(source: Source, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise InputError(f'{source.where}: line {number} is no JSON object with a "text"')
    return text


def _blocks(pieces: Iterator[str] | list[str], source: Source) -> Iterator[Block]:
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > BLOCK_CHARACTERS:
            end = held.rfind("\n", 0, BLOCK_CHARACTERS) + 1 or BLOCK_CHARACTERS
            yield Block(held[:end], source.name, ends=False)
            held = held[end:]
    if held.strip():
        yield Block(held, source.name, ends=True)


def _rows(tokenizer: TextTokenizer, block: Block) -> Iterator[Row]:
    """The rows of a block, each with the bytes of text that it stands for."""
    ids, ends = tokenizer.encode(block.text)
    room, begin = CONTEXT - 1, 0
    for start in range(0, len(ids), room):
        part = ids[start : start + room]
        end = int(ends[start + len(part) - 1])
        row, role = [np.array([tokenizer.bos]), part], [Role.GAME_BEGINS, *[0] * len(part)]
        last = start + len(part) == len(ids)
        # A last row that is full has no room for it, and a model can do without.
        if block.ends and last and len(part) < room and tokenizer.eos is not None:
            row.append(np.array([tokenizer.eos]))
            role.append(Role.GAME_ENDS)
        whole = np.concatenate(row).astype(tokenizer.dtype)
        said = {"bytes": len(block.text[begin:end].encode()), "source": block.source}
        yield TokenizedGame(whole, np.array(role, np.uint8)), said
        begin = end


def _summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    blocks, splits = meta["blocks"], meta["splits"]
    print(f"{out}: prose, {blocks['kept']:,} blocks ({blocks.get('duplicate', 0):,} duplicates left out)")
    print_splits(meta, "rows")
    print(f"{sum(split['tokens'] for split in splits.values()) / seconds:,.0f} tokens a second")
