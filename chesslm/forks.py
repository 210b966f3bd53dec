"""A move written token by token: what may follow, and when it is over. Measuring, playing and training all go by this.

A move begun (token ids) and next-token scores in; the scores of what may follow, and what a token makes of it, out
(docs/metrics.md, What is asked of a model):

- The move before is over: no move begins with a token by which it would go on (``e7 e8``, then ``q``), unless
  something stands between, such as a move number.
- Special tokens are taken out, except where the move may be over: there they end it, as any token does that does not
  go on with it. Such a token is no part of the move.
- Elsewhere a token that does not go on with the move makes junk of it, which is no move.

The notation alone decides, so a fork is the same on every board and found once. Needs no torch.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm.tokenizer import GameTokenizer, Role, TokenizedGame

Begun = tuple[int, ...]
"""A move begun: token ids."""
Floats = NDArray[np.float64]
Scores = NDArray[Any]
"""Logarithms of probabilities up to a constant, float32 or float64."""


@dataclass(frozen=True)
class Fork:
    """How the notation goes on with a move begun; arrays over the tokens that moves are made of, shape (A,).

    Attributes:
        ends: whether the move may be over.
        goes_on: tokens by which it can go on.
        stays_open: those after which it is not certainly over.
    """

    ends: bool
    goes_on: NDArray[np.bool_]
    stays_open: NDArray[np.bool_]


@dataclass(frozen=True)
class Forks:
    """The forks of a notation.

    Attributes:
        tokenizer: of the notation.
    """

    tokenizer: GameTokenizer
    _known: dict[Begun, Fork] = field(default_factory=dict, compare=False)

    @cached_property
    def of_moves(self) -> NDArray[np.int64]:
        """Ids of the tokens that moves are made of, rising, (A,)."""
        return np.array(sorted(self.tokenizer.ids[token] for token in self.tokenizer.notation.vocabulary))

    @cached_property
    def column(self) -> NDArray[np.int64]:
        """Where each token stands among them, (V,); -1 for one that does not."""
        columns = np.full(len(self.tokenizer), -1)
        columns[self.of_moves] = np.arange(len(self.of_moves))
        return columns

    def __getitem__(self, begun: Begun) -> Fork:
        if begun not in self._known:
            self._known[begun] = self._find(begun)
        return self._known[begun]

    def _find(self, begun: Begun) -> Fork:
        notation, ids = self.tokenizer.notation, self.tokenizer.ids
        tokens = self.tokens(begun)
        extensions, ends = notation.extensions(tokens), bool(tokens) and notation.ends(tokens)
        if not extensions:
            # Of two thousand whole moves, 8 MB otherwise.
            return Fork(ends, self._nothing, self._nothing)
        goes_on, stays_open = (np.zeros(len(self.of_moves), np.bool_) for _ in range(2))
        for token in extensions:
            at = self.column[ids[token]]
            goes_on[at] = True
            stays_open[at] = bool(notation.extensions((*tokens, token)))
        return Fork(ends, goes_on, stays_open)

    @cached_property
    def _nothing(self) -> NDArray[np.bool_]:
        """No token at all."""
        return np.zeros(len(self.of_moves), np.bool_)

    def tokens(self, begun: Begun) -> tuple[str, ...]:
        """Ids as tokens."""
        return tuple(self.tokenizer.tokens[i] for i in begun)

    def moves_before(self, game: TokenizedGame) -> list[Begun]:
        """The move before each ply of a game and before the ply that would follow it, (plies + 1,).

        None (no tokens) where the game begins, or where something stands between the two.
        """
        ids = game.ids.tolist()
        begins, ends = (np.flatnonzero(game.role & role).tolist() for role in (Role.MOVE_BEGINS, Role.MOVE_ENDS))
        played = [tuple(ids[first : last + 1]) for first, last in zip(begins, ends, strict=True)]
        return [(), *(() if self.tokenizer.lead(ply) else move for ply, move in enumerate(played, 1))]

    def given_over(self, scores: Scores, before: Begun) -> Scores:
        """Next-token scores after a move that is over: less the tokens by which it would go on.

        Args:
            scores: (V,); not changed.
            before: the move; no tokens: nothing is taken out.
        """
        if not (before and self[before].goes_on.any()):
            return scores
        left = scores.copy()
        left[self.of_moves[self[before].goes_on]] = -math.inf
        return left

    def may_follow(self, scores: Scores, begun: Begun, before: Begun = ()) -> Scores:
        """The scores of what may follow a move begun; -inf for all else.

        Args:
            scores: of the next token, (V,); not changed.
            begun: the move; no tokens: it is to begin.
            before: the move before it, as in ``moves_before``.
        """
        if self[begun].ends:
            return scores
        left = np.where(self.tokenizer.is_special, -math.inf, scores)
        return left if begun else self.given_over(left, before)

    def step(self, begun: Begun, token: int) -> tuple[Begun, bool]:
        """The move as it is after one more token, and whether it is over; junk is over too."""
        fork, column = self[begun], self.column[token]
        goes_on = bool(column >= 0 and fork.goes_on[column])
        if fork.ends and not goes_on:
            return begun, True
        return (*begun, token), not (goes_on and fork.stays_open[column])


def choose(scores: Scores, temperature: float, random: np.random.Generator, top_p: float = 1.0) -> int:
    """A token by its scores, (V,): at temperature 0 the likeliest (of equal ones the first), else one drawn.

    With ``top_p`` below 1 it is drawn from the likeliest alone, as few as have that much of the probability together
    (nucleus sampling, Holtzman et al. 2020).
    """
    if not temperature:
        return int(scores.argmax())
    shares = np.exp((scores.astype(np.float64) - scores.max()) / temperature)
    if top_p < 1:
        order = np.argsort(-shares, kind="stable")
        up_to = shares[order].cumsum()
        shares[order[np.searchsorted(up_to, top_p * up_to[-1]) + 1 :]] = 0.0
    up_to = shares.cumsum()
    return int(np.searchsorted(up_to, random.random() * up_to[-1], side="right"))


def logsumexp(scores: Floats) -> Floats:
    """Along the last axis, which stays; -inf where all is."""
    highest = np.maximum(scores.max(-1, keepdims=True), -1e300)
    with np.errstate(divide="ignore"):
        return highest + np.log(np.exp(scores - highest).sum(-1, keepdims=True))


def log_softmax(scores: Floats) -> Floats:
    """Along the last axis."""
    return scores - logsumexp(scores)
