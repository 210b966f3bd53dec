"""Batches for training: rows of one game each, bucketed by length, so that no game sees another.

    {"ids": ids_BT int64, padded on the right,                      T differs from batch to batch
     "targets": the same, NOT_ASKED where no loss is taken,
     "expected": what else might have stood in their place, where that is asked for (``chances``), or None,
     "whole": {"tokens": targets, "moves", "games"} of the batch that this is a part of, "last": of its parts here}

No loss is taken on padding, on <bos>, on conditions and on piece hints: a model is given those. Where the games carry
hints, each move's is shown with probability ``hints``, drawn anew each epoch (Toshniwal et al. 2022, "RAP").

Games are shuffled anew each epoch, taken 8,192 at a time, sorted by length, cut into batches of at most
``batch_tokens`` and those are shuffled: 97 % of the tokens are real, and causal attention with padding on the
right needs no mask. Packing several games into a row was 5 % faster at best and needs a cache switched off for
games to stay apart.

A batch may be cut into parts of as many games each, which several processes share, and which one of them takes one
after the other: the gradients of the parts add up to that of the batch.

Order is a function of the seed, the epoch and the batch's number alone; so the state is two integers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chesslm.chances import Chances, RandomMover
from chesslm.generate import RANDOM_EVENT
from chesslm.shards import Split
from chesslm.tokenizer import PAD, Role, TokenizedGame

BUCKET_GAMES = 8192
SAMPLE = 2**31
"""Where an epoch's number stands in other seeds: of the choice of games."""
NOT_ASKED = -100
"""The target that ``cross_entropy`` passes over."""
NOTHING = np.full(2, PAD, np.int64)
"""A row of which nothing is asked."""
GIVEN, MOVE_ENDS = int(Role.GAME_BEGINS | Role.CONDITION | Role.HINT), int(Role.MOVE_ENDS)


