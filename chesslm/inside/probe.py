"""The board probe: a linear map from the residual stream to what stands on each square.

Each square has 13 answers: empty, or a piece of the side to move or of the other one (colours as "mine" and "yours",
Nanda et al. 2023, "Emergent linear representations in world models of self-supervised sequence models"). It is a
multinomial logistic regression, so a softmax of its scores is what it thinks of the answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chesslm import files
from chesslm.errors import InputError
from chesslm.inside.activations import Floats
from chesslm.inside.iterated import Sample, logistic
from chesslm.inside.linear import Block, Part, read, scores, whole
from chesslm.inside.measure import Found
from chesslm.inside.truths import BOARD, mine
from chesslm.model import LoadedModel

FOLDER = "probe"
"""Of a checkpoint, where its probes lie."""
MOST = 60_000
"""Positions that a probe is fitted on by iteration: 15 to 25 s on two cores."""


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


def sample(loaded: LoadedModel, part: Part, layer: int, seed: int = 1) -> Sample:
    """Positions of some games at one layer with what stands where: all of them, or ``MOST`` drawn at random."""
    blocks = list(read(loaded, part, [layer]))
    hidden = np.concatenate([block.hidden[0] for block in blocks])
    labels = np.concatenate([BOARD.labels(block.truths) for block in blocks])
    if len(labels) > MOST:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:MOST])
        hidden, labels = hidden[chosen], labels[chosen]
    return Sample(layer, hidden, labels)


def fit(train: Sample, validation: Sample) -> BoardProbe:
    """The probe of a layer, from positions there."""
    return BoardProbe(train.layer, logistic(train, validation, BOARD.answers))


def ask(loaded: LoadedModel, part: Part, probes: Sequence[Answering]) -> list[Found]:
    """What probes of a model find in games."""
    layers = sorted({probe.layer for probe in probes})
    blocks: list[Block] = []
    right: list[list[NDArray[np.bool_]]] = [[] for _ in probes]
    for block in read(loaded, part, layers):
        labels = BOARD.labels(block.truths)
        for probe, each in zip(probes, right, strict=True):
            each.append(BOARD.likeliest(probe.scores(block.hidden[layers.index(probe.layer)])) == labels)
        blocks.append(replace(block, hidden=block.hidden[:, :0]))
    read_of = whole(blocks)
    labels = BOARD.labels(read_of.truths)
    return [Found(read_of.game, read_of.ply, labels, np.concatenate(each)) for each in right]


def save(probe: BoardProbe, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a probe into the folder of its checkpoint, as ``probe/board.safetensors`` and ``probe/board.json``.

    Args:
        probe: to be written, in half precision.
        folder: of the checkpoint.
        about: what else is known of it.
    """
    from safetensors.numpy import save as packed

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    with files.atomic(place / "board.safetensors") as path:
        # Not save_file, whose files nobody else may read.
        path.write_bytes(packed({"weight": probe.weight.astype(np.float16)}))
    known = {"model": files.sha256(folder / "model.safetensors"), "layer": probe.layer, **about}
    with files.atomic(place / "board.json") as path:
        path.write_text(json.dumps(known, indent=1) + "\n")


def load(folder: Path) -> BoardProbe | None:
    """The probe of a checkpoint; None if there is none.

    Raises:
        InputError: it was made for other weights, or cannot be read.
    """
    from safetensors.numpy import load_file

    place = folder / FOLDER
    if not (place / "board.json").is_file():
        return None
    about = files.read_json(place / "board.json")
    if about.get("model") != files.sha256(folder / "model.safetensors"):
        raise InputError(f"{place}: made for other weights than those of {folder}; make it again with chesslm probe")
    try:
        weight = load_file(place / "board.safetensors")["weight"].astype(np.float32)
        return BoardProbe(int(about["layer"]), weight)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place}: not a readable probe ({error})") from error
