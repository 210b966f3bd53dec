"""The suite squares: prompts against the paper's rules by brute force, figures against oracles and a plain loop."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
import torch
from oracles import Indifferent
from random_games import random_game

from chesslm import boards
from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.eval import moves as moves_module
from chesslm.eval.prompts import LENGTHS, TASKS, Prompt, Question, make_prompts, read_prompts
from chesslm.eval.results import Result
from chesslm.eval.scorers import NO_LIMIT, ModelScorer, TokenTree
from chesslm.eval.squares import squares
from chesslm.model import load_model
from chesslm.names import note
from chesslm.notation import PIECES
from chesslm.pgn import read_pgn
from chesslm.tokenizer import EOS, SPECIALS, GameTokenizer, get_tokenizer
from chesslm.words import geometric_moves

BUNDLE = Path(__file__).parents[1] / "games" / "bundle-engine.pgn.zst"
MOVES = geometric_moves()
GAMES = [random_game(seed, 10 + 9 * seed) for seed in range(14)]


TOKENIZERS = {name: get_tokenizer(name) for name in ("uci-move", "uci-square")}
all_notations = pytest.mark.parametrize("name", TOKENIZERS)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return make_prompts(GAMES, seed=5)


@pytest.fixture(scope="module")
def real_games() -> list[MoveCodes]:
    return [game.codes for game in read_pgn(str(BUNDLE), limit=30)]


def values(result: Result) -> dict[str, float]:
    return {key: metric.value for key, metric in result.metrics.items()}


def mean(prompts: Sequence[Prompt], task: str, value: Callable[[Question], float]) -> float:
    found = [value(prompt.questions[task]) for prompt in prompts]
    return sum(found) / len(found)


def after(codes: Sequence[int] | MoveCodes) -> chess.Board:
    *_, board = boards.replay(boards.to_moves(codes))
    return board


# Making prompts


@dataclass(frozen=True)
class Facts:
    """What the paper's code finds in a position, by way of SAN."""

    ends: dict[str, set[str]]
    starts: dict[str, set[str]]

    @classmethod
    def of(cls, board: chess.Board) -> "Facts":
        ends: dict[str, set[str]] = {}
        starts: dict[str, set[str]] = {}
        for move in board.legal_moves:
            san, uci = board.san(move), move.uci()
            if san[0].isupper() and san[0] != "O":
                ends.setdefault(uci[:2], set()).add(uci[2:4])
                starts.setdefault(san[0], set()).add(uci[:2])
        return cls(ends, starts)


def plies_that_will_do(codes: MoveCodes) -> set[int]:
    moves, found = boards.to_moves(codes[:101]), set()
    for ply, (move, board) in enumerate(zip(moves, boards.replay(moves), strict=False)):
        if board.san(move)[0] in "NBRQK":
            facts = Facts.of(board)
            if len(facts.ends) > 1 and len(facts.starts) > 1:
                found.add(ply)
    return found


def reachable(codes: MoveCodes, novel: int = 0) -> dict[str, set[int]]:
    """By length, the prefixes that may be drawn; lengths without any left out."""
    able = {ply for ply in plies_that_will_do(codes) if ply >= novel}
    return {name: able & {*plies} for name, plies in LENGTHS.items() if able & {*plies}}


def length_of(prompt: Prompt) -> str:
    return next(name for name, plies in LENGTHS.items() if len(prompt.prefix) in plies)


def names(found: frozenset[int]) -> set[str]:
    return {chess.SQUARE_NAMES[square] for square in found}


