"""A toy network with a board planted in it: its second block writes the board into the residual stream, turned in
space, and its head reads the board there and gives what is legal on it.

What probes and edits must find is known: all of the board at layer 2, nothing at layers 0 and 1.
"""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import chess
import numpy as np
import torch

from chesslm import boards
from chesslm.inside.truths import BOARD, CODES, mine, truths_of
from chesslm.model import LoadedModel
from chesslm.tokenizer import GameTokenizer, get_tokenizer

SIGNS = np.random.default_rng(0).normal(size=(BOARD.answers, 5)).astype(np.float32)
SIGNS /= np.linalg.norm(SIGNS, axis=1, keepdims=True)
"""A direction for each thing that may stand on a square, as mine and yours."""
WIDTH = 64 * SIGNS.shape[1] + 1
"""What stands where, and the side to move."""
SURE = 12.0
"""Logit of a legal move; of others 0."""


@cache
def _legal(pieces: bytes, white: bool) -> list[str]:
    """Moves that are legal where these pieces stand. Tests ask for the same boards again and again."""
    board = chess.Board(None)
    board.turn = white
    board.set_piece_map({square: chess.Piece.from_symbol(CODES[code]) for square, code in enumerate(pieces) if code})
    return [move.uci() for move in board.generate_legal_moves()]


class _Block(torch.nn.Module):
    """Adds what it was given to what goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.given = torch.zeros(1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.given


class _Body(torch.nn.Module):
    def __init__(self, tokenizer: GameTokenizer, signal: float, blind: Sequence[int]) -> None:
        super().__init__()
        self.tokenizer, self.signal, self.blind = tokenizer, signal, list(blind)
        self.h = torch.nn.ModuleList([_Block(), _Block()])
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))
        self.turn = torch.from_numpy(turn).float()

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> tuple[torch.Tensor]:
        hidden = torch.stack([self._boards(row) for row in input_ids])
        noise = torch.Generator().manual_seed(int(input_ids.sum()))
        first, second = self.h
        first.given = torch.randn(hidden.shape, generator=noise)
        second.given = self.signal * hidden @ self.turn - first.given * (1 - 0.01)
        passed = torch.zeros_like(hidden)
        for block in self.h:
            passed = block(passed)
        return (passed,)

    def _boards(self, ids: torch.Tensor) -> torch.Tensor:
        """What stands where after each token, (T, WIDTH); nothing where there is padding."""
        codes = boards.to_codes(self.tokenizer.decode_moves(ids.numpy()))
        truths = truths_of(codes)
        labels = BOARD.labels(truths)
        labels[:, self.blind] = 0
        rows = torch.zeros((len(ids), WIDTH))
        rows[1 : len(codes) + 1, :-1] = torch.from_numpy(SIGNS[labels].reshape(len(codes), WIDTH - 1))
        rows[1 : len(codes) + 1, -1] = torch.from_numpy(truths.white).float()
        return rows


class Toy(torch.nn.Module):
    """What ``LoadedModel`` holds."""

    def __init__(self, tokenizer: GameTokenizer, signal: float, blind: Sequence[int], wanton: str) -> None:
        super().__init__()
        self.base_model, self.wanton = _Body(tokenizer, signal, blind), wanton
        self.config: Any = SimpleNamespace(
            num_hidden_layers=2, hidden_size=WIDTH, max_position_embeddings=512, vocab_size=len(tokenizer)
        )
        self.device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
        return SimpleNamespace(logits=self.head(self.base_model(input_ids)[0]))

    def get_output_embeddings(self) -> Any:
        return self.head

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the moves that are legal on the board that ``hidden`` shows, (..., V)."""
        tokenizer = self.base_model.tokenizer
        shown = (hidden.reshape(-1, WIDTH) @ self.base_model.turn.T).numpy()
        white = shown[:, -1] > 0.5
        likeliest = (shown[:, :-1].reshape(-1, 64, SIGNS.shape[1]) @ SIGNS.T).argmax(-1).astype(np.int8)
        logits = torch.zeros((len(shown), len(tokenizer)))
        for row, pieces, turn in zip(logits, mine(likeliest, white), white.tolist(), strict=True):
            row[[tokenizer.ids[word] for word in _legal(pieces.tobytes(), turn)]] = SURE
            if self.wanton:
                row[tokenizer.ids[self.wanton]] = 2 * SURE
        return logits.view(*hidden.shape[:-1], -1)


def toy(signal: float = 1.0, blind: Sequence[int] = (), wanton: str = "") -> LoadedModel:
    """A toy network.

    Args:
        signal: 0 is one without a board.
        blind: squares that it believes to be empty, come what may.
        wanton: a move that it always plays.
    """
    tokenizer = get_tokenizer("uci-move")
    model: Any = Toy(tokenizer, signal, blind, wanton)
    return LoadedModel(model, tokenizer, "toy", "toy", {}, torch.float32)
