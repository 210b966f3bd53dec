"""Mates in one and engine puzzles: found as python-chess and the engine say, scored as closed forms say."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import chess
import chess.engine
import numpy as np
import pytest
from odd_games import lively_game
from oracles import NEVER, Oracle, never_legal, uniform
from random_games import ALL_NOTATIONS, random_game, san_game, tokenizer_of
from test_legality import random_model

from chesslm import boards, engines, parallel
from chesslm.errors import FailureError, InputError
from chesslm.eval.baselines import UniformLegal
from chesslm.eval.positions import PHASES, find_positions
from chesslm.eval.puzzles import mate_in_one, puzzles
from chesslm.eval.scorers import ModelScorer
from chesslm.eval.tactics import Puzzle, Puzzles, engine_puzzles, mates_in_one, mating_moves
from chesslm.model import load_model
from chesslm.tokenizer import get_tokenizer

NOTATIONS = ("uci-move", "uci-square")
all_notations = pytest.mark.parametrize("notation", ALL_NOTATIONS)
GAMES = [*(random_game(seed, 110) for seed in range(8)), *(lively_game(seed, 110) for seed in range(8))]


@pytest.fixture(scope="module")
def mates(pool: parallel.Executor) -> Puzzles:
    return mates_in_one(GAMES, pool)


@pytest.fixture(scope="module")
def few(mates: Puzzles) -> Puzzles:
    """Those that come first in their games, for players that look at every board on the way."""
    return Puzzles(mates.games, tuple(sorted(mates.rows, key=lambda puzzle: puzzle.ply)[:6]))


def board_of(given: Puzzles, puzzle: Puzzle) -> chess.Board:
    *_, board = boards.replay(boards.to_moves(given.games[puzzle.game][: puzzle.ply]))
    return board


def names(codes: Sequence[int]) -> list[str]:
    return sorted(boards.code_move(code).uci() for code in codes)


def mating(board: chess.Board) -> list[str]:
    """By playing every move."""
    found = []
    for move in list(board.legal_moves):
        board.push(move)
        if board.is_checkmate():
            found.append(move.uci())
        board.pop()
    return sorted(found)


# Mates in one


def test_one_position_of_every_game_that_has_a_mate_in_one(mates: Puzzles, pool: parallel.Executor) -> None:
    asked = {given.tobytes(): puzzle for given, puzzle in zip(mates.games, mates.rows, strict=True)}
    assert len(asked) == len(mates.rows) > 5 and [puzzle.game for puzzle in mates.rows] == list(range(len(asked)))
    positions = find_positions(GAMES, pool)
    for number, codes in enumerate(GAMES):
        possible = {}
        for ply, board in enumerate(boards.replay(boards.to_moves(codes))):
            if found := mating(board):
                possible[ply] = found
            assert sorted(move.uci() for move in mating_moves(board)) == found
        assert bool(possible) == (codes.tobytes() in asked)
        if possible:
            puzzle = asked[codes.tobytes()]
            board = board_of(mates, puzzle)
            assert names(puzzle.solutions) == possible[puzzle.ply]
            assert sorted(puzzle.legal) == sorted(boards.legal_codes(board))
            types = {board.piece_type_at(boards.code_move(code).from_square) for code in puzzle.solutions}
            assert puzzle.pieces == types
            assert puzzle.played == (puzzle.ply < len(codes) and codes[puzzle.ply] in puzzle.solutions)
            if puzzle.ply < len(codes):
                assert puzzle.phase == positions.phase[positions.first[number] + puzzle.ply]


def test_a_mate_may_be_seen_or_not(pool: parallel.Executor) -> None:
    """Played; overlooked; still possible when the game was given up; by two pieces."""
    played, missed, given_up = "f3 e5 g4 Qh4#", "f3 e5 g4 d6 a3", "f3 e5 g4"
    two = "e4 e5 Qh5 Nc6 Bc4 d6 Qxf7#"
    found = {line: mates_in_one([san_game(line)], pool).rows[0] for line in (played, missed, given_up, two)}
    assert [found[line].ply for line in (played, missed, given_up)] == [3, 3, 3]
    assert [found[line].played for line in (played, missed, given_up, two)] == [True, False, False, True]
    assert names(found[missed].solutions) == ["d8h4"] and found[missed].pieces == {chess.QUEEN}
    assert names(found[two].solutions) == ["c4f7", "h5f7"][1:]
    assert not mates_in_one([san_game("e4 e5 Qh5 Nf6 Qxf7+")], pool).rows, "the king takes"


def test_the_seed_draws_games_and_positions(pool: parallel.Executor) -> None:
    some = GAMES[6:12]
    mates = mates_in_one(some, pool)
    with parallel.pool(2) as two:
        again = mates_in_one(some, two)
    assert again.rows == mates.rows
    assert [codes.tolist() for codes in again.games] == [codes.tolist() for codes in mates.games]
    fewer = mates_in_one(some, pool, limit=2)
    assert fewer.rows == mates.rows[:2] != mates.rows and len(fewer.games) == 2
    other = mates_in_one(some, pool, seed=2)
    assert {(codes.tobytes()) for codes in other.games} == {codes.tobytes() for codes in mates.games}
    assert other.rows != mates.rows
    assert mates_in_one([], pool).rows == ()


@all_notations
def test_a_player_who_knows_the_rules_and_nothing_else(notation: str, few: Puzzles) -> None:
    told: list[int] = []
    oracle = Oracle(tokenizer_of(notation), uniform)
    result, as_puzzles = mate_in_one(oracle, few, advance=told.append), puzzles(oracle, few)
    chance = np.mean([len(puzzle.solutions) / len(puzzle.legal) for puzzle in few.rows])
    assert sum(told) == len(few.rows)
    for key in ("solved_legal_policy", "solved_chance", "mate_mass"):
        assert result.metrics[key].value == pytest.approx(chance, abs=1e-6), key
        assert result.metrics[key].n == len(few.rows)
        assert as_puzzles.metrics[key.replace("mate", "solution")] == result.metrics[key]
    for breakdown, groups in result.by.items():
        for name, found in groups.items():
            rows = [puzzle for puzzle in few.rows if name in groups_of(puzzle)[breakdown]]
            chance = np.mean([len(puzzle.solutions) / len(puzzle.legal) for puzzle in rows])
            assert found["mate_mass"].value == pytest.approx(chance, abs=1e-6)
            assert found["solved_greedy"].n == len(rows)
    assert set(result.by) == {"phase", "mates", "piece", "played"}
    assert sum(found["mate_mass"].n for found in result.by["phase"].values()) == len(few.rows)
    json.dumps(result.as_dict(), allow_nan=False)


def groups_of(puzzle: Puzzle) -> dict[str, set[str]]:
    return {
        "phase": {PHASES[puzzle.phase]},
        "mates": {"1" if len(puzzle.solutions) == 1 else "2+"},
        "piece": {chess.piece_name(piece) for piece in puzzle.pieces},
        "played": {"played" if puzzle.played else "not played"},
    }


@all_notations
def test_a_player_who_mates_when_it_can(notation: str, few: Puzzles) -> None:
    def mates_if_it_can(board: chess.Board) -> dict[chess.Move, float]:
        return dict.fromkeys(mating_moves(board) or board.legal_moves, 1.0)

    result = mate_in_one(Oracle(tokenizer_of(notation), mates_if_it_can), few)
    for key in ("solved_greedy", "solved_legal_policy", "mate_mass"):
        assert result.metrics[key].value == pytest.approx(1, abs=1e-6)
    assert result.metrics["solved_chance"].value < 0.5


@all_notations
def test_one_illegal_move_for_ever(notation: str, few: Puzzles) -> None:
    assert not any(boards.move_code(NEVER) in puzzle.legal for puzzle in few.rows)
    result = mate_in_one(Oracle(tokenizer_of(notation), never_legal), few)
    for key in ("solved_greedy", "solved_legal_policy", "mate_mass"):
        assert result.metrics[key].value == 0, key


@all_notations
def test_an_illegal_habit_hides_what_the_legal_policy_finds(notation: str, few: Puzzles) -> None:
    """The likeliest move is an illegal one, the next the mates."""

    def weights(board: chess.Board) -> dict[chess.Move, float]:
        return dict.fromkeys(board.legal_moves, 1.0) | dict.fromkeys(mating_moves(board), 2.0) | {NEVER: 1000.0}

    metrics = mate_in_one(Oracle(tokenizer_of(notation), weights), few).metrics
    assert metrics["solved_greedy"].value == 0
    assert metrics["solved_legal_policy"].value == pytest.approx(1)
    masses = [2 * len(puzzle.solutions) / (1000 + len(puzzle.legal) + len(puzzle.solutions)) for puzzle in few.rows]
    assert metrics["mate_mass"].value == pytest.approx(np.mean(masses), abs=1e-6)


def test_past_the_context_a_puzzle_is_missed(mates: Puzzles) -> None:
    result = mate_in_one(Oracle(get_tokenizer("uci-move"), uniform, context=50), mates)
    seen = np.array([puzzle.ply + 1 < 50 for puzzle in mates.rows])
    assert 0 < seen.sum() < len(seen)
    chance = [len(puzzle.solutions) / len(puzzle.legal) for puzzle in mates.rows]
    assert result.metrics["mate_mass"].value == pytest.approx(np.mean(seen * chance), abs=1e-6)
    assert result.metrics["solved_legal_policy"].value == pytest.approx(np.mean(seen * chance), abs=1e-6)
    assert result.metrics["plies_beyond_context"].value == (~seen).sum()


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_model_looks_for_mate(notation: str, mates: Puzzles, tiny_models: dict[str, Path]) -> None:
    scorer = ModelScorer(load_model(str(tiny_models[notation]), device="cpu"))
    result = mate_in_one(scorer, mates)
    assert 0 < result.metrics["mate_mass"].value < 1
    assert result.metrics["solved_greedy"].value <= 1
    assert mate_in_one(scorer, mates).as_dict() == result.as_dict()


# By an engine

NODES = 500


def test_stockfish_finds_puzzles(pool: parallel.Executor) -> None:
    found = engine_puzzles(GAMES[:8], "uci:stockfish", pool, nodes=NODES)
    assert len(found.rows) > 3
    with parallel.pool(2) as two:
        again = engine_puzzles(GAMES[:8], "stockfish", two, nodes=NODES)
    assert again.rows == found.rows
    for puzzle, (best, second, move) in zip(found.rows, asyncio.run(judged(found)), strict=True):
        board = board_of(found, puzzle)
        assert puzzle.solutions == (boards.move_code(move),)
        assert best >= 100 and best - second >= 200
        assert not mating(board) and len(puzzle.legal) > 1
        assert board.ply() == 0 or move.to_square != board.peek().to_square or not took(board)
    for scorer in (UniformLegal(), random_model("uci-square", context=1024)):
        result = puzzles(scorer, found)
        assert set(result.metrics) == {
            "solved_greedy", "solved_legal_policy", "solved_chance", "solution_mass", "plies_beyond_context",
        }  # fmt: skip
        assert result.metrics["solved_chance"].value == np.mean([1 / len(puzzle.legal) for puzzle in found.rows])
        assert set(result.by) == {"phase", "played"}
        json.dumps(result.as_dict(), allow_nan=False)


async def judged(found: Puzzles) -> list[tuple[int, int, chess.Move]]:
    """What the engine says once more: worth of its two lines, and its move."""
    said = []
    async with engines.open_engine(engines.engine_command("stockfish")) as engine:
        for puzzle in found.rows:
            board = board_of(found, puzzle)
            limit = chess.engine.Limit(nodes=NODES)
            lines = await engine.analyse(board, limit, multipv=2, game=object())
            best, second = (line["score"].pov(board.turn).score(mate_score=10_000) for line in lines)  # type: ignore
            said.append((best, second, lines[0]["pv"][0]))  # type: ignore
    return said


def took(board: chess.Board) -> bool:
    """Whether the last move was a capture."""
    before = board.copy()
    last = before.pop()
    return before.is_capture(last)


# It holds the first legal move in alphabetical order, or one that is named, worth what it is told, and the others too.
FAKE_ENGINE = """#!{python}
import sys, chess
for line in sys.stdin:
    words = line.split()
    if words[0] == "uci":
        print("id name Fake")
        print("option name MultiPV type spin default 1 min 1 max 9" if {multipv} else "")
        print("uciok", flush=True)
    elif words[0] == "isready":
        print("readyok", flush=True)
    elif words[0] == "position":
        board = chess.Board()
        for word in words[3:]:
            board.push_uci(word)
    elif words[0] == "go":
        {go}
        moves = sorted(map(str, board.legal_moves), key=lambda move: (move != "{best}", move))
        for i, score in enumerate(({first!r}, {second!r})[: len(moves)]):
            print(f"info depth 1 multipv {{i + 1}} score {{score}} nodes 5 pv {{moves[i]}}")
        print("bestmove", moves[0], flush=True)
