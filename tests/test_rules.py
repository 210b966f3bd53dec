"""The suite rules against players whose figures are known in closed form, and plain forward passes."""

import json
import math
from pathlib import Path

import chess
import numpy as np
import pytest
from odd_games import lively_game
from oracles import NEVER, Indifferent, Oracle, never_legal, uniform
from random_games import ALL_NOTATIONS, PROMOTIONS, random_game, tokenizer_of
from test_legality import after, held_out, random_model, scored, without_specials

from chesslm import boards, parallel
from chesslm.eval import exam as exam_module
from chesslm.eval.asking import Question, ask
from chesslm.eval.baselines import UniformLegal
from chesslm.eval.exam import Exam, Row, mine
from chesslm.eval.items import ALLOWED, CAPTURED, ENDED, ITEMS, PINNED, REFUSED, WAY_BACK
from chesslm.eval.results import Result
from chesslm.eval.rules import rules
from chesslm.eval.scorers import ModelScorer
from chesslm.model import load_model
from chesslm.tokenizer import EOS, get_tokenizer

NOTATIONS = ("uci-move", "uci-square")
all_notations = pytest.mark.parametrize("notation", ALL_NOTATIONS)
WITH_MOVES = [item for item in ITEMS if item not in ENDED]


@pytest.fixture(scope="module")
def exam() -> Exam:
    games = [lively_game(seed, 60) for seed in range(6)]
    with parallel.pool(1) as pool, pytest.MonkeyPatch.context() as patch:
        # Random games have up to 300 plies.
        patch.setattr(exam_module, "LEAST_ROUND", 8)
        return mine(games, pool, per_item=3)


@pytest.fixture(scope="module")
def few(exam: Exam) -> Exam:
    """Of each item the row that comes first in its game, for players that look at every board on the way."""
    return Exam(exam.games, tuple(min(of_item(exam, item), key=lambda row: row.ply) for item in ITEMS))


def of_item(exam: Exam, item: str) -> list[Row]:
    return [row for row in exam.rows if row.item == item]


def board_of(exam: Exam, row: Row) -> chess.Board:
    *_, board = boards.replay(boards.to_moves(exam.games[row.game][: row.ply]))
    return board


def check_shape(result: Result, exam: Exam, in_san: bool = False) -> None:
    """The contract: which figures there are, of how many rows, and that averages are averages.

    SAN has no word for the move of a piece that is gone: its probability is left out, not taken for certain.
    """
    items = result.by["item"]
    assert list(items) == list(dict.fromkeys(row.item for row in exam.rows))
    for item, found in items.items():
        expected = {"legal_argmax", "legal_mass"}
        if item in ALLOWED:
            expected |= {"p_move"}
        if item in REFUSED:
            expected |= {"p_forbidden", "p_forbidden_share", "p_allowed"}
        if item in ENDED:
            expected = {"eos_mass", "eos_argmax", "eos_mass_before", "eos_argmax_before"}
        if in_san and item == CAPTURED:
            expected -= {"p_forbidden", "p_forbidden_share"}
        assert set(found) == expected, item
        controls = [row for row in of_item(exam, item) if row.control]
        for key, metric in found.items():
            assert metric.n == (len(controls) if key == "p_allowed" else len(of_item(exam, item)))
    for name, key, over in (
        ("exam_legal_argmax", "legal_argmax", WITH_MOVES),
        ("exam_legal_mass", "legal_mass", WITH_MOVES),
        ("refusal_p_forbidden", "p_forbidden", REFUSED),
        ("refusal_p_allowed", "p_allowed", REFUSED),
        ("ended_eos_mass", "eos_mass", ENDED),
    ):
        metric = result.metrics[name]
        needed = {"p_forbidden", "p_allowed"} if over is REFUSED else {key}
        averaged = [items[item][key] for item in over if needed <= set(items[item])]
        if in_san and over is REFUSED:
            assert len(averaged) == len(REFUSED) - 1
        assert metric.value == pytest.approx(np.mean([each.value for each in averaged]))
        assert metric.n == sum(each.n for each in averaged)
    for metrics in (result.metrics, *(group for groups in result.by.values() for group in groups.values())):
        for key, metric in metrics.items():
            assert key == "plies_beyond_context" or 0 <= metric.value <= 1, key
            assert metric.low is None or metric.high is None or metric.low <= metric.value <= metric.high, key
    json.dumps(result.as_dict(), allow_nan=False)


