"""Prose to a dataset folder, in the same shards as games (``shards``), for the text stage of a model.

    files -> documents -> blocks of 32 KB -> duplicate? -> split -> tokens -> rows of one context each -> shards

A document is a file, or a line of a JSONL file. It is cut into blocks at line ends, and a block's hash decides its
split: validation text was never trained on, though it may come from the same book. A row is <bos> and the tokens
that fit behind it; <eos> ends a document. Tokens are byte-level BPE, learned from the first 16 MB that fall in the
training split, or those of a text model that is there already. Memory is a shard and those 16 MB, whatever the input.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import __version__, files
from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.gguf import text_tokenizer_of
from chesslm.notation import PROSE
from chesslm.shards import SPLITS, ShardWriter, split_of, write_meta
from chesslm.streams import Source
from chesslm.text_tokenizer import CONTEXT, TextTokenizer, learn_text_tokenizer
from chesslm.tokenizer import Role, TokenizedGame

BLOCK_CHARACTERS = 1 << 15
LEARN_CHARACTERS = 1 << 24
VOCABULARY = 4096
LEAST_VOCABULARY = 320
"""All bytes, the special tokens and a few merges."""


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
    if vocabulary and (tokenizer_of or vocabulary < LEAST_VOCABULARY):
        raise InputError(f"--vocabulary is {LEAST_VOCABULARY} or more, and learned only where --tokenizer names none")
    if not (val > 0 and test > 0 and val + test < 1):
        raise InputError("--val and --test are shares of the text, such as 0.02, and leave some for training")
    sources = [Source(where) for each in inputs for where in _files(each)]
    began, counts = time.monotonic(), Counter[str]()
    with files.atomic_folder(out) as folder:
        writers = {split: ShardWriter(folder, split, columns=_columns()) for split in SPLITS}
        blocks = _split(sources, Seen(folder), seed, (val, test), counts, quiet)
        held: list[tuple[str, Block]] = []
        if tokenizer_of:
            tokenizer = text_tokenizer_of(tokenizer_of)
        else:
            held = _enough(blocks)
            training = (block.text for split, block in held if split == "train")
            tokenizer = learn_text_tokenizer(training, vocabulary or VOCABULARY)
        for split, block in chain(held, blocks):
            for row, size in _rows(tokenizer, block):
                writers[split].add(row, {"bytes": size, "source": block.source})
        for writer in writers.values():
            writer.flush()
        if empty := [split for split in SPLITS if not writers[split].games]:
            raise InputError(
                f"too little text: {counts['kept']} blocks of {BLOCK_CHARACTERS >> 10} KB, and none of them for "
                f"{' and '.join(empty)}; give more text, or a larger --val and --test"
            )
        tokenizer.save(folder / "tokenizer")
        about = {
            "notation": PROSE,
            "sources": [source.about() for source in sources],
            "blocks": dict(counts),
            "shares": {"val": val, "test": test},
            "seed": seed,
            "version": __version__,
        }
        meta = write_meta(folder, writers.values(), about)
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


def _enough(blocks: Iterator[tuple[str, Block]]) -> list[tuple[str, Block]]:
    """The first blocks: enough of them to learn tokens from."""
    held: list[tuple[str, Block]] = []
    characters = 0
    for split, block in blocks:
        held.append((split, block))
        characters += len(block.text) if split == "train" else 0
        if characters >= LEARN_CHARACTERS:
            break
    return held


def _rows(tokenizer: TextTokenizer, block: Block) -> Iterator[tuple[TokenizedGame, int]]:
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
        yield (
            TokenizedGame(whole, np.zeros(len(whole), np.int16), np.array(role, np.uint8)),
            len(block.text[begin:end].encode()),
        )
        begin = end


def _columns() -> Any:
    import pyarrow as pa

    return pa.schema([("bytes", pa.int32()), ("source", pa.string())])


def _summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    blocks, splits = meta["blocks"], meta["splits"]
    print(f"{out}: prose, {blocks['kept']:,} blocks ({blocks.get('duplicate', 0):,} duplicates left out)")
    for name, split in splits.items():
        print(f"  {name:<5}  {split['games']:>9,} rows  {split['tokens']:>13,} tokens")
    print(f"{sum(split['tokens'] for split in splits.values()) / seconds:,.0f} tokens a second")
