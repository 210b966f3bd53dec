"""Token shards on disk: the dataset folder, of games, of prose or of pairs (whose rows of tokens stand where games do).

    DIR/meta.json                      written last: a folder without it is not a dataset
    DIR/tokenizer/                     loads with AutoTokenizer
    DIR/train-00000.ids.npy            token ids of the shard's games, one after the other, uint16 (tokens,), or
                                       uint32 where a foreign tokenizer has more of them
    DIR/train-00000.roles.npy          role of each token, uint8 (tokens,); the plies follow from it
    DIR/train-00000.offsets.npy        where each game begins, and the end, int64 (games + 1,)
    DIR/train-00000.games.parquet      a row a game: plies, Elos, result, ECO, date, event, source;
                                       or a row of text: bytes, source; or a pair: kind, game
    ... the same for val and test

Files are memory-mapped, so a dataset larger than memory costs nothing to open. ``meta.json`` holds the size in
bytes and the SHA-256 of every file; opening checks the sizes.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import files
from chesslm.errors import InputError
from chesslm.notation import PAIRS, PROSE
from chesslm.text_tokenizer import TextTokenizer, read_text_tokenizer
from chesslm.tokenizer import GameTokenizer, TokenIds, TokenizedGame
from chesslm.tokenizer_files import load_tokenizer

SCHEMA = 1
SPLITS = ("train", "val", "test")
SHARD_TOKENS = 8_000_000
"""Tokens after which a shard is closed: 24 MB of ids and roles, held in memory until then."""
SHARD_GAMES = 200_000
"""Games after which it is closed too: of very short ones the rows of the table would fill the memory."""


class ShardWriter:
    """Collects the games of one split and writes them shard by shard.

    Args:
        folder: the dataset folder, which exists.
        split: train, val or test.
        shard_tokens: a shard is closed after so many.
        columns: ``pyarrow.Schema`` of the table of games; None guesses it from each shard's rows.
    """

    def __init__(self, folder: Path, split: str, shard_tokens: int = SHARD_TOKENS, columns: Any = None) -> None:
        self.folder, self.split, self.shard_tokens, self.columns = folder, split, shard_tokens, columns
        self.games = self.tokens = self.shards = 0
        self.written: list[Path] = []
        self._keys: list[int] = []
        self._kept_keys = 0
        self._reset()

    def _reset(self) -> None:
        self._ids: list[TokenIds] = []
        self._roles: list[NDArray[np.uint8]] = []
        self._rows: list[dict[str, Any]] = []
        self._held = 0

    def add(self, ids: TokenIds, roles: NDArray[np.uint8], row: dict[str, Any], key: int | None = None) -> None:
        """Add a game's tokens with its row of the table (the same keys for every game) and its hash, if it has one."""
        self._ids.append(ids)
        self._roles.append(roles)
        self._rows.append(row)
        if key is not None:
            self._keys.append(key)
        self._held += len(ids)
        if self._held >= self.shard_tokens or len(self._ids) >= SHARD_GAMES:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one shard."""
        if not self._ids:
            return
        self.written += self._write(self.folder, f"{self.split}-{self.shards:05d}")
        self.games += len(self._ids)
        self.tokens += self._held
        self.shards += 1
        self._reset()

    def _write(self, folder: Path, stem: str) -> list[Path]:
        """Write what is held under a name; the files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = {
            "ids": np.concatenate(self._ids),
            "roles": np.concatenate(self._roles),
            "offsets": np.cumsum([0, *map(len, self._ids)], dtype=np.int64),
        }
        written = [folder / f"{stem}.{name}.npy" for name in arrays]
        for path, array in zip(written, arrays.values(), strict=True):
            with files.atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, array)
        # Three times as fast as from_pylist.
        columns = {name: [row[name] for row in self._rows] for name in self._rows[0]}
        written.append(folder / f"{stem}.games.parquet")
        with files.atomic(written[-1]) as temporary:
            pq.write_table(pa.Table.from_pydict(columns, self.columns), temporary)
        return written

    # To be gone on with

    def save(self, folder: Path) -> dict[str, Any]:
        """Keep in a folder what is not in a shard yet, and the hashes of all games.

        Returns:
            What ``restore`` takes, as JSON.
        """
        self.save_keys(folder)
        games = self.games + len(self._ids)
        stem = f"{self.split}-{games}"
        if self._ids and not (folder / f"{stem}.games.parquet").exists():
            self._write(folder, stem)
        written = [path.name for path in self.written]
        counts = {"games": self.games, "tokens": self.tokens, "shards": self.shards}
        return {**counts, "written": written, "rest": stem if self._ids else "", "keys": self._kept_keys}

    def save_keys(self, folder: Path) -> Path:
        """Add the hashes of the games since the last time to a file, as 64-bit numbers in the order of the games."""
        path = folder / f"{self.split}.keys"
        with path.open("ab") as file:
            # What a run added that was killed before it said so.
            file.truncate(8 * self._kept_keys)
            file.write(np.array(self._keys, "<u8").tobytes())
        self._kept_keys += len(self._keys)
        self._keys = []
        return path

    def restore(self, folder: Path, state: dict[str, Any]) -> list[int]:
        """Go on from what was kept.

        Returns:
            The hashes of all games.
        """
        import pyarrow.parquet as pq

        self.games, self.tokens, self.shards = state["games"], state["tokens"], state["shards"]
        self.written = [self.folder / name for name in state["written"]]
        self._kept_keys = state["keys"]
        if stem := state["rest"]:
            rest = _open_shards([folder / stem])
            for number, row in enumerate(pq.read_table(rest.tables[0]).to_pylist()):
                game = rest[number]
                self._ids.append(game.ids)
                self._roles.append(game.role)
                self._rows.append(row)
                self._held += len(game)
        return np.fromfile(folder / f"{self.split}.keys", "<u8", count=self._kept_keys).tolist()


