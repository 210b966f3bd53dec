"""PGN to a dataset folder: filters, duplicates, splits by game, shards (the folder is described in ``shards``).

    chunks of PGN -> rows: filters, split, tokens (game_rows, worker processes) -> excluded? -> duplicate? -> shards

The split of a game is a hash of the seed and its moves: no game is in two splits, the same game falls in the same
split of every dataset with that seed, and nothing depends on the number of workers. Memory is a shard (about
200 MB as Python objects) and the chunks in flight, whatever the input's size.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import __version__, files, parallel
from chesslm.conditions import check_kinds
from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.game import Dropped, Game
from chesslm.game_rows import Row, Work, columns, make_rows, opening_of, tokens_of
from chesslm.notation import TEXT, TRAINED, check_name, get_notation, train_notation
from chesslm.pgn import read_chunks, read_games
from chesslm.shards import SPLITS, ShardWriter, write_meta
from chesslm.streams import Source
from chesslm.tokenizer import GameTokenizer
from chesslm.tokenizer_files import save_tokenizer

HELD_BACK = 2
"""Games kept until the end, so that no split stays empty."""
LEARN_GAMES = 20_000
"""Games from whose training part a vocabulary is learned."""
LEAST_VOCABULARY = 64


def prepare(
    pgn: Sequence[str],
    out: Path,
    *,
    notation: str = "uci-move",
    vocabulary: int = 0,
    tokenizer_of: str | None = None,
    conditions: Sequence[str] = (),
    hints: bool = False,
    filters: Filters | None = None,
    max_games: int | None = None,
    val: float = 0.02,
    test: float = 0.02,
    exclude: Sequence[str] = (),
    seed: int = 1,
    workers: parallel.Workers = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn PGN games into a dataset folder.

    Args:
        pgn: paths, URLs, or - for standard input.
        out: the folder to make; on any error it is not made.
        notation: as in ``notation.NAMES``.
        vocabulary: tokens at most, where they are learned from the games; 0 takes the notation's own number.
        tokenizer_of: folder, hub id or GGUF file of the model whose tokens the notation ``text`` is written in.
        conditions: what stands in front of each game, as in ``conditions.KINDS``.
        hints: whether the moved piece is named before each move (uci-square); training decides how often it is shown.
        filters: which games are kept; None is all.
        max_games: stop after so many.
        val, test: expected shares of the splits; at least one game each.
        exclude: PGN inputs; a game is dropped if its first 40 plies are those of a game there. A shorter game is
            dropped only if the same game is there.
        seed: of the splits.
        workers: who parses.
        quiet: no progress and no summary.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: bad values, bad input, too few games left, or ``out`` exists or cannot be written.
        FailureError: the disk is full, reading failed, or a worker died.
    """
    check_name(notation)
    if (notation == TEXT) != (tokenizer_of is not None):
        raise InputError("--tokenizer names the model whose tokens games in --notation text are written in")
    kinds, filters = check_kinds(conditions), filters or Filters()
    if kinds and tokenizer_of:
        raise InputError("--condition needs tokens of its own, which a text model's tokenizer does not have")
    tokenizer = _fixed_tokenizer(notation, kinds, tokenizer_of)
    if hints and not (tokenizer and tokenizer.notation.hints):
        raise InputError(f"--hints names the moved piece before a move of uci-square; {notation} has no such tokens")
    if vocabulary and (tokenizer or vocabulary < LEAST_VOCABULARY):
        raise InputError(
            f"--vocabulary is for {' and '.join(TRAINED)}, whose tokens are learned, and {LEAST_VOCABULARY} or more"
        )
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise InputError("--val and --test are shares of the games, such as 0.02, and leave some for training")
    if max_games is not None and max_games < len(SPLITS):
        raise InputError(f"--max-games must be {len(SPLITS)} or more: one game for each split")
    sources, excluding = [Source(where) for where in pgn], [Source(where) for where in exclude]
    began = time.monotonic()
    with files.atomic_folder(out) as folder:
        banned = _openings(excluding, workers)
        # A learned vocabulary is one of SAN; what is not known to all workers is done here.
        words = tokenizer is None or tokenizer.notation.reads_board
        here = tokenizer is None or tokenizer.foreign
        work = Work(None if here else notation, kinds, hints, words, filters, seed, (val, test))
        splitter = _Splitter(folder, work, tokenizer, learn=(notation, vocabulary))
        seen, dropped = Seen(folder), Counter[str]()
        read = 0
        with (
            closing(read_chunks(sources, partial(make_rows, work), workers)) as chunks,
            _progress(sources, quiet) as advance,
        ):
            for row in (row for _, parsed in chunks for row in parsed.items):
                read += 1
                advance(read, splitter.kept)
                if isinstance(row, Dropped):
                    dropped[row.reason] += 1
                elif row.opening in banned:
                    dropped["excluded"] += 1
                elif not seen.add(row.key):
                    dropped["duplicate"] += 1
                else:
                    splitter.add(row)
                    if splitter.kept == max_games:
                        break
        if splitter.kept < len(SPLITS):
            raise InputError(_too_few(splitter.kept, read, dropped))
        save_tokenizer(splitter.finish(), folder / "tokenizer")
        about = {
            "notation": notation,
            "conditions": list(kinds),
            "hints": hints,
            "sources": [source.about() for source in sources],
            "exclude": [source.about() for source in excluding],
            "filters": {**asdict(filters), "max_games": max_games},
            "games": {"read": read, "kept": splitter.kept, "dropped": dict(sorted(dropped.items()))},
            "shares": {"val": val, "test": test},
            "seed": seed,
            "version": __version__,
        }
        meta = write_meta(folder, splitter.writers.values(), about)
    if not quiet:
        _summarise(out, meta, time.monotonic() - began)
    return meta


