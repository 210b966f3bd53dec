"""Scorers: whatever says how likely each next token is. A model, an n-gram, an oracle in a test.

In go games as trees of tokens (a plain game is a tree that does not branch), out come logits of shape (B, T, V):
B games, T nodes of the longest one, V tokens of the vocabulary. ``logits[b, t]`` scores the token that follows node
``t``; any constant may be added to a row, and ``-inf`` is probability 0. Rows past a game's end mean nothing.

Cost of a model: one forward pass a batch, never one a ply. Branches (the spellings of other moves than the one that
was played) ride along behind the game, each node seeing its own ancestors alone: "tree attention" (Miao et al. 2024,
SpecInfer). Right padding needs no mask, since a causal model never looks right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache

from chesslm.errors import InputError
from chesslm.model import LoadedModel
from chesslm.tokenizer import GameTokenizer, TokenIds

NO_LIMIT = 1 << 30
"""The context of a scorer that looks back as far as you like."""


@dataclass(frozen=True)
class TokenTree:
    """A game's tokens, and behind them the nodes that branch off; arrays of shape (nodes,).

    Attributes:
        ids: token of each node.
        parent: the node that each one follows, always an earlier one; -1 for the first.
    """

    ids: TokenIds
    parent: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def is_chain(self) -> bool:
        """Whether it is a plain game, each token after the one before it."""
        return bool((self.parent == np.arange(-1, len(self) - 1)).all())


def chain(ids: TokenIds) -> TokenTree:
    """A plain game as a tree."""
    return TokenTree(ids, np.arange(-1, len(ids) - 1, dtype=np.int32))


class Scorer(Protocol):
    """Next-token scores for games.

    A scorer of whole moves that knows no tokens of its own (n-gram of moves, uniform over the legal ones) takes the
    tokenizer of ``uci-move``: bits per move compare across notations, and a game is encoded for each scorer anew.
    """

    @property
    def tokenizer(self) -> GameTokenizer:
        """The notation that it reads and writes."""
        ...

    @property
    def context(self) -> int:
        """Tokens that it can look back at, <bos> included; ``NO_LIMIT`` if all. No node lies deeper than this."""
        ...

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """Scores of every next token after every node, float32, shape (B, T, V).

        In a notation of one token a move the trees are all chains.
        """
        ...


@dataclass(frozen=True)
class ModelScorer:
    """A causal language model as a scorer."""

    loaded: LoadedModel

    def __post_init__(self) -> None:
        probe = torch.full((1, 1), self.tokenizer.bos, device=self.loaded.device)
        with torch.inference_mode():
            whole = self.loaded.model(input_ids=probe, use_cache=False).logits
            if not torch.allclose(whole, self.head(self._body(input_ids=probe)), rtol=1e-3, atol=1e-3):
                raise InputError(f"{self.loaded.path}: its logits are not those of its head alone (scaled or capped)")

    @property
    def tokenizer(self) -> GameTokenizer:
        """The model's."""
        return self.loaded.tokenizer

    @property
    def context(self) -> int:
        """The model's."""
        return self.loaded.context

    def _body(self, **inputs: Any) -> torch.Tensor:
        return self.loaded.model.base_model(**({"use_cache": False} | inputs))[0]

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """What follows hidden states, in fp32: bf16 logits lie up to 0.06 apart, and likely moves would tie."""
        head: Any = self.loaded.model.get_output_embeddings()
        return head(hidden.float())

    @torch.inference_mode()
    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """One forward pass."""
        ids = [tree.ids for tree in trees]
        return self.read(ids, None if all(tree.is_chain for tree in trees) else ancestors(trees))

    @torch.inference_mode()
    def read(
        self, rows: Sequence[TokenIds], sees_BTS: torch.Tensor | None = None, cache: Cache | None = None
    ) -> torch.Tensor:
        """Scores of the token after each of some, (B, T, V).

        Args:
            rows: tokens, (B rows).
            sees_BTS: whether each of them, with the padding on the right, sees each token of the cache and of its row;
                None: all before it and itself.
            cache: what was read before, in equally many rows; to it these are added.
        """
        device = self.loaded.device
        # Not <pad>: transformers would ask for a mask, which right padding does not need.
        inputs: dict[str, Any] = {"input_ids": padded(rows, self.tokenizer.bos).to(device)}
        if sees_BTS is not None:
            inputs |= {
                "attention_mask": sees_BTS[:, None].to(device),
                "position_ids": (sees_BTS.sum(-1) - 1).to(device),
            }
        if cache is not None:
            inputs |= {"past_key_values": cache, "use_cache": True}
        with self.loaded.autocast():
            hidden = self._body(**inputs)
        return self.head(hidden)[..., : len(self.tokenizer)]


def padded(rows: Sequence[TokenIds], fill: int) -> torch.Tensor:
    """Rows of unequal length as one int64 tensor, filled up on the right."""
    out = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def ancestors(trees: Sequence[TokenTree], trunks: Sequence[int] | None = None) -> torch.Tensor:
    """What each node sees: itself and its ancestors, bool. Padding sees itself, so that no row is empty.

    Args:
        trees: B trees.
        trunks: so many tokens at the beginning of each tree are a chain that was read before, padded to a length T;
            only the N nodes behind it are asked about. None: all of them are.

    Returns:
        Shape (B, N, T + N).
    """
    lengths = trunks or [0] * len(trees)
    before, size = max(lengths), max(len(tree) - n for tree, n in zip(trees, lengths, strict=True))
    sees = np.zeros((len(trees), size, before + size), dtype=bool)
    for matrix, tree, n in zip(sees, trees, lengths, strict=True):
        for node, parent in enumerate(tree.parent[n:].tolist()):
            if parent < n:
                matrix[node, : parent + 1] = True
            else:
                matrix[node] = matrix[parent - n]
            matrix[node, before + node] = True
    sees[:, np.arange(size), before + np.arange(size)] = True
    return torch.from_numpy(sees)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of games, longest first and alike in length, in batches of at most so many tokens with the padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
