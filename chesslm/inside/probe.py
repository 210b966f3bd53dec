"""Board probes: a linear map from the residual stream to what stands on each square.

Each square has 13 answers: empty, or a piece of the side to move or of the other one (colours as "mine" and "yours",
Nanda et al. 2023, "Emergent linear representations in world models of self-supervised sequence models"). Fitted is the
ridge regression of the 64 x 13 answers as 0 and 1, in closed form: one pass over the activations sums up

    G = X'X, C = X'Y;    W = (G + r * mean(diag G) * I)^-1 C

for all layers at once (X with a column of ones, which is not penalised). The answer is the largest of 13 scores; a
softmax of them times one number, fitted on validation games, makes probabilities.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import boards, files
from chesslm.errors import InputError
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.results import Metric
from chesslm.forks import logsumexp
from chesslm.inside.activations import CODES, Positions, capture, mine, n_layers
from chesslm.model import LoadedModel

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Penalties that are tried, as shares of the mean square of the activations."""
ANSWERS = len(CODES)
SCALES = np.geomspace(1, 64, 25)
"""Numbers that are tried for the softmax."""
FOLDER = "probe"
"""Of a checkpoint, where its probes lie."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BoardProbe:
    """A fitted probe.

    Attributes:
        layer: that it reads.
        weight: (width + 1, 64 * 13), the last row for the column of ones.
        scale: of the scores, to make probabilities.
    """

    layer: int
    weight: Floats
    scale: float

    def scores(self, hidden: Floats) -> Floats:
        """Of the 13 answers of each square, colours as mine and yours, (P, 64, 13), from (P, width)."""
        return (hidden @ self.weight[:-1] + self.weight[-1]).reshape(len(hidden), 64, ANSWERS)

    def believed(self, hidden: Floats, white: NDArray[np.bool_]) -> tuple[NDArray[np.int8], Floats]:
        """The board that the model believes in.

        Args:
            hidden: the residual stream at the probe's layer, (P, width).
            white: whether White is to move, (P,).

        Returns:
            Codes of the likeliest pieces, colours as they are, and their probabilities, (P, 64) each.
        """
        scores = self.scale * self.scores(hidden)
        scores -= scores.max(-1, keepdims=True)
        likeliest = scores.argmax(-1).astype(np.int8)
        return mine(likeliest, white), 1 / np.exp(scores).sum(-1)


class _Sums:
    """G and C of one layer."""

    def __init__(self, width: int) -> None:
        self.gram = np.zeros((width + 1, width + 1))
        self.cross = np.zeros((width + 1, 64 * ANSWERS))

    def add(self, hidden: Floats, answers: Floats) -> None:
        x = np.concatenate([hidden, np.ones((len(hidden), 1), np.float32)], axis=1)
        self.gram += x.T @ x
        self.cross += x.T @ answers

    def weight(self, ridge: float) -> Floats:
        """W, (width + 1, 64 * 13)."""
        penalty = np.full(len(self.gram), ridge * np.diag(self.gram)[:-1].mean())
        penalty[-1] = 0.0
        return np.linalg.solve(self.gram + np.diag(penalty), self.cross).astype(np.float32)


def fit(
    loaded: LoadedModel,
    train: Sequence[boards.MoveCodes],
    validation: Sequence[boards.MoveCodes],
    advance: Callable[[], None] = lambda: None,
) -> BoardProbe:
    """Fit a probe at every layer, and take the best one on validation games.

    Args:
        loaded: the model.
        train, validation: move codes of games.
        advance: told of games read.
    """
    layers = range(1, n_layers(loaded) + 1)
    sums: list[_Sums] = []
    for positions in capture(loaded, train, layers):
        sums = sums or [_Sums(hidden.shape[1]) for hidden in positions.layers]
        answers = answers_of(positions)
        for each, hidden in zip(sums, positions.layers, strict=True):
            each.add(hidden, answers)
        advance()
    tried = [BoardProbe(layer, each.weight(r), 1.0) for layer, each in zip(layers, sums, strict=True) for r in RIDGES]
    right = np.zeros(len(tried))
    for positions in capture(loaded, validation, layers):
        truth = mine(positions.pieces, positions.white)
        for n, probe in enumerate(tried):
            right[n] += (probe.scores(positions.layers[probe.layer - 1]).argmax(-1) == truth).sum()
        advance()
    best = tried[int(right.argmax())]
    losses = np.zeros(len(SCALES))
    for positions in capture(loaded, validation, [best.layer]):
        scores = best.scores(positions.layers[0])
        truth = mine(positions.pieces, positions.white)[..., None].astype(np.int64)
        for n, scale in enumerate(SCALES):
            logits = scale * scores
            losses[n] -= (np.take_along_axis(logits, truth, -1)[..., 0] - logsumexp(logits)[..., 0]).sum()
        advance()
    return replace(best, scale=float(SCALES[int(losses.argmin())]))


def answers_of(positions: Positions) -> Floats:
    """The right answers as 0 and 1, (P, 64 * 13)."""
    where = mine(positions.pieces, positions.white) + ANSWERS * np.arange(64)
    answers = np.zeros((len(where), 64 * ANSWERS), np.float32)
    np.put_along_axis(answers, where, 1.0, 1)
    return answers


def measure(
    probe: BoardProbe,
    loaded: LoadedModel,
    games: Sequence[boards.MoveCodes],
    seed: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Metric]:
    """How much of the board the probe finds on games that it was not fitted on, intervals over games."""
    game, right, nonempty, occupied, exact = ([] for _ in range(5))
    for positions in capture(loaded, games, [probe.layer]):
        found, _ = probe.believed(positions.layers[0], positions.white)
        same, there = found == positions.pieces, positions.pieces > 0
        game += [positions.game] * len(same)
        right += same.mean(1).tolist()
        nonempty += (same & there).sum(1).tolist()
        occupied += there.sum(1).tolist()
        exact += same.all(1).tolist()
        advance()
    over, n = Bootstrap(len(games), seed), np.array(game)
    return {
        "piece_accuracy": over.mean(n, np.array(right)),
        "piece_accuracy_nonempty": over.ratio(
            n, np.array(nonempty), np.array(occupied), n=sum(occupied), games=len(set(game)), rate=True
        ),
        "board_exact": over.mean(n, np.array(exact, np.float64)),
    }


def save(probe: BoardProbe, folder: Path, about: dict[str, Any]) -> None:
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
    known = {"model": files.sha256(folder / "model.safetensors"), "layer": probe.layer, "scale": probe.scale, **about}
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
        return BoardProbe(int(about["layer"]), weight, float(about["scale"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place}: not a readable probe ({error})") from error
