"""Linear probes in closed form: every question at every layer, from one pass over the activations.

What is kept of a layer's activations X (with a column of ones) and of the labels Y as 0 and 1 are their moments

    G = X'X,    C = X'Y

from which both kinds of probe follow. Of what has a few answers, the linear discriminant (Fisher 1936; Hastie,
Tibshirani and Friedman 2009, section 4.3): with mean m_a and share p_a of each answer's activations and the scatter W
that is left within the answers, the score of answer a is

    m_a' W^-1 x  -  m_a' W^-1 m_a / 2  +  log p_a.

On the squares of a board it finds 80 % of the pieces where least squares on 0 and 1 finds 71 %, for there the answers
that lie between two others are never the largest. Of numbers, the ridge regression W = (G + r I)^-1 C.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve

from chesslm import boards
from chesslm.eval.moves import Progress
from chesslm.inside.activations import Floats, Positions, capture
from chesslm.inside.truths import Labels, Question, Truths, joined, truths_of
from chesslm.model import LoadedModel

BLOCK = 2048
"""Positions that go into one matrix product, at least: the 80 of one game keep a core waiting for memory."""
UNSEEN = -1e4
"""Score of an answer that was never right in the games to fit on."""

Moment = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Games to fit on, to choose by, or to measure on.

    Attributes:
        codes: moves of each.
        truths: what is true after each of them.
        elo: of White and Black, (games, 2); not a number where it is not known.
    """

    codes: Sequence[boards.MoveCodes]
    truths: Sequence[Truths]
    elo: Floats

    def __add__(self, other: "Part") -> "Part":
        return Part([*self.codes, *other.codes], [*self.truths, *other.truths], np.concatenate([self.elo, other.elo]))


def part_of(codes: Sequence[boards.MoveCodes]) -> Part:
    """Some games of which nothing is known but their moves."""
    return Part(codes, [truths_of(each) for each in codes], np.full((len(codes), 2), np.nan, np.float32))


@dataclass(frozen=True)
class Block:
    """Positions of some games, P of them.

    Attributes:
        game: of each, (P,).
        ply: moves that were played, (P,).
        hidden: (layers, P, width).
        truths: of each.
        elo: of White and Black, (P, 2); not a number where it is not known.
    """

    game: NDArray[np.int64]
    ply: NDArray[np.int64]
    hidden: Floats
    truths: Truths
    elo: Floats


def read(
    loaded: LoadedModel,
    part: Part,
    layers: Sequence[int],
    advance: Progress = lambda _: None,
    elsewhere: Executor | None = None,
) -> Iterator[Block]:
    """Positions with what is true of them, in blocks of at least ``BLOCK`` but for the last.

    Args:
        loaded: the model.
        part: the games.
        layers: to be read.
        advance: told of each game read.
        elsewhere: what runs the forward passes (``capture``).
    """
    held: list[Positions] = []
    length = 0
    for positions in capture(loaded, part.codes, layers, elsewhere=elsewhere):
        held.append(positions)
        length += len(positions.ply)
        advance(1)
        if length >= BLOCK:
            yield _block(held, part)
            held, length = [], 0
    if length:
        yield _block(held, part)


def whole(blocks: Sequence[Block]) -> Block:
    """Blocks behind one another, without their activations."""
    game, ply, elo = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("game", "ply", "elo"))
    return Block(game, ply, blocks[0].hidden[:, :0], joined([block.truths for block in blocks]), elo)


def _block(held: Sequence[Positions], part: Part) -> Block:
    game = np.concatenate([np.full(len(each.ply), each.game) for each in held])
    return Block(
        game,
        np.concatenate([each.ply for each in held]),
        np.concatenate([each.hidden for each in held], axis=1),
        joined([part.truths[each.game][: len(each.ply)] for each in held]),
        part.elo[game],
    )


