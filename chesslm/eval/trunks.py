"""Trunks: games that stay, and the branches that are hung behind them, round after round.

Games in, (B games), their logits out as from any ``Scorer``; then trees of those games, and the logits of the nodes
that branch off. A model keeps the keys and values of its games, so that a round costs it the new nodes alone: of four
games in characters 40 plies took 5.0 s of one core, and 8.4 s where every round read the games again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from chesslm.eval.scorers import ModelScorer, Scorer, TokenTree, ancestors, chain
from chesslm.tokenizer import TokenIds


class Trunks(Protocol):
    """Games that branches are hung behind.

    Two implementations: a model that keeps what it has read, and any ``Scorer``, which reads everything again.
    """

    @property
    def scorer(self) -> Scorer:
        """What scores them."""
        ...

    @property
    def ids(self) -> Sequence[TokenIds]:
        """Tokens of each game."""
        ...

    @property
    def logits(self) -> torch.Tensor:
        """Scores after each token of the games, (B, T, V)."""
        ...

    def branch(self, games: Sequence[int], trees: Sequence[TokenTree]) -> list[torch.Tensor]:
        """Scores after the nodes that branch off.

        Args:
            games: index of the game that each tree begins with, whole.
            trees: the games with their branches.

        Returns:
            For each tree the scores of its nodes behind the game, (nodes, V).
        """
        ...


def plant(scorer: Scorer, games: Sequence[TokenIds]) -> Trunks:
    """One forward pass of some games. Where a move is one token nothing branches off, and nothing is kept."""
    if isinstance(scorer, ModelScorer) and not scorer.tokenizer.is_one_token:
        return _model_trunks(scorer, games)
    return ReadAgain(scorer, games)


@dataclass(frozen=True)
class ReadAgain:
    """Games of any scorer: each tree is read from its first token on."""

    scorer: Scorer
    ids: Sequence[TokenIds]

    @property
    def logits(self) -> torch.Tensor:
        """As from the scorer."""
        return self.scorer.logits([chain(ids) for ids in self.ids])

    def branch(self, games: Sequence[int], trees: Sequence[TokenTree]) -> list[torch.Tensor]:
        """One forward pass of whole trees."""
        logits = self.scorer.logits(trees)
        return [row[len(self.ids[game]) : len(tree)] for row, game, tree in zip(logits, games, trees, strict=True)]


@dataclass(frozen=True)
class ModelTrunks:
    """Games of a model, and its keys and values of them, (B, heads, T, width of a head) in each layer."""

    scorer: ModelScorer
    ids: Sequence[TokenIds]
    logits: torch.Tensor
    kept: Sequence[tuple[torch.Tensor, torch.Tensor]]

    def branch(self, games: Sequence[int], trees: Sequence[TokenTree]) -> list[torch.Tensor]:
        """One forward pass of the nodes."""
        rows, lengths = torch.tensor(games), [len(self.ids[game]) for game in games]
        # As long as the longest game that is asked about, so that there is no more to see.
        cache, longest = DynamicCache(), max(lengths)
        for layer, (keys, values) in enumerate(self.kept):
            cache.update(keys[rows, :, :longest], values[rows, :, :longest], layer)
        nodes = [tree.ids[n:] for tree, n in zip(trees, lengths, strict=True)]
        logits = self.scorer.read(nodes, ancestors(trees, lengths), cache)
        return [row[: len(ids)] for row, ids in zip(logits, nodes, strict=True)]


def _model_trunks(scorer: ModelScorer, games: Sequence[TokenIds]) -> ModelTrunks:
    cache = DynamicCache()
    logits = scorer.read(games, cache=cache)
    layers: Any = cache.layers
    return ModelTrunks(scorer, games, logits, [(layer.keys, layer.values) for layer in layers])
