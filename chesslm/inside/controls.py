"""What a probe would find without a model that knows anything: what its figures have to be read beside."""

from dataclasses import replace

import numpy as np

from chesslm.inside.linear import Part
from chesslm.inside.measure import Found
from chesslm.inside.samples import Sample
from chesslm.inside.truths import BOARD


def shuffled(sample: Sample, seed: int) -> Sample:
    """The same positions, each with the labels of another one."""
    return replace(sample, labels=np.random.default_rng(seed).permutation(sample.labels))


def majority(train: Part, found: Found) -> Found:
    """What stands most often on each square after so many plies, in the place of a probe's answers.

    A ply that few games reach borrows from all plies: their shares count as one game more.

    Args:
        train: games to count in.
        found: any probe's answers there, for their positions and labels.
    """
    last = max(found.ply.max(), *(len(truths) for truths in train.truths))
    counts = np.zeros((last + 1, BOARD.items, BOARD.answers), np.float32)
    for truths in train.truths:
        labels = BOARD.labels(truths)
        plies = np.arange(1, len(labels) + 1)
        counts[plies[:, None], np.arange(BOARD.items), labels] += 1
    overall = counts.sum(0)
    answers = (counts + overall / overall.sum(-1, keepdims=True)).argmax(-1)
    return replace(found, right=answers[found.ply] == found.labels)
