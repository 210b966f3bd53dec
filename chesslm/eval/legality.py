"""Suite ``legality``: how well a scorer keeps to the rules at every ply of held-out games (docs/metrics.md, Legality).

A scorer, games and what is true of their positions in, metrics with intervals, breakdowns and some examples out. The
scoring is in ``moves`` and ``spellings``; here are only sums over plies by game and group, and their bootstrap.

Past the scorer's context a ply counts as missed: not legal, no mass, nothing recalled. It has no bits.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval import intervals
from chesslm.eval.examples import find_examples
from chesslm.eval.intervals import Bootstrap, Floats
from chesslm.eval.moves import MoveScores, Progress, score_moves
from chesslm.eval.positions import PHASES, Positions, Special, illegal_kinds
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer
from chesslm.game import Game

PLIES_A_BUCKET = 20
LEGAL_MOVES = {1: "1", 2: "2-5", 6: "6-10", 11: "11-20", 21: "21-30", 31: "31-40", 41: "41+"}
"""Buckets of the number of legal moves, by where they begin."""
CONFIDENCE_BINS = 10
SPECIALS = {
    "castling": Special.CASTLING,
    "en passant": Special.EN_PASSANT,
    "promotion": Special.PROMOTION,
    "pinned piece": Special.PINNED_PIECE,
    "double check": Special.DOUBLE_CHECK,
}


@dataclass(frozen=True)
class HeldOut:
    """Games to measure on.

    Attributes:
        games: with what is known of them; where they come from is a breakdown if it is several.
        positions: what is true at each ply.
        first_novel: first ply of each game that the training games do not contain, (games,); None: not known.
    """

    games: Sequence[Game]
    positions: Positions
    first_novel: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Rows:
    """A figure of each ply: ``value`` where ``rows`` holds, (P,) each."""

    value: Floats
    rows: NDArray[np.bool_]
    rate: bool = True


@dataclass(frozen=True)
class Groups:
    """Plies told apart: the group of each ply as an index into the names, -1 for none."""

    names: Sequence[str]
    of_ply: NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A figure in each of K groups.

    Attributes:
        values: over all games, (K,).
        resampled: of each resample of the games, (RESAMPLES, K).
        n: rows, (K,).
        games: games that have rows, (K,).
        rate: whether it is a rate.
    """

    values: Floats
    resampled: Floats
    n: Floats
    games: NDArray[np.int64]
    rate: bool

    def less(self, other: "Column") -> "Column":
        """The difference, known as well as the other one."""
        with np.errstate(invalid="ignore"):
            return replace(other, values=self.values - other.values, resampled=self.resampled - other.resampled)

    def metric(self, k: int) -> Metric:
        """The figure of one group."""
        resampled, n, games = self.resampled[:, k], int(self.n[k]), int(self.games[k])
        return intervals.of_resamples(float(self.values[k]), resampled, n, games, self.rate)


@dataclass(frozen=True)
class Tables:
    """Sums of plies by game and group, and the figures that follow.

    Attributes:
        game: the game of each ply, (P,).
        bootstrap: over the games.
    """

    game: NDArray[np.int64]
    bootstrap: Bootstrap

    def sums(self, figure: Rows, groups: Groups) -> tuple[Floats, Floats]:
        """Sum and number of rows, each (games, groups)."""
        shape = self.bootstrap.games, len(groups.names)
        rows = figure.rows & (groups.of_ply >= 0)
        cell = (self.game * shape[1] + groups.of_ply)[rows]
        sums = np.bincount(cell, figure.value[rows], minlength=shape[0] * shape[1])
        counts = np.bincount(cell, minlength=sums.size)
        return sums.reshape(shape).astype(np.float64), counts.reshape(shape).astype(np.float64)

    def metrics(self, figures: dict[str, Rows], groups: Groups) -> dict[str, Metrics]:
        """Mean of each figure in each group; what has no rows, or is infinite, is left out."""
        columns: dict[str, Column] = {}
        for key, figure in figures.items():
            sums, counts = self.sums(figure, groups)
            resampled = self.bootstrap.ratios(sums, counts)
            with np.errstate(invalid="ignore"):
                values = sums.sum(0) / counts.sum(0)
            columns[key] = Column(values, resampled, counts.sum(0), (counts > 0).sum(0), figure.rate)
            if key == "legality_bits":
                # Not a mean of its own: the bits of all plies are split exactly, also where the legal mass was
                # measured on a sample of them.
                columns["choice_bits"] = columns["bits_per_move"].less(columns[key])
        found: dict[str, Metrics] = {}
        for k, name in enumerate(groups.names):
            metrics = {key: column.metric(k) for key, column in columns.items() if np.isfinite(column.values[k])}
            if metrics:
                found[name] = metrics
        return found


