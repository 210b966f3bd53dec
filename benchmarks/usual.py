"""The usual recipe, to be compared with: transformers' GPT-2 as configured by default, AdamW, fp32, padded games.

Games in random order, 16 a batch, one a row, padded to the longest of the batch, with its attention mask; dropout 0.1
as GPT-2 has it; gradients clipped at 1.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from chesslm.config import SIZES
from chesslm.loader import cut_game, pad_rows
from chesslm.shards import Split
from chesslm.tokenizer import PAD, GameTokenizer

SHAPE = SIZES["small"]
ROWS = 16


class Usual:
    """A model with its optimizer, and games that never end.

    Args:
        tokenizer: of the games.
        games: to learn from.
        context: tokens that are taken of a game.
        learning_rate: the peak.
        seed: of weights and order.
    """

    def __init__(
        self, tokenizer: GameTokenizer, games: Split, context: int, learning_rate: float = 3e-4, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=tokenizer.context,
            n_embd=SHAPE.width,
            n_layer=SHAPE.layers,
            n_head=SHAPE.heads,
            bos_token_id=tokenizer.bos,
            eos_token_id=tokenizer.eos,
            pad_token_id=tokenizer.pad,
        )
        self.model = GPT2LMHeadModel(config).train()
        self.learning_rate = learning_rate
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=learning_rate)
        self._batches = _batches(games, context, seed)

    def step(self, share: float = 1.0) -> int:
        """Learn from a batch at a share of the peak rate; returns the tokens that a loss was taken on."""
        for group in self._optimizer.param_groups:
            group["lr"] = share * self.learning_rate
        rows_BT = next(self._batches)
        real_BT = rows_BT != PAD
        self._optimizer.zero_grad()
        labels_BT = rows_BT.masked_fill(~real_BT, -100)
        self.model(input_ids=rows_BT, attention_mask=real_BT.long(), labels=labels_BT).loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        return int(real_BT[:, 1:].sum())


def cosine(progress: float, warmup: float = 0.02) -> float:
    """The share of the peak rate at a point of the budget in [0, 1]: a linear rise, then half a cosine to a tenth."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def _batches(games: Split, context: int, seed: int) -> Iterator[torch.Tensor]:
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(len(games))
        for start in range(0, len(order) - ROWS + 1, ROWS):
            chosen = order[start : start + ROWS]
            yield torch.from_numpy(pad_rows([cut_game(games[int(game)], context).ids for game in chosen]))
