"""Edits: cases are legal changes, an edit of a planted board works, one of strength 0 changes nothing."""

from collections.abc import Mapping
from pathlib import Path

import chess
import numpy as np
import pytest
from conftest import NOTATIONS
from random_games import random_game
from toy import toy

from chesslm import boards
from chesslm.boards import MoveCodes
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.scorers import ModelScorer, TokenTree
from chesslm.inside.cases import KINDS, Case, Change, make_case
from chesslm.inside.editing import choose, make_cases, measure
from chesslm.inside.edits import Directions, PushedScorer, Vector, directions, outcomes, pushes, shift
from chesslm.inside.layers import fit_layers
from chesslm.inside.linear import part_of
from chesslm.inside.truths import BOARD, truths_of
from chesslm.model import LoadedModel, load_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def games() -> list[MoveCodes]:
    return [random_game(number, plies=40) for number in range(70)]


@pytest.fixture(scope="module")
def planted(games: list[MoveCodes]) -> tuple[LoadedModel, dict[int, Directions]]:
    """The toy network, and what its layers' probes say."""
    loaded = toy()
    fitted = fit_layers(loaded, part_of(games[:50]), part_of(games[50:55]))
    probes = fitted.probes[1:]
    return loaded, {each.layer: directions(fitted.moments, each.layer, each.weights[BOARD.name]) for each in probes}


@pytest.mark.parametrize("kind", KINDS)
def test_cases_are_legal_changes(kind: str, games: list[MoveCodes]) -> None:
    random, made = np.random.default_rng(1), 0
    for number, codes in enumerate(games[:30]):
        board = boards.board_after(codes[: 10 + number % 29])
        for square in board.piece_map():
            case = make_case(number, codes[: 10 + number % 29], board, kind, square, random)
            if case is None:
                continue
            made += 1
            assert board.color_at(square) == board.turn and board.piece_type_at(square) != chess.KING
            labels = BOARD.labels(truths_of(case.codes))[-1].copy()
            for change in case.changes:
                assert labels[change.square] == change.before != change.after
                labels[change.square] = change.after
            changed = board.copy(stack=False)
            for at in chess.SQUARES:
                white = board.turn if labels[at] <= 6 else not board.turn
                piece = chess.Piece((int(labels[at]) - 1) % 6 + 1, white) if labels[at] else None
                changed.set_piece_at(at, piece)
            changed.castling_rights = changed.clean_castling_rights()
            assert changed.is_valid() or not changed.status() & ~ALLOWED
            assert case.edited == set(boards.legal_codes(changed)) and case.edited != case.true
            assert case.true == set(boards.legal_codes(board))
            assert len(case.changes) == (2 if kind == "move" else 1)
    assert made > 100


ALLOWED = chess.STATUS_TOO_MANY_CHECKERS | chess.STATUS_IMPOSSIBLE_CHECK | chess.STATUS_INVALID_EP_SQUARE
"""What a changed board may be although no game leads there: in a check that no move gives, or with a piece where
a pawn has just passed."""


def test_an_edit_reaches_the_mean_of_the_answer(planted: tuple[LoadedModel, dict[int, Directions]]) -> None:
    found = planted[1][2]
    hidden = np.random.default_rng(1).normal(size=found.weight.shape[0])
    changes = (Change(12, 1, 0), Change(28, 0, 1))
    after = hidden + shift(found, hidden, changes)
    for square, old, new in changes:
        read = found.weight[:, square, new] - found.weight[:, square, old]
        assert read @ after == pytest.approx(read @ found.means[square, new], rel=1e-6, abs=1e-6)