@all_notations
def test_a_player_who_knows_the_rules(notation: str, few: Exam) -> None:
    scorer = Oracle(tokenizer_of(notation), uniform)
    told: list[int] = []
    result = rules(scorer, few, advance=told.append)
    check_shape(result, few, scorer.tokenizer.notation.reads_board)
    assert sum(told) == few.positions
    items = {item: {key: metric.value for key, metric in found.items()} for item, found in result.by["item"].items()}
    assert result.metrics["exam_legal_argmax"].value == 1
    assert result.metrics["exam_legal_mass"].value == pytest.approx(1, abs=1e-6)
    assert result.metrics["refusal_p_forbidden"].value == 0
    for row in few.rows:
        found = items[row.item]
        if row.item in ALLOWED:
            assert found["p_move"] == pytest.approx(len(row.moves) / len(row.legal), abs=1e-6), row.item
        if row.item in REFUSED:
            assert found["p_allowed"] == pytest.approx(1 / board_at(few, row).legal_moves.count(), abs=1e-6), row.item
            assert found.get("p_forbidden", 0) == found.get("p_forbidden_share", 0) == 0
        if row.item in ENDED:
            assert (found["eos_mass"], found["eos_argmax"]) == (1, 1)
            # In text <eos> may also end the move before.
            assert found["eos_mass_before"] == pytest.approx(0.5) or notation == "text"


def board_at(exam: Exam, row: Row) -> chess.Board:
    """Where the control stands."""
    assert row.control
    game, ply, _ = row.control
    *_, board = boards.replay(boards.to_moves(exam.games[game][:ply]))
    return board


def test_the_uniform_baseline_ends_the_game_when_it_is_over(exam: Exam) -> None:
    result = rules(UniformLegal(), exam)
    check_shape(result, exam)
    for item in ENDED:
        found = {key: metric.value for key, metric in result.by["item"][item].items()}
        assert found == {"eos_mass": 1, "eos_argmax": 1, "eos_mass_before": 0, "eos_argmax_before": 0}


@all_notations
def test_one_illegal_move_for_ever(notation: str, few: Exam) -> None:
    assert not any(boards.move_code(NEVER) in (*row.legal, *row.moves) for row in few.rows)
    scorer = Oracle(tokenizer_of(notation), never_legal)
    result = rules(scorer, few)
    check_shape(result, few, scorer.tokenizer.notation.reads_board)
    for item in WITH_MOVES:
        assert all(metric.value == 0 for metric in result.by["item"][item].values()), item
    assert result.metrics["exam_legal_mass"].value == 0


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_player_who_sees_no_pins(notation: str, exam: Exam) -> None:
    """It moves as pieces move and leaves its king in check: only one item finds it out, besides the checks."""

    def pseudo(board: chess.Board) -> dict[chess.Move, float]:
        return dict.fromkeys(board.pseudo_legal_moves, 1.0)

    found = rules(Oracle(get_tokenizer(notation), pseudo), exam).by["item"]
    for item in REFUSED:
        assert (found[item]["p_forbidden"].value > 0) == (item == PINNED), item
    counts = [len(list(board_of(exam, row).pseudo_legal_moves)) for row in of_item(exam, PINNED)]
    assert found[PINNED]["p_forbidden"].value == pytest.approx(np.mean([1 / n for n in counts]), abs=1e-6)
    assert found[PINNED]["p_forbidden_share"].value == np.mean([1 / n > 0.01 for n in counts])
    for item in WITH_MOVES:
        shares = [len(row.legal) / len(list(board_of(exam, row).pseudo_legal_moves)) for row in of_item(exam, item)]
        assert found[item]["legal_mass"].value == pytest.approx(np.mean(shares), abs=1e-6), item
    assert found["double check"]["legal_mass"].value < 0.5 < found[WAY_BACK]["legal_mass"].value