@pytest.mark.parametrize("real", [False, True])
def test_prompts_keep_the_rules_of_the_paper(real: bool, real_games: list[MoveCodes]) -> None:
    games = real_games if real else GAMES
    prompts = make_prompts(games, seed=3)
    able = [reachable(codes) for codes in games]
    drawn = {(prompt.game, length_of(prompt)): len(prompt.prefix) for prompt in prompts}
    assert len(drawn) == len(prompts) == len({prompt.prefix for prompt in prompts}), "one a game for either length"
    assert set(drawn) == {(game, name) for game, names in enumerate(able) for name in names}
    assert all(plies in able[game][name] for (game, name), plies in drawn.items())
    for prompt in prompts:
        codes, ply = games[prompt.game], len(prompt.prefix)
        assert prompt.prefix == tuple(codes[:ply].tolist())
        board, move = after(prompt.prefix), boards.code_move(codes[ply])
        facts, asked = Facts.of(board), prompt.questions
        assert tuple(asked) == TASKS
        letters = {task: chess.PIECE_SYMBOLS[asked[task].given].upper() for task in TASKS[2:]}
        assert asked["end_actual"].given == asked["start_actual"].played == move.from_square
        assert asked["end_actual"].played == move.to_square
        assert letters["start_actual"] == board.san(move)[0] != letters["start_other"]
        assert asked["end_other"].given != move.from_square
        for task in TASKS[:2]:
            castling = {m.to_square for m in board.generate_castling_moves() if m.from_square == asked[task].given}
            assert names(asked[task].legal - castling) == facts.ends[chess.SQUARE_NAMES[asked[task].given]]
            assert castling <= asked[task].legal
        for task in TASKS[2:]:
            assert names(asked[task].legal) == facts.starts[letters[task]]
        for task in ("end_other", "start_other"):
            assert asked[task].played is None


def test_every_prefix_that_will_do_can_be_drawn_and_every_other_piece() -> None:
    codes = GAMES[8]
    able = set[int]().union(*reachable(codes).values())
    drawn = [prompt for seed in range(400) for prompt in make_prompts([codes], seed)]
    assert {len(prompt.prefix) for prompt in drawn} == able
    assert make_prompts([codes], 1) == make_prompts([codes], 1)
    at = min(able)
    here = [prompt for prompt in drawn if len(prompt.prefix) == at]
    facts, move = Facts.of(after(codes[:at])), boards.code_move(codes[at])
    others = {chess.SQUARE_NAMES[prompt.questions["end_other"].given] for prompt in here}
    assert others == set(facts.ends) - {chess.SQUARE_NAMES[move.from_square]}
    types = {chess.PIECE_SYMBOLS[prompt.questions["start_other"].given].upper() for prompt in here}
    assert types == set(facts.starts) - {after(codes[:at]).san(move)[0]}


def test_prefixes_are_unseen_in_training_and_no_two_alike(real_games: list[MoveCodes]) -> None:
    novel = np.array([len(codes) if i % 3 == 0 else 20 + i for i, codes in enumerate(real_games)])
    prompts = make_prompts(real_games, 1, novel)
    assert prompts and all(len(prompt.prefix) >= novel[prompt.game] for prompt in prompts)
    able = {(i, name) for i, codes in enumerate(real_games) for name in reachable(codes, novel[i])}
    assert {(prompt.game, length_of(prompt)) for prompt in prompts} == able
    first = min(plies_that_will_do(GAMES[9][:51]) & {*range(5, 51)})
    for late, found in ((0, 1), (1, 0)):
        assert len(make_prompts([GAMES[9][: first + 1]], 1, np.array([first + late]))) == found
    twice = make_prompts([GAMES[9]] * 2, 1)
    assert len({prompt.prefix for prompt in twice}) == 4
    # Two games that are one and the same for as long as they can be asked about.
    short = GAMES[9][:7]
    assert len(make_prompts([short] * 9, 1)) == len(reachable(short)["short (5-50)"]) > 0


def test_castling_and_pawn_moves_are_not_asked_about() -> None:
    """1 e4 e5 2 Nf3 Nc6 3 Bc4 Bc5 4 O-O d6: of the plies from 5 on, only the bishop's move will do."""
    moves = "e2e4 e7e5 g1f3 b8c6 f1c4 f8c5 e1g1 d7d6"
    codes = boards.to_codes(map(chess.Move.from_uci, moves.split()))
    assert {len(make_prompts([codes], seed)[0].prefix) for seed in range(20)} == {5}
    assert make_prompts([codes], 1, np.array([6])) == []


# Oracles

