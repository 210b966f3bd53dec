"""The games of shards on disk, memory-mapped: a dataset larger than memory costs nothing to open.

The files are described in ``shards``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm.errors import InputError, first_line
from chesslm.meta import AGAIN
from chesslm.tokenizer import TokenIds, TokenizedGame


@dataclass(frozen=True)
class Split:
    """The games of one split, in memory-mapped shards; index it to get a game."""

    ids: tuple[TokenIds, ...]
    roles: tuple[NDArray[np.uint8], ...]
    offsets: tuple[NDArray[np.int64], ...]
    tables: tuple[Path, ...]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each game, shape (games,)."""
        return np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for offsets in self.offsets)])

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(len(offsets) - 1 for offsets in self.offsets)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def _find(self, game: int) -> tuple[int, slice]:
        shard = int(np.searchsorted(self._first, game, side="right")) - 1
        start, stop = self.offsets[shard][game - self._first[shard] :][:2]
        return shard, slice(int(start), int(stop))

    def game_ids(self, game: int) -> TokenIds:
        """The token ids of a game, shape (tokens,): a view of the shard."""
        shard, span = self._find(game)
        return self.ids[shard][span]

    def __getitem__(self, game: int) -> TokenizedGame:
        if not 0 <= game < len(self):
            raise IndexError(game)
        shard, span = self._find(game)
        return TokenizedGame(self.ids[shard][span], self.roles[shard][span])

    def table(self) -> Any:
        """The rows of the games, a ``pyarrow.Table``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pa.concat_tables([pq.read_table(path) for path in self.tables])


def open_shards(stems: Sequence[Path]) -> Split:
    """The games of shards, by how the names of their files begin.

    Raises:
        InputError: a file is not the array that it should be.
    """

    def mapped(kind: str, *types: type[np.integer[Any]]) -> tuple[NDArray[Any], ...]:
        return tuple(_mapped(Path(f"{stem}.{kind}.npy"), types) for stem in stems)

    tables = tuple(Path(f"{stem}.games.parquet") for stem in stems)
    return Split(mapped("ids", np.uint16, np.uint32), mapped("roles", np.uint8), mapped("offsets", np.int64), tables)


def _mapped(path: Path, types: Sequence[type[np.integer[Any]]]) -> NDArray[Any]:
    """An array of one dimension and one of these types, mapped."""
    try:
        # Not np.load, which would look for archives and pickles too.
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({first_line(error)}); {AGAIN}") from error
    if array.ndim != 1 or array.dtype not in types:
        raise InputError(f"{path}: not the array that it should be; {AGAIN}")
    return array
