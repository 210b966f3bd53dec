"""Suite ``world-model``: does the same position mean the same, and another one something else? (docs/metrics.md)

Vafa et al. 2024, "Evaluating the world model implicit in a generative model", carried over to chess. A model accepts a
move that it gives a probability of epsilon or more. Of two move orders to one position it must accept the same moves
(compression); of two positions it must tell apart by the moves that only one of them allows (distinction). Always
both: who accepts everything compresses perfectly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.asking import Answer, Question, ask
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.moves import Progress
from chesslm.eval.orders import MINED, NEAR, SWAPPED, Pair
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer

EPSILONS = (0.001, 0.003, 0.01, 0.03, 0.1)
EPSILON = 0.01
"""The one of the main figures, as in the paper."""
IDEAS = 256
"""Of the likeliest moves so many are looked at: more cannot have 0.0039 or more each, and hardly ever 0.001."""
UNRELATED = "unrelated"


@dataclass(frozen=True)
class _Asked:
    """What a scorer said behind both games of a pair.

    Attributes:
        pair: that was asked about.
        accepted: of each the moves as it writes them, with their probabilities.
        shares: probabilities of the moves that are legal behind either, and of all else together, (2, moves + 1).
    """

    pair: Pair
    accepted: tuple[dict[str, float], dict[str, float]]
    shares: NDArray[np.float64]


def world_model(
    scorer: Scorer, pairs: Sequence[Pair], games: int, seed: int, advance: Progress = lambda _: None
) -> Result:
    """Measure compression and distinction.

    Args:
        scorer: of any notation.
        pairs: of games up to a position (``orders``).
        games: how many the pairs were made from.
        seed: of the intervals.
        advance: told of games asked about.
    """
    unrelated = [
        Pair(UNRELATED, one.game, (one.moves[0], other.moves[0]), (one.legal[0], other.legal[0]))
        for one, other in pairwise([pair for pair in pairs if pair.kind == SWAPPED])
    ]
    asked = _ask(scorer, [*pairs, *unrelated], advance)
    by_kind = {kind: [each for each in asked if each.pair.kind == kind] for kind in (SWAPPED, MINED, NEAR, UNRELATED)}
    over = Bootstrap(games, seed)
    metrics: Metrics = {}
    by: dict[str, dict[str, Metrics]] = {"epsilon": {}, "pairs": {}}
    for epsilon in EPSILONS:
        by["epsilon"][f"{epsilon:g}"] = {
            **_compression(by_kind[SWAPPED], epsilon, over),
            **_distinction(by_kind[NEAR], epsilon, over),
        }
    metrics |= by["epsilon"][f"{EPSILON:g}"]
    for kind, of_kind in by_kind.items():
        if of_kind:
            divergence = _divergence(of_kind, over)
            metrics[f"divergence_{kind}"] = divergence
            by["pairs"][kind] = {"divergence": divergence}
            if kind in (SWAPPED, MINED):
                by["pairs"][kind] |= _compression(of_kind, EPSILON, over)
    return Result(metrics, {name: groups for name, groups in by.items() if groups})


def _ask(scorer: Scorer, pairs: Sequence[Pair], advance: Progress) -> list[_Asked]:
    """Both games of each pair, those of which one lies beyond the scorer's context left out."""
    games = [codes for pair in pairs for codes in pair.moves]
    legal = [pair.either for pair in pairs]
    questions = [Question(i, len(codes), legal[i // 2], IDEAS) for i, codes in enumerate(games)]
    answers = ask(scorer, games, questions, advance)
    found = []
    for pair, first, second in zip(pairs, answers[::2], answers[1::2], strict=True):
        if first.within and second.within:
            shares = np.stack([shares_of(first), shares_of(second)])
            found.append(_Asked(pair, (_moves(first), _moves(second)), shares))
    return found


def _moves(answer: Answer) -> dict[str, float]:
    """The likeliest moves in UCI with their probabilities; what is no move as it is written."""
    return {idea.move or f"no move: {idea.text}": idea.probability for idea in answer.ideas}


def shares_of(answer: Answer) -> NDArray[np.float64]:
    """Probabilities of the moves asked about, none for one that cannot be written, and what is left."""
    shares = np.exp(np.nan_to_num(answer.log_p, nan=-np.inf))
    return np.append(shares, max(0.0, 1 - shares.sum()))


def _compression(asked: Sequence[_Asked], epsilon: float, over: Bootstrap) -> Metrics:
    """How often both orders have the same moves accepted, and what share of those that either has both have."""
    rows = []
    for one in asked:
        first, second = (_accepted(each, epsilon) for each in one.accepted)
        rows.append((one.pair.game, first == second, len(first & second), len(first | second)))
    if not rows:
        return {}
    game, same, both, either = (np.array(column) for column in zip(*rows, strict=True))
    overlap = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    return {
        "compression": over.mean(game, same.astype(np.float64)),
        "compression_overlap": over.mean(game, overlap),
    }


def _distinction(asked: Sequence[_Asked], epsilon: float, over: Bootstrap) -> Metrics:
    """Of the moves that one position alone allows, those that the scorer accepts there alone; both ways round."""
    rows = []
    for one in asked:
        legal = [{boards.code_move(code).uci() for code in each} for each in one.pair.legal]
        said = [_accepted(each, epsilon) for each in one.accepted]
        for here, there in ((0, 1), (1, 0)):
            true, found = legal[here] - legal[there], said[here] - said[there]
            rows.append((one.pair.game, len(true & found), len(found), len(true)))
    if not rows:
        return {}
    game, right, found, true = (np.array(column) for column in zip(*rows, strict=True))
    n, games = len(rows), len(set(game.tolist()))
    below = {"distinction_precision": found, "distinction_recall": true}
    return {
        key: over.ratio(game, right, counted, n=n, games=games, rate=True)
        for key, counted in below.items()
        if counted.sum()
    }


def _accepted(moves: dict[str, float], epsilon: float) -> set[str]:
    return {move for move, probability in moves.items() if probability >= epsilon}


def _divergence(asked: Sequence[_Asked], over: Bootstrap) -> Metric:
    """Jensen-Shannon divergence of the two distributions over moves, in bits, mean over pairs (Lin 1991)."""
    game = np.array([one.pair.game for one in asked])
    return over.mean(game, np.array([jensen_shannon(*one.shares) for one in asked]), rate=False)


def jensen_shannon(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The divergence of two distributions, in bits, from 0 to 1."""
    middle = (one + other) / 2

    def divergence(share: NDArray[np.float64]) -> float:
        there = share > 0
        return float((share[there] * np.log2(share[there] / middle[there])).sum())

    return (divergence(one) + divergence(other)) / 2
