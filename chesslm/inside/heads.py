"""Attention from a move to the earlier moves of the same piece: which heads follow a piece through a game.

A piece's last move is often a recent one, and recent moves are attended to anyway; late in a game few pieces are left,
and attention is shared among many moves. So the attention from a move to each earlier move of its piece is set against
what moves of other pieces of that side get at the same distance from moves at about the same ply. The ratio is the
lift, 1 where a head does not care which piece it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.intervals import Bootstrap, of_resamples
from chesslm.eval.results import Metric, Result
from chesslm.eval.scorers import batches, padded
from chesslm.inside.residual import n_layers
from chesslm.loader import cut_game
from chesslm.model import LoadedModel
from chesslm.tokenizer import Role

MAIN = "attention_lift"
GAMES = 200
"""Games at most to choose a head by, and to measure it on."""
FURTHEST = 60
"""Own moves back that are looked at; of those further away there are few, and hardly any attention is on them."""
BATCH_TOKENS = 2048
"""All weights of a batch are held at once: 100 MB for 8 layers of 8 heads and games of 100 tokens."""

RANGES = np.unique(np.geomspace(1, 300, 45).astype(int))
"""First plies of ranges: about 14 % apart, as attention to all moves alike would be."""
CHUNK = 16
"""Resamples at once: 140 MB for 64 heads."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Sums:
    """Attention from moves to earlier ones of the same side, by game and cell: a distance and a range of plies.

    Attributes:
        same, other: on moves of the same piece and of others, (games, cells, layers, heads).
        n_same, n_other: pairs of moves, (games, cells).
    """

    same: Floats
    other: Floats
    n_same: Floats
    n_other: Floats

    def lifts(self, weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Lift of each head, (R, layers, heads), with games as often as ``weights`` (R, games) says.

        Not a number where no piece moves twice.
        """
        # Where there are moves of the same piece alone nothing can be expected.
        known = self.n_other.any(0)
        same, other = self.same[:, known].sum(1), self.other[:, known]
        n_same, n_other = self.n_same[:, known], self.n_other[:, known]
        found = []
        for some in np.array_split(weights.astype(np.float32), -(-len(weights) // CHUNK)):
            mean = np.tensordot(some, other, 1) / np.maximum(some @ n_other, 1)[..., None, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(np.tensordot(some, same, 1) / np.einsum("rc,rclh->rlh", some @ n_same, mean))
        return np.concatenate(found).astype(np.float64)


def movers(codes: boards.MoveCodes) -> NDArray[np.int64]:
    """Which piece made each move, (plies,): a piece is known by its first square; castling is the king's move."""
    board, piece_on = chess.Board(), {square: square for square in chess.SQUARES}
    found = []
    for move in boards.to_moves(codes):
        if board.is_castling(move):
            rank = chess.square_rank(move.from_square)
            short = move.to_square > move.from_square
            rook = chess.square(7 if short else 0, rank)
            piece_on[chess.square(5 if short else 3, rank)] = piece_on[rook]
        piece = piece_on[move.from_square]
        piece_on[move.to_square] = piece
        found.append(piece)
        board.push(move)
    return np.array(found, np.int64)


def sums_of(attention: NDArray[np.floating[Any]], mover: NDArray[np.int64]) -> Sums:
    """What one game adds.

    Args:
        attention: from the end of each move to all tokens of each other one, (layers, heads, P, P).
        mover: of each move (``movers``), (P,).
    """
    layers, heads, plies, _ = attention.shape
    shape = (FURTHEST, len(RANGES), layers, heads)
    found = [np.zeros(shape, np.float32), np.zeros(shape, np.float32)]
    counts = [np.zeros(shape[:2], np.float32), np.zeros(shape[:2], np.float32)]
    ranges = np.searchsorted(RANGES, np.arange(plies), "right") - 1
    for back in range(1, min(FURTHEST, (plies - 1) // 2) + 1):
        at = np.diagonal(attention, -2 * back, 2, 3)
        is_same = mover[2 * back :] == mover[: plies - 2 * back]
        for which, rows in enumerate((is_same, ~is_same)):
            in_range = (ranges[2 * back :][rows, None] == np.arange(len(RANGES))).astype(np.float32)
            found[which][back - 1] = (at[..., rows] @ in_range).transpose(2, 0, 1)
            counts[which][back - 1] = in_range.sum(0)
    same, other = (each.reshape(1, -1, layers, heads) for each in found)
    return Sums(same, other, *(each.reshape(1, -1) for each in counts))


def attention_of(loaded: LoadedModel, games: Sequence[boards.MoveCodes]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """A game's number, and its attention from the end of each move to all tokens of each other one.

    Args:
        loaded: the model.
        games: their moves; what comes is by length.

    Yields:
        The number, and (layers, heads, P, P) for the P moves that the model can see. Nothing if it has no attention.
    """
    tokenizer, model = loaded.tokenizer, loaded.model
    encoded = [cut_game(tokenizer.encode(codes), loaded.context) for codes in games]
    usual: Any = model.config._attn_implementation  # pyright: ignore[reportPrivateUsage]
    try:
        # The other ways to attend never have the weights.
        model.set_attn_implementation("eager")
        for batch in batches([len(game) for game in encoded], BATCH_TOKENS):
            ids_BT = padded([encoded[i].ids for i in batch], tokenizer.bos).to(loaded.device)
            with torch.inference_mode(), loaded.autocast():
                found = model.base_model(input_ids=ids_BT, use_cache=False, output_attentions=True).attentions or ()
            if len(found) != n_layers(loaded) or any(each is None for each in found):
                return
            for row, i in enumerate(batch):
                game = encoded[i]
                weights = torch.stack([layer[row] for layer in found]).float().cpu().numpy()
                (ends,) = np.nonzero(game.role & Role.MOVE_ENDS)
                of_move = (game.ply[None] == np.arange(len(ends))[:, None]).astype(np.float32)
                yield i, weights[..., ends, : len(game)] @ of_move.T
    finally:
        model.set_attn_implementation(usual)


def total(loaded: LoadedModel, games: Sequence[boards.MoveCodes]) -> Sums | None:
    """The sums of some games, in their order; None if the model has no attention."""
    found: dict[int, Sums] = {}
    for game, attention in attention_of(loaded, games):
        found[game] = sums_of(attention, movers(games[game])[: attention.shape[-1]])
    if not found:
        return None
    each = [found[game] for game in range(len(games))]
    return Sums(
        *(np.concatenate([getattr(of, name) for of in each]) for name in ("same", "other", "n_same", "n_other"))
    )


def attention(
    loaded: LoadedModel,
    fresh: LoadedModel,
    validation: Sequence[boards.MoveCodes],
    test: Mapping[str, Sequence[boards.MoveCodes]],
    seed: int,
) -> dict[str, Result]:
    """How much more attention the earlier moves of the same piece get than others, head by head.

    Args:
        loaded: the model.
        fresh: one of the same shape that has learned nothing.
        validation: games to choose the main figure's head by.
        test: games to measure on, by kind.
        seed: of the intervals.

    Returns:
        By kind of games; without metrics if a model has no attention, or no piece moves twice.
    """
    models = {MAIN: loaded, f"{MAIN}_random_weights": fresh}
    chosen = {key: _most(model, validation[:GAMES]) for key, model in models.items()}
    results = {}
    for kind, games in test.items():
        over = Bootstrap(min(len(games), GAMES), seed)
        heads = {key: _metrics(total(model, games[:GAMES]), over) for key, model in models.items()}
        metrics = {key: heads[key][best] for key, best in chosen.items() if best in heads[key]}
        by = {f"layer {i + 1}, head {j + 1}": {MAIN: metric} for (i, j), metric in heads[MAIN].items()}
        results[kind] = Result(metrics, {"head": by}) if len(metrics) == len(models) else Result({})
    return results


def _most(model: LoadedModel, games: Sequence[boards.MoveCodes]) -> tuple[int, int] | None:
    """Layer and head of the greatest lift; None if there are none."""
    sums = total(model, games)
    if sums is None:
        return None
    (lifts,) = sums.lifts(np.ones((1, len(sums.same))))
    layer, head = np.unravel_index(int(lifts.argmax()), lifts.shape)
    return (int(layer), int(head)) if np.isfinite(lifts).all() else None


def _metrics(sums: Sums | None, over: Bootstrap) -> dict[tuple[int, int], Metric]:
    """The lift of each layer and head; nothing if no piece moves twice."""
    if sums is None:
        return {}
    (values,), resampled = sums.lifts(np.ones((1, over.games))), sums.lifts(over.weights)
    n, games = int(sums.n_same.sum()), int(sums.n_same.any(1).sum())
    return {
        (i, j): of_resamples(float(values[i, j]), resampled[:, i, j], n, games, rate=False)
        for i, j in np.ndindex(values.shape)
        if np.isfinite(values[i, j])
    }
