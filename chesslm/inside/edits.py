"""Edits of the believed board: the residual stream is changed as probes read it, and the moves must follow.

An edit changes the last token of a position, at some layers. At a layer let d_j be the difference of the board probe's
weights of the new and the old answer on each changed square j, and v_j the difference of the mean activations where
the one and the other are right. The activations become

    h + s sum_j a_j v_j,    a so that with s = 1 each score difference d_j h is what it is on average where the new
                            answer is right.

``s`` is the dose: 0 changes nothing. (After Li et al. 2023, "Emergent world representations"; for chess Karvonen 2024,
"Emergent world models and latent variable estimation in chess-playing language models".) Controls are a random
direction, and that of the same change on another square, both as long at each layer as the edit there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.errors import InputError
from chesslm.eval.asking import Question, ask
from chesslm.eval.results import Idea
from chesslm.eval.scorers import ModelScorer, TokenTree
from chesslm.inside import store
from chesslm.inside.activations import Floats, at_end
from chesslm.inside.cases import Case, Change
from chesslm.inside.linear import Moments
from chesslm.inside.probe import BoardProbe
from chesslm.inside.residual import hooked
from chesslm.inside.truths import BOARD
from chesslm.model import LoadedModel
from chesslm.tokenizer import GameTokenizer

Vector = NDArray[np.float64]
Push = Callable[[int, Vector, Case], Vector]
"""As in ``PushedScorer``."""


@dataclass(frozen=True)
class Directions:
    """What the answers of the board probe mean at a layer.

    Attributes:
        weight: of the scores, (width, 64, 13).
        bias: likewise, (64, 13).
        means: of the activations where each answer is right, (64, 13, width).
    """

    weight: Vector
    bias: Vector
    means: Vector


@dataclass(frozen=True)
class Editor:
    """How a model is edited.

    Attributes:
        layers: what the probes say, at the layers that are edited.
        dose: of the edit.
    """

    layers: Mapping[int, Directions]
    dose: float


def directions(moments: Moments, layer: int, weights: Floats) -> Directions:
    """The linear discriminant of a layer with the means that it stands for.

    Args:
        moments: of the games it was fitted on, the board's columns first.
        layer: which of the moments' layers.
        weights: of the discriminant, (width + 1, 64 * 13).
    """
    cross = moments.cross[layer][:, : BOARD.columns]
    overall = moments.gram[layer][-1, :-1] / moments.n
    # Drawn towards the mean of all by one position more, as in the discriminant.
    means = (cross[:-1] + overall[:, None]) / (cross[-1] + 1)
    shape = (BOARD.items, BOARD.answers)
    plain = weights.astype(np.float64)
    return Directions(plain[:-1].reshape(-1, *shape), plain[-1].reshape(shape), means.T.reshape(*shape, -1))


def shift(found: Directions, hidden: Vector, changes: Sequence[Change]) -> Vector:
    """What a dose of 1 adds to the activations of a position, (width,).

    Args:
        found: at the layer.
        hidden: the activations there, (width,).
        changes: squares with the answers before and after.
    """
    squares, before, after = (list(each) for each in zip(*changes, strict=True))
    reads = found.weight[:, squares, after] - found.weight[:, squares, before]
    offset = found.bias[squares, after] - found.bias[squares, before]
    moves = (found.means[squares, after] - found.means[squares, before]).T
    wanted = np.einsum("jw,wj->j", found.means[squares, after], reads) + offset
    amounts = np.linalg.solve(reads.T @ moves, wanted - (hidden @ reads + offset))
    return moves @ amounts


def pushes(layers: Mapping[int, Directions], dose: float, seed: int) -> dict[str, Push]:
    """The edit and its controls, by name.

    Args:
        layers: what the probes say at the layers that are edited.
        dose: of the edit, and as much of the controls.
        seed: of random directions and other squares.
    """

    def edit(layer: int, hidden: Vector, case: Case) -> Vector:
        return dose * shift(layers[layer], hidden, case.changes)

    def random(layer: int, hidden: Vector, case: Case) -> Vector:
        drawn = np.random.default_rng([seed, layer, len(case.codes), case.square, case.game])
        return _as_long(drawn.normal(size=len(hidden)), edit(layer, hidden, case))

    def other(layer: int, hidden: Vector, case: Case) -> Vector:
        # The same squares at every layer.
        drawn = np.random.default_rng([seed, len(case.codes), case.square, case.game])
        means, changed = layers[layer].means, {change.square for change in case.changes}
        squares = drawn.permutation([square for square in range(BOARD.items) if square not in changed])
        ways = [means[at, each.after] - means[at, each.before] for at, each in zip(squares, case.changes, strict=False)]
        return _as_long(np.sum(ways, axis=0), edit(layer, hidden, case))

    return {"edit": edit, "another square": other, "random direction": random}


def save(editor: Editor, folder: Path) -> None:
    """Write what it takes to edit a model beside its probe."""
    arrays = {
        f"{name}.{layer}": getattr(found, name)
        for layer, found in editor.layers.items()
        for name in ("weight", "bias", "means")
    }
    store.save(folder, "edits", arrays, {"layers": list(editor.layers), "dose": editor.dose})


def load(folder: Path) -> Editor | None:
    """What it takes to edit a model; None if it was never tried.

    Raises:
        InputError: it was made for other weights, or cannot be read.
    """
    found = store.load(folder, "edits")
    if found is None:
        return None
    arrays, about = found
    try:
        layers = {
            int(layer): Directions(
                *(arrays[f"{name}.{layer}"].astype(np.float64) for name in ("weight", "bias", "means"))
            )
            for layer in about["layers"]
        }
        return Editor(layers, float(about["dose"]))
    except (KeyError, TypeError, ValueError) as error:
        raise store.unreadable(folder, error) from error


def _as_long(vector: Vector, other: Vector) -> Vector:
    """A vector with the length of another one."""
    scale = float(np.linalg.norm(other)) / max(float(np.linalg.norm(vector)), 1e-12)
    return np.array(vector * scale, np.float64)


T = TypeVar("T")


@dataclass(frozen=True)
class PushedScorer(Generic[T]):
    """A model whose residual stream is pushed at the last token of some positions.

    Attributes:
        plain: the model.
        cases: by the tokens of their games up to the position (``key_of``); no two alike.
        layers: where it is pushed.
        push: the layer, the activations there, (width,), and the case to what is added to them.
    """

    plain: ModelScorer
    cases: Mapping[bytes, T]
    layers: Sequence[int]
    push: Callable[[int, Vector, T], Vector]

    @property
    def tokenizer(self) -> GameTokenizer:
        """The model's."""
        return self.plain.tokenizer

    @property
    def context(self) -> int:
        """The model's."""
        return self.plain.context

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        """One forward pass, trees of other positions as they are."""
        places = list(self._places(trees))

        def at(layer: int) -> Callable[[torch.Tensor], torch.Tensor]:
            def change(hidden: torch.Tensor) -> torch.Tensor:
                pushed = hidden.clone()
                for row, last, case in places:
                    there = hidden[row, last].double().cpu().numpy()
                    pushed[row, last] += torch.from_numpy(self.push(layer, there, case)).to(hidden)
                return pushed

            return change

        with hooked(self.plain.loaded, {layer: at(layer) for layer in self.layers}):
            return self.plain.logits(trees)

    def _places(self, trees: Sequence[TokenTree]) -> Iterator[tuple[int, int, T]]:
        """Row, last token and case of each tree that has one: the longest game that it begins with."""
        lengths = sorted({len(key) // 8 for key in self.cases}, reverse=True)
        for row, tree in enumerate(trees):
            ids = tree.ids.astype(np.int64)
            # A branch may spell how another case's game goes on: nothing branches off before a game's end.
            ends = (n for n in lengths if n <= len(ids) and tree.parent[n:].min(initial=n) >= n - 1)
            keys = ((n, ids[:n].tobytes()) for n in ends)
            found = next(((n, self.cases[key]) for n, key in keys if key in self.cases), None)
            if found:
                yield row, found[0] - 1, found[1]


def key_of(tokenizer: GameTokenizer, codes: boards.MoveCodes) -> bytes:
    """The tokens of a game up to a position."""
    return tokenizer.encode(codes).ids.astype(np.int64).tobytes()


@dataclass(frozen=True)
class Outcome:
    """What a model does in a case.

    Attributes:
        true, edited: probability on the moves that are legal on the board as it is and on the changed one.
        true_greedy, edited_greedy: whether its greedy move is.
    """

    true: float
    edited: float
    true_greedy: bool
    edited_greedy: bool


def outcomes(
    loaded: LoadedModel,
    cases: Sequence[Case],
    layers: Sequence[int],
    push: Push | None,
) -> list[Outcome]:
    """What a model does in some cases.

    Args:
        loaded: the model.
        cases: no two of one position.
        layers: where it is pushed.
        push: what is added there; None: nothing is.
    """
    plain = ModelScorer(loaded)
    keys = [key_of(loaded.tokenizer, case.codes) for case in cases]
    # Not the plain scorer where nothing is pushed: it reads branches in another way, which rounds otherwise.
    pushed = PushedScorer(plain, dict(zip(keys, cases, strict=True)), layers if push else (), push or _stay)
    moves = [np.array(sorted(case.true | case.edited), np.uint16) for case in cases]
    questions = [Question(i, len(case.codes), moves[i]) for i, case in enumerate(cases)]
    answers = ask(pushed, [case.codes for case in cases], questions)
    found = []
    for case, each, answer in zip(cases, moves, answers, strict=True):
        chances = np.exp(np.nan_to_num(answer.log_p, nan=-np.inf))
        true, edited = (float(chances[np.isin(each, list(legal))].sum()) for legal in (case.true, case.edited))
        found.append(Outcome(true, edited, answer.greedy in case.true, answer.greedy in case.edited))
    return found


def _stay(_: int, hidden: Vector, __: Case) -> Vector:
    """Push by nothing."""
    return np.zeros_like(hidden)


def erased(
    loaded: LoadedModel, probe: BoardProbe, editor: Editor, codes: boards.MoveCodes, square: int, n: int
) -> tuple[Idea, ...]:
    """The moves that a model finds likeliest once a piece is erased from the board that it believes in.

    Args:
        loaded: the model.
        probe: that says which piece it believes to stand there.
        editor: how to edit.
        codes: the moves so far, at least one.
        square: of the piece, whosever it is.
        n: how many moves.

    Returns:
        The greedy one first; legal or not on the board as it is.

    Raises:
        InputError: it believes that nothing stands there, or a king, or the game is longer than it can look back.
    """
    before = int(BOARD.likeliest(probe.scores(at_end(loaded, codes, probe.layer)))[0, square])
    name = chess.square_name(square)
    if not before:
        raise InputError(f"it believes that nothing stands on {name}")
    if before in (chess.KING, 2 * chess.KING):
        raise InputError(f"it believes that a king stands on {name}, and without one there is no game")
    change = Change(square, before, 0)

    def push(layer: int, hidden: Vector, change: Change) -> Vector:
        return editor.dose * shift(editor.layers[layer], hidden, [change])

    pushed = PushedScorer(ModelScorer(loaded), {key_of(loaded.tokenizer, codes): change}, list(editor.layers), push)
    (answer,) = ask(pushed, [codes], [Question(0, len(codes), np.zeros(0, np.uint16), n)])
    return answer.ideas[:n]