def _fixed_tokenizer(notation: str, kinds: tuple[str, ...], tokenizer_of: str | None) -> GameTokenizer | None:
    """The tokenizer, if it is known before any game is read."""
    if tokenizer_of:
        from chesslm.foreign import foreign_tokenizer
        from chesslm.gguf import text_tokenizer_of

        return foreign_tokenizer(text_tokenizer_of(tokenizer_of), notation)
    return None if notation in TRAINED else GameTokenizer(get_notation(notation), kinds)


def _openings(sources: Sequence[Source], workers: parallel.Workers) -> frozenset[bytes]:
    if not sources:
        return frozenset()
    with closing(read_games(sources, workers)) as games:
        return frozenset(opening_of(game) for _, game in games if isinstance(game, Game))


class _Splitter:
    """Hands each game to the writer of its split, and sees to it that each split gets one."""

    def __init__(self, folder: Path, work: Work, tokenizer: GameTokenizer | None, learn: tuple[str, int]) -> None:
        self.writers = {split: ShardWriter(folder, split, columns=columns()) for split in SPLITS}
        self.games = Counter[str]()
        self.kept = 0
        self._work, self._tokenizer, self._learn = work, tokenizer, learn
        self._held: list[Row] = []

    def add(self, row: Row) -> None:
        self.kept += 1
        self.games[row.split] += 1
        if self._tokenizer is None:
            assert row.game
            # The same few thousand words over and over: kept once each, they take a tenth of the memory.
            row = row._replace(game=replace(row.game, words=tuple(map(sys.intern, row.game.words or ()))))
            self._held.append(row)
            if len(self._held) == LEARN_GAMES:
                self._learned()
        elif len(self._held) < HELD_BACK:
            self._held.append(row)
        else:
            self._write(self._tokenizer, row)

    def finish(self) -> GameTokenizer:
        """Write the games held back, to an empty split first, and what the writers still hold."""
        tokenizer = self._tokenizer or self._learned()
        for empty in [split for split in SPLITS if not self.games[split]]:
            spared = max(self._held, key=lambda held: self.games[held.split])
            self._held.remove(spared)
            self.games[spared.split] -= 1
            self.games[empty] += 1
            self._write(tokenizer, spared._replace(split=empty))
        for row in self._held:
            self._write(tokenizer, row)
        for writer in self.writers.values():
            writer.flush()
        return tokenizer

    def _learned(self) -> GameTokenizer:
        """The tokenizer learned from the games held so far, which are written then."""
        notation, vocabulary = self._learn
        games = [row.game.words or () for row in self._held if row.split == "train" and row.game]
        learned = train_notation(notation, games, vocabulary)
        tokenizer = self._tokenizer = GameTokenizer(learned, self._work.conditions)
        held, self._held = self._held[HELD_BACK:], self._held[:HELD_BACK]
        for row in held:
            self._write(tokenizer, row)
        return tokenizer

    def _write(self, tokenizer: GameTokenizer, row: Row) -> None:
        if row.game:
            tokens = tokens_of(tokenizer, row.game, self._work)
            ids, roles = tokens.ids, tokens.role
        else:
            ids, roles = np.frombuffer(row.ids, tokenizer.dtype), np.frombuffer(row.roles, np.uint8)
        self.writers[row.split].add(ids, roles, row.about)


def _too_few(kept: int, read: int, dropped: Counter[str]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
    left = f"{kept or 'no'} game{'' if kept == 1 else 's'} left of {read:,}"
    return f"{left}, and each of the splits needs one; dropped: {reasons or 'none'}"


@contextmanager
def _progress(sources: Sequence[Source], quiet: bool) -> Iterator[Any]:
    """A line on stderr, kept up to date in a terminal and repeated every ten seconds in a log."""
    live = sys.stderr.isatty()
    began = shown = time.monotonic()
    printed = False

    def advance(read: int, kept: int) -> None:
        nonlocal shown, printed
        # Looking at the clock costs little, but not nothing at 6,000 games a second.
        if quiet or read % 64 or (now := time.monotonic()) - shown < (0.5 if live else 10):
            return
        shown, printed = now, True
        size = sum(source.size or 0 for source in sources)
        share = f", {sum(source.read for source in sources) / size:.0%}" if size else ""
        line = f"{read:,} games read{share}, {kept:,} kept, {read / (now - began):,.0f} a second"
        print(f"\r\033[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if live and printed:
            print(file=sys.stderr)


def _summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=f"{out}: {meta['notation']}", title_justify="left")
    table.add_column("")
    table.add_column("games", justify="right")
    table.add_column("tokens", justify="right")
    games = meta["games"]
    table.add_row("read", f"{games['read']:,}")
    for reason, count in games["dropped"].items():
        table.add_row(f"dropped: {reason}", f"{count:,}")
    table.add_row("kept", f"{games['kept']:,}", f"{sum(split['tokens'] for split in meta['splits'].values()):,}")
    for name, split in meta["splits"].items():
        table.add_row(f"  {name}", f"{split['games']:,}", f"{split['tokens']:,}")
    console = Console()
    console.print(table)
    console.print(f"{games['read'] / seconds:,.0f} games a second", highlight=False)
