"""PGN to a dataset folder: filters, duplicates, splits by game, shards (the folder is described in ``shards``).

    games -> unusable? -> filters -> excluded? -> duplicate? -> split -> tokens -> shards

The split of a game is a hash of the seed and its moves: no game is in two splits, the same game falls in the same
split of every dataset with that seed, and nothing depends on the number of workers. Memory is a shard (about
200 MB as Python objects) and the chunks in flight, whatever the input's size.
"""

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chesslm import __version__, boards, files
from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.pgn import Dropped, Game, read_games
from chesslm.shards import SPLITS, ShardWriter, write_meta
from chesslm.streams import Source
from chesslm.tokenizer import GameTokenizer, get_tokenizer, save_tokenizer

EXCLUDE_PLIES = 40
HELD_BACK = 2
"""Games kept until the end, so that no split stays empty."""


def prepare(
    pgn: Sequence[str],
    out: Path,
    *,
    notation: str = "uci-move",
    filters: Filters | None = None,
    max_games: int | None = None,
    val: float = 0.02,
    test: float = 0.02,
    exclude: Sequence[str] = (),
    seed: int = 1,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn PGN games into a dataset folder.

    Args:
        pgn: paths, URLs, or - for standard input.
        out: the folder to make; on any error it is not made.
        notation: as in ``notation.NAMES``.
        filters: which games are kept; None is all.
        max_games: stop after so many.
        val, test: expected shares of the splits; at least one game each.
        exclude: PGN inputs; a game is dropped if its first 40 plies are those of a game there. A shorter game is
            dropped only if the same game is there.
        seed: of the splits.
        workers: processes that parse; 0 is one a core.
        quiet: no progress and no summary.

    Returns:
        The content of ``meta.json``.

    Raises:
        InputError: bad values, bad input, too few games left, or ``out`` exists or cannot be written.
        FailureError: the disk is full, reading failed, or a worker died.
    """
    tokenizer, filters = get_tokenizer(notation), filters or Filters()
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise InputError("--val and --test are shares of the games, such as 0.02, and leave some for training")
    if max_games is not None and max_games < len(SPLITS):
        raise InputError(f"--max-games must be {len(SPLITS)} or more: one game for each split")
    sources, excluding = [Source(where) for where in pgn], [Source(where) for where in exclude]
    began = time.monotonic()
    with files.atomic_folder(out) as folder:
        banned = _openings(excluding, workers)
        splitter = _Splitter(folder, tokenizer, seed, val, test)
        seen, dropped = Seen(folder), Counter[str]()
        read = 0
        with closing(read_games(sources, workers)) as games, _progress(sources, quiet) as advance:
            for _, game in games:
                read += 1
                advance(read, splitter.kept)
                reason = _reason(game, filters, banned, seen)
                if reason:
                    dropped[reason] += 1
                    continue
                assert isinstance(game, Game)
                splitter.add(game)
                if splitter.kept == max_games:
                    break
        if splitter.kept < len(SPLITS):
            raise InputError(_too_few(splitter.kept, read, dropped))
        splitter.finish()
        save_tokenizer(tokenizer, folder / "tokenizer")
        about = {
            "notation": notation,
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


def _reason(game: Game | Dropped, filters: Filters, banned: frozenset[bytes], seen: Seen) -> str:
    """Why a game is dropped, or nothing; a game that is not dropped counts as seen from now on."""
    if isinstance(game, Dropped):
        return game.reason
    reason = filters.reason(game)
    if reason:
        return reason
    if banned and _opening(game) in banned:
        return "excluded"
    key = int.from_bytes(hashlib.blake2b(game.codes.tobytes(), digest_size=8).digest(), "little")
    return "" if seen.add(key) else "duplicate"


def _openings(sources: Sequence[Source], workers: int) -> frozenset[bytes]:
    if not sources:
        return frozenset()
    with closing(read_games(sources, workers)) as games:
        return frozenset(_opening(game) for _, game in games if isinstance(game, Game))


def _opening(game: Game) -> bytes:
    return hashlib.blake2b(game.codes[:EXCLUDE_PLIES].tobytes(), digest_size=16).digest()


def split_of(codes: boards.MoveCodes, seed: int, val: float, test: float) -> str:
    """The split that a game falls in, by a hash of its moves.

    Args:
        codes: its moves, shape (plies,).
        seed: another seed, another choice.
        val, test: shares of these splits.
    """
    digest = hashlib.blake2b(codes.tobytes(), digest_size=8, key=str(seed).encode()).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return "val" if share < val else "test" if share < val + test else "train"


class _Splitter:
    """Hands each game to the writer of its split, and sees to it that each split gets one."""

    def __init__(self, folder: Path, tokenizer: GameTokenizer, seed: int, val: float, test: float) -> None:
        self.writers = {split: ShardWriter(folder, split, columns=_columns()) for split in SPLITS}
        self.games = Counter[str]()
        self.kept = 0
        self._tokenizer, self._shares = tokenizer, (seed, val, test)
        self._held: list[tuple[str, Game]] = []

    def add(self, game: Game) -> None:
        split = split_of(game.codes, *self._shares)
        self.kept += 1
        self.games[split] += 1
        if len(self._held) < HELD_BACK:
            self._held.append((split, game))
        else:
            self._write(split, game)

    def finish(self) -> None:
        """Write the games held back, to an empty split first, and what the writers still hold."""
        for empty in [split for split in SPLITS if not self.games[split]]:
            spared = max(self._held, key=lambda held: self.games[held[0]])
            self._held.remove(spared)
            self.games[spared[0]] -= 1
            self.games[empty] += 1
            self._write(empty, spared[1])
        for split, game in self._held:
            self._write(split, game)
        for writer in self.writers.values():
            writer.flush()

    def _write(self, split: str, game: Game) -> None:
        row = {
            "plies": len(game.codes),
            "white_elo": game.white_elo,
            "black_elo": game.black_elo,
            "result": game.result,
            "eco": game.eco,
            "date": game.date,
            "event": game.event,
            "source": game.source,
        }
        self.writers[split].add(self._tokenizer.encode(game.codes, game.result), row)


def _columns() -> Any:
    """Of the table of games: fixed, since a shard in which no game has an Elo would not say what type it is."""
    import pyarrow as pa

    whole, text = pa.int16(), pa.string()
    return pa.schema(
        [
            ("plies", pa.int32()),
            ("white_elo", whole),
            ("black_elo", whole),
            ("result", text),
            ("eco", text),
            ("date", text),
            ("event", text),
            ("source", text),
        ]
    )


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
