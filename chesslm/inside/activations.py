"""Activations: games go in, the residual stream after each of their moves comes out, beside the board as it is.

A position is taken at the last token of the move that led to it, where the model knows all of the move and has nothing
of the next one. Layer 0 is the embeddings, layer n what comes out of block n.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.scorers import batches, padded
from chesslm.loader import cut_game
from chesslm.model import LoadedModel
from chesslm.tokenizer import Role

BATCH_TOKENS = 4096
CODES = ".PNBRQKpnbrqk"
"""What may stand on a square, by its code."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Positions:
    """Some positions of one game, P of them.

    Attributes:
        game: its number.
        ply: moves that were played, (P,).
        pieces: codes of what stands on each square (``CODES``), a1 first, (P, 64).
        white: whether White is to move, (P,).
        layers: the residual stream at each layer that was asked for, (P, width) each.
    """

    game: int
    ply: NDArray[np.int64]
    pieces: NDArray[np.int8]
    white: NDArray[np.bool_]
    layers: tuple[Floats, ...]


def capture(
    loaded: LoadedModel, games: Sequence[boards.MoveCodes], layers: Sequence[int], batch_tokens: int = BATCH_TOKENS
) -> Iterator[Positions]:
    """Read games and give out the positions of each, as far as the model's context goes; games come by length.

    Args:
        loaded: the model.
        games: move codes.
        layers: which to give out.
        batch_tokens: of a forward pass, at most.
    """
    tokenizer = loaded.tokenizer
    encoded = [cut_game(tokenizer.encode(codes), loaded.context) for codes in games]
    for batch in batches([len(game) for game in encoded], batch_tokens):
        ids_BT = padded([encoded[i].ids for i in batch], tokenizer.bos).to(loaded.device)
        with torch.inference_mode(), loaded.autocast():
            states = loaded.model.base_model(input_ids=ids_BT, use_cache=False, output_hidden_states=True).hidden_states
        for row, i in enumerate(batch):
            (at,) = np.nonzero(encoded[i].role & Role.MOVE_ENDS)
            pieces = pieces_of(games[i][: len(at)])
            plies = np.arange(1, len(at) + 1)
            yield Positions(
                i,
                plies,
                pieces[1:],
                plies % 2 == 0,
                tuple(states[layer][row, torch.from_numpy(at)].float().cpu().numpy() for layer in layers),
            )


def n_layers(loaded: LoadedModel) -> int:
    """Number of the last layer: that of the blocks."""
    return int(loaded.model.config.num_hidden_layers)


def pieces_of(codes: boards.MoveCodes) -> NDArray[np.int8]:
    """What stands on each square before each move and after the last one, by code, (plies + 1, 64), a1 first."""
    sets = np.array([_piece_sets(board) for board in boards.replay(boards.to_moves(codes))], np.uint64)
    bits = np.unpackbits(sets[..., None].view(np.uint8), axis=-1, bitorder="little")
    return (bits.reshape(len(sets), 12, 64) * np.arange(1, 13, dtype=np.uint8)[:, None]).sum(1).astype(np.int8)


def _piece_sets(board: chess.Board) -> list[int]:
    """The squares of each kind of piece as bits, in the order of ``CODES``."""
    kinds = (board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings)
    return [kind & board.occupied_co[color] for color in (chess.WHITE, chess.BLACK) for kind in kinds]


def mine(pieces: NDArray[np.int8], white: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Codes with the side to move in the place of White, and back again; squares stay where they are.

    Args:
        pieces: (P, 64).
        white: whether White is to move, (P,).
    """
    swapped = np.where(pieces > 6, pieces - 6, np.where(pieces > 0, pieces + 6, 0))
    return np.where(white[:, None], pieces, swapped).astype(np.int8)