"""


@pytest.fixture
def fake_engine(tmp_path: Path) -> Callable[..., str]:
    """Makes an executable that speaks UCI and says what it is told."""

    def make(first: str = "cp 300", second: str = "cp 0", best: str = "", go: str = "", multipv: bool = True) -> str:
        path = tmp_path / "fake-engine"
        path.write_text(
            FAKE_ENGINE.format(
                python=sys.executable, first=first, second=second, best=best, go=go or "pass", multipv=multipv
            )
        )
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("cp 300", "cp 100", True),
        ("cp 300", "cp 101", False),
        ("cp 100", "cp -100", True),
        ("cp 99", "cp -500", False),
        ("cp 100", "mate -3", True),
        ("mate 3", "cp 900", True),
        ("mate 3", "mate 5", False),
        ("mate -3", "mate -1", False),
    ],
)
def test_one_move_must_be_better_by_far(
    first: str, second: str, is_one: bool, fake_engine: Callable[..., str], pool: parallel.Executor
) -> None:
    found = engine_puzzles([san_game("e4 e5 Nf3 Nc6")], fake_engine(first, second), pool)
    assert len(found.rows) == is_one


def plies_of(line: str, engine: str, pool: parallel.Executor) -> set[int]:
    """Where puzzles are found in copies of a game."""
    return {puzzle.ply for puzzle in engine_puzzles([san_game(line)] * 16, engine, pool).rows}


def test_neither_taking_back_nor_mate_in_one_is_a_puzzle(
    fake_engine: Callable[..., str], pool: parallel.Executor
) -> None:
    assert plies_of("e4 d5 exd5", fake_engine(best="d8d5"), pool) == {0, 1, 2}
    assert plies_of("e4 d5 exd5", fake_engine(best="g8f6"), pool) == {0, 1, 2, 3}
    assert plies_of("f3 e5 g4", fake_engine(), pool) == {0, 1, 2}
    # No choice but one.
    assert plies_of("e4 e5 Qh5 Nc6 Qxf7+", fake_engine(), pool) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("command", ["/bin/false", "uci:/bin/false", "no-such-engine", "uci:", "'"])
def test_a_command_that_is_no_engine_is_bad_input(command: str, pool: parallel.Executor) -> None:
    with pytest.raises(InputError) as told:
        engine_puzzles(GAMES[:2], command, pool)
    assert "\n" not in str(told.value) and ("engine" in str(told.value) or "quotation" in str(told.value))


@pytest.mark.parametrize(
    ("go", "why"),
    [
        ("sys.exit(3)", "died"),
        ("import time; time.sleep(9)", "no move"),
        ("print('bestmove e2e5', flush=True); continue", "no move"),
    ],
)
def test_an_engine_that_fails_is_one_line(
    go: str,
    why: str,
    fake_engine: Callable[..., str],
    pool: parallel.Executor,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = fake_engine(go=go)
    if why == "no move":
        # For a move alone: to start, a busy machine may take longer.
        monkeypatch.setattr("chesslm.eval.tactics.ENGINE_SECONDS", 0.2)
    with pytest.raises(FailureError, match=why) as told:
        engine_puzzles(GAMES[:2], engine, pool)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


def test_an_engine_must_show_two_lines(fake_engine: Callable[..., str], pool: parallel.Executor) -> None:
    with pytest.raises(InputError, match="MultiPV"):
        engine_puzzles(GAMES[:2], fake_engine(multipv=False), pool)