def legality(
    scorer: Scorer,
    held: HeldOut,
    pool: Executor,
    plies: int = 5000,
    seed: int = 1,
    told: bool = True,
    examples: bool = True,
    advance: Progress = lambda _: None,
) -> Result:
    """Measure a scorer.

    Args:
        scorer: a model or a baseline.
        held: games to measure on.
        pool: processes, for what takes a board.
        plies: for several tokens a move, legal moves are looked at on so many plies; 0: on all.
        seed: of that sample and of the bootstrap.
        told: whether a model that takes conditions is told what is known of each game, or nothing.
        examples: whether some of the illegal moves are looked at closely.
        advance: told of plies done.
    """
    scores = score_moves(scorer, held.games, held.positions, pool, plies, seed, told, advance)
    kinds = find_kinds(scores, held.positions, pool)
    result = summarize(scores, held, kinds, seed)
    if not examples:
        return result
    return replace(result, examples=find_examples(scorer, held.games, held.positions, kinds, seed, told))


def find_kinds(scores: MoveScores, positions: Positions, pool: Executor) -> dict[int, boards.Illegal]:
    """Why the greedy move is illegal, by ply, where it is."""
    where = np.flatnonzero(scores.measured & scores.within & ~scores.greedy_legal)
    return dict(zip(where.tolist(), illegal_kinds(positions, scores.greedy[where], where, pool), strict=True))


def summarize(scores: MoveScores, games: HeldOut, kinds: Mapping[int, boards.Illegal], seed: int) -> Result:
    """Metrics and breakdowns of scored plies."""
    tables = Tables(games.positions.game, Bootstrap(len(games.games), seed))
    figures = _figures(scores)
    metrics = tables.metrics(figures, _everything(scores))["all"]
    by = {name: tables.metrics(figures, groups) for name, groups in _breakdowns(games)}
    by["special"] = {}
    for name, bit in SPECIALS.items():
        by["special"] |= tables.metrics(figures, Groups((name,), np.where(games.positions.special & bit, 0, -1)))
    by["illegal"] = _illegal(scores, kinds, tables)
    by["calibration"] = _calibration(scores, tables)
    return Result(
        metrics | _of_games(scores, games.positions, tables), {name: groups for name, groups in by.items() if groups}
    )


def _everything(scores: MoveScores) -> Groups:
    return Groups(("all",), np.zeros(len(scores.within), np.int64))


def _figures(scores: MoveScores) -> dict[str, Rows]:
    """The figures that every ply has."""
    measured, known = scores.measured, scores.measured & scores.within
    mass = np.where(scores.within, np.exp2(-scores.legality_bits), 0)
    return {
        "legal_argmax": Rows(scores.greedy_legal.astype(float), measured),
        "legal_mass": Rows(mass, measured),
        "r_precision": Rows(scores.r_precision, measured),
        "top1": Rows(scores.top1, measured),
        "top3": Rows(scores.top3, measured),
        "bits_per_move": Rows(scores.bits, scores.within, rate=False),
        "legality_bits": Rows(scores.legality_bits, known, rate=False),
        "end_mass": Rows(scores.end_mass, scores.within, rate=False),
    }


