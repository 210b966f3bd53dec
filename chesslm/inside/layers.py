"""Every layer asked everything: linear probes in closed form, fitted, chosen and measured (``linear``).

A layer's penalty is the one with which most squares are right on validation games; so is the layer that the others
are judged by.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chesslm.eval.intervals import Bootstrap
from chesslm.eval.moves import Progress
from chesslm.eval.results import Metric, Metrics
from chesslm.inside.activations import Floats
from chesslm.inside.linear import Block, Moments, Part, discriminant, one_hot, read, regression, scores, whole
from chesslm.inside.measure import Found, auc, by_ply, explained, of_board
from chesslm.inside.residual import n_layers
from chesslm.inside.samples import CHOOSING, MOST, Drawing, Samples
from chesslm.inside.truths import ABSOLUTE, BOARD, FACTS, Truths
from chesslm.model import LoadedModel

RIDGES = (1e-4, 1e-3, 1e-2)
"""Penalties that are tried."""
QUESTIONS = (BOARD, ABSOLUTE, *FACTS)
RATINGS = ("white_elo", "black_elo")
NUMBERS = ("material", *RATINGS)


@dataclass(frozen=True)
class LayerProbe:
    """The linear probes of one layer.

    Attributes:
        layer: that they read.
        weights: by question, (width + 1, columns); also of the numbers ``material`` and, where games had them, those
            of ``RATINGS``.
        right: share of squares that are right on validation games.
    """

    layer: int
    weights: dict[str, Floats]
    right: float


class Fitted(NamedTuple):
    """What was fitted, and on what.

    Attributes:
        probes: of each layer, the embeddings (layer 0) first.
        moments: of the games to fit on, those of the board first.
        train, validation: positions of them at all layers.
    """

    probes: list[LayerProbe]
    moments: Moments
    train: Samples
    validation: Samples

    @property
    def best(self) -> int:
        """The layer where most squares are right on validation games; the first of them."""
        return max(self.probes, key=lambda probe: probe.right).layer


def fit_layers(
    loaded: LoadedModel,
    train: Part,
    validation: Part,
    seed: int = 1,
    advance: Progress = lambda _: None,
    elsewhere: Executor | None = None,
) -> Fitted:
    """Fit all probes of all layers, the embeddings (layer 0) too.

    Args:
        loaded: the model.
        train, validation: games to fit on and to choose penalties by.
        seed: of the positions that are kept.
        advance: told of each game read.
        elsewhere: what runs the forward passes (``capture``).
    """
    layers = range(n_layers(loaded) + 1)
    fitted_on, chosen_by = Drawing(train, layers, MOST, seed), Drawing(validation, layers, CHOOSING, seed)
    moments, rated = _moments(loaded, train, layers, fitted_on, advance, elsewhere)
    for block in read(loaded, validation, layers, advance, elsewhere):
        chosen_by.take(block)
    chosen = chosen_by.samples()
    ends = np.cumsum([0, *(question.columns for question in QUESTIONS), 1])
    columns = [slice(start, stop) for start, stop in pairwise(ends.tolist())]
    found = []
    for layer in layers:
        tried = [discriminant(moments, layer, columns[0], BOARD, ridge) for ridge in RIDGES]
        hidden = chosen.at(layer).hidden
        right = [float((BOARD.likeliest(scores(weight, hidden)) == chosen.labels).mean()) for weight in tried]
        best = int(np.argmax(right))
        ridge = RIDGES[best]
        weights = {BOARD.name: tried[best]} | {
            question.name: discriminant(moments, layer, where, question, ridge)
            for question, where in zip(QUESTIONS[1:], columns[1:], strict=False)
        }
        weights["material"] = regression(moments, layer, columns[-1], ridge)
        if rated.n:
            weights |= {name: regression(rated, layer, slice(n, n + 1), ridge) for n, name in enumerate(RATINGS)}
        found.append(LayerProbe(layer, weights, right[best]))
    return Fitted(found, moments, fitted_on.samples(), chosen)


def _moments(
    loaded: LoadedModel,
    train: Part,
    layers: Sequence[int],
    drawing: Drawing,
    advance: Progress,
    elsewhere: Executor | None,
) -> tuple[Moments, Moments]:
    """Those of all questions and of the material, and those of the ratings from the positions that have them."""
    width = int(loaded.model.config.hidden_size)
    moments = Moments(len(layers), width, sum(question.columns for question in QUESTIONS) + 1)
    rated = Moments(len(layers), width, len(RATINGS))
    for block in read(loaded, train, layers, advance, elsewhere):
        drawing.take(block)
        labels = [one_hot(question.labels(block.truths), question.answers) for question in QUESTIONS]
        moments.add(block.hidden, np.concatenate([*labels, block.truths.material[:, None]], axis=1))
        known = np.isfinite(block.elo).all(1)
        if known.any():
            rated.add(block.hidden[:, known], block.elo[known])
    return moments, rated


class LayerFigures(NamedTuple):
    """What the probes of a layer found: everything over all positions, and the board by ranges of plies."""

    metrics: Metrics
    by_ply: dict[str, Metrics]


def measure_layers(
    loaded: LoadedModel,
    probes: Sequence[LayerProbe],
    test: Part,
    over: Bootstrap,
    advance: Progress = lambda _: None,
    elsewhere: Executor | None = None,
) -> dict[int, LayerFigures]:
    """The figures of each layer's probes on games that they were not fitted on.

    Args:
        loaded: the model.
        probes: of its layers.
        test: the games.
        over: resamples of them.
        advance: told of each game read.
        elsewhere: what runs the forward passes (``capture``).
    """
    blocks: list[Block] = []
    said: list[list[_Said]] = [[] for _ in probes]
    for block in read(loaded, test, [probe.layer for probe in probes], advance, elsewhere):
        for probe, hidden, each in zip(probes, block.hidden, said, strict=True):
            each.append(_said(probe, hidden, block.truths))
        blocks.append(replace(block, hidden=block.hidden[:, :0]))
    block = whole(blocks)
    return {
        probe.layer: _figures(_Said(*map(np.concatenate, zip(*each, strict=True))), block, over)
        for probe, each in zip(probes, said, strict=True)
    }


class _Said(NamedTuple):
    """What the probes of a layer said of P positions.

    Attributes:
        right, absolute: whether the square is right, (P, 64).
        facts: how much rather true than false, (P, items of all facts).
        numbers: the material and, if asked for, the ratings, (P, 1 or 3).
    """

    right: NDArray[np.bool_]
    absolute: NDArray[np.bool_]
    facts: Floats
    numbers: Floats


def _said(probe: LayerProbe, hidden: Floats, truths: Truths) -> _Said:
    weights = probe.weights
    facts = [scores(weights[fact.name], hidden).reshape(len(hidden), -1, 2) for fact in FACTS]
    return _Said(
        BOARD.likeliest(scores(weights[BOARD.name], hidden)) == BOARD.labels(truths),
        ABSOLUTE.likeliest(scores(weights[ABSOLUTE.name], hidden)) == ABSOLUTE.labels(truths),
        np.concatenate([each[..., 1] - each[..., 0] for each in facts], axis=1),
        np.concatenate([scores(weights[name], hidden) for name in NUMBERS if name in weights], axis=1),
    )


def _figures(said: _Said, block: Block, over: Bootstrap) -> LayerFigures:
    game, ply, truths = block.game, block.ply, block.truths
    board = Found(game, ply, BOARD.labels(truths), said.right)
    absolute = of_board(Found(game, ply, ABSOLUTE.labels(truths), said.absolute), over)
    figures: dict[str, Metric | None] = {
        **of_board(board, over),
        **{f"{key}_absolute": metric for key, metric in absolute.items()},
    }
    ends = np.cumsum([fact.items for fact in FACTS])[:-1]
    for fact, of_fact in zip(FACTS, np.split(said.facts, ends, axis=1), strict=True):
        figures[f"{fact.name}_auc"] = auc(game, of_fact, fact.labels(truths) > 0, over)
    true = np.concatenate([truths.material[:, None], block.elo], axis=1)
    rated = np.isfinite(block.elo).all(1)
    for name, of_number, right in zip(NUMBERS, said.numbers.T, true.T, strict=False):
        known = rated if name in RATINGS else np.isfinite(right)
        figures[f"{name}_r2"] = explained(game[known], of_number[known], right[known], over)
    return LayerFigures({key: metric for key, metric in figures.items() if metric}, by_ply(board, over))
