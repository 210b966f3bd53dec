"""Suite ``rules``: an exam of one rule at a time (docs/metrics.md, The rules exam).

A scorer and an exam in, metrics by item with intervals out. At every position the greedy move and the mass on legal
moves; besides, the probability of the move asked about. Where that is forbidden, it stands beside the probability of
the same move where it is allowed: a player of habits gives both alike. After the end of a game, where no move is
legal, the probability of <eos> is asked for.

Past the scorer's context a position counts as missed by the legality figures, and is left out of the others.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval import intervals
from chesslm.eval.asking import Answer, Question, ask
from chesslm.eval.exam import SOURCES, Exam, Row
from chesslm.eval.intervals import Bootstrap, Floats
from chesslm.eval.items import ENDED, ITEMS, REFUSED
from chesslm.eval.moves import Progress, batch_tokens
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer, batches, chain
from chesslm.forks import Forks, log_softmax
from chesslm.tokenizer import Role

NOTICEABLE = 0.01
"""A forbidden move that is likelier counts in ``p_forbidden_share``."""
HEADLINE = {
    "exam_legal_argmax": ("legal_argmax", [item for item in ITEMS if item not in ENDED]),
    "exam_legal_mass": ("legal_mass", [item for item in ITEMS if item not in ENDED]),
    "refusal_p_forbidden": ("p_forbidden", REFUSED),
    "refusal_p_allowed": ("p_allowed", REFUSED),
    "ended_eos_mass": ("eos_mass", ENDED),
}
"""Averages over items, each item counting once: of which figure, over which items."""
COMPARED = ("p_forbidden", "p_allowed")
"""Averaged over the same items: an item counts in both or in neither. In SAN one lacks the first (``_marks``)."""


@dataclass(frozen=True)
class Asked:
    """What came of a row.

    Attributes:
        row: that was asked.
        within: whether it lies within the scorer's context.
        marks: its figures by key: the game that each was measured in, and its value.
    """

    row: Row
    within: bool
    marks: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Column:
    """A figure of some rows: the game that each was measured in, and its value, (rows,)."""

    games: NDArray[np.int64]
    values: Floats


Columns = dict[str, dict[str, Column]]
"""Figures of some rows by item and key."""


def rules(scorer: Scorer, exam: Exam, seed: int = 1, advance: Progress = lambda _: None) -> Result:
    """Examine a scorer.

    Args:
        scorer: a model or a baseline.
        exam: by ``exam.mine``.
        seed: of the bootstrap.
        advance: told of positions done, ``exam.positions`` in all.
    """
    asked = [*_at_moves(scorer, exam, advance), *_at_the_end(scorer, exam, advance)]
    bootstrap = Bootstrap(len(exam.games), seed)
    columns = _columns(asked)
    by = {"item": _by_item(columns, bootstrap)}
    of_sources = {source: _columns(each for each in asked if each.row.source == source) for source in SOURCES}
    # Averages over the same items compare.
    both = [item for item in columns if all(item in of_source for of_source in of_sources.values())]
    if both:
        by["source"] = {
            source: _averages({item: of_source[item] for item in both}, bootstrap)
            for source, of_source in of_sources.items()
        }
        by |= {f"item, {source}": _by_item(of_source, bootstrap) for source, of_source in of_sources.items()}
    beyond = float(sum(not each.within for each in asked))
    metrics = _averages(columns, bootstrap)
    metrics["plies_beyond_context"] = Metric(beyond, beyond, beyond, len(asked))
    return Result(metrics, by)


def _columns(asked: Iterable[Asked]) -> Columns:
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for each in asked:
        for key, mark in each.marks.items():
            found.setdefault(each.row.item, {}).setdefault(key, []).append(mark)
    return {
        item: {key: Column(*map(np.array, zip(*of_key, strict=True))) for key, of_key in found[item].items()}
        for item in ITEMS
        if item in found
    }


def _by_item(columns: Columns, bootstrap: Bootstrap) -> dict[str, Metrics]:
    return {
        item: {key: bootstrap.mean(column.games, column.values) for key, column in of_item.items()}
        for item, of_item in columns.items()
    }


def _averages(columns: Columns, bootstrap: Bootstrap) -> Metrics:
    found: Metrics = {}
    for name, (key, items) in HEADLINE.items():
        needed = COMPARED if key in COMPARED else (key,)
        averaged = [columns[item][key] for item in items if columns.get(item, {}).keys() >= {*needed}]
        if averaged:
            found[name] = intervals.of_resamples(
                float(np.mean([column.values.mean() for column in averaged])),
                np.mean([bootstrap.means(column.games, column.values) for column in averaged], axis=0),
                sum(len(column.values) for column in averaged),
                len(np.unique(np.concatenate([column.games for column in averaged]))),
                rate=True,
            )
    return found


# What is asked


def _at_moves(scorer: Scorer, exam: Exam, advance: Progress) -> Iterator[Asked]:
    """The rows where there is a move to make."""
    rows = [row for row in exam.rows if row.item not in ENDED]
    questions = [Question(row.game, row.ply, _codes(*row.legal, *row.moves)) for row in rows]
    compared = [row.control for row in rows if row.control]
    controls = [Question(game, ply, _codes(move)) for game, ply, move in compared]
    answers = ask(scorer, exam.games, [*questions, *controls], advance)
    of_controls = iter(answers[len(rows) :])
    for row, answer in zip(rows, answers, strict=False):
        marks = _marks(row, answer)
        if row.control:
            control = next(of_controls)
            if control.within:
                marks["p_allowed"] = row.control[0], math.exp(control.log_p[0])
        yield Asked(row, answer.within, marks)


def _codes(*moves: int) -> boards.MoveCodes:
    return np.array(moves, np.uint16)


def _marks(row: Row, answer: Answer) -> dict[str, tuple[int, float]]:
    """Legality, and the probability of the moves asked about."""
    probability = np.exp(answer.log_p)
    # Sums of probabilities, up to rounding.
    legal, asked = (round(float(part.sum().clip(max=1)), 12) for part in np.split(probability, [len(row.legal)]))
    figures = {"legal_argmax": float(answer.greedy in row.legal), "legal_mass": legal}
    if math.isnan(asked):
        # The notation cannot write the move: SAN has no word for that of a piece that is gone.
        pass
    elif answer.within and row.item in REFUSED:
        figures |= {"p_forbidden": asked, "p_forbidden_share": float(asked > NOTICEABLE)}
    elif answer.within and row.moves:
        figures["p_move"] = asked
    return {key: (row.game, value) for key, value in figures.items()}


def _at_the_end(scorer: Scorer, exam: Exam, advance: Progress) -> Iterator[Asked]:
    """The rows whose game is over: the probability of <eos> there and a move before, special tokens left in."""
    forks, eos = Forks(scorer.tokenizer), scorer.tokenizer.eos
    rows = [row for row in exam.rows if row.item in ENDED]
    if eos is None:
        return
    games = [scorer.tokenizer.encode(exam.games[row.game]) for row in rows]
    for batch in batches([len(game) for game in games], batch_tokens(scorer)):
        logits = scorer.logits([chain(games[i].ids[: scorer.context - 1]) for i in batch]).double().cpu().numpy()
        for i, scores in zip(batch, logits, strict=True):
            marks: dict[str, float] = {}
            begins, ends = (np.flatnonzero(games[i].role & role)[-2:] for role in (Role.MOVE_BEGINS, Role.MOVE_ENDS))
            for begun, at, suffix in zip(begins.tolist(), ends.tolist(), ("_before", ""), strict=True):
                if at + 1 < scorer.context:
                    played = tuple(games[i].ids[begun : at + 1].tolist())
                    log_p = log_softmax(forks.given_over(scores[at], played))
                    marks |= {f"eos_mass{suffix}": math.exp(log_p[eos]), f"eos_argmax{suffix}": log_p.argmax() == eos}
            row = rows[i]
            yield Asked(row, "eos_mass" in marks, {key: (row.game, float(value)) for key, value in marks.items()})
        advance(2 * len(batch))
