"""How the loss of each class of token falls while a model learns (docs/metrics.md, Loss sinks).

The log of ``chesslm train --track sinks`` in; what of a move's bits is lost where, and how sharply each class falls:
log-steps from 75 % to 25 % of the reducible loss. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chesslm.learning import Curve, crossing
from chesslm.seeds import Floats

HIGH, LOW = 0.75, 0.25
"""Shares of the reducible loss between which a fall is measured."""
FREE = ("free", "token", "bits_per_move")
"""What has a floor of its own: the choice of the players. All else could be known, and falls to 0."""
FLOORS = (1.0, 0.9, 0.75, 0.5)
"""Shares of the lowest loss that was seen, as floors to try: it is above what more training would reach."""


PARTS = ("board", "syntax", "legality", "choice")
"""Of a move's bits: at tokens that the board determines, at those that the notation does, and at free ones what goes to
tokens that no legal move has, and to the choice of the legal ones."""


def parts(curve: Curve) -> dict[str, Floats]:
    """The bits of a move all along, by where they are lost; they add up to ``bits_per_move``.

    A class that has no tokens has no bits.
    """
    lost = {
        name: curve["bits_per_move"] * curve.get(f"{name}_loss", np.zeros(1)) for name in ("board", "syntax", "free")
    }
    legality = lost["free"] * curve["free_legality_bits"] / curve["free_bits"]
    return {"board": lost["board"], "syntax": lost["syntax"], "legality": legality, "choice": lost["free"] - legality}


@dataclass(frozen=True)
class Fall:
    """How a loss fell.

    Attributes:
        start: bits before the first step.
        floor: bits that cannot be reduced.
        high, low: steps at which 75 % and 25 % of what is between them were left; None: it never got there.
        doublings: of the steps in between, log2(low / high).
    """

    start: float
    floor: float
    high: float | None
    low: float | None

    @property
    def doublings(self) -> float | None:
        """Of the steps from ``high`` to ``low``."""
        return None if self.high is None or self.low is None else float(np.log2(self.low / self.high))


def losses(curve: Curve) -> dict[str, Floats]:
    """The bits of a run by what they are of: ``board``, ``syntax``, ``free``, ``free_legality``, ``forced``, ``token``.

    These are bits a token, the last one's of all tokens; and there is ``bits_per_move``. A class that has no tokens is
    left out.
    """
    return {name.removesuffix("_bits"): bits for name, bits in curve.items() if "bits" in name}


def floors(runs: Sequence[Curve], share: float = 1.0) -> dict[str, float]:
    """The loss of each class that cannot be reduced.

    Args:
        runs: of one notation and on the same games; the longest run that there is should be among them.
        share: of the lowest loss that any of them reached, where there is a choice of players in it (``FREE``).
    """
    every = [losses(run) for run in runs]
    names = dict.fromkeys(name for bits in every for name in bits)
    lowest = {name: min(float(bits[name].min()) for bits in every if name in bits) for name in names}
    return {name: share * bits if name in FREE else 0.0 for name, bits in lowest.items()}


def falls(curve: Curve, floor: Mapping[str, float]) -> dict[str, Fall]:
    """How each loss of a run fell to its floor (``floors``)."""
    return {name: _fall(curve["step"], bits, floor[name]) for name, bits in losses(curve).items()}


def _fall(steps: Floats, bits: Floats, floor: float) -> Fall:
    start = float(bits[0])
    if start <= floor:
        return Fall(start, floor, None, None)
    crossings = (crossing(steps, bits, floor + share * (start - floor)) for share in (HIGH, LOW))
    return Fall(start, floor, *crossings)
