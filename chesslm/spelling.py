"""Embeddings that share what their tokens share: the squares that they name.

To a table of embeddings e2e4, e2e3 and g2e4 are three rows without relation, and that two of them leave one square and
two reach one has to be found out from games. Their names say it. As in fastText (Bojanowski et al. 2017, "Enriching
word vectors with subword information", eq. 2) a token's embedding is the sum of its own vector and those of its
pieces: here the squares in it, the first and the second one apart, and its other characters.

That sum is linear, so nothing of it is left in the model: what a step does to the vectors of pieces is at once added to
the rows of the tokens, and the result is a plain GPT-2. What it buys: benchmarks/ideas.py.
"""

import re

import torch
from torch import nn

from chesslm.text_tokenizer import TextTokenizer
from chesslm.tokenizer import GameTokenizer

_PIECE = re.compile(r"[a-h][1-8]|.", re.DOTALL)
OWN = 0.5
"""What is left of a row's own random vector at the start, beside those of its pieces."""


def pieces_of(tokenizer: GameTokenizer | TextTokenizer) -> torch.Tensor | None:
    """Which pieces each token has: ones in a matrix of zeros, shape (tokens, pieces).

    Special tokens have none. None where no two tokens share any (``uci-square``, ``pgn-char``), and for text, whose
    tokens are words.
    """
    if isinstance(tokenizer, TextTokenizer) or tokenizer.foreign:
        return None
    tokens_of: dict[tuple[str, int], set[int]] = {}
    for token, text in enumerate(tokenizer.tokens):
        if tokenizer.is_special[token]:
            continue
        squares = 0
        for piece in _PIECE.findall(text):
            tokens_of.setdefault((piece, squares if len(piece) > 1 else 0), set()).add(token)
            squares += len(piece) > 1
    shared = [sorted(tokens) for tokens in tokens_of.values() if len(tokens) > 1]
    if not shared:
        return None
    pieces = torch.zeros(len(tokenizer), len(shared))
    for piece, tokens in enumerate(shared):
        pieces[tokens, piece] = 1.0
    return pieces


@torch.no_grad()
def spell(table: torch.Tensor, pieces: torch.Tensor, scale: float, seed: int) -> None:
    """Make fresh embeddings those of tokens that share pieces, each piece with a random vector.

    Args:
        table: shape (tokens, width); changed.
        pieces: shape (tokens, pieces).
        scale: standard deviation of a piece's vector.
        seed: of what is drawn.
    """
    drawn = torch.randn(pieces.shape[1], table.shape[1], generator=torch.Generator().manual_seed(seed))
    spelled = pieces.any(1)
    table[spelled] *= OWN
    table += pieces @ drawn * scale


class Spelled:
    """The vectors of the pieces in one table of embeddings, as a parameter of the optimizer that is always zero.

    Args:
        table: embeddings, shape (tokens, width).
        pieces: shape (tokens, pieces).
    """

    def __init__(self, table: nn.Parameter, pieces: torch.Tensor) -> None:
        self.table, self.pieces = table, pieces.to(table.device)
        self.vectors = nn.Parameter(torch.zeros(pieces.shape[1], table.shape[1], device=table.device))

    def before_step(self) -> None:
        """The gradient of a piece is the sum of those of its tokens."""
        assert self.table.grad is not None
        self.vectors.grad = self.pieces.T @ self.table.grad

    @torch.no_grad()
    def after_step(self) -> None:
        """Add the steps of the pieces to the rows of their tokens."""
        self.table += self.pieces @ self.vectors
        self.vectors.zero_()
