"""Pairs to a dataset folder, in the same shards as games (``shards``): a model learns them as plain text.

    pairs -> duplicate? -> split by game -> <bos> source, a line end, target <eos> -> shards

Nothing says which kind is asked for: kinds with the same sources (moves in UCI) belong in datasets of their own. Source
and target are encoded apart, so no token crosses the line end between them. ``Role.TARGET`` marks the target's
tokens and <eos>: training takes its loss on all tokens, and what is measured is the target. A pair longer than the
context is left out and counted; the kinds of one side, whole games, are cut there instead.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.notation import PAIRS
from chesslm.pairs import ONE_SIDED, SEPARATOR, Pair, read_pairs
from chesslm.shards import split_of
from chesslm.streams import Source
from chesslm.text_rows import Row, check_options, print_splits, write_rows
from chesslm.text_tokenizer import CONTEXT, TextTokenizer
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
    check_options(vocabulary, tokenizer_of, val, test, split_by="games")
    sources = [Source(where) for where in inputs]
    began, counts, kinds = time.monotonic(), Counter[str](), Counter[str]()

    def rows(tokenizer: TextTokenizer, pair: Pair) -> Iterator[Row]:
        row = encode_pair(tokenizer, pair)
        if len(row) > CONTEXT:
            counts["too long"] += 1
            return
        counts["kept"] += 1
        kinds[pair.kind] += 1
        yield row, {"kind": pair.kind, "game": pair.game}

    def about() -> dict[str, Any]:
        return {
            "notation": PAIRS,
            "kinds": dict(sorted(kinds.items())),
            "sources": [source.about() for source in sources],
            "pairs": dict(counts),
        }

    def too_little(empty: str) -> str:
        return (
            f"too few pairs: {counts['kept']} of {counts['read']} left, and none of them for {empty}; give more pairs, "
            "or a larger --val and --test"
        )

    meta = write_rows(
        out, lambda seen: _split(sources, seen, seed, (val, test), counts),
        lambda pair: f"{pair.source}{SEPARATOR}{pair.target}", rows, about, too_little,
        columns={"kind": "string", "game": "string"}, vocabulary=vocabulary, tokenizer_of=tokenizer_of, val=val,
        test=test, seed=seed,
    )  # fmt: skip
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
    if pair.kind in ONE_SIDED and len(target) >= room:
        whole = [i for i in range(1, min(room + 1, len(target))) if pair.target[ends[i - 1]] == " "]
        target, end = target[: whole[-1] if whole else room], []
    ids = np.concatenate([[tokenizer.bos], source, target, end]).astype(tokenizer.dtype)
    role = np.zeros(len(ids), np.uint8)
    role[0] = Role.GAME_BEGINS
    role[1 + len(source) :] = Role.TARGET
    if end:
        role[-1] |= Role.GAME_ENDS
    return TokenizedGame(ids, role)


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


def _summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    pairs = meta["pairs"]
    left_out = ", ".join(f"{pairs[why]:,} {why}" for why in ("duplicate", "too long") if pairs.get(why)) or "none"
    print(
        f"{out}: pairs ({', '.join(meta['kinds'])}), {pairs['kept']:,} of {pairs['read']:,} kept; left out: {left_out}"
    )
    print_splits(meta, "pairs")
    print(f"{pairs['read'] / seconds:,.0f} pairs a second")
