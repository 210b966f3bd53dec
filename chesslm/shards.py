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
bytes and the SHA-256 of every file. Opening checks the sizes; the hashes of a split are checked when it is first asked
for, so that no figure and no model comes from a flipped bit: 0.1 s for 50 M tokens (``hashes``).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import files, hashes
from chesslm.errors import InputError
from chesslm.mapped import Split, open_shards
from chesslm.meta import AGAIN, KINDS, SCHEMA, TOKENIZER, digest_of, read_meta, stems
from chesslm.meta import SPLITS as SPLITS
from chesslm.notation import PAIRS, PROSE
from chesslm.text_tokenizer import TextTokenizer, read_text_tokenizer
from chesslm.tokenizer import GameTokenizer, TokenIds
from chesslm.tokenizer_files import load_tokenizer

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

    Attributes:
        games, tokens, shards: written so far.
        listed: the files of the split, with their hashes from when they were written.
    """

    def __init__(self, folder: Path, split: str, shard_tokens: int = SHARD_TOKENS, columns: Any = None) -> None:
        self.folder, self.split, self.shard_tokens, self.columns = folder, split, shard_tokens, columns
        self.games = self.tokens = self.shards = 0
        self.listed: dict[str, dict[str, Any]] = {}
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
        written = self._write(self.folder, f"{self.split}-{self.shards:05d}")
        self.listed |= {path.name: hashes.entry(path) for path in written}
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
        stem = f"{self.split}-{games}" if self._ids else ""
        if stem:
            self._write(folder, stem)
        counts = {"games": self.games, "tokens": self.tokens, "shards": self.shards}
        return {**counts, "listed": self.listed, "rest": stem, "keys": self._kept_keys}

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

    def restore(self, folder: Path, state: dict[str, Any]) -> Iterator[int]:
        """Go on from what was kept; the hashes of all games come out."""
        import pyarrow.parquet as pq

        self.games, self.tokens, self.shards = state["games"], state["tokens"], state["shards"]
        self.listed, self._kept_keys = state["listed"], state["keys"]
        if stem := state["rest"]:
            rest = open_shards([folder / stem])
            for number, row in enumerate(pq.read_table(rest.tables[0]).to_pylist()):
                game = rest[number]
                self._ids.append(game.ids)
                self._roles.append(game.role)
                self._rows.append(row)
                self._held += len(game)
        yield from read_keys(folder / f"{self.split}.keys")


def read_keys(path: Path) -> Iterator[int]:
    """The hashes of games in a file; a few at a time, for as Python's numbers they are five times as large."""
    with path.open("rb") as file:
        while block := file.read(1 << 16):
            yield from np.frombuffer(block, "<u8").tolist()


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
        listed |= writer.listed
    for path in sorted((folder / TOKENIZER).glob("*")):
        listed[f"{TOKENIZER}/{path.name}"] = hashes.entry(path)
    meta = {"schema": SCHEMA, **about, "sha256": digest_of(listed), "splits": splits, "files": listed}
    with files.atomic(folder / "meta.json") as path:
        path.write_text(json.dumps(meta, indent=2, default=str) + "\n")
    return meta


class Splits(Mapping[str, Split]):
    """The splits of a dataset by name.

    Whoever asks for one has it with the hashes of its files checked, once for each opening of the dataset.

    Args:
        folder: the dataset folder.
        meta: content of its meta.json.
    """

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self._folder, self._meta = folder, meta
        self._opened = {
            split: open_shards([folder / stem for stem in stems(split, counts["shards"])])
            for split, counts in meta["splits"].items()
        }
        self._checked: set[str] = set()

    def __getitem__(self, name: str) -> Split:
        """A split.

        Raises:
            InputError: a file of it is not what was written.
        """
        split = self._opened[name]
        if name not in self._checked:
            names = [f"{stem}.{kind}" for stem in stems(name, len(split.ids)) for kind in KINDS]
            names += [f"{name}.keys"] if f"{name}.keys" in self._meta["files"] else []
            hashes.check(self._folder, self._meta["files"], names, AGAIN)
            self._checked.add(name)
        return split

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder."""

    folder: Path
    meta: dict[str, Any]
    splits: Splits

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
        return load_tokenizer(self._tokenizer_folder(), self.notation)

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
        return read_text_tokenizer(str(self._tokenizer_folder())) if self.is_text else self.tokenizer

    def _tokenizer_folder(self) -> Path:
        """Where the tokenizer is, its hashes checked; the oldest datasets did not record them."""
        names = [name for name in self.meta["files"] if name.startswith(f"{TOKENIZER}/")]
        hashes.check(self.folder, self.meta["files"], names, AGAIN)
        return self.folder / TOKENIZER

    @property
    def sha256(self) -> str:
        """Hash of its token files."""
        return self.meta["sha256"]


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset folder.

    Raises:
        InputError: it is none, it is unfinished, or a file of it is missing or cut short.
    """
    meta = read_meta(folder)
    for name, entry in meta["files"].items():
        if what := hashes.wrong_size(folder, name, entry):
            raise InputError(f"{folder / name}: {what}; {AGAIN}")
    if meta["sha256"] != digest_of(meta["files"]):
        raise InputError(f"{folder / 'meta.json'}: not the hash of the files that it lists; {AGAIN}")
    return Dataset(folder, meta, Splits(folder, meta))
