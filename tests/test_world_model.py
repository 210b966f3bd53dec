"""The suite ``world-model``: pairs are what they say; who knows the board, or nothing, has what is to be expected."""

from collections.abc import Sequence
from pathlib import Path

import chess
import numpy as np
import pytest
from conftest import Cli
from oracles import Indifferent, Oracle, uniform
from random_games import random_game, san_game, tokenizer_of

from chesslm import boards, parallel
from chesslm.boards import MoveCodes
from chesslm.eval.orders import FIRST, MINED, NEAR, SWAPPED, Pair, keys_of, make_pairs
from chesslm.eval.world_model import EPSILONS, jensen_shannon, world_model
from chesslm.tokenizer import get_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def games() -> list[MoveCodes]:
    """Random ones, and two that meet after eight plies."""
    meeting = [
        san_game("d4 Nf6 c4 e6 Nc3 Bb4 e3 O-O Nf3 d5"),
        san_game("c4 e6 Nc3 Nf6 e3 Bb4 d4 O-O Bd3 c5"),
        san_game("e4 e5 Nf3 Nc6 Bb5 a6 Ba4 Nf6 O-O Be7"),
        san_game("e4 e5 Nf3 Nc6 Bb5 a6 Ba4 Nf6 O-O Be7"),
    ]
    return [*(random_game(number, plies=30 + number) for number in range(30)), *meeting]


@pytest.fixture(scope="module")
def pairs(games: list[MoveCodes], pool: parallel.Executor) -> list[Pair]:
    return make_pairs(games, 1, pool)


def board_after(codes: MoveCodes) -> chess.Board:
    board = chess.Board()
    for move in boards.to_moves(codes):
        assert move in board.legal_moves
        board.push(move)
    return board


def test_pairs_are_what_they_say(pairs: Sequence[Pair], games: list[MoveCodes]) -> None:
    kinds = [pair.kind for pair in pairs]
    assert kinds.count(MINED) == 1 and kinds.count(SWAPPED) > 15 and kinds.count(NEAR) > 25
    for pair in pairs:
        one, other = map(board_after, pair.moves)
        assert min(map(len, pair.moves)) >= FIRST and not np.array_equal(*pair.moves)
        assert np.array_equal(pair.moves[0], games[pair.game][: len(pair.moves[0])])
        assert pair.legal == tuple(frozenset(boards.legal_codes(board)) for board in (one, other))
        if pair.kind == NEAR:
            gone, come = (dict(a.piece_map().items() - b.piece_map().items()) for a, b in ((one, other), (other, one)))
            assert len(gone) == len(come) == 1 and list(gone.values()) == list(come.values())
            assert one.turn == other.turn and pair.legal[0] != pair.legal[1]
        else:
            assert one.epd() == other.epd() and one.is_repetition(2) == other.is_repetition(2)


def test_pairs_do_not_depend_on_the_number_of_processes(pairs: Sequence[Pair], games: list[MoveCodes]) -> None:
    with parallel.pool(2) as two:
        again = make_pairs(games, 1, two)
    assert [(pair.kind, pair.game, *map(bytes, pair.moves)) for pair in again] == [
        (pair.kind, pair.game, *map(bytes, pair.moves)) for pair in pairs
    ]


def test_a_position_is_more_than_its_board() -> None:
    """Castling rights, en passant and repetition count."""
    *_, kept = keys_of(san_game("Nf3 Nf6 Rg1 Rg8 Rh1 Rh8"))
    *_, lost = keys_of(san_game("Nf3 Nf6 Nd4 Nd5 Nf3 Nf6"))
    assert kept != lost
    *_, once = keys_of(san_game("Nf3 Nf6"))
    *_, twice = keys_of(san_game("Nf3 Nf6 Ng1 Ng8 Nf3 Nf6"))
    assert once.fen == twice.fen and (once.before, twice.before) == (0, 1)
    *_, at_once = keys_of(san_game("e4 a6 e5 d5"))
    *_, in_two = keys_of(san_game("e4 d6 e5 d5 a3 a6"))
    assert " d6" in at_once.fen and " d6" not in in_two.fen


@pytest.mark.parametrize("notation", ["uci-move", "uci-square", "san"])
def test_who_knows_the_board_has_one(notation: str, pairs: list[Pair], games: list[MoveCodes]) -> None:
    oracle = Oracle(tokenizer_of(notation), uniform)
    result = world_model(oracle, pairs, len(games), seed=1)
    for epsilon in ("0.001", "0.003"):
        figures = {key: metric.value for key, metric in result.by["epsilon"][epsilon].items()}
        assert figures == dict.fromkeys(figures, 1.0) and len(figures) == 4
    assert result.metrics["divergence_swapped"].value == pytest.approx(0, abs=1e-6)
    assert 0 < result.metrics["divergence_near"].value < result.metrics["divergence_unrelated"].value < 1
    most = max(len(legal) for pair in pairs for legal in pair.legal)
    assert 1 / most < 0.03 and set(result.by["epsilon"]) == {f"{epsilon:g}" for epsilon in EPSILONS}
    # Of 33 moves alike each has more than 0.03.
    near = [pair for pair in pairs if pair.kind == NEAR]
    told, wanted = 0, 0
    for pair in near:
        for here, there in (pair.legal, pair.legal[::-1]):
            accepted = [legal if len(legal) <= 33 else frozenset[int]() for legal in (here, there)]
            told += len((accepted[0] - accepted[1]) & (here - there))
            wanted += len(here - there)
    assert result.by["epsilon"]["0.03"]["distinction_recall"].value == pytest.approx(told / wanted)


def test_who_knows_nothing_compresses_perfectly_and_tells_nothing_apart(
    pairs: list[Pair], games: list[MoveCodes]
) -> None:
    tokenizer = get_tokenizer("uci-move")
    result = world_model(Indifferent(tokenizer), pairs, len(games), seed=1)
    assert 1 / len(tokenizer) < 0.001
    assert result.metrics["compression"].value == 1 and result.metrics["distinction_recall"].value == 0
    assert "distinction_precision" not in result.metrics
    # Of all moves alike, the legal ones of either have their shares and the rest has the rest, the same in both.
    assert result.metrics["divergence_unrelated"].value == pytest.approx(0, abs=1e-9)


def test_the_divergence_by_hand() -> None:
    assert jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert jensen_shannon(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.5, 0.5])) == pytest.approx(0.311278, abs=1e-6)


def test_a_context_that_is_too_short_leaves_pairs_out(pairs: list[Pair], games: list[MoveCodes]) -> None:
    oracle = Oracle(get_tokenizer("uci-move"), uniform, context=20)
    result = world_model(oracle, pairs, len(games), seed=1)
    within = [pair for pair in pairs if pair.kind == SWAPPED and len(pair.moves[0]) < 19]
    assert result.metrics["compression"].n == len(within) > 0


def test_the_command(cli: Cli, tiny_model: Path, tiny_dataset: Path) -> None:
    ended = cli(
        "evaluate", tiny_model, "--games", tiny_dataset, "--random", 20, "--suite", "world-model", "--limit", 20,
        "--workers", 1, "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    assert "World model" in ended.out and "World model on random games" in ended.out and "Compression" in ended.out