def split_of(content: bytes, seed: int, val: float, test: float) -> str:
    """The split that a game or a piece of text falls in, by a hash of it.

    Args:
        content: its moves (``codes.tobytes()``) or text.
        seed: another seed, another choice.
        val, test: shares of these splits.
    """
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return "val" if share < val else "test" if share < val + test else "train"


def write_meta(folder: Path, writers: Iterable[ShardWriter], about: dict[str, Any]) -> dict[str, Any]:
    """Write ``meta.json``, by which the folder becomes a dataset.

    Args:
        folder: the dataset folder.
        writers: the flushed writers of its splits.
        about: what else is to be said (notation, sources, filters, counts, seed, version).

    Returns:
        The whole content; ``sha256`` is the dataset's hash, taken over the hashes of its shard files.
    """
    splits, listed = {}, {}
    for writer in writers:
        splits[writer.split] = {"games": writer.games, "tokens": writer.tokens, "shards": writer.shards}
        for path in writer.written:
            listed[path.name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    token_files = [f"{name} {entry['sha256']}" for name, entry in sorted(listed.items()) if name.endswith(".npy")]
    digest = hashlib.sha256("\n".join(token_files).encode()).hexdigest()
    meta = {"schema": SCHEMA, **about, "sha256": digest, "splits": splits, "files": listed}
    with files.atomic(folder / "meta.json") as path:
        path.write_text(json.dumps(meta, indent=2, default=str) + "\n")
    return meta


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


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder."""

    folder: Path
    meta: dict[str, Any]
    splits: dict[str, Split]

    @property
    def notation(self) -> str:
        """Name of its notation."""
        return self.meta["notation"]

    @cached_property
    def tokenizer(self) -> GameTokenizer:
        """Of its games.

        Raises:
            InputError: its files are missing or broken, or it holds prose or pairs.
        """
        if self.is_text:
            how = "--pairs" if self.is_pairs else "--text"
            raise InputError(f"{self.folder} holds {self.notation}, and this needs games; prepare a PGN without {how}")
        return load_tokenizer(self.folder / "tokenizer", self.notation)

    @property
    def is_prose(self) -> bool:
        """Whether it holds prose instead of games."""
        return self.notation == PROSE

    @property
    def is_pairs(self) -> bool:
        """Whether it holds pairs instead of games."""
        return self.notation == PAIRS

    @property
    def is_text(self) -> bool:
        """Whether it holds any text instead of games."""
        return self.is_prose or self.is_pairs

    @cached_property
    def any_tokenizer(self) -> GameTokenizer | TextTokenizer:
        """Of its games or of its text.

        Raises:
            InputError: its files are missing or broken.
        """
        return read_text_tokenizer(str(self.folder / "tokenizer")) if self.is_text else self.tokenizer

    @property
    def sha256(self) -> str:
        """Hash of its token files."""
        return self.meta["sha256"]


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset folder.

    Raises:
        InputError: it is none, it is unfinished, or a file of it is missing or cut short.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make a dataset with chesslm prepare")
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except FileNotFoundError:
        raise InputError(f"{folder}: no meta.json, so no finished dataset; run chesslm prepare again") from None
    except ValueError as error:
        raise InputError(f"{folder / 'meta.json'}: not readable ({error}); run chesslm prepare again") from None
    needed = {"notation", "sha256", "splits", "files"}
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA or not needed <= meta.keys():
        raise InputError(f"{folder / 'meta.json'}: not a dataset of this version; run chesslm prepare again")
    for name, entry in meta["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            what = "missing" if size is None else f"{size} bytes long instead of {entry['bytes']}"
            raise InputError(f"{path}: {what}; run chesslm prepare again")
    splits = {split: _open_split(folder, split, meta["splits"][split]["shards"]) for split in meta["splits"]}
    return Dataset(folder, meta, splits)


def _open_split(folder: Path, split: str, shards: int) -> Split:
    return _open_shards([folder / f"{split}-{shard:05d}" for shard in range(shards)])


def _open_shards(stems: list[Path]) -> Split:
    def mapped(kind: str) -> tuple[NDArray[Any], ...]:
        return tuple(np.load(f"{stem}.{kind}.npy", mmap_mode="r") for stem in stems)

    tables = tuple(Path(f"{stem}.games.parquet") for stem in stems)
    return Split(mapped("ids"), mapped("roles"), mapped("offsets"), tables)
