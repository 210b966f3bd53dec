"""Activations: games go in, the residual stream after each of their moves comes out.

A position is taken at the last token of the move that led to it, where the model knows all of the move and has nothing
of the next one.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards, parallel
from chesslm.errors import InputError
from chesslm.eval.scorers import batches, padded
from chesslm.inside.origin import Origin, model_of, origin_of
from chesslm.inside.residual import hooked
from chesslm.loader import cut_game
from chesslm.model import LoadedModel
from chesslm.tokenizer import Role, TokenIds

BATCH_TOKENS = 4096
ON_THE_WAY = 2 << 30
"""Bytes of activations that may be waited for or wait to be taken, where others compute them."""

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
    loaded: LoadedModel,
    games: Sequence[boards.MoveCodes],
    layers: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
    elsewhere: Executor | None = None,
) -> Iterator[Positions]:
    """Read games and give out the positions of each, as far as the model's context goes; games come by length.

    Args:
        loaded: the model.
        games: move codes.
        layers: which to give out (``residual``).
        batch_tokens: of a forward pass, at most.
        elsewhere: what runs the forward passes, on the same model as it is found there (``origin``); None: this
            process, by as many threads as torch has.

    Raises:
        InputError: the model's blocks cannot be found, or elsewhere the model cannot.
    """
    encoded = [cut_game(loaded.tokenizer.encode(codes), loaded.context) for codes in games]
    ends = [np.flatnonzero(game.role & Role.MOVE_ENDS) for game in encoded]
    calls = (
        (batch, ([encoded[i].ids for i in batch], [ends[i] for i in batch], list(layers)))
        for batch in batches([len(game) for game in encoded], batch_tokens)
    )
    if elsewhere is None:
        found = ((batch, _states(loaded, *asked)) for batch, asked in calls)
    else:
        origin = origin_of(loaded)
        there = ((batch, (origin, *asked)) for batch, asked in calls)
        size = 4 * batch_tokens * len(layers) * int(loaded.model.config.hidden_size)
        ahead = max(1, min(2 * parallel.width(elsewhere) + 2, ON_THE_WAY // size))
        found = parallel.in_order(elsewhere, _states_there, there, ahead)
    for batch, states in found:
        for i, hidden in zip(batch, states, strict=True):
            yield Positions(i, np.arange(1, len(ends[i]) + 1), hidden)


def at_end(loaded: LoadedModel, codes: boards.MoveCodes, layer: int) -> Floats:
    """The residual stream at a layer after the last move of a game, (1, width).

    Raises:
        InputError: the game has no move, or more than the model can look back at.
    """
    (positions,) = capture(loaded, [codes], [layer])
    if not 0 < len(codes) == len(positions.ply):
        why = f"{loaded.name} can look back at {len(positions.ply)} moves" if len(codes) else "no move was played"
        raise InputError(f"nothing can be read after {len(codes)} moves: {why}")
    return positions.hidden[0][-1:]


def _states(
    loaded: LoadedModel, rows: Sequence[TokenIds], ends: Sequence[NDArray[np.int64]], layers: Sequence[int]
) -> list[Floats]:
    """One forward pass: the residual stream of each row at some of its tokens, (layers, P, width)."""
    states: dict[int, torch.Tensor] = {}
    looks = {layer: partial(states.__setitem__, layer) for layer in layers}
    ids_BT = padded(rows, loaded.tokenizer.bos).to(loaded.device)
    with torch.inference_mode(), loaded.autocast(), hooked(loaded, looks):
        loaded.model.base_model(input_ids=ids_BT, use_cache=False)
    found: list[Floats] = []
    for row, at in enumerate(ends):
        where = torch.from_numpy(at).to(loaded.device)
        found.append(torch.stack([states[layer][row, where] for layer in layers]).float().cpu().numpy())
    return found


def _states_there(
    origin: Origin, rows: Sequence[TokenIds], ends: Sequence[NDArray[np.int64]], layers: Sequence[int]
) -> list[Floats]:
    """The same, by the model of the process that makes the call."""
    return _states(model_of(origin), rows, ends, layers)