Answers = Callable[[tuple[str, ...]], Mapping[str, float]]


@dataclass(frozen=True)
class Told:
    """Weights of the next token after the leaves of a tree; every other node has nothing to say."""

    tokenizer: GameTokenizer
    answers: Answers
    context: int = NO_LIMIT

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        out = np.zeros((len(trees), max(map(len, trees)), len(self.tokenizer)), np.float32)
        for row, tree in zip(out, trees, strict=True):
            for leaf in set(range(len(tree))) - set(tree.parent.tolist()):
                path, at = [], leaf
                while at > 0:
                    path.append(self.tokenizer.tokens[tree.ids[at]])
                    at = int(tree.parent[at])
                for token, weight in self.answers(tuple(path[::-1])).items():
                    row[leaf, self.tokenizer.ids[token]] = weight
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(out))


def told(name: str, answers: Answers, context: int = NO_LIMIT) -> Told:
    return Told(TOKENIZERS[name], answers, context)


def position(path: tuple[str, ...]) -> tuple[chess.Board, str]:
    """The board after a path, and the token behind its moves, if there is one."""
    text = "".join(path)
    given = path[-1] if path and len(path[-1]) < 3 else ""
    board = chess.Board()
    for move in get_tokenizer("uci-move").decode_moves(ids_of(text[: len(text) - len(given)])):
        board.push(move)
    return board, given


def ids_of(text: str) -> list[int]:
    tokenizer = get_tokenizer("uci-move")
    return [tokenizer.ids[word] for word in re.findall(tokenizer.notation.pattern, text)]


def legal_moves(path: tuple[str, ...]) -> dict[str, float]:
    """Every legal answer alike, and <eos> twice as likely as any."""
    board, given = position(path)
    if not given:
        found = [move.uci() for move in board.legal_moves]
    elif given in PIECES:
        starts = {move.from_square for move in board.legal_moves}
        found = [chess.SQUARE_NAMES[s] for s in starts if board.piece_at(s).symbol().upper() == given]  # pyright: ignore
    else:
        found = [move.uci()[2:4] for move in board.legal_moves if move.uci()[:2] == given]
    return dict.fromkeys(found, 1.0) | {SPECIALS[EOS]: 2.0}


@all_notations
def test_a_player_who_knows_the_rules(name: str, prompts: list[Prompt]) -> None:
    done: list[int] = []
    result = squares(told(name, legal_moves), prompts, hints=True, advance=done.append)
    found = values(result)
    tasks = TASKS if name == "uci-square" else TASKS[:2]
    assert sum(done) == len(prompts) == result.metrics["end_actual_legal"].n
    for task in tasks:
        assert found[f"{task}_legal"] == found[f"{task}_r_precision"] == 1
        assert result.metrics[f"{task}_legal"].low == pytest.approx(1 - 3 / len({p.game for p in prompts}))
        exact = f"{task}_exact"
        assert (exact in found) == task.endswith("actual")
        if exact in found:
            assert found[exact] == pytest.approx(mean(prompts, task, lambda asked: 1 / len(asked.legal)))
    assert {key.rsplit("_chance")[0].rsplit("_legal")[0] for key in found if key.endswith("legal")} == set(tasks)


def test_indifference_in_squares(prompts: list[Prompt]) -> None:
    """Promotion letters are answers as well, wrong ones; the level of chance is among squares."""
    found = values(squares(Indifferent(TOKENIZERS["uci-square"]), prompts, hints=True))
    tokens = 64 + 4
    for task in TASKS:
        legal = mean(prompts, task, lambda asked: len(asked.legal))
        for figure in ("legal", "r_precision"):
            assert found[f"{task}_{figure}"] == pytest.approx(legal / tokens)
            assert found[f"{task}_chance_{figure}"] == pytest.approx(legal / 64)
        if task.endswith("actual"):
            assert found[f"{task}_exact"] == pytest.approx(1 / tokens)
            assert found[f"{task}_chance_exact"] == pytest.approx(1 / 64)
    assert "end_other_exact" not in found and "end_other_chance_exact" not in found


