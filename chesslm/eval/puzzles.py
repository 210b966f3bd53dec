"""Suites ``mate-in-one`` and ``puzzles``: does a scorer find the move? (docs/metrics.md, Mate in one and puzzles)

A scorer and puzzles (``tactics``) in, metrics with intervals and breakdowns out. Two answers count: the greedy move,
legal or not, and the likeliest of the legal moves, as if the rules were looked up. Equal probabilities are ranked at
random, in expectation. Past the scorer's context a puzzle counts as missed.
"""

import math

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm.eval.asking import Answer, Question, ask
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.moves import Progress
from chesslm.eval.positions import PHASES
from chesslm.eval.ranking import rank
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer
from chesslm.eval.tactics import Puzzle, Puzzles

Groups = dict[str, NDArray[np.bool_]]
"""Which puzzles belong to each group, (puzzles,); groups may overlap."""


def mate_in_one(scorer: Scorer, given: Puzzles, seed: int = 1, advance: Progress = lambda _: None) -> Result:
    """Measure how often a scorer mates where it can.

    Args:
        scorer: a model or a baseline.
        given: by ``tactics.mates_in_one``.
        seed: of the bootstrap.
        advance: told of puzzles done.
    """
    several = np.array([len(puzzle.solutions) > 1 for puzzle in given.rows], np.bool_)
    by = {
        "phase": _phases(given),
        "mates": {"1": ~several, "2+": several},
        "piece": {
            chess.piece_name(piece): np.array([piece in puzzle.pieces for puzzle in given.rows], np.bool_)
            for piece in chess.PIECE_TYPES
        },
        "played": _played(given),
    }
    return _measure(scorer, given, "mate_mass", by, seed, advance)


def puzzles(scorer: Scorer, given: Puzzles, seed: int = 1, advance: Progress = lambda _: None) -> Result:
    """Measure how often a scorer finds the move that an engine holds far better than all others.

    Args:
        scorer: a model or a baseline.
        given: by ``tactics.engine_puzzles``.
        seed: of the bootstrap.
        advance: told of puzzles done.
    """
    return _measure(scorer, given, "solution_mass", {"phase": _phases(given), "played": _played(given)}, seed, advance)


def _phases(given: Puzzles) -> Groups:
    phase = np.array([puzzle.phase for puzzle in given.rows], np.int64)
    return {name: phase == i for i, name in enumerate(PHASES)}


def _played(given: Puzzles) -> Groups:
    played = np.array([puzzle.played for puzzle in given.rows], np.bool_)
    return {"played": played, "not played": ~played}


def _measure(scorer: Scorer, given: Puzzles, mass: str, by: dict[str, Groups], seed: int, advance: Progress) -> Result:
    """Metrics over all puzzles and by group; a group without any is left out."""
    questions = [Question(puzzle.game, puzzle.ply, np.array(puzzle.legal, np.uint16)) for puzzle in given.rows]
    answers = ask(scorer, given.games, questions, advance)
    figures = [_figures(puzzle, answer) for puzzle, answer in zip(given.rows, answers, strict=True)]
    keys = ("solved_greedy", "solved_legal_policy", "solved_chance", mass)
    columns = dict(zip(keys, np.array(figures).reshape(-1, len(keys)).T, strict=True))
    games = np.array([puzzle.game for puzzle in given.rows], np.int64)
    bootstrap = Bootstrap(len(given.games), seed)

    def metrics(rows: NDArray[np.bool_]) -> Metrics:
        return {key: bootstrap.mean(games[rows], values[rows]) for key, values in columns.items()}

    beyond = float(sum(not answer.within for answer in answers))
    found = metrics(np.ones(len(games), np.bool_)) if len(games) else {}
    return Result(
        found | {"plies_beyond_context": Metric(beyond, beyond, beyond, len(games))},
        {name: {group: metrics(rows) for group, rows in groups.items() if rows.any()} for name, groups in by.items()},
    )


def _figures(puzzle: Puzzle, answer: Answer) -> tuple[float, ...]:
    """Solved by the greedy move, by the likeliest legal one, by a random legal one; probability of the solutions."""
    solves = np.isin(puzzle.legal, puzzle.solutions)
    of_solutions = torch.from_numpy(np.where(solves, answer.log_p, -math.inf))[None]
    policy = rank(torch.from_numpy(answer.log_p)[None], 1).expected(of_solutions, torch.ones(1, dtype=torch.int64))
    mass = min(1.0, float(np.exp(answer.log_p[solves]).sum()))
    return float(answer.greedy in puzzle.solutions), float(policy), float(solves.mean()), mass
