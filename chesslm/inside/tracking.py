"""Illegal moves: an error of tracking, legal on the board that the model believes in, or an error of deciding.

Wherever the greedy move is illegal, the probe's board is asked whether it would have been legal there. A board with
errors allows some illegal moves by chance, so beside it stand boards with as many errors of other kinds:

- ``scattered``: the same number of squares, drawn at random, each with a wrong answer that the probe gives for what
  stands there as often as it does;
- ``moved``: the errors that the probe makes in a position of another game, as many of them.

What is the model's own beyond either is its having believed in the very board on which its move is legal.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.legality import find_kinds
from chesslm.eval.moves import Progress, score_moves
from chesslm.eval.positions import find_positions
from chesslm.eval.results import Result
from chesslm.eval.scorers import ModelScorer
from chesslm.game import Game
from chesslm.inside.counterfactual import legal_otherwise
from chesslm.inside.linear import Part, read
from chesslm.inside.probe import BoardProbe
from chesslm.inside.truths import CODES, Codes
from chesslm.model import LoadedModel

WRONG_SQUARES = {1: "1", 2: "2 to 3", 4: "4 to 7", 8: "8 to 15", 16: "16 and more"}
"""Groups of believed boards by their errors, by the fewest."""
LEGAL = 2000
"""Legal moves at most that are asked about likewise."""
CHUNK = 64


@dataclass(frozen=True)
class Believed:
    """Positions with the board that a model believes in, P of them, those after the first move of each game.

    Attributes:
        game, ply: of each, (P,).
        true, pieces: codes of what stands there and of what the probe says, (P, 64).
    """

    game: NDArray[np.int64]
    ply: NDArray[np.int64]
    true: Codes
    pieces: Codes

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Squares where the two differ, (P, 64)."""
        return self.true != self.pieces


def believed(
    loaded: LoadedModel, probes: Sequence[BoardProbe], part: Part, elsewhere: Executor | None = None
) -> list[Believed]:
    """What a model believes in by each probe, all along some games, read here or elsewhere (``capture``)."""
    layers = sorted({probe.layer for probe in probes})
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64], Codes]] = []
    pieces: list[list[Codes]] = [[] for _ in probes]
    for block in read(loaded, part, layers, elsewhere=elsewhere):
        rows.append((block.game, block.ply, block.truths.pieces))
        for probe, each in zip(probes, pieces, strict=True):
            each.append(probe.believed(block.hidden[layers.index(probe.layer)], block.truths.white)[0])
    game, ply, true = map(np.concatenate, zip(*rows, strict=True))
    return [Believed(game, ply, true, np.concatenate(each)) for each in pieces]


def tracking(
    loaded: LoadedModel,
    probe: BoardProbe,
    part: Part,
    seed: int,
    pool: Executor,
    advance: Progress = lambda _: None,
    layers: Sequence[BoardProbe] = (),
    elsewhere: Executor | None = None,
) -> Result:
    """How many illegal moves the believed board allows.

    Args:
        loaded: the model.
        probe: of its board, fitted on other games.
        part: the games.
        seed: of the controls and the intervals.
        pool: processes, for the rules of chess.
        advance: told of plies done.
        layers: probes of several layers, for what each of them believes in.
        elsewhere: what runs the forward passes for the believed boards (``capture``).

    Returns:
        Without metrics if no move is illegal.
    """
    random = np.random.default_rng(seed)
    positions = find_positions(part.codes, pool)
    scores = score_moves(ModelScorer(loaded), [Game(codes) for codes in part.codes], positions, pool, advance=advance)
    kinds = find_kinds(scores, positions, pool)
    board, *of_layers = believed(loaded, [probe, *layers], part, elsewhere)
    # The move before which a game has so many plies; the first of a game has no board to be mistaken about.
    goes_on = board.ply < positions.lengths[board.game]
    at = np.where(goes_on, positions.first[board.game] + board.ply, 0)
    known = np.flatnonzero(goes_on)
    known = known[scores.measured[at[known]] & scores.within[at[known]] & (scores.greedy[at[known]] > 0)]
    legal = scores.greedy_legal[at[known]]
    # In order, so that each position of a game is reached from the one before.
    rows, fine = known[~legal], np.sort(random.permutation(known[legal])[:LEGAL])
    over = Bootstrap(len(part.codes), seed)
    if not len(rows):
        return Result({})
    moves = scores.greedy[at]
    answers = {
        "believed": board.pieces[rows],
        "scattered": scattered(board, rows, random),
        "moved": moved(board, rows, random),
    }
    allowed = {name: _allowed(part, board, rows, moves, pieces, pool) for name, pieces in answers.items()}
    metrics = {f"allowed_{name}": over.mean(board.game[rows], each) for name, each in allowed.items()}
    if len(fine):
        metrics["allowed_legal"] = over.mean(
            board.game[fine], _allowed(part, board, fine, moves, board.pieces[fine], pool)
        )
    kind = np.array([str(kinds[int(i)]) for i in at[rows]])
    starts = np.array(list(WRONG_SQUARES))
    errors = board.wrong[rows].sum(1)
    group = np.array([*WRONG_SQUARES.values(), "0"])[np.searchsorted(starts, errors, "right") - 1]
    by = {
        name: {
            str(value): {
                f"allowed_{board_of}": over.mean(board.game[rows][labels == value], each[labels == value])
                for board_of, each in allowed.items()
            }
            for value in dict.fromkeys(labels[np.argsort(errors, kind="stable")].tolist())
        }
        for name, labels in (("illegal", kind), ("wrong squares", group))
    }
    # The last layers make the next move ready too, and a probe there might read it and not the board.
    for reads, there in zip(layers, of_layers, strict=True):
        answers = {"believed": there.pieces[rows], "scattered": scattered(there, rows, random)}
        by.setdefault("layer", {})[str(reads.layer)] = {
            f"allowed_{name}": over.mean(board.game[rows], _allowed(part, there, rows, moves, pieces, pool))
            for name, pieces in answers.items()
        }
    return Result(metrics, by)


