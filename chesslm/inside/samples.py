"""Positions drawn at random from games as they are read, with their activations: for fits that go over them many times.

All layers are kept in one pass, since which is the best one is known only at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chesslm.inside.activations import Floats
from chesslm.inside.linear import Block, Part, read
from chesslm.inside.truths import BOARD, Labels
from chesslm.model import LoadedModel

MOST, CHOOSING = 60_000, 10_000
"""Positions that a probe is fitted on by iteration, 15 to 25 s on two cores, and by which penalties, layers and the end
of the iterations are chosen."""
LARGEST = 65_000.0
"""Of what half precision holds."""


@dataclass(frozen=True)
class Sample:
    """Positions of one layer.

    Attributes:
        layer: whose activations they are.
        hidden: the residual stream there, (P, width).
        labels: the right answers, (P, items).
    """

    layer: int
    hidden: Floats
    labels: Labels


@dataclass(frozen=True)
class Samples:
    """Positions of several layers.

    Attributes:
        layers: which.
        hidden: (layers, P, width), in half precision: 280 MB for the most positions of 9 layers of 256.
        labels: what stands on each square, colours as mine and yours, (P, 64).
    """

    layers: Sequence[int]
    hidden: NDArray[np.float16]
    labels: Labels

    def at(self, layer: int) -> Sample:
        """Those of one layer."""
        return Sample(layer, self.hidden[list(self.layers).index(layer)].astype(np.float32), self.labels)


class Drawing:
    """Draws positions from blocks that come by.

    Args:
        part: the games that they are of.
        layers: of the blocks.
        most: positions; all of them if there are no more.
        seed: says which.
    """

    def __init__(self, part: Part, layers: Sequence[int], most: int, seed: int) -> None:
        lengths = [len(truths) for truths in part.truths]
        self._layers, self._first = layers, np.cumsum([0, *lengths])
        self._wanted = np.zeros(sum(lengths), bool)
        self._wanted[np.random.default_rng(seed).permutation(len(self._wanted))[:most]] = True
        self._hidden: list[NDArray[np.float16]] = []
        self._labels: list[Labels] = []

    def take(self, block: Block) -> None:
        """Keep what is wanted of a block."""
        rows = self._wanted[self._first[block.game] + block.ply - 1]
        self._hidden.append(np.clip(block.hidden[:, rows], -LARGEST, LARGEST).astype(np.float16))
        self._labels.append(BOARD.labels(block.truths)[rows])

    def samples(self) -> Samples:
        """What was kept."""
        return Samples(self._layers, np.concatenate(self._hidden, axis=1), np.concatenate(self._labels))


def sample(loaded: LoadedModel, part: Part, layer: int, most: int = MOST, seed: int = 1) -> Sample:
    """Positions of some games at one layer with what stands where."""
    drawing = Drawing(part, [layer], most, seed)
    for block in read(loaded, part, [layer]):
        drawing.take(block)
    return drawing.samples().at(layer)
