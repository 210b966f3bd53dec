"""PGN to a dataset folder: filters, duplicates, splits by game, shards (the folder is described in ``shards``).

    chunks of PGN -> rows: filters, split, tokens (game_rows, worker processes) -> excluded? -> duplicate? -> shards

The split of a game is a hash of the seed and its moves: no game is in two splits, the same game falls in the same
split of every dataset with that seed, and nothing depends on the number of workers. Memory is a shard (about
200 MB as Python objects) and the chunks in flight, whatever the input's size.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from chesslm import __version__, files, parallel
from chesslm.conditions import check_kinds
from chesslm.done import WORK, Done, begun
from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.game import Game
from chesslm.game_rows import Work, make_rows, opening_of
from chesslm.notation import TEXT, TRAINED, check_name, get_notation
from chesslm.pgn import WHOLE, Share, read_chunks, read_games
from chesslm.progress import Line
from chesslm.shards import SPLITS, open_dataset
from chesslm.splitter import Splitter
from chesslm.streams import Source
from chesslm.tokenizer import GameTokenizer

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
    share: Share | None = None,
    resume: bool = False,
    workers: parallel.Workers = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn PGN games into a dataset folder.

    Args:
        pgn: paths, URLs, or - for standard input.
        out: the folder to make; on any error it is not made, and whole shards are kept in ``out.partial``.
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
        share: which share of the games this is, of a dataset that ``merge`` joins; None: all of them.
        resume: go on where an interrupted run kept its last whole shard.
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
    if share and (tokenizer is None or max_games):
        raise InputError("--shard is for notations whose tokens are known before, and without --max-games")
    sources, excluding = [Source(where) for where in pgn], [Source(where) for where in exclude]
    asked = {
        "notation": notation,
        "conditions": list(kinds),
        "hints": hints,
        "filters": {**asdict(filters), "max_games": max_games},
        "shares": {"val": val, "test": test},
        "seed": seed,
        "version": __version__,
    }
    began = time.monotonic()
    with files.resumable_folder(out, resume, begun) as folder:
        (folder / WORK).mkdir(exist_ok=True)
        banned = _openings(excluding, workers)
        # A learned vocabulary is one of SAN; what is not known to all workers is done here.
        words = tokenizer is None or tokenizer.notation.reads_board
        here = tokenizer is None or tokenizer.foreign
        work = Work(None if here else notation, kinds, hints, words, filters, seed, (val, test))
        done = Done(
            folder,
            Splitter(folder, work, tokenizer, (notation, vocabulary), part=share is not None),
            Seen(folder / WORK),
            # What has to be the same to go on.
            {
                **asked,
                "inputs": [source.name for source in sources],
                "exclude": [source.about() for source in excluding],
                "share": share and asdict(share),
                "vocabulary": vocabulary,
            },
        )
        if (folder / "meta.json").exists():  # killed between the last file and the new name of the folder
            meta = open_dataset(folder).meta
            done.check({"share": None, **meta, "inputs": [each["name"] for each in meta["sources"]]})
            shutil.rmtree(folder / WORK)
            return meta
        done.restore()
        with (
            closing(read_chunks(sources, partial(make_rows, work), workers, done.place, share or WHOLE)) as chunks,
            _progress(sources, quiet) as advance,
        ):
            for _, parsed in chunks:
                for row in parsed.items:
                    done.take(row, banned)
                    if done.splitter.kept == max_games:
                        break
                advance(done.read, done.splitter.kept)
                if done.splitter.kept == max_games:
                    break
                done.save_now_and_then()
        kept = done.splitter.kept
        if kept < len(SPLITS) and not share:
            raise InputError(too_few(kept, done.read, done.dropped))
        done.splitter.finish()
        about = {
            **asked,
            "sources": [source.about() for source in sources],
            "exclude": [source.about() for source in excluding],
            "games": {"read": done.read, "kept": kept, "dropped": dict(sorted(done.dropped.items()))},
        }
        if share:
            about |= {"share": asdict(share), "first": done.splitter.first}
        meta = done.finish(about, keys=share is not None)
    if not quiet:
        summarise(out, meta, time.monotonic() - began)
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


def too_few(kept: int, read: int, dropped: Counter[str]) -> str:
    """What to say where so few games are left of those that were read that a split would have none."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
    left = f"{kept or 'no'} game{'' if kept == 1 else 's'} left of {read:,}"
    return f"{left}, and each of the splits needs one; dropped: {reasons or 'none'}"


@contextmanager
def _progress(sources: Sequence[Source], quiet: bool) -> Iterator[Any]:
    """A line on what is read."""
    line, began = Line(quiet), time.monotonic()

    def advance(read: int, kept: int) -> None:
        if line.is_due():
            size = sum(source.size or 0 for source in sources)
            share = f", {sum(source.read for source in sources) / size:.0%}" if size else ""
            rate = read / (time.monotonic() - began)
            line.show(f"{read:,} games read{share}, {kept:,} kept, {rate:,.0f} a second")

    try:
        yield advance
    finally:
        line.close()


def summarise(out: Path, meta: dict[str, Any], seconds: float) -> None:
    """Say on stdout what has become of the games of a dataset."""
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
