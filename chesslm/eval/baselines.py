"""Baselines: what no network has to learn, scored like a model.

- ``NGram``: the moves that followed the last moves in the training games. Interpolated absolute discounting (Ney,
  Essen and Kneser 1994; see Chen and Goodman 1999) over contexts of 0 to 5 moves, <bos> counted as one:

      P_k(w | h) = max(c(h w) - D, 0) / c(h)  +  D T(h) / c(h) * P_(k-1)(w | h without its first move)

  with c(h w) how often w followed h, c(h) their sum, T(h) the number of different w, and P_(-1) uniform over all
  moves and <eos>; a context never seen hands on to the shorter one. Properly normalised; no legality is put in.
- ``UniformLegal``: every legal move alike, by python-chess: what knowing the rules and nothing else gives. The suite
  takes its figures from a closed form (``moves.uniform_over_legal``), which the tests hold to this.

Both read and write whole moves (the tokens of ``uci-move``), whatever the notation of the training games.
Only contexts that occur in the evaluated games are counted, so that 39 million tokens take 6 s on one core.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.novel import KeySet, move_codes
from chesslm.eval.scorers import NO_LIMIT, TokenTree
from chesslm.shards import Split
from chesslm.tokenizer import BOS, EOS, SPECIALS, GameTokenizer, Role, get_tokenizer

MOVES = get_tokenizer("uci-move")
ORDER = 5
"""Moves of context: a sixth would not fit the 64 bits of a key."""
DISCOUNT = 0.9
"""D. On 500 held-out master games 0.75, 0.8, 0.85, 0.9, 0.95 give 7.95, 7.91, 7.88, 7.86, 7.87 bits a move after 11,500
training games, and 6.83, 6.79, 6.76, 6.74, 6.75 after 390,000. After 11,500, D estimated for each length as
n1 / (n1 + 2 n2) gives 7.96, and Witten-Bell 8.20."""
CHUNK_GAMES = 1 << 14
"""Games counted at a time, about 1.4 million tokens."""
_BITS = len(MOVES).bit_length()

Pairs = NDArray[np.int64]
"""(context number * V + follower) << 28 | how often it occurs, ascending: one array to sort, half the memory of two."""
_COUNT_BITS = 28
_COUNT = (1 << _COUNT_BITS) - 1


@dataclass(frozen=True)
class Counts:
    """What followed the contexts of one length in the training games.

    Attributes:
        contexts: keys of the contexts counted, ascending, uint64, shape (contexts,).
        starts: where each context's followers begin in the next two, and the end, shape (contexts + 1,).
        followers: token ids, shape (pairs,).
        counts: how often each followed, shape (pairs,).
    """

    contexts: NDArray[np.uint64]
    starts: NDArray[np.int64]
    followers: NDArray[np.int64]
    counts: NDArray[np.int64]

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """How often each context was followed by anything, shape (contexts,)."""
        return np.diff(np.concatenate([[0], np.cumsum(self.counts)])[self.starts])


@dataclass(frozen=True)
class NGram:
    """An n-gram of moves; made by ``fit_ngram``, and good for the games named there alone."""

    levels: tuple[Counts, ...]
    tokenizer: GameTokenizer = MOVES
    context: int = NO_LIMIT

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """Log-probabilities, float32, shape (B, T, V)."""
        lengths = np.array([len(tree) for tree in trees])
        ids = np.concatenate([tree.ids for tree in trees]).astype(np.uint64)
        depth = np.concatenate([np.arange(length) for length in lengths])
        row = np.repeat(np.arange(len(trees)) * lengths.max(), lengths) + depth
        left, shares = self._shares(ids, depth)
        # Each row is P_(-1), scaled by what the levels leave to it, and each level's own share added.
        below = np.ones(len(trees) * lengths.max(), dtype=np.float32)
        below[row] = left[0]
        probability = np.multiply.outer(below, _uniform(len(self.tokenizer)))
        for order, (node, follower, share) in enumerate(shares):
            probability[row[node], follower] += share * left[order + 1][node]
        with np.errstate(divide="ignore"):
            np.log(probability, out=probability)
        return torch.from_numpy(probability.reshape(len(trees), lengths.max(), -1))

    def _shares(
        self, ids: NDArray[np.uint64], depth: NDArray[np.int64]
    ) -> tuple[NDArray[Any], list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]]:
        """What the levels give to tokens seen, and leave to shorter contexts.

        Returns:
            ``left[k, n]``, the product of D T / c over levels k and longer at node n, shape (levels + 1, nodes); and
            for each level the nodes, tokens and (c - D) / c of all pairs that it has seen.
        """
        at, keys = np.arange(len(ids)), np.zeros(len(ids), np.uint64)
        left = np.ones((len(self.levels) + 1, len(ids)))
        shares = []
        for order, level in enumerate(self.levels):
            if order:
                at, keys = _longer(at, keys, ids, depth, order)
            place = np.searchsorted(level.contexts, keys)
            if (level.contexts.take(place, mode="clip") != keys).any():
                raise ValueError("a game that this n-gram was not fitted for")
            seen = np.flatnonzero(level.totals[place])
            place, node = place[seen], at[seen]
            total, first = level.totals[place], level.starts[place]
            types = level.starts[place + 1] - first
            left[order, node] = DISCOUNT * types / total
            pair = np.repeat(first - np.cumsum(types) + types, types) + np.arange(types.sum())
            share = (level.counts[pair] - DISCOUNT) / np.repeat(total, types)
            shares.append((np.repeat(node, types), level.followers[pair], share))
        return np.cumprod(left[::-1], axis=0)[::-1], shares


def _uniform(vocabulary: int) -> NDArray[np.float32]:
    """P_(-1): all moves and <eos> alike."""
    uniform = np.ones(vocabulary, dtype=np.float32)
    uniform[[i for i in range(len(SPECIALS)) if i != EOS]] = 0
    return uniform / uniform.sum()


def _longer(
    at: NDArray[np.int64], keys: NDArray[np.uint64], ids: NDArray[np.uint64], depth: NDArray[np.int64], order: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The contexts of one more token that end at these nodes, for the nodes that have so many before them."""
    enough = depth[at] >= order - 1
    at, keys = at[enough], keys[enough]
    return at, keys | ids[at - (order - 1)] << np.uint64(_BITS * (order - 1))


