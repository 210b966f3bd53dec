"""Rows of games to the shards of their splits, so that each split gets a game, and a run that ends early loses little.

    rows -> train, val, test: games of the shard to come, in memory -> shards on disk

What is not in a whole shard yet can be kept beside them, with the hashes of all games; another run goes on from there
(``prepare``).
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import files
from chesslm.game_rows import Row, Work, columns, tokens_of
from chesslm.notation import train_notation
from chesslm.shards import SHARD_TOKENS, SPLITS, ShardWriter
from chesslm.tokenizer import GameTokenizer
from chesslm.tokenizer_files import load_tokenizer, save_tokenizer

HELD_BACK = 2
"""Games kept until the end, so that no split stays empty."""
LEARN_GAMES = 20_000
"""Games from whose training part a vocabulary is learned."""


class Splitter:
    """Hands each game to the writer of its split, and sees to it that each split gets one.

    Args:
        folder: where the shards are written.
        work: what was done with the rows.
        tokenizer: None: it is learned from the first games.
        learn: notation and size of that vocabulary.
        part: whether these are games of a dataset that others have more of: none is held back then.
        keys: whether the hashes of games are collected, to go on with or to be joined by.

    Attributes:
        kept: games so far.
        first: the splits of the first of them, which are held back.
    """

    def __init__(
        self,
        folder: Path,
        work: Work,
        tokenizer: GameTokenizer | None,
        learn: tuple[str, int] = ("", 0),
        part: bool = False,
        keys: bool = True,
    ) -> None:
        self.kept = 0
        self.first: list[str] = []
        self._part, self._keys = part, keys
        self._folder, self._work, self._tokenizer, self._learn = folder, work, tokenizer, learn
        self._writers = {split: ShardWriter(folder, split, SHARD_TOKENS, columns()) for split in SPLITS}
        self._games = Counter[str]()
        self._held: list[Row] = []

    @property
    def writers(self) -> list[ShardWriter]:
        """Of all splits."""
        return list(self._writers.values())

    @property
    def shards(self) -> int:
        """Whole ones so far."""
        return sum(writer.shards for writer in self.writers)

    def add(self, row: Row) -> None:
        """Add a game."""
        self.kept += 1
        self._games[row.split] += 1
        if self.kept <= HELD_BACK:
            self.first.append(row.split)
        if self._tokenizer is None:
            assert row.game
            # The same few thousand words over and over: kept once each, they take a tenth of the memory.
            row = row._replace(game=replace(row.game, words=tuple(map(sys.intern, row.game.words or ()))))
            self._held.append(row)
            if len(self._held) == LEARN_GAMES:
                self._learned()
        elif len(self._held) < HELD_BACK and not self._part:
            self._held.append(self._tokenized(self._tokenizer, row))
        else:
            self._write(self._tokenized(self._tokenizer, row))

    def finish(self) -> None:
        """Write the games held back, to an empty split first, what is in memory, and the tokenizer."""
        tokenizer = self._tokenizer or self._learned()
        for empty in [split for split in SPLITS if not self._part and not self._games[split]]:
            spared = max(self._held, key=lambda held: self._games[held.split])
            self._held.remove(spared)
            self._games[spared.split] -= 1
            self._games[empty] += 1
            self._write(spared._replace(split=empty))
        for row in self._held:
            self._write(row)
        for writer in self.writers:
            writer.flush()
        save_tokenizer(tokenizer, self._folder / "tokenizer")

    def _learned(self) -> GameTokenizer:
        """The tokenizer learned from the games held so far, which are written then."""
        notation, vocabulary = self._learn
        games = [row.game.words or () for row in self._held if row.split == "train" and row.game]
        learned = train_notation(notation, games, vocabulary)
        tokenizer = self._tokenizer = GameTokenizer(learned, self._work.conditions)
        rows = [self._tokenized(tokenizer, row) for row in self._held]
        self._held = rows[:HELD_BACK]
        for row in rows[HELD_BACK:]:
            self._write(row)
        return tokenizer

    def _tokenized(self, tokenizer: GameTokenizer, row: Row) -> Row:
        if row.game is None:
            return row
        tokens = tokens_of(tokenizer, row.game, self._work)
        return row._replace(game=None, ids=tokens.ids.tobytes(), roles=tokens.role.tobytes())

    def _write(self, row: Row) -> None:
        assert self._tokenizer
        ids, roles = np.frombuffer(row.ids, self._tokenizer.dtype), np.frombuffer(row.roles, np.uint8)
        self._writers[row.split].add(ids, roles, row.about, row.key if self._keys else None)

    # To be gone on with

    def save(self, folder: Path) -> dict[str, Any]:
        """Keep in a folder what is not in a shard yet; there is a shard, so that the vocabulary is known.

        Returns:
            What ``restore`` takes, as JSON.
        """
        assert self._tokenizer
        if not (folder / "tokenizer").exists():
            with files.atomic_folder(folder / "tokenizer") as made:
                save_tokenizer(self._tokenizer, made)
        return {
            "kept": self.kept,
            "first": self.first,
            "games": dict(self._games),
            "held": [_as_json(row) for row in self._held],
            "writers": {split: writer.save(folder) for split, writer in self._writers.items()},
        }

    def restore(self, folder: Path, state: dict[str, Any]) -> Iterator[int]:
        """Go on from what was kept; the hashes of all games come out."""
        self.kept, self.first, self._games = state["kept"], state["first"], Counter(state["games"])
        self._held = [_from_json(row) for row in state["held"]]
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(folder / "tokenizer", self._learn[0])
        yield from (row.key for row in self._held)
        for split, writer in self._writers.items():
            yield from writer.restore(folder, state["writers"][split])


def _as_json(row: Row) -> dict[str, Any]:
    said = row._asdict()
    return {**said, **{name: said[name].hex() for name in ("opening", "ids", "roles")}}


def _from_json(said: dict[str, Any]) -> Row:
    return Row(**{**said, **{name: bytes.fromhex(said[name]) for name in ("opening", "ids", "roles")}})
