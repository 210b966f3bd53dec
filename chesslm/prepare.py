"""PGN to a dataset folder: filters, duplicates, splits by game, shards.

The split of a game is a hash of the seed and its moves, so no game is in two splits and the same game always
falls in the same one; the dataset does not depend on the number of workers.
"""

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chesslm import __version__, files
from chesslm.errors import InputError
from chesslm.pgn import Dropped, Game, Source, read_games
from chesslm.shards import SPLITS, ShardWriter, write_meta
from chesslm.tokenizer import get_tokenizer, save_tokenizer

EXCLUDE_PLIES = 40


@dataclass(frozen=True)
class Filters:
    """Which games are kept; see ``chesslm prepare --help``. A game that does not say is dropped where it is asked."""

    min_elo: int | None = None
    max_elo: int | None = None
    result: str | None = None
    min_plies: int = 1
    max_plies: int | None = None
    since: str | None = None
    until: str | None = None
    eco: str | None = None

    def why_not(self, game: Game) -> str:
        """The reason to drop a game, or nothing."""
        if self.min_elo is not None or self.max_elo is not None:
            low, high = self.min_elo or 0, self.max_elo or 10**6
            if not all(elo is not None and low <= elo <= high for elo in (game.white_elo, game.black_elo)):
                return "elo"
        if self.result is not None and game.result not in self.result.split(","):
            return "result"
        if len(game.codes) < self.min_plies or len(game.codes) > (self.max_plies or 10**9):
            return "plies"
        return ""


def prepare(
    pgn: Sequence[str],
    out: Path,
    *,
    notation: str = "uci-move",
    filters: Filters = Filters(),  # noqa: B008
    max_games: int | None = None,
    val: float = 0.02,
    test: float = 0.02,
    exclude: Sequence[str] = (),
    seed: int = 1,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn PGN games into a dataset folder; see ``chesslm prepare --help``.

    Returns:
        The content of ``meta.json``.
    """
    tokenizer = get_tokenizer(notation)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another --out or remove it first")
    building = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    files.new_folder(building)
    try:
        sources = [Source(where) for where in pgn]
        writers = {split: ShardWriter(building, split) for split in SPLITS}
        dropped: Counter[str] = Counter()
        seen: set[bytes] = set()
        held: list[tuple[str, Game]] = []
        counts = dict.fromkeys(SPLITS, 0)
        read = 0
        began = time.monotonic()

        def write(split: str, game: Game) -> None:
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
            writers[split].add(tokenizer.encode(game.codes, game.result), row)

        for source, game in read_games(sources, workers):
            read += 1
            if isinstance(game, Dropped):
                dropped[game.reason] += 1
                continue
            if why := filters.why_not(game):
                dropped[why] += 1
                continue
            key = hashlib.blake2b(game.codes.tobytes(), digest_size=16).digest()
            if key in seen:
                dropped["duplicate"] += 1
                continue
            seen.add(key)
            game = Game(**{**game.__dict__, "source": source.name})
            split = split_of(game, seed, val, test)
            counts[split] += 1
            if len(held) < 2:
                held.append((split, game))
            else:
                write(split, game)
            if not quiet and read % 20000 == 0:
                import sys

                print(f"{read} games, {read / (time.monotonic() - began):.0f} a second", file=sys.stderr)
            if max_games is not None and len(seen) >= max_games:
                break
        if sum(counts.values()) < 3:
            raise InputError(f"{sum(counts.values())} games left of {read}, dropped: {dict(dropped)}; need 3")
        for split in SPLITS:
            if not counts[split]:
                natural, game = max(held, key=lambda pair: counts[pair[0]])
                held.remove((natural, game))
                counts[natural] -= 1
                counts[split] += 1
                write(split, game)
        for split, game in held:
            write(split, game)
        for writer in writers.values():
            writer.flush()
        save_tokenizer(tokenizer, building / "tokenizer")
        about = {
            "notation": notation,
            "sources": [{"name": s.name, "sha256": s.sha256, "bytes": s.bytes} for s in sources],
            "filters": {**asdict(filters), "max_games": max_games},
            "games": {"read": read, "kept": sum(counts.values()), "dropped": dict(sorted(dropped.items()))},
            "seed": seed,
            "version": __version__,
        }
        meta = write_meta(building, writers.values(), about)
        building.replace(out)
        if not quiet:
            print(meta["games"], meta["splits"])
        return meta
    finally:
        shutil.rmtree(building, ignore_errors=True)


def split_of(game: Game, seed: int, val: float, test: float) -> str:
    """The split that a game falls in, by a hash of its moves."""
    digest = hashlib.blake2b(game.codes.tobytes(), digest_size=8, key=str(seed).encode()).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return "val" if share < val else "test" if share < val + test else "train"