def scattered(board: Believed, rows: NDArray[np.int64], random: np.random.Generator) -> Codes:
    """True boards with as many errors as the believed ones have, on random squares, (rows, 64)."""
    counts = np.zeros((len(CODES), len(CODES)))
    np.add.at(counts, (board.true[board.wrong], board.pieces[board.wrong]), 1)
    # What the probe never mistakes for anything may be anything else.
    counts += 1e-6
    np.fill_diagonal(counts, 0)
    chances = counts / counts.sum(1, keepdims=True)
    found = board.true[rows].copy()
    for pieces, n in zip(found, board.wrong[rows].sum(1).tolist(), strict=True):
        for square in random.permutation(64)[:n].tolist():
            pieces[square] = random.choice(len(CODES), p=chances[pieces[square]])
    return found


def moved(board: Believed, rows: NDArray[np.int64], random: np.random.Generator) -> Codes:
    """True boards with errors that the probe makes in another game, as many wherever there is such a position.

    Of positions of other games with at least as many errors one is drawn among those at the nearest ply with the same
    side to move, and of its errors those that are errors here too, as many as are wanted.
    """
    found = board.true[rows].copy()
    errors = board.wrong.sum(1)
    for pieces, row in zip(found, rows.tolist(), strict=True):
        wanted = int(errors[row])
        # More than are wanted, since what is wrong there may be right here.
        others = (board.game != board.game[row]) & ((board.ply - board.ply[row]) % 2 == 0) & (errors >= wanted)
        choices = np.flatnonzero(others)
        distance = np.abs(board.ply[choices] - board.ply[row]) + random.random(len(choices))
        for other in choices[np.argsort(distance)[:20]].tolist():
            (squares,) = np.nonzero(board.wrong[other] & (board.pieces[other] != board.true[row]))
            if len(squares) >= wanted:
                chosen = random.permutation(squares)[:wanted]
                pieces[chosen] = board.pieces[other][chosen]
                break
    return found


def _allowed(
    part: Part,
    board: Believed,
    rows: NDArray[np.int64],
    moves: boards.MoveCodes,
    pieces: Codes,
    pool: Executor,
) -> NDArray[np.float64]:
    """Whether the move of each row would be legal with those pieces, as 0 and 1, (rows,)."""
    asked = [
        (part.codes[int(board.game[row])][: int(board.ply[row])], int(moves[row]), each)
        for row, each in zip(rows.tolist(), pieces, strict=True)
    ]
    chunks = [asked[i : i + CHUNK] for i in range(0, len(asked), CHUNK)]
    return np.array([answer for chunk in pool.map(legal_otherwise, chunks) for answer in chunk], np.float64)
