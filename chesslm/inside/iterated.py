"""Probes without a closed form, by L-BFGS: logistic regression, and a network with one hidden layer beside it.

Both minimise the cross-entropy of the right answers, and stop where that on validation games no longer falls: there is
no step size and no penalty to choose. The regression begins where nothing but the frequency of each answer is known,
the network where the regression ended. Activations are whitened first, or L-BFGS takes several times as many steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from chesslm.inside.activations import Floats
from chesslm.inside.linear import scores
from chesslm.inside.samples import Sample

HIDDEN = 256
"""Units of the network."""
MOST = 40
"""Iterations at most."""
PATIENCE = 3
"""Iterations without a gain on validation games after which to stop."""
CHUNK = 8192
"""Positions that go through at once."""

Forward = Callable[[torch.Tensor, Sequence[torch.Tensor]], torch.Tensor]
"""Whitened activations (P, width) and parameters to scores (P, columns)."""


@dataclass(frozen=True)
class Network:
    """Scores x W + relu(x A + a) B, the column of ones being the last row of W; without A and B, logistic regression.

    Attributes:
        layer: that it reads.
        weight: W, (width + 1, columns).
        into: A with a as its last row, (width + 1, hidden).
        out: B, (hidden, columns).
    """

    layer: int
    weight: Floats
    into: Floats
    out: Floats

    def scores(self, hidden: Floats) -> Floats:
        """(P, columns) from (P, width)."""
        return scores(self.weight, hidden) + np.maximum(scores(self.into, hidden), 0) @ self.out


def logistic(train: Sample, validation: Sample, answers: int) -> Floats:
    """Multinomial logistic regression of each item.

    Args:
        train, validation: positions.
        answers: of each item.

    Returns:
        Weights of (width + 1, items * answers), the last row those of the column of ones.
    """
    white = _Whitening.of(train.hidden)
    counts = np.stack([np.bincount(item, minlength=answers) for item in train.labels.T]) + 1
    bias = torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32).reshape(-1))
    start = [torch.zeros((train.hidden.shape[1], len(bias))), bias]
    weight, bias = _fit(_linear, start, train, validation, white, answers)
    return white.undone(weight, bias)


def network(train: Sample, validation: Sample, answers: int, linear: Floats, seed: int) -> Network:
    """The same with a hidden layer beside it.

    Args:
        train, validation, answers: as for ``logistic``.
        linear: where to begin: what ``logistic`` found.
        seed: of the hidden layer's first weights.
    """
    white = _Whitening.of(train.hidden)
    weight, bias = white.done(linear)
    width, random = len(weight), torch.Generator().manual_seed(seed)
    into = torch.randn((width, HIDDEN), generator=random) / width**0.5
    start = [weight, bias, into, torch.zeros(HIDDEN), torch.zeros((HIDDEN, len(bias)))]
    weight, bias, into, threshold, out = _fit(_deep, start, train, validation, white, answers)
    return Network(train.layer, white.undone(weight, bias), white.undone(into, threshold), out.numpy())


def _linear(x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    weight, bias = parameters
    return x @ weight + bias


def _deep(x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    weight, bias, into, threshold, out = parameters
    return x @ weight + bias + torch.relu(x @ into + threshold) @ out


@dataclass(frozen=True)
class _Whitening:
    """Activations less their mean, turned and stretched to have no correlations and a variance of 1: (x - m) T."""

    mean: torch.Tensor
    turn: torch.Tensor
    back: torch.Tensor

    @classmethod
    def of(cls, hidden: Floats) -> "_Whitening":
        x = torch.from_numpy(hidden)
        mean = x.mean(0)
        covariance = torch.zeros((x.shape[1], x.shape[1]), dtype=torch.float64)
        for part in x.split(CHUNK):
            covariance += ((part - mean).T @ (part - mean)).double()
        covariance /= len(x)
        covariance += 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
        lower = torch.linalg.cholesky(covariance)
        turn = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=torch.float64), upper=False).T
        return cls(mean, turn.float(), lower.T.float())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) @ self.turn

    def done(self, weights: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of activations as they are, the bias as their last row, as those of whitened ones, and the bias."""
        plain = torch.from_numpy(weights)
        return self.back @ plain[:-1], plain[-1] + self.mean @ plain[:-1]

    def undone(self, weight: torch.Tensor, bias: torch.Tensor) -> Floats:
        """Weights of whitened activations as those of activations as they are, the bias as their last row."""
        plain = self.turn @ weight
        return torch.cat([plain, (bias - self.mean @ plain)[None]]).numpy()


def _fit(
    forward: Forward,
    start: Sequence[torch.Tensor],
    train: Sample,
    validation: Sample,
    white: _Whitening,
    answers: int,
) -> list[torch.Tensor]:
    """Parameters of the least cross-entropy on validation positions along the way of L-BFGS on those to fit on."""
    shapes = [each.shape for each in start]
    sizes = [each.numel() for each in start]

    def apart(flat: NDArray[np.float64]) -> list[torch.Tensor]:
        parts = torch.from_numpy(flat.astype(np.float32)).split(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def chunks(sample: Sample) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Whitened activations and right answers, once for all iterations."""
        hidden, labels = (torch.from_numpy(each).split(CHUNK) for each in (sample.hidden, sample.labels))
        return [(white(x), right.long()) for x, right in zip(hidden, labels, strict=True)]

    fitted_on, chosen_by = chunks(train), chunks(validation)

    def losses(
        parameters: Sequence[torch.Tensor], positions: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[torch.Tensor]:
        """In nats, each chunk's share of the mean over items."""
        items = sum(right.numel() for _, right in positions)
        for x, right in positions:
            # The answers before the items: a softmax over 13 numbers that lie side by side takes 2.7 times as long.
            said = forward(x, parameters).view(len(x), -1, answers).transpose(1, 2)
            yield torch.nn.functional.cross_entropy(said, right, reduction="sum") / items

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = [each.requires_grad_() for each in apart(flat)]
        total = 0.0
        for part in losses(parameters, fitted_on):
            part.backward()
            total += part.item()
        gradients = [each.grad.view(-1) for each in parameters if each.grad is not None]
        return total, torch.cat(gradients).double().numpy()

    def of_validation(flat: NDArray[np.float64]) -> float:
        return sum(part.item() for part in losses(apart(flat), chosen_by))

    best = torch.cat([each.reshape(-1) for each in start]).double().numpy()
    least, since = of_validation(best), 0

    def look(now: NDArray[np.float64]) -> None:
        nonlocal best, least, since
        found = of_validation(now)
        since = 0 if found < least else since + 1
        if found < least:
            best, least = now.copy(), found
        if since >= PATIENCE:
            raise StopIteration

    minimize(objective, best, jac=True, method="L-BFGS-B", callback=look, options={"maxiter": MOST, "maxcor": 10})
    return apart(best)