def test_indifference_in_whole_moves(prompts: list[Prompt]) -> None:
    """By the moves in the vocabulary; promotions make some squares five times as likely as others."""
    found = values(squares(Indifferent(get_tokenizer("uci-move")), prompts))
    chances = {task: mean(prompts, task, lambda asked: len(asked.legal) / len(reached(asked))) for task in TASKS[:2]}
    for task, chance in chances.items():
        legal = mean(prompts, task, lambda asked: expected(reached(asked), asked.legal, 1))
        precision = mean(
            prompts, task, lambda asked: expected(reached(asked), asked.legal, len(asked.legal)) / len(asked.legal)
        )
        assert found[f"{task}_legal"] == pytest.approx(legal)
        assert found[f"{task}_r_precision"] == pytest.approx(precision)
        assert found[f"{task}_chance_legal"] == pytest.approx(chance)
        assert found[f"{task}_chance_r_precision"] == pytest.approx(chance)
    assert found["end_actual_chance_exact"] == pytest.approx(
        mean(prompts, "end_actual", lambda asked: 1 / len(reached(asked)))
    )
    assert any(max(reached(p.questions[task]).values()) == 5 for p in prompts for task in TASKS[:2])


def reached(asked: Question) -> dict[int, int]:
    """How many moves of the vocabulary go to each square."""
    origin = chess.SQUARE_NAMES[asked.given]
    return Counter(chess.parse_square(move[2:4]) for move in MOVES if move[:2] == origin)


def expected(weights: dict[int, int], asked: frozenset[int], n: int) -> float:
    """Expected number of the asked among the n greatest, equal ones in random order."""
    threshold = sorted(weights.values())[-n]
    above = {square for square, weight in weights.items() if weight > threshold}
    equal = {square for square, weight in weights.items() if weight == threshold}
    return len(asked & above) + len(asked & equal) * (n - len(above)) / len(equal)


@pytest.mark.parametrize("name", ["uci-move", "uci-square"])
def test_what_is_never_legal(name: str, prompts: list[Prompt]) -> None:
    """One illegal answer for certain: nothing else is among the likeliest, however many are looked at."""

    def wrong(path: tuple[str, ...]) -> dict[str, float]:
        board, given = position(path)
        if given:
            return {given: 1.0}
        legal = {move.uci() for move in board.legal_moves}
        return {move: 1.0 for move in MOVES if move not in legal and move[:4] not in {m[:4] for m in legal}}

    found = squares(told(name, wrong), prompts).metrics
    measured = {key: metric for key, metric in found.items() if "chance" not in key}
    assert len(measured) == 5
    for metric in measured.values():
        assert metric.value == 0
        assert metric.high == pytest.approx(3 / len({prompt.game for prompt in prompts}))


# By hand

