"""What is among the likeliest, in expectation where probabilities are equal, so that no order of a vocabulary counts.

Scores of candidates go in, (N, F), sorted once as far down as anybody will ask; how many of some of them are expected
among the n likeliest comes out, (N,).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

EQUAL = 1e-5
"""Scores that lie closer are equal: the product of two or three probabilities is rounded."""


@dataclass(frozen=True)
class Ranking:
    """Candidates by how likely they are.

    Attributes:
        scores: natural log of the probability of each, up to a constant a row, (N, F).
        highest: the highest of each row, falling: as many as anybody asks for and one more, (N, H).
    """

    scores: torch.Tensor
    highest: torch.Tensor

    def expected(self, asked: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        """Expected number of the asked candidates among the n likeliest, equal ones in random order, (N,).

        Args:
            asked: scores of the candidates asked about, -inf for none, (N, K).
            n: how many are taken, at least 1 and at most as many as were foreseen, (N,).
        """
        threshold = self.highest.gather(1, n[:, None] - 1)
        above, from_there = threshold + EQUAL, threshold - EQUAL
        n_above, asked_above = (self.highest > above).sum(1), (asked > above).sum(1)
        there = (self.highest >= from_there).sum(1)
        # Only where that is all of them can there be more: counting in all scores everywhere took a tenth of the time
        # of legality.
        full = (there == self.highest.shape[1]).nonzero()[:, 0]
        there[full] = (self.scores[full] >= from_there[full]).sum(1)
        ties = (there - n_above).double()
        # What the scorer rules out is never among the likeliest, however few it leaves.
        asked_ties = ((asked >= from_there) & (asked > -math.inf)).sum(1) - asked_above
        return asked_above + asked_ties * (n - n_above) / ties


def rank(scores: torch.Tensor, most: int) -> Ranking:
    """Rank candidates.

    Args:
        scores: as in ``Ranking``; those less likely than the ``most`` likeliest may be left out.
        most: the largest number of likeliest ones that will be asked for.
    """
    n = min(scores.shape[1], most + 1)
    # Like ``topk``, for which torch takes four times as long on two cores.
    parted = np.partition(scores.numpy(), -n, axis=1)[:, -n:]
    return Ranking(scores, torch.from_numpy(np.sort(parted, axis=1)[:, ::-1].copy()))