def fit_ngram(split: Split, tokenizer: GameTokenizer, games: Sequence[boards.MoveCodes], order: int = ORDER) -> NGram:
    """Fit an n-gram on training games, for the contexts of the games that it will be asked about.

    The choice of those games saves counting and changes no probability.

    Args:
        split: the training games.
        tokenizer: that of the split.
        games: the games to be scored, as move codes.
        order: moves of context, at most 5.
    """
    asked = [MOVES.encode(game).ids for game in games]
    ids = np.concatenate([np.zeros(0, np.uint16), *asked]).astype(np.uint64)
    depth = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(game)) for game in asked)])
    at, keys = np.arange(len(ids)), np.zeros(len(ids), np.uint64)
    contexts = [np.zeros(1, np.uint64)]
    for length in range(1, order + 1):
        at, keys = _longer(at, keys, ids, depth, length)
        contexts.append(np.unique(keys))
    sets = [KeySet(keys) for keys in contexts]
    found: list[Pairs] = [np.zeros(0, np.int64) for _ in contexts]
    for shard in range(len(split.ids)):
        ids, offsets = _moves(split, shard, tokenizer)
        chunks = [found]
        for first in range(0, len(offsets) - 1, CHUNK_GAMES):
            places = offsets[first : first + CHUNK_GAMES + 1]
            chunks.append(_count(ids[places[0] : places[-1]], np.diff(places), sets))
        found = [_together(level) for level in zip(*chunks, strict=True)]
    return NGram(tuple(_counts(keys, level) for keys, level in zip(contexts, found, strict=True)))


def _moves(split: Split, shard: int, tokenizer: GameTokenizer) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """A shard's games as tokens of ``uci-move``, and where each begins, and the end."""
    offsets = split.offsets[shard]
    if tokenizer.tokens == MOVES.tokens:  # no conditions
        return split.ids[shard], offsets
    codes, starts = move_codes(split, shard, tokenizer)
    ended = split.roles[shard][offsets[1:] - 1] & Role.GAME_ENDS > 0
    places = np.concatenate([[0], np.cumsum(np.diff(starts) + 1 + ended)])
    ids = np.empty(places[-1], dtype=np.uint16)
    ids[places[:-1]] = BOS
    ids[places[1:][ended] - 1] = EOS
    is_move = np.ones(len(ids), dtype=np.bool_)
    is_move[places[:-1]] = is_move[places[1:][ended] - 1] = False
    ids[is_move] = _move_ids()[codes]
    return ids, places


@cache
def _move_ids() -> NDArray[np.uint16]:
    """Token ids of ``uci-move`` by move code."""
    table = np.zeros(1 << 16, dtype=np.uint16)
    for token in MOVES.notation.vocabulary:
        table[boards.move_code(chess.Move.from_uci(token))] = MOVES.ids[token]
    return table


def _count(ids: NDArray[np.uint16], lengths: NDArray[np.int64], contexts: list[KeySet]) -> list[Pairs]:
    """How often each of the contexts of each length is followed by what."""
    tokens = ids.astype(np.uint64)
    depth = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # All nodes that something follows.
    at = np.flatnonzero(depth[1:])
    keys = np.zeros(len(at), np.uint64)
    result = []
    for order, wanted in enumerate(contexts):
        if order:
            at, keys = _longer(at, keys, tokens, depth, order)
        # A context that the games do not have has no longer one that they do.
        hit, place = wanted.find(keys)
        at, keys = at[hit], keys[hit]
        pairs, counts = np.unique(place * len(MOVES) + ids[at + 1], return_counts=True)
        result.append(pairs << _COUNT_BITS | counts)
    return result


def _together(found: Sequence[Pairs]) -> Pairs:
    """Counts of the same pairs added up."""
    entries = np.sort(np.concatenate(found))
    pairs, counts = entries >> _COUNT_BITS, entries & _COUNT
    first = np.flatnonzero(np.diff(pairs, prepend=-1))
    return pairs[first] << _COUNT_BITS | (np.add.reduceat(counts, first) if len(first) else counts)


def _counts(contexts: NDArray[np.uint64], found: Pairs) -> Counts:
    """Pairs taken apart."""
    pairs = found >> _COUNT_BITS
    starts = np.searchsorted(pairs, np.arange(len(contexts) + 1) * len(MOVES))
    return Counts(contexts, starts, pairs % len(MOVES), found & _COUNT)


@dataclass(frozen=True)
class UniformLegal:
    """Every legal move alike; <eos> where there is none."""

    tokenizer: GameTokenizer = MOVES
    context: int = NO_LIMIT

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """0 for legal moves, ``-inf`` for all else, shape (B, T, V)."""
        out = torch.full((len(trees), max(map(len, trees)), len(self.tokenizer)), -torch.inf)
        for row, tree in zip(out, trees, strict=True):
            moves = self.tokenizer.decode_moves(tree.ids)
            for scores, board in zip(row, boards.replay(moves), strict=False):
                legal = boards.legal_codes(board)
                scores[_move_ids()[legal].astype(np.intp) if legal else EOS] = 0
        return out