SPANISH = {
    "prefix": "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6",
    "piece_type": "B",
    "starting_square": "b5",
    "ending_square": "c6",
    "legal_ending_square": ["a4", "a6", "c4", "c6", "d3", "e2", "f1"],
    "other_piece_type": "N",
    "other_starting_square": "f3",
    "other_ending_square": ["d4", "e5", "g1", "g5", "h4"],
}
CASTLING = {
    "prefix": "e2e4 e7e5 g1f3 b8c6 f1c4 f8c5",
    "starting_square": "e1",
    "ending_square": "g1",
    "legal_ending_square": ["e2", "f1", "g1"],
}
PROMOTION = {
    "prefix": "a2a4 b7b5 a4b5 a7a6 b5a6 c8b7 a6b7 b8c6",
    "starting_square": "b7",
    "ending_square": "a8",
    "legal_ending_square": "a8 b8",
}
START = {
    "prefix": "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6",
    "piece_type": "N",
    "starting_square": "f3",
    "legal_starting_square": ["f3", "b1"],
    "other_piece_type": "B",
    "other_starting_square": ["b5"],
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


@pytest.mark.parametrize("name", ["uci-move", "uci-square"])
def test_counted_by_hand(name: str, file: Path) -> None:
    """The bishop: six right of seven, d7 the third likeliest. The knight: two share the first place, one of them
    right; of the five likeliest, g1, h4 and half of d4 and d2 are right."""
    weights = {
        "b5": {"c6": 40, "a6": 20, "d7": 15, "a4": 10, "c4": 6, "d3": 5, "e2": 4, "e8": 3, "f1": 2},
        "f3": {"g1": 40, "e1": 40, "h4": 9, "h2": 8, "d4": 3, "d2": 3, "e5": 1, "g5": 1},
    }

    def answers(path: tuple[str, ...]) -> Mapping[str, float]:
        if name == "uci-square":
            return weights[path[-1]] | {"<eos>": 99}
        return {origin + target: w for origin, ends in weights.items() for target, w in ends.items()} | {"d2d4": 99}

    result = squares(told(name, answers), read_prompts(write(file, SPANISH)))
    # A rook's squares, a bishop's, a knight's.
    reach = {"b5": 14 + 9 + 6, "f3": 14 + 11 + 8} if name == "uci-move" else {"b5": 64, "f3": 64}
    assert values(result) == pytest.approx(
        {
            "end_actual_legal": 1,
            "end_actual_r_precision": 6 / 7,
            "end_actual_exact": 1,
            "end_actual_chance_legal": 7 / reach["b5"],
            "end_actual_chance_r_precision": 7 / reach["b5"],
            "end_actual_chance_exact": 1 / reach["b5"],
            "end_other_legal": 0.5,
            "end_other_r_precision": 2.5 / 5,
            "end_other_chance_legal": 5 / reach["f3"],
            "end_other_chance_r_precision": 5 / reach["f3"],
        }
    )
    assert list(result.by["prefix"]) == ["short (5-50)"]
    assert result.metrics["end_other_legal"].low is None, "one game says nothing of the spread"


def test_promotions_to_one_square_are_summed(file: Path) -> None:
    weights = {"b7a8q": 3, "b7a8r": 2, "b7a8b": 2, "b7a8n": 2, "b7b8q": 8, "b7b8n": 0.5, "b7c8q": 8.7}
    found = values(squares(told("uci-move", lambda _: weights), read_prompts(write(file, PROMOTION))))
    assert found["end_actual_exact"] == found["end_actual_legal"] == 1
    assert found["end_actual_r_precision"] == 0.5
    assert "end_other_legal" not in found


@all_notations
def test_castling_is_legal_also_where_a_list_leaves_it_out(name: str, file: Path) -> None:
    without = CASTLING | {"legal_ending_square": "e2 f1"}
    for row in (CASTLING, without, {key: CASTLING[key] for key in ("prefix", "starting_square", "ending_square")}):
        prompts = read_prompts(write(file, row))
        assert names(prompts[0].questions["end_actual"].legal) == {"e2", "f1", "g1"}
        found = values(squares(told(name, lambda _: {"e1g1": 1} if name == "uci-move" else {"g1": 1}), prompts))
        assert found["end_actual_legal"] == found["end_actual_exact"] == 1
        assert found["end_actual_r_precision"] == pytest.approx(1 / 3)


def test_start_squares_of_a_type(file: Path) -> None:
    answers = {"N": {"b1": 3, "c3": 2, "f3": 1}, "B": {"c1": 1}, "b5": {"a6": 1}, "f3": {"g1": 1}}
    scorer = told("uci-square", lambda path: answers[path[-1]])
    found = values(squares(scorer, read_prompts(write(file, START)), hints=True))
    assert {key: value for key, value in found.items() if "chance" not in key} == {
        "start_actual_legal": 1,
        "start_actual_r_precision": 0.5,
        "start_actual_exact": 0,
        "start_other_legal": 0,
        "start_other_r_precision": 0,
    }
    assert found["start_actual_chance_legal"] == 2 / 64
    both = values(squares(scorer, read_prompts(write(file, START, SPANISH)), hints=True))
    assert both["start_actual_legal"] == 0.5 and both["end_other_legal"] == 1
    assert squares(told("uci-square", legal_moves), read_prompts(write(file, START))) == Result({})


# Reading prompts


def as_rows(prompt: Prompt) -> list[dict[str, Any]]:
    """A prompt as the paper's two files have it."""
    asked = prompt.questions
    moves = [move.uci() for move in boards.to_moves(prompt.prefix)]
    piece, other = (chess.PIECE_SYMBOLS[asked[task].given].upper() for task in TASKS[2:])
    origin, target, beside = (
        chess.SQUARE_NAMES[i]
        for i in (asked["end_actual"].given, asked["end_actual"].played or 0, asked["end_other"].given)
    )
    lists = {task: sorted(names(question.legal)) for task, question in asked.items()}
    end = {
        "prefix": " ".join(moves),
        "oracle_prefix": "passed over",
        "starting_square": origin,
        "ending_square": target,
        "legal_ending_square": lists["end_actual"],
        "other_starting_square": beside,
        "other_ending_square": lists["end_other"],
        "piece_type": piece,
    }
    start = {
        "prefix": [part for move in moves for part in (move[:2], move[2:])],
        "starting_square": origin,
        "legal_starting_square": " ".join(lists["start_actual"]),
        "piece_type": piece.lower(),
        "other_piece_type": other,
        "other_starting_square": " ".join(lists["start_other"]),
    }
    return [end, start]


def test_prompts_are_read_as_they_were_made(prompts: list[Prompt], file: Path) -> None:
    rows = [row for prompt in prompts for row in as_rows(prompt)]
    read = read_prompts(write(file, "", *rows, "  "))
    assert len(read) == 2 * len(prompts) == len({prompt.game for prompt in read})
    for prompt, end, start in zip(prompts, read[::2], read[1::2], strict=True):
        assert end.prefix == start.prefix == prompt.prefix
        for task in ("end_actual", "end_other", "start_actual"):
            assert end.questions[task] == prompt.questions[task]
        assert start.questions == {task: prompt.questions[task] for task in TASKS[2:]}
        # Where the other piece is of the same type, no other type is asked about.
        types = {after(prompt.prefix).piece_type_at(prompt.questions[task].given) for task in TASKS[:2]}
        assert ("start_other" in end.questions) == (len(types) == 2)


def test_the_other_fields_may_be_missing(file: Path) -> None:
    row = {key: value for key, value in SPANISH.items() if not key.startswith("other_")}
    (prompt,) = read_prompts(str(write(file, row)))
    assert set(prompt.questions) == {"end_actual", "start_actual"}
    assert set(squares(told("uci-square", legal_moves), [prompt]).metrics) == {
        f"end_actual_{chance}{figure}" for chance in ("", "chance_") for figure in ("legal", "r_precision", "exact")
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ("9" * 5000, "not JSON (Exceeds the limit"),
        ([], "not a JSON object"),
        (SPANISH | {"prefix": None}, "prefix is missing"),
        (SPANISH | {"prefix": 5}, "prefix is neither a string nor a list of strings"),
        (SPANISH | {"prefix": "e2e4 e5"}, "'e5' in prefix, at ply 1, is no move in UCI"),
        (SPANISH | {"prefix": "e2e4 e8\ne7x"}, "e8e7 in prefix, at ply 1, is not legal: own piece on the target"),
        (SPANISH | {"prefix": "e2e5"}, "e2e5 in prefix, at ply 0, is not legal: that piece never moves so"),
        (SPANISH | {"prefix": "e2e2"}, "e2e2 in prefix, at ply 0, is not legal: not a move"),
        (SPANISH | {"starting_square": "b9"}, "'b9' in starting_square is no square"),
        (SPANISH | {"starting_square": "b5 c1"}, "starting_square is not one square"),
        (SPANISH | {"starting_square": "c6"}, "no legal move starts from c6 (starting_square)"),
        (SPANISH | {"piece_type": "N"}, "on b5 stands a bishop, and piece_type says otherwise"),
        (SPANISH | {"piece_type": "X"}, "'X' in piece_type is no type of piece; types are P, N, B, R, Q and K"),
        (SPANISH | {"ending_square": "d7"}, "b5d7 is not legal (from starting_square to ending_square)"),
        (SPANISH | {"ending_square": None}, "ending_square is missing"),
        (SPANISH | {"legal_ending_square": "c6"}, "legal_ending_square says c6; by the rules of chess it is f1 e2 d3"),
        (SPANISH | {"legal_ending_square": []}, "legal_ending_square says none; by the rules of chess"),
        (SPANISH | {"other_starting_square": "c8"}, "no legal move starts from c8 (other_starting_square)"),
        (SPANISH | {"other_starting_square": "b5"}, "on b5 stands a bishop, and other_piece_type says otherwise"),
        (
            SPANISH | {"other_starting_square": "b5", "other_piece_type": "B"},
            "other_starting_square is starting_square",
        ),
        (SPANISH | {"other_starting_square": "d1"}, "on d1 stands a queen, and other_piece_type says otherwise"),
        (
            SPANISH | {"other_ending_square": "d4 e5 g1 g5"},
            "other_ending_square says g1 d4 e5 g5; by the rules of chess",
        ),
        (SPANISH | {"other_starting_square": None}, "other_starting_square is missing, and other_ending_square is not"),
        (CASTLING | {"legal_ending_square": "g1 f1"}, "legal_ending_square says f1 g1; by the rules of chess"),
        (START | {"legal_starting_square": "f3"}, "legal_starting_square says f3; by the rules of chess it is b1 f3"),
        (START | {"other_starting_square": "c1"}, "other_starting_square says c1; by the rules of chess it is b5"),
        (
            START
            | {"prefix": "", "starting_square": "b1", "legal_starting_square": "b1 g1", "other_starting_square": []},
            "no bishop (other_piece_type) has a legal move",
        ),
    ],
)
def test_a_line_that_is_wrong_is_named(row: Any, message: str, file: Path) -> None:
    with pytest.raises(InputError) as error:
        read_prompts(write(file, SPANISH, "", row, CASTLING))
    assert str(error.value).startswith(f"{file}, line 3: {message}")
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, content, message in (
        (tmp_path / "none", None, "not readable"),
        (tmp_path, None, "not readable"),
        (tmp_path / "empty", b"\n \n", "no prompts in it"),
        (tmp_path / "binary", b"\xff\xfe{", "not readable"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            read_prompts(path)
        assert str(path) in str(error.value)


# Models


@pytest.mark.parametrize("name", ["uci-move", "uci-square"])
def test_a_model_prompt_by_prompt(name: str, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure against a plain forward pass for each question."""
    loaded = load_model(str(tiny_models[name]), device="cpu", precision="fp32")
    prompts = make_prompts(GAMES, seed=2)
    result = squares(ModelScorer(loaded), prompts)
    tokenizer, sums = loaded.tokenizer, dict.fromkeys(values(result), 0.0)
    for prompt in prompts:
        ids = tokenizer.encode(np.array(prompt.prefix, np.uint16)).ids.tolist()
        for task in TASKS[:2]:
            asked = prompt.questions[task]
            origin = chess.SQUARE_NAMES[asked.given]
            given = [tokenizer.ids[origin]] if name == "uci-square" else []
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([ids + given]), use_cache=False).logits[0, -1]
            answers: dict[str, float] = {}
            for token, probability in zip(tokenizer.tokens, logits.softmax(0).tolist(), strict=True):
                if name == "uci-square" and not tokenizer.is_special[tokenizer.ids[token]]:
                    answers[token] = probability
                elif name == "uci-move" and token.startswith(origin):
                    answers[token[2:4]] = answers.get(token[2:4], 0) + probability
            ranked = sorted(answers, key=lambda token: -answers[token])
            legal = names(asked.legal)
            sums[f"{task}_legal"] += ranked[0] in legal
            sums[f"{task}_r_precision"] += len(legal & {*ranked[: len(legal)]}) / len(legal)
            if asked.played is not None:
                sums[f"{task}_exact"] += ranked[0] == chess.SQUARE_NAMES[asked.played]
    for key, metric in result.metrics.items():
        if "chance" not in key:
            assert metric.value == pytest.approx(sums[key] / len(prompts)), key
    assert 0 < result.metrics["end_actual_legal"].value < 1 and 0 < result.metrics["end_other_r_precision"].value < 1
    monkeypatch.setattr(moves_module, "BATCH_TOKENS", 1)
    assert values(squares(ModelScorer(loaded), prompts)) == pytest.approx(values(result))


@all_notations
def test_past_the_context_a_prompt_is_missed(name: str, prompts: list[Prompt]) -> None:
    """A player who knows the rules but sees so many tokens and no more, the one that it is to say included."""
    tokens = [1 + len(p.prefix) + 1 if name == "uci-move" else 1 + 2 * len(p.prefix) + 2 for p in prompts]
    edge = sorted(tokens)[len(tokens) // 2]
    done: list[int] = []
    result = squares(told(name, legal_moves, context=edge), prompts, advance=done.append)
    seen = sum(each <= edge for each in tokens)
    assert 0 < seen < len(prompts) == sum(done)
    for key in ("end_actual_legal", "end_actual_r_precision", "end_other_legal", "end_other_r_precision"):
        assert result.metrics[key].value == pytest.approx(seen / len(prompts))
        assert result.metrics[key].n == len(prompts)
    whole = values(squares(told(name, legal_moves), prompts))
    assert values(result)["end_actual_chance_legal"] == whole["end_actual_chance_legal"]
    for context, seen in ((tokens[0], 1), (tokens[0] - 1, 0), (1, 0)):
        found = values(squares(told(name, legal_moves, context), prompts[:1]))
        assert found["end_actual_legal"] == found["end_other_r_precision"] == seen


# Results


@all_notations
def test_lengths_add_up(name: str, prompts: list[Prompt], file: Path) -> None:
    scorer = Indifferent(TOKENIZERS[name])
    result = squares(scorer, prompts)
    groups = result.by["prefix"]
    assert list(groups) == list(LENGTHS)
    for key, metric in result.metrics.items():
        assert sum(group[key].n for group in groups.values()) == metric.n
        assert sum(group[key].n * group[key].value for group in groups.values()) == pytest.approx(
            metric.n * metric.value
        )
        assert metric.low is not None and metric.high is not None and metric.low <= metric.value <= metric.high
    start = read_prompts(write(file, SPANISH | {"prefix": "", "starting_square": "g1", "ending_square": "f3"} | REST))
    assert squares(scorer, start).by == {}, "a prefix of no ply is neither long nor short"


REST = dict.fromkeys(set(SPANISH) - {"prefix", "starting_square", "ending_square"})


def test_intervals_are_over_games(prompts: list[Prompt]) -> None:
    """Prompts of one game come and go together: ten times the same games say no more than once."""
    scorer = Indifferent(TOKENIZERS["uci-square"])
    once, again = (squares(scorer, prompts * n, seed=4).metrics["end_actual_chance_legal"] for n in (1, 10))
    assert (once.low, once.high) == pytest.approx((again.low, again.high))
    assert again.n == 10 * once.n
    other = squares(scorer, prompts, seed=5).metrics["end_actual_chance_legal"]
    assert other.value == once.value and other.low != once.low
    apart = [replace(prompt, game=i) for i, prompt in enumerate(prompts * 10)]
    narrow = squares(scorer, apart, seed=4).metrics["end_actual_chance_legal"]
    assert narrow.low is not None and once.low is not None and narrow.low > once.low


def test_no_prompts_have_no_figures() -> None:
    assert make_prompts([GAMES[0][:5]], seed=1) == []
    assert squares(Indifferent(get_tokenizer("uci-square")), []) == Result({})


def test_other_notations_are_refused() -> None:
    notation = replace(get_tokenizer("uci-square").notation, name="san")
    with pytest.raises(InputError, match=r"^the suite squares is defined for uci-move and uci-square, not for san$"):
        squares(Indifferent(GameTokenizer(notation)), [])


def test_whole_moves_are_marked_as_not_comparable() -> None:
    assert note("squares-random", "uci-move") and not note("squares", "uci-square")