@dataclass
class GameBatches:
    """Endless batches of one split; iterate once, from where ``state_dict`` says.

    Attributes:
        split: the games.
        batch_tokens: B times T is at most this; a longer game makes a batch of its own.
        context: games are cut to this many tokens, after a whole move.
        seed: of the order and of the hints.
        hints: share of the moves whose hint is shown, where the games have any.
        mover: gives the chances of the random moves by which games are left; None: they are not asked for.
        games: train on a seeded sample of so many; 0: on all. A smaller sample lies in a larger one.
        parts: of this process's share of a batch.
        rank, ranks: this process, and how many share each batch.
        skip: batches that an earlier leg of the training has taken.
    """

    split: Split
    batch_tokens: int
    context: int
    seed: int
    hints: float = 0.0
    games: int = 0
    parts: int = 1
    rank: int = 0
    ranks: int = 1
    skip: int = 0
    mover: RandomMover | None = None
    epoch: int = field(default=0, init=False)
    batch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.batch = self.skip
        while self.batch and self.batch >= (size := len(self.plan(self.epoch))):
            self.epoch, self.batch = self.epoch + 1, self.batch - size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            plan = self.plan(self.epoch)
            while self.batch < len(plan):
                parts = self._parts(plan[self.batch])
                # Moved on before the batch is given out, so that a state saved while it is trained on says "done".
                self.batch += 1
                yield from parts
            self.epoch, self.batch = self.epoch + 1, 0

    def __len__(self) -> int:
        """More than any run takes: epochs pass inside. Without a length Lightning reads one batch ahead."""
        return 2**62

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """The games of each batch in an epoch."""
        order = self._sample[np.random.default_rng([self.seed, epoch]).permutation(len(self._sample))]
        lengths = np.minimum(self.split.lengths, self.context)
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), BUCKET_GAMES):
            bucket = order[start : start + BUCKET_GAMES]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            cut = cut_batches(lengths[bucket], self.batch_tokens)
            shuffled = np.random.default_rng([self.seed, epoch, start]).permutation(len(cut))
            batches += [bucket[cut[i]] for i in shuffled]
        return batches

    @cached_property
    def _sample(self) -> NDArray[np.int64]:
        """The games to train on."""
        if not self.games:
            return np.arange(len(self.split))
        return np.random.default_rng([self.seed, SAMPLE]).permutation(len(self.split))[: self.games]

    def _parts(self, games: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        """This process's parts of a batch; one without games has a row of nothing, since all have to take the step."""
        first, step = self.rank * self.parts, self.ranks * self.parts
        mine = range(first, first + self.parts)
        rows = {at: self._row(int(games[at])) for part in mine for at in range(part, len(games), step)}
        whole = {"tokens": 0, "moves": 0, "games": len(games)}
        for at, number in enumerate(games.tolist()):
            # Those of other processes are not made here, only counted: their hints matter where they are cut.
            game = rows[at] if at in rows else self.split[number]
            role = (game if len(game) <= self.context else self._row(number)).role
            whole["tokens"] += int(np.count_nonzero((role[1:] & GIVEN) == 0))
            whole["moves"] += int(np.count_nonzero(role & MOVE_ENDS))
        for part in mine:
            of_part = [rows[at] for at in range(part, len(games), step)]
            targets = [targets_of(game) for game in of_part] or [np.full(2, NOT_ASKED)]
            yield {
                "ids": torch.from_numpy(pad_rows([game.ids for game in of_part] or [NOTHING])),
                "targets": torch.from_numpy(pad_rows(targets, NOT_ASKED)),
                "expected": self._expected(games[part::step], of_part),
                "whole": whole,
                "last": part == first + self.parts - 1,
            }

    def _row(self, number: int) -> TokenizedGame:
        """A game as it is shown in this epoch."""
        return cut_game(self._shown(number), self.context)

    @cached_property
    def _random(self) -> NDArray[np.float64]:
        """How likely a move of each game is a random one: without strays it is the move played everywhere."""
        events, strays = self.split.table()["event"].to_pylist(), self.mover.strays if self.mover else 0.0
        return np.array([1.0 if strays and event == RANDOM_EVENT else strays for event in events])

    def _expected(self, games: NDArray[np.int64], rows: list[TokenizedGame]) -> Chances | None:
        """The chances of what stands in some games, if they are asked for."""
        if not self.mover or not rows:
            return None
        return self.mover.chances([(row, game, float(self._random[games[row]])) for row, game in enumerate(rows)])

    def _shown(self, number: int) -> TokenizedGame:
        """A game with the hints that it shows in this epoch."""
        game = self.split[number]
        hints = (game.role & Role.HINT) > 0
        if not hints.any():
            return game
        draw = np.random.default_rng([self.seed, self.epoch, number]).random(len(game))
        return without(game, hints & (draw >= self.hints))

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch stands."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.batch = state["epoch"], state["batch"]


def cut_game(game: TokenizedGame, context: int) -> TokenizedGame:
    """The first tokens of a game, at most ``context``, up to the end of a move; text is cut anywhere."""
    if len(game) <= context:
        return game
    ends = np.flatnonzero(game.role[:context] & MOVE_ENDS)
    stop = int(ends[-1]) + 1 if len(ends) else context
    return TokenizedGame(game.ids[:stop], game.role[:stop])


def without(game: TokenizedGame, left_out: NDArray[np.bool_]) -> TokenizedGame:
    """A game without some of its tokens."""
    return TokenizedGame(game.ids[~left_out], game.role[~left_out])


def targets_of(game: TokenizedGame) -> NDArray[np.int64]:
    """The tokens that a model is asked for, ``NOT_ASKED`` for those that it is given, shape (tokens,)."""
    return np.where(game.role & GIVEN, NOT_ASKED, game.ids.astype(np.int64))


def cut_batches(lengths: NDArray[np.int64], batch_tokens: int) -> list[slice]:
    """Cut games sorted by length into consecutive batches of at most ``batch_tokens`` tokens, padding included."""
    batches: list[slice] = []
    start = 0
    for stop, length in enumerate(lengths):
        if stop > start and (stop + 1 - start) * length > batch_tokens:
            batches.append(slice(start, stop))
            start = stop
    if start < len(lengths):
        batches.append(slice(start, len(lengths)))
    return batches


def pad_rows(games: Sequence[NDArray[Any]], fill: int = PAD) -> NDArray[np.int64]:
    """Rows of token ids of unequal length, padded on the right: (B, T)."""
    rows = np.full((len(games), max(map(len, games))), fill, dtype=np.int64)
    for row, ids in zip(rows, games, strict=True):
        row[: len(ids)] = ids
    return rows