class Moments:
    """G and C of each layer.

    Attributes:
        gram: (layers, width + 1, width + 1), the column of ones last.
        cross: (layers, width + 1, columns).
    """

    def __init__(self, layers: int, width: int, columns: int) -> None:
        self.gram: Moment = np.zeros((layers, width + 1, width + 1))
        self.cross: Moment = np.zeros((layers, width + 1, columns))

    def add(self, hidden: Floats, labels: Floats) -> None:
        """Take in positions: (layers, P, width) and (P, columns)."""
        for gram, cross, layer in zip(self.gram, self.cross, hidden, strict=True):
            x = np.concatenate([layer, np.ones((len(layer), 1), np.float32)], axis=1)
            gram += x.T @ x
            cross += x.T @ labels

    @property
    def n(self) -> float:
        """Positions."""
        return float(self.gram[0, -1, -1])


def one_hot(labels: Labels, answers: int) -> Floats:
    """Labels (P, items) as 0 and 1, (P, items * answers)."""
    columns = labels + answers * np.arange(labels.shape[1])
    hot = np.zeros((len(labels), labels.shape[1] * answers), np.float32)
    np.put_along_axis(hot, columns, 1.0, 1)
    return hot


def discriminant(moments: Moments, layer: int, columns: slice, question: Question, ridge: float) -> Floats:
    """The linear discriminant of a question.

    Args:
        moments: of positions to fit on.
        layer: which of the moments' layers.
        columns: of the question among the moments' columns.
        question: what is asked.
        ridge: added to W, as a share of the mean square of the activations about their mean.

    Returns:
        Weights of (width + 1, items * answers), the last row those of the column of ones.
    """
    n, gram, cross = moments.n, moments.gram[layer], moments.cross[layer][:, columns]
    mean = gram[-1, :-1] / n
    total = gram[:-1, :-1] - n * np.outer(mean, mean)
    shape = (question.items, question.answers)
    sums = (cross[:-1] - np.outer(mean, cross[-1])).reshape(-1, *shape)
    counts = cross[-1].reshape(shape)
    # Drawn towards the mean of all by one position more: an answer that was right twice would be sure of itself.
    means = sums / (counts + 1)
    weight = np.empty_like(means)
    spread = torch.from_numpy(total + _penalty(total, ridge))
    # By torch: the threads of scipy's own solver and those of torch would wait for each other, 0.6 s a call, not 0.03.
    for item in range(question.items):
        of_item, counted = torch.from_numpy(means[:, item].copy()), torch.from_numpy(counts[item])
        across = torch.from_numpy(sums[:, item].copy()) @ of_item.T
        within = spread - across - across.T + (of_item * counted) @ of_item.T
        weight[:, item] = torch.cholesky_solve(of_item, torch.linalg.cholesky(within / n)).numpy()
    with np.errstate(divide="ignore"):
        bias = np.where(counts > 0, np.log(counts / n) - (means * weight).sum(0) / 2, UNSEEN)
    weight = weight.reshape(len(mean), -1)
    return np.concatenate([weight, (bias.reshape(-1) - mean @ weight)[None]]).astype(np.float32)


def regression(moments: Moments, layer: int, columns: slice, ridge: float) -> Floats:
    """The ridge regression of numbers, weights of (width + 1, columns).

    Args:
        moments: of positions to fit on.
        layer: which of the moments' layers.
        columns: of the numbers among the moments' columns.
        ridge: as a share of the mean square of the activations about their mean; a constant is not penalised.
    """
    n, gram, cross = moments.n, moments.gram[layer], moments.cross[layer][:, columns]
    mean, middle = gram[-1, :-1] / n, cross[-1] / n
    total = gram[:-1, :-1] - n * np.outer(mean, mean)
    weight = solve(total + _penalty(total, ridge), cross[:-1] - n * np.outer(mean, middle), assume_a="pos")
    return np.concatenate([weight, (middle - mean @ weight)[None]]).astype(np.float32)


def _penalty(total: Moment, ridge: float) -> Moment:
    """r I, above 0 even where nothing varies."""
    return max(ridge * np.trace(total) / len(total), 1e-9) * np.eye(len(total))


def scores(weight: Floats, hidden: Floats) -> Floats:
    """What a probe says of positions: (P, columns) from its weights and (P, width)."""
    return hidden @ weight[:-1] + weight[-1]