def test_indifference_gives_the_forbidden_what_it_gives_the_allowed(exam: Exam) -> None:
    result = rules(Indifferent(get_tokenizer("uci-move")), exam)
    check_shape(result, exam)
    for item in REFUSED:
        for key in ("p_forbidden", "p_allowed"):
            assert result.by["item"][item][key].value == pytest.approx(1 / 1968, abs=1e-9)
        assert result.by["item"][item]["p_forbidden_share"].value == 0
    for item in ENDED:
        assert result.by["item"][item]["eos_mass"].value == pytest.approx(1 / 1972)


# A queen's step mates on the first rank, where a pawn's would have promoted.
MATE = "a4 e6 h3 Nh6 c4 Qh4 Qc2 Qxf2+ Kd1 Ng4 b4 Qxf1#"


def test_after_a_step_to_the_last_rank_the_letters_are_ruled_out() -> None:
    """In squares the mate could go on with a letter; that it is over is given."""
    board = chess.Board()
    for word in MATE.split():
        board.push_san(word)
    codes = boards.to_codes(board.move_stack)
    row = Row("checkmate", 0, len(codes), (), (), (0, len(codes) - 1, int(codes[-1])), "given")
    exam = Exam([codes], (row,))
    result = rules(Indifferent(get_tokenizer("uci-square")), exam)
    found = {key: metric.value for key, metric in result.by["item"]["checkmate"].items()}
    assert found["eos_mass"] == pytest.approx(1 / 74) and found["eos_mass_before"] == pytest.approx(1 / 78)
    assert result.metrics["ended_eos_mass"].low is None, "one game says nothing of its spread"
    assert "source" not in result.by


@all_notations
def test_asking_and_scoring_agree(notation: str) -> None:
    """Also at ply 19, after a rook's step to the last rank."""
    games = [PROMOTIONS, random_game(3, 40)]
    scorer = random_model(notation, context=512)
    with parallel.pool(1) as pool:
        held = held_out(games, pool)
        positions, scores = held.positions, scored(scorer, held, pool)
    questions = [
        Question(game, ply, np.append(positions.legal_codes(at), positions.played[at]))
        for at, (game, ply) in enumerate(zip(positions.game.tolist(), positions.ply.tolist(), strict=True))
    ]
    answers = ask(scorer, games, questions)
    bits = [-answer.log_p[-1] / math.log(2) for answer in answers]
    mass = [np.exp(answer.log_p[:-1]).sum() for answer in answers]
    np.testing.assert_allclose(bits, scores.bits, atol=1e-4)
    np.testing.assert_allclose(-np.log2(mass), scores.legality_bits, atol=1e-4)
    assert [answer.greedy for answer in answers] == scores.greedy.tolist()


