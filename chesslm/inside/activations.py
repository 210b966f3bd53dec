"""Activations: games go in, the residual stream after each of their moves comes out.

A position is taken at the last token of the move that led to it, where the model knows all of the move and has nothing
of the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.scorers import batches, padded
from chesslm.inside.residual import hooked
from chesslm.loader import cut_game
from chesslm.model import LoadedModel
from chesslm.tokenizer import Role

BATCH_TOKENS = 4096

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Positions:
    """The positions of one game that the model can see, P of them.

    Attributes:
        game: its number.
        ply: moves that were played, (P,).
        hidden: the residual stream at each layer that was asked for, (layers, P, width).
    """

    game: int
    ply: NDArray[np.int64]
    hidden: Floats

    @property
    def white(self) -> NDArray[np.bool_]:
        """Whether White is to move, (P,)."""
        return self.ply % 2 == 0


def capture(
    loaded: LoadedModel, games: Sequence[boards.MoveCodes], layers: Sequence[int], batch_tokens: int = BATCH_TOKENS
) -> Iterator[Positions]:
    """Read games and give out the positions of each, as far as the model's context goes; games come by length.

    Args:
        loaded: the model.
        games: move codes.
        layers: which to give out (``residual``).
        batch_tokens: of a forward pass, at most.

    Raises:
        InputError: the model's blocks cannot be found.
    """
    tokenizer = loaded.tokenizer
    encoded = [cut_game(tokenizer.encode(codes), loaded.context) for codes in games]
    states: dict[int, torch.Tensor] = {}
    looks = {layer: partial(states.__setitem__, layer) for layer in layers}
    for batch in batches([len(game) for game in encoded], batch_tokens):
        ids_BT = padded([encoded[i].ids for i in batch], tokenizer.bos).to(loaded.device)
        with torch.inference_mode(), loaded.autocast(), hooked(loaded, looks):
            loaded.model.base_model(input_ids=ids_BT, use_cache=False)
        for row, i in enumerate(batch):
            (at,) = np.nonzero(encoded[i].role & Role.MOVE_ENDS)
            where = torch.from_numpy(at).to(loaded.device)
            hidden = torch.stack([states[layer][row, where] for layer in layers])
            yield Positions(i, np.arange(1, len(at) + 1), hidden.float().cpu().numpy())