def _of_games(scores: MoveScores, positions: Positions, tables: Tables) -> Metrics:
    """The figures of whole games, where every ply was measured, and the plies that the scorer could not see."""
    found: Metrics = {}
    n_games = len(positions.lengths)
    if scores.measured.all():
        illegal = np.flatnonzero(~scores.greedy_legal)
        games, first = np.unique(positions.game[illegal], return_index=True)
        legal = np.ones((n_games, 1))
        legal[games] = 0
        resampled = tables.bootstrap.ratios(legal, np.ones((n_games, 1)))[:, 0]
        rate = intervals.of_trials(int(legal.sum()), n_games)
        found["fully_legal_games"] = replace(rate, resampled=resampled, games=n_games)
        if len(games):
            plies, counts = np.zeros((n_games, 1)), np.zeros((n_games, 1))
            plies[games, 0] = positions.ply[illegal[first]]
            counts[games] = 1
            found["first_illegal_ply"] = intervals.of_resamples(
                float(plies.sum() / len(games)),
                tables.bootstrap.ratios(plies, counts)[:, 0],
                len(games),
                len(games),
                rate=False,
            )
    beyond = float((~scores.within).sum())
    found["plies_beyond_context"] = Metric(beyond, beyond, beyond, len(positions))
    return found


def _breakdowns(games: HeldOut) -> Iterator[tuple[str, Groups]]:
    positions = games.positions
    bucket = positions.ply // PLIES_A_BUCKET
    yield "phase", Groups(PHASES, positions.phase.astype(np.int64))
    yield (
        "ply",
        Groups([f"{i * PLIES_A_BUCKET}-{(i + 1) * PLIES_A_BUCKET - 1}" for i in range(bucket.max() + 1)], bucket),
    )
    yield "piece", Groups([str(name) for name in chess.PIECE_NAMES[1:]], positions.piece.astype(np.int64) - 1)
    yield "check", Groups(("not in check", "in check"), np.where(positions.special & Special.CHECK, 1, 0))
    starts = np.array(list(LEGAL_MOVES))
    yield "legal_moves", Groups(list(LEGAL_MOVES.values()), np.searchsorted(starts, positions.n_legal, "right") - 1)
    sources = [game.source for game in games.games]
    if len(set(sources)) > 1:
        names, of_game = np.unique(np.array(sources), return_inverse=True)
        yield "source", Groups(names.tolist(), of_game[positions.game])
    if games.first_novel is not None:
        yield "novel", Groups(("known", "novel"), np.where(positions.ply >= games.first_novel[positions.game], 1, 0))


def _illegal(scores: MoveScores, kinds: Mapping[int, boards.Illegal], tables: Tables) -> dict[str, Metrics]:
    """Share of each kind among the illegal greedy moves."""
    of_ply = np.full(len(scores.within), "", dtype=object)
    of_ply[list(kinds)] = list(kinds.values())
    shares = {}
    for kind in boards.Illegal if kinds else ():
        share = tables.metrics({"share": Rows((of_ply == kind).astype(float), of_ply != "")}, _everything(scores))
        shares[kind.value] = share["all"]
    return shares


def _calibration(scores: MoveScores, tables: Tables) -> dict[str, Metrics]:
    """Reliability of the likeliest move: how probable it was and how often it was played, by bins of its probability;
    and the expected calibration error (Guo et al. 2017, eq. 3).

    Resampling adds noise to a sum of absolute values, so the interval of the error is the mirrored one.
    """
    rows = scores.measured & scores.within
    if not rows.any():
        return {}
    names = [f"{i / CONFIDENCE_BINS}-{(i + 1) / CONFIDENCE_BINS}" for i in range(CONFIDENCE_BINS)]
    bins = np.nan_to_num(scores.confidence * CONFIDENCE_BINS).astype(np.int64).clip(0, CONFIDENCE_BINS - 1)
    confidence, top1 = Rows(scores.confidence, rows), Rows(scores.top1, rows)
    gaps, counts = tables.sums(Rows(scores.confidence - scores.top1, rows), Groups(names, bins))
    resampled = np.abs(tables.bootstrap.weights @ gaps).sum(1) / (tables.bootstrap.weights @ counts).sum(1)
    error = intervals.of_resamples(
        float(np.abs(gaps.sum(0)).sum() / counts.sum()),
        resampled,
        int(counts.sum()),
        int((counts.sum(1) > 0).sum()),
        rate=False,
    )
    if error.low is not None and error.high is not None:
        error = replace(error, low=max(0.0, 2 * error.value - error.high), high=2 * error.value - error.low)
    return {
        "all": {"error": error},
        **tables.metrics({"confidence": confidence, "top1": top1}, Groups(names, bins)),
    }