def test_whole_moves_prefix_by_prefix(exam: Exam) -> None:
    """Every figure of some rows against plain forward passes."""
    scorer = random_model("uci-move", context=512)
    rows = [next(row for row in exam.rows if row.item == item) for item in ("white castles long", PINNED, "stalemate")]
    assert rows[1].control
    castles, pinned, stalemate = (
        {key: metric.value for key, metric in result.by["item"][row.item].items()}
        for row in rows
        for result in [rules(scorer, Exam(exam.games, (row,)))]
    )
    p = next_moves(scorer, exam, rows[0].game, rows[0].ply)
    legal = token_ids(rows[0].legal)
    assert castles["legal_mass"] == pytest.approx(p[legal].sum(), abs=1e-5)
    assert castles["legal_argmax"] == (p.argmax() in legal)
    assert castles["p_move"] == pytest.approx(p[token_ids(rows[0].moves)].sum(), abs=1e-5)
    p = next_moves(scorer, exam, rows[1].game, rows[1].ply)
    assert pinned["p_forbidden"] == pytest.approx(p[token_ids(rows[1].moves)].sum(), abs=1e-5)
    p = next_moves(scorer, exam, *rows[1].control[:2])
    assert pinned["p_allowed"] == pytest.approx(p[token_ids(rows[1].control[2:])].sum(), abs=1e-5)
    ids = scorer.tokenizer.encode(exam.games[rows[2].game]).ids.tolist()
    over, before = after(scorer, [ids])[0], after(scorer, [ids[:-1]])[0]
    assert stalemate["eos_mass"] == pytest.approx(over[EOS], abs=1e-5)
    assert stalemate["eos_mass_before"] == pytest.approx(before[EOS], abs=1e-5)
    assert stalemate["eos_argmax"] == (over.argmax() == EOS)


def token_ids(codes: tuple[int, ...]) -> list[int]:
    tokenizer = get_tokenizer("uci-move")
    return [tokenizer.ids[boards.code_move(code).uci()] for code in codes]


def next_moves(scorer: ModelScorer, exam: Exam, game: int, ply: int) -> np.ndarray:
    ids = scorer.tokenizer.encode(exam.games[game][:ply]).ids.tolist()
    return without_specials(scorer, after(scorer, [ids])[0])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_past_the_context_everything_is_missed(notation: str, exam: Exam) -> None:
    """A player who knows the rules but sees 40 tokens."""
    tokenizer = get_tokenizer(notation)

    def seen(row: Row) -> bool:
        board = board_of(exam, row)
        asked = [tokenizer.spell(boards.code_move(code), board) for code in (*row.legal, *row.moves)]
        return len(tokenizer.encode(exam.games[row.game][: row.ply])) + max(map(len, asked), default=1) <= 40

    result = rules(Oracle(tokenizer, uniform, context=40), exam)
    n_seen = sum(map(seen, exam.rows))
    assert 0 < n_seen < len(exam.rows)
    assert result.metrics["plies_beyond_context"].value == len(exam.rows) - n_seen
    for item in WITH_MOVES:
        rows, found = of_item(exam, item), result.by["item"][item]
        share = np.mean([seen(row) for row in rows])
        assert (found["legal_argmax"].value, found["legal_argmax"].n) == (share, len(rows))
        assert found["legal_mass"].value == pytest.approx(share, abs=1e-6)
        for key in {"p_move", "p_forbidden"} & found.keys():
            assert found[key].n == sum(map(seen, rows))


def test_both_sources_are_compared_over_the_same_items(exam: Exam) -> None:
    scorer = random_model("uci-move", context=512)
    result = rules(scorer, exam)
    given, chance = result.by["item, given"], result.by["item, random"]
    both = [item for item in given if item in chance and item not in ENDED]
    assert 5 < len(both) < len(WITH_MOVES)
    for source, items in (("given", given), ("random", chance)):
        values = [items[item]["legal_mass"].value for item in both]
        assert result.by["source"][source]["exam_legal_mass"].value == pytest.approx(np.mean(values))
    for item, found in result.by["item"].items():
        for key, metric in found.items():
            parts = [items[item][key] for items in (given, chance) if item in items and key in items[item]]
            assert sum(part.n for part in parts) == metric.n
            total = sum(part.n * part.value for part in parts)
            # A control may be in a game of the other source; its row is not.
            assert total == pytest.approx(metric.n * metric.value), (item, key)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_model_sits_the_exam(notation: str, exam: Exam, tiny_models: dict[str, Path]) -> None:
    scorer = ModelScorer(load_model(str(tiny_models[notation]), device="cpu"))
    result = rules(scorer, exam)
    check_shape(result, exam)
    again = rules(scorer, exam)
    assert again.as_dict() == result.as_dict()
    assert result.metrics["exam_legal_mass"].value > 0.01