def test_edits_of_a_planted_board_work(
    planted: tuple[LoadedModel, dict[int, Directions]], games: list[MoveCodes]
) -> None:
    loaded, layers = planted
    choosing, cases = make_cases(loaded, games[50:55], 10, seed=1), make_cases(loaded, games[55:], 60, seed=1)
    assert all(len(of_kind) > 40 for of_kind in cases.values())
    where, dose = choose(loaded, layers, choosing, seed=1)
    assert 2 in where
    result = measure(loaded, layers, where, dose, cases, Bootstrap(15, 1), seed=1)
    figures = {key: metric.value for key, metric in result.metrics.items()}
    for kind in KINDS:
        # The piece is the one that it would move: where that is gone, the move is illegal.
        assert result.by[kind]["unedited"]["true_argmax"].value == 1
        # Where such a piece never stood in 50 games there is no direction to it.
        assert figures[f"{kind}_edited_argmax"] > figures[f"{kind}_edited_argmax_unedited"] + 0.1, figures
    assert figures["erase_edited_argmax"] > 0.95 and figures["erase_edited_argmax_unedited"] == 0
    assert figures["erase_edited_argmax_random"] < 0.3 and figures["erase_edited_argmax_other"] < 0.5
    assert result.by["dose"]["0"]["edited_argmax"].value == 0
    assert result.metrics["erase_edited_argmax"].n == len(cases["erase"])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_an_edit_of_no_strength_changes_nothing_and_one_edit_nothing_else(
    notation: str, tiny_models: Mapping[str, Path], games: list[MoveCodes]
) -> None:
    loaded = load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
    cases = make_cases(loaded, games[:4], 6, seed=1)["erase"]
    assert len(cases) > 3
    plain = outcomes(loaded, cases, [], None)

    def none(layer: int, hidden: Vector, case: Case) -> Vector:
        return np.zeros_like(hidden)

    assert outcomes(loaded, cases, [0, 1, 2], none) == plain

    def one(layer: int, hidden: Vector, case: Case) -> Vector:
        return np.array(np.arange(len(hidden)) % 7 * (case is cases[2]), np.float64)

    pushed = outcomes(loaded, cases, [1], one)
    assert [a == b for a, b in zip(plain, pushed, strict=True)] == [case is not cases[2] for case in cases]
    (alone,) = outcomes(loaded, cases[2:3], [1], one)
    assert alone.true == pytest.approx(pushed[2].true, abs=1e-4)


def test_a_branch_is_no_case_of_its_own() -> None:
    """Two cases of one game, the later one spelled by what branches off at the earlier one."""
    loaded = toy()
    keys = [np.array(ids, np.int64).tobytes() for ids in ((1, 7), (1, 7, 8))]
    scorer = PushedScorer(
        ModelScorer(loaded), dict(zip(keys, ("early", "late"), strict=True)), [1], lambda *_: np.zeros(1)
    )
    branching = TokenTree(np.array([1, 7, 8, 9], np.int32), np.array([-1, 0, 1, 1], np.int32))
    late = TokenTree(np.array([1, 7, 8, 9, 5], np.int32), np.array([-1, 0, 1, 2, 2], np.int32))
    assert list(scorer._places([branching, late])) == [(0, 1, "early"), (1, 2, "late")]


def test_controls_are_as_long_as_the_edit(
    planted: tuple[LoadedModel, dict[int, Directions]], games: list[MoveCodes]
) -> None:
    loaded, layers = planted
    case = make_cases(loaded, games[:5], 2, seed=1)["move"][0]
    hidden = np.random.default_rng(1).normal(size=layers[2].weight.shape[0])
    of_dose = {dose: pushes(layers, dose, seed=1) for dose in (1.0, 2.0)}
    edit = of_dose[1.0]["edit"](2, hidden, case)
    assert of_dose[2.0]["edit"](2, hidden, case) == pytest.approx(2 * edit)
    for name in ("another square", "random direction"):
        control = of_dose[1.0][name](2, hidden, case)
        assert np.linalg.norm(control) == pytest.approx(np.linalg.norm(edit))
        assert abs(control @ edit) < 0.95 * (edit @ edit)
        assert np.array_equal(control, of_dose[1.0][name](2, hidden, case))
