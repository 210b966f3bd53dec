"""Games to measure on: a sample of a PGN, of a dataset's test split, or games of uniformly random legal moves.

Sampling reads a whole PGN but parses only the games it takes: 375,000 games in 244 MB take about 2 s.
"""

import hashlib
import heapq
import re
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import boards, pgn
from chesslm.errors import InputError
from chesslm.game import Game
from chesslm.generate import random_games
from chesslm.shards import Dataset, open_dataset
from chesslm.streams import BOUNDARY, Source

RANDOM_NUMBERS = 1_000_000_000
"""Numbers of random games from here on are for measuring: none that was generated to train on has one."""
SPARE = 1.1
"""Games taken for each one wanted, since some may be unusable."""
CHUNK_GAMES = 8

_BOUNDARY = re.compile(BOUNDARY.encode())


@dataclass(frozen=True)
class Games:
    """Games to measure on.

    Attributes:
        games: with what is known of them.
        path: file, folder or words that say what they are.
        sha256: of the file or the dataset; of the moves where there is neither.
        drawn: the place of each in the order in which a sample was drawn.
    """

    games: list[Game]
    path: str
    sha256: str | None
    drawn: Sequence[int] = ()

    @property
    def codes(self) -> list[boards.MoveCodes]:
        """The moves of each, legal from the standard start."""
        return [game.codes for game in self.games]

    def first(self, limit: int) -> "Games":
        """The sample of so many games: those of a larger one that were drawn first."""
        kept = [place < limit for place in self.drawn]
        return replace(self, games=list(compress(self.games, kept)), drawn=list(compress(self.drawn, kept)))


def sample_games(where: str, limit: int, seed: int, pool: Executor) -> Games:
    """A seeded sample of the games of a PGN, or of the test games of a dataset folder; arguments as for those."""
    if Path(where).is_dir():
        return from_dataset(open_dataset(Path(where)), limit, seed)
    return from_pgn(where, limit, seed, pool)


def from_pgn(where: str, limit: int, seed: int, pool: Executor) -> Games:
    """A seeded sample of a PGN's usable games, in their order.

    Args:
        where: path, URL, or - for standard input.
        limit: games to take at most.
        seed: of the sample.
        pool: processes, to parse them.

    Raises:
        InputError: the input is missing, empty, corrupt, or has no usable game in it.
    """
    rng = np.random.default_rng(seed)
    source = Source(where)
    taken: list[tuple[float, int, bytes]] = []
    enough, seen = int(SPARE * limit) + 20, 0
    for chunk in source.chunks():
        starts = [0, *(match.end() for match in _BOUNDARY.finditer(chunk))]
        ends = [*starts[1:], len(chunk)]
        # A game is taken if its random key is one of the greatest: a heap, whose root is the first to go.
        for i, key in enumerate(rng.random(len(starts)).tolist()):
            if len(taken) < enough:
                heapq.heappush(taken, (key, seen + i, chunk[starts[i] : ends[i]]))
            elif key > taken[0][0]:
                heapq.heapreplace(taken, (key, seen + i, chunk[starts[i] : ends[i]]))
        seen += len(starts)
    taken.sort(reverse=True)
    parsed = pool.map(_usable, (text for *_, text in taken), chunksize=CHUNK_GAMES)
    found = [(order, game) for (_, order, _), games in zip(taken, parsed, strict=True) for game in games][:limit]
    if not found:
        raise InputError(f"{where}: no usable game in it; is it a PGN of standard chess?")
    drawn = sorted(range(len(found)), key=lambda place: found[place][0])
    games = [replace(found[place][1], source=source.name) for place in drawn]
    return Games(games, where, source.sha256, drawn)


def _usable(text: bytes) -> list[Game]:
    return [game for game in pgn.parse_chunk(text).items if isinstance(game, Game)]


def from_dataset(dataset: Dataset, limit: int, seed: int) -> Games:
    """A seeded sample of a dataset's test games, in their order.

    Raises:
        InputError: it has none.
    """
    split = dataset.splits.get("test")
    if split is None or not len(split):
        raise InputError(f"{dataset.folder}: no test games; prepare it with --test above 0, or give a PGN")
    tokenizer = dataset.tokenizer
    order = np.random.default_rng(seed).permutation(len(split))[:limit]
    drawn = np.argsort(order)
    chosen = order[drawn]
    rows = split.table().take(chosen).to_pylist()
    known = {field.name for field in fields(Game)}
    games = [
        Game(boards.to_codes(tokenizer.decode_moves(split.game_ids(int(number)))), **_only(row, known))
        for number, row in zip(chosen, rows, strict=True)
    ]
    return Games(games, f"{dataset.folder} (test)", dataset.sha256, drawn.tolist())


def _only(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in names}


def from_chance(games: int, seed: int, pool: Executor) -> Games:
    """Games of uniformly random legal moves, as ``chesslm generate --by random`` makes them."""
    numbers = range(RANDOM_NUMBERS, RANDOM_NUMBERS + games)
    spans = [numbers[i : i + CHUNK_GAMES] for i in range(0, games, CHUNK_GAMES)]
    made = [game for chunk in pool.map(random_games_of, spans, [seed] * len(spans)) for game in chunk]
    return Games(made, "random legal moves", _hash([game.codes for game in made]))


def random_games_of(numbers: range, seed: int) -> list[Game]:
    """The games of random legal moves that have these numbers."""
    return _usable("".join(random_games(numbers, seed)).encode())


def _hash(codes: Sequence[boards.MoveCodes]) -> str:
    """SHA-256 over the moves, games told apart by a code that no move has."""
    end = np.array([0xFFFF], dtype="<u2").tobytes()
    return hashlib.sha256(b"".join(game.astype("<u2").tobytes() + end for game in codes)).hexdigest()
