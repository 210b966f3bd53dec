"""The board probe: a linear map from the residual stream to what stands on each square.

Each square has 13 answers: empty, or a piece of the side to move or of the other one (colours as "mine" and "yours",
Nanda et al. 2023, "Emergent linear representations in world models of self-supervised sequence models"). It is a
multinomial logistic regression, so a softmax of its scores is what it thinks of the answers.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.results import Belief
from chesslm.inside import store
from chesslm.inside.activations import Floats, capture
from chesslm.inside.iterated import logistic
from chesslm.inside.linear import Block, Part, read, scores, whole
from chesslm.inside.measure import Found
from chesslm.inside.samples import Sample
from chesslm.inside.truths import BOARD, letters, mine
from chesslm.model import LoadedModel

SHOWN = 12
"""Positions of a game that is followed."""


class Answering(Protocol):
    """A probe of the board, linear or not, at one layer."""

    @property
    def layer(self) -> int:
        """That it reads."""
        ...

    def scores(self, hidden: Floats) -> Floats:
        """Of the 13 answers of each square, (P, 64 * 13), from (P, width)."""
        ...


@dataclass(frozen=True)
class BoardProbe:
    """A linear probe of the board.

    Attributes:
        layer: that it reads.
        weight: (width + 1, 64 * 13), the last row for a column of ones.
    """

    layer: int
    weight: Floats

    def scores(self, hidden: Floats) -> Floats:
        """Of the 13 answers of each square, colours as mine and yours, (P, 64 * 13), from (P, width)."""
        return scores(self.weight, hidden)

    def believed(self, hidden: Floats, white: NDArray[np.bool_]) -> tuple[NDArray[np.int8], Floats]:
        """The board that the model believes in.

        Args:
            hidden: the residual stream at the probe's layer, (P, width).
            white: whether White is to move, (P,).

        Returns:
            Codes of the likeliest pieces, colours as they are, and their probabilities, (P, 64) each.
        """
        found = self.scores(hidden).reshape(len(hidden), BOARD.items, BOARD.answers)
        found -= found.max(-1, keepdims=True)
        likeliest = found.argmax(-1).astype(np.int8)
        return mine(likeliest, white), 1 / np.exp(found).sum(-1)


def fit(train: Sample, validation: Sample) -> BoardProbe:
    """The probe of a layer, from positions there."""
    return BoardProbe(train.layer, logistic(train, validation, BOARD.answers))


def ask(loaded: LoadedModel, part: Part, probes: Sequence[Answering], elsewhere: Executor | None = None) -> list[Found]:
    """What probes of a model find in games, whose forward passes are made here or elsewhere (``capture``)."""
    layers = sorted({probe.layer for probe in probes})
    blocks: list[Block] = []
    right: list[list[NDArray[np.bool_]]] = [[] for _ in probes]
    for block in read(loaded, part, layers, elsewhere=elsewhere):
        labels = BOARD.labels(block.truths)
        for probe, each in zip(probes, right, strict=True):
            each.append(BOARD.likeliest(probe.scores(block.hidden[layers.index(probe.layer)])) == labels)
        blocks.append(replace(block, hidden=block.hidden[:, :0]))
    read_of = whole(blocks)
    labels = BOARD.labels(read_of.truths)
    return [Found(read_of.game, read_of.ply, labels, np.concatenate(each)) for each in right]


def follow(loaded: LoadedModel, codes: boards.MoveCodes, probe: BoardProbe) -> Belief:
    """A game on the board that a model believes in, at up to ``SHOWN`` plies from its beginning to its end."""
    (positions,) = capture(loaded, [codes], [probe.layer])
    pieces, _ = probe.believed(positions.hidden[0], positions.white)
    plies = np.linspace(0, len(pieces), SHOWN + 1).round().astype(int)
    rows = np.unique(plies[plies > 0]) - 1
    return Belief(
        " ".join(move.uci() for move in boards.to_moves(codes)),
        tuple((int(positions.ply[row]), letters(pieces[row])) for row in rows),
    )


def save(probe: BoardProbe, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a probe into the folder of its checkpoint, with what else is known of it."""
    store.save(folder, "board", {"weight": probe.weight}, {"layer": probe.layer, **about})


def load(folder: Path) -> BoardProbe | None:
    """The probe of a checkpoint; None if there is none.

    Raises:
        InputError: it was made for other weights, or cannot be read.
    """
    found = store.load(folder, "board")
    try:
        if found and found[0]["weight"].shape[1:] != (BOARD.columns,):
            raise ValueError("of another shape")
        return found and BoardProbe(int(found[1]["layer"]), found[0]["weight"])
    except (KeyError, TypeError, ValueError) as error:
        raise store.unreadable(folder, error) from error
