"""Pairs to a dataset folder, in the same shards as games (``shards``): a model learns them as plain text.

    pairs -> duplicate? -> split by game -> <bos> source, a line end, target <eos> -> shards

Nothing says which kind is asked for: kinds with the same sources (moves in UCI) belong in datasets of their own. Source
and target are encoded apart, so no token crosses the line end between them. ``Role.TARGET`` marks the target's
tokens and <eos>: training takes its loss on all tokens, and what is measured is the target. A pair longer than the
context is left out and counted; the kinds of one side, whole games, are cut there instead. Tokens are those of a text
model, or byte-level BPE learned from the first 16 MB that fall in the training split.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import __version__, files
from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.gguf import text_tokenizer_of
from chesslm.notation import PAIRS
from chesslm.pairs import ONE_SIDED, SEPARATOR, Pair, read_pairs
from chesslm.shards import SPLITS, ShardWriter, split_of, write_meta
from chesslm.streams import Source
from chesslm.text import LEARN_CHARACTERS, LEAST_VOCABULARY, VOCABULARY
from chesslm.text_tokenizer import CONTEXT, TextTokenizer, learn_text_tokenizer
from chesslm.tokenizer import Role, TokenizedGame


def prepare_pairs(
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
    """Turn pairs into a dataset folder.

    Args:
        inputs: files of ``chesslm generate --pairs``, also compressed; URLs; - for standard input.
        out: the folder to make; on any error it is not made.
        vocabulary: tokens to learn; 0 takes 4,096.
        tokenizer_of: folder, hub id or GGUF file of the text model whose tokens are taken instead.
        val, test: expected shares of the splits, by games.
        seed: of the splits.
        quiet: no summary.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: bad values, bad input, too few pairs, or ``out`` exists or cannot be written.
        FailureError: the disk is full or reading failed.
    """
    if vocabulary and (tokenizer_of or vocabulary < LEAST_VOCABULARY):
        raise InputError(f"--vocabulary is {LEAST_VOCABULARY} or more, and learned only where --tokenizer names none")
    if not (val > 0 and test > 0 and val + test < 1):
        raise InputError("--val and --test are shares of the games, such as 0.02, and leave some for training")
    sources = [Source(where) for where in inputs]
    began, counts, kinds = time.monotonic(), Counter[str](), Counter[str]()
    with files.atomic_folder(out) as folder:
        writers = {split: ShardWriter(folder, split, columns=_columns()) for split in SPLITS}
        pairs = _split(sources, Seen(folder), seed, (val, test), counts)
        held: list[tuple[str, Pair]] = []
        if tokenizer_of:
            tokenizer = text_tokenizer_of(tokenizer_of)
        else:
            held = _enough(pairs)
            training = (f"{pair.source}{SEPARATOR}{pair.target}" for split, pair in held if split == "train")
            tokenizer = learn_text_tokenizer(training, vocabulary or VOCABULARY)
        for split, pair in chain(held, pairs):
            row = encode_pair(tokenizer, pair)
            if len(row) > CONTEXT:
                counts["too long"] += 1
                continue
            counts["kept"] += 1
            kinds[pair.kind] += 1
            writers[split].add(row, {"kind": pair.kind, "game": pair.game})
        for writer in writers.values():
            writer.flush()
        if empty := [split for split in SPLITS if not writers[split].games]:
            raise InputError(
                f"too few pairs: {counts['kept']} of {counts['read']} left, and none of them for "
                f"{' and '.join(empty)}; give more pairs, or a larger --val and --test"
            )
        tokenizer.save(folder / "tokenizer")
        about = {
            "notation": PAIRS,
            "kinds": dict(sorted(kinds.items())),
            "sources": [source.about() for source in sources],
            "pairs": dict(counts),
            "shares": {"val": val, "test": test},
            "seed": seed,
            "version": __version__,
        }
        meta = write_meta(folder, writers.values(), about)
    if not quiet:
        _summarise(out, meta, time.monotonic() - began)
    return meta


def encode_pair(tokenizer: TextTokenizer, pair: Pair, context: int = CONTEXT) -> TokenizedGame:
    """The row of a pair; a game without a source is cut at the context, after a whole move.

    Raises:
        InputError: the tokenizer has nothing to end a target with.
    """
    if tokenizer.eos is None:
        raise InputError(f"{tokenizer.source}: its tokenizer has no <eos> to end a target with")
    source, _ = tokenizer.encode(pair.source + SEPARATOR)
    target, ends = tokenizer.encode(pair.target)
    room, end = context - 1 - len(source), [tokenizer.eos]
    if pair.kind in ONE_SIDED and len(target) > room:
        whole = [i for i in range(1, room + 1) if pair.target[ends[i - 1]] == " "]
        target, end = target[: whole[-1] if whole else room], []
    ids = np.concatenate([[tokenizer.bos], source, target, end]).astype(tokenizer.dtype)
    role = np.zeros(len(ids), np.uint8)
    role[0] = Role.GAME_BEGINS
    role[1 + len(source) :] = Role.TARGET
    if end:
        role[-1] |= Role.GAME_ENDS
    return TokenizedGame(ids, np.zeros(len(ids), np.int16), role)


def _split(
    sources: Sequence[Source], seen: Seen, seed: int, shares: tuple[float, float], counts: Counter[str]
) -> Iterator[tuple[str, Pair]]:
    """Every pair that was not there before, with the split of its game; counts them."""
    for source in sources:
        for pair in read_pairs(source):
            counts["read"] += 1
            if seen.add_content(f"{pair.kind}\n{pair.source}\n{pair.target}".encode()):
                yield split_of(pair.game.encode(), seed, *shares), pair
            else:
                counts["duplicate"] += 1


def _enough(pairs: Iterator[tuple[str, Pair]]) -> list[tuple[str, Pair]]:
    """The first pairs: enough of them to learn tokens from."""
    held: list[tuple[str, Pair]] = []
    characters = 0
    for split, pair in pairs:
        held.append((split, pair))
        characters += len(pair.source) + len(pair.target)
        if characters >= LEARN_CHARACTERS:
            break
    return held


def _columns() -> Any:
    import pyarrow as pa

    return pa.schema([("kind", pa.string()), ("game", pa.string())])


def _summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    pairs = meta["pairs"]
    left_out = ", ".join(f"{pairs[why]:,} {why}" for why in ("duplicate", "too long") if pairs.get(why)) or "none"
    print(
        f"{out}: pairs ({', '.join(meta['kinds'])}), {pairs['kept']:,} of {pairs['read']:,} kept; left out: {left_out}"
    )
    for name, split in meta["splits"].items():
        print(f"  {name:<5}  {split['games']:>9,} pairs  {split['tokens']:>13,} tokens")
    print(f"{pairs['read'] / seconds:,.0f} pairs a second")
