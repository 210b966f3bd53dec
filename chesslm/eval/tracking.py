"""Suite ``sinks`` while a model is trained: bits a token of each class, on the same validation games each time.

A dataset in, a function from a model's logits to those bits out. What the tokens are is found once (3 s where a
notation writes SAN); a measurement is a forward pass over the games.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from chesslm import boards, parallel
from chesslm.eval.positions import find_positions
from chesslm.eval.scorers import TokenTree, padded
from chesslm.eval.sinks import overall, tokens_of
from chesslm.eval.tokens import score_tokens
from chesslm.forks import Forks
from chesslm.shards import Dataset
from chesslm.tokenizer import GameTokenizer
from chesslm.validation import Logits, bare

GAMES, TOKENS = 100, 1 << 14
"""Validation games at most, and their tokens: so a measurement takes less than two steps of 4,096 tokens."""


@dataclass(frozen=True)
class InTraining:
    """A model in training as a scorer."""

    tokenizer: GameTokenizer
    context: int
    logits_of: Logits

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """One forward pass."""
        return self.logits_of(padded([tree.ids for tree in trees], self.tokenizer.bos)).float()


def track_sinks(dataset: Dataset, tokens: int = TOKENS) -> Callable[[Logits, int], dict[str, float]]:
    """What is measured on the first validation games of a dataset.

    Args:
        dataset: of games.
        tokens: that they come to, at most, unless one alone has more.

    Returns:
        A function of a model's logits and context: bits and shares of loss by the keys of the suite, no intervals.
    """
    tokenizer, split = dataset.tokenizer, dataset.splits["val"]
    games = int(np.searchsorted(np.cumsum(split.lengths[:GAMES]), tokens, "right"))
    held = [bare(split[i]) for i in range(max(games, 1))]
    codes = [boards.to_codes(tokenizer.decode_moves(game.ids)) for game in held]
    with parallel.pool(1) as pool:
        of_moves = tokens_of(Forks(tokenizer), held, find_positions(codes, pool), pool)

    def measure(logits_of: Logits, context: int) -> dict[str, float]:
        found = overall(of_moves, score_tokens(InTraining(tokenizer, context, logits_of), held, of_moves))
        values = {key: ratio.value for key, ratio in found.items() if "bits" in key or key.endswith("_loss")}
        return {key: value for key, value in values.items() if value is not None}

    return measure
