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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import __version__, files
from chesslm.conditions import Headers, check_kinds, hidden
from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.game import Dropped, Game
from chesslm.notation import TEXT, TRAINED, check_name, get_notation, train_notation
from chesslm.pgn import read_games
from chesslm.shards import SPLITS, ShardWriter, split_of, write_meta
from chesslm.streams import Source
from chesslm.tokenizer import GameTokenizer
from chesslm.tokenizer_files import save_tokenizer

EXCLUDE_PLIES = 40
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
    workers: int = 0,
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
        workers: processes that parse; 0 is one a core.
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
        splitter = _Splitter(folder, notation, vocabulary, kinds, tokenizer, hints, seed, (val, test))
        seen, dropped = Seen(folder), Counter[str]()
        read = 0
        # A learned vocabulary is one of SAN.
        words = tokenizer is None or tokenizer.notation.reads_board
        with closing(read_games(sources, workers, words)) as games, _progress(sources, quiet) as advance:
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


def _reason(game: Game | Dropped, filters: Filters, banned: frozenset[bytes], seen: Seen) -> str:
    """Why a game is dropped, or nothing; a game that is not dropped counts as seen from now on."""
    if isinstance(game, Dropped):
        return game.reason
    reason = filters.reason(game)
    if reason:
        return reason
    if banned and _opening(game) in banned:
        return "excluded"
    return "" if seen.add_content(game.codes.tobytes()) else "duplicate"


def _openings(sources: Sequence[Source], workers: int) -> frozenset[bytes]:
    if not sources:
        return frozenset()
    with closing(read_games(sources, workers)) as games:
        return frozenset(_opening(game) for _, game in games if isinstance(game, Game))


def _opening(game: Game) -> bytes:
    return hashlib.blake2b(game.codes[:EXCLUDE_PLIES].tobytes(), digest_size=16).digest()


class _Splitter:
    """Hands each game to the writer of its split, and sees to it that each split gets one."""

    def __init__(
        self,
        folder: Path,
        notation: str,
        vocabulary: int,
        conditions: tuple[str, ...],
        tokenizer: GameTokenizer | None,
        hints: bool,
        seed: int,
        shares: tuple[float, float],
    ) -> None:
        self.writers = {split: ShardWriter(folder, split, columns=_columns()) for split in SPLITS}
        self.games = Counter[str]()
        self.kept = 0
        self._learn = (notation, vocabulary, conditions)
        self._tokenizer, self._hints, self._seed, self._shares = tokenizer, hints, seed, shares
        self._held: list[tuple[str, Game]] = []

    def add(self, game: Game) -> None:
        split = split_of(game.codes.tobytes(), self._seed, *self._shares)
        self.kept += 1
        self.games[split] += 1
        if self._tokenizer is None:
            # The same few thousand words over and over: kept once each, they take a tenth of the memory.
            game = replace(game, words=tuple(map(sys.intern, game.words or ())))
            self._held.append((split, game))
            if len(self._held) == LEARN_GAMES:
                self._learned()
        elif len(self._held) < HELD_BACK:
            self._held.append((split, game))
        else:
            self._write(self._tokenizer, split, game)

    def finish(self) -> GameTokenizer:
        """Write the games held back, to an empty split first, and what the writers still hold."""
        tokenizer = self._tokenizer or self._learned()
        for empty in [split for split in SPLITS if not self.games[split]]:
            spared = max(self._held, key=lambda held: self.games[held[0]])
            self._held.remove(spared)
            self.games[spared[0]] -= 1
            self.games[empty] += 1
            self._write(tokenizer, empty, spared[1])
        for split, game in self._held:
            self._write(tokenizer, split, game)
        for writer in self.writers.values():
            writer.flush()
        return tokenizer

    def _learned(self) -> GameTokenizer:
        """The tokenizer learned from the games held so far, which are written then."""
        notation, vocabulary, conditions = self._learn
        games = [game.words or () for split, game in self._held if split == "train"]
        tokenizer = self._tokenizer = GameTokenizer(train_notation(notation, games, vocabulary), conditions)
        held, self._held = self._held[HELD_BACK:], self._held[:HELD_BACK]
        for split, game in held:
            self._write(tokenizer, split, game)
        return tokenizer

    def _write(self, tokenizer: GameTokenizer, split: str, game: Game) -> None:
        row = {
            "plies": len(game.codes),
            "white_elo": game.white_elo,
            "black_elo": game.black_elo,
            "result": game.result,
            "eco": game.eco,
            "date": game.date,
            "event": game.event,
            "time_control": game.time_control,
            "source": game.source,
        }
        headers = _shown(game, self._seed) if tokenizer.conditions else None
        tokens = tokenizer.encode(game.codes, game.result, headers, game.words, self._hints)
        self.writers[split].add(tokens, row)


def _shown(game: Game, seed: int) -> Headers:
    """What is said of a game in front of it: now and then a condition is hidden, by a hash of its moves."""
    digest = hashlib.blake2b(game.codes.tobytes(), digest_size=16, key=f"{seed} hidden".encode()).digest()
    draws = iter(np.frombuffer(digest, dtype="<u4") / 2**32)
    return hidden(game.headers, lambda: float(next(draws)))


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
            ("time_control", text),
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
