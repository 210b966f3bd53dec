"""Pairs: right by python-chess, sentences read back, files, rows, and how many examples a curve took."""

import json
import os
import random
from pathlib import Path

import chess
import numpy as np
import pytest
from conftest import Cli
from random_games import LIVELY, PROMOTIONS, random_game

from chesslm import boards
from chesslm.english import Facts, facts_of, read_english, wordings
from chesslm.learning import examples_needed
from chesslm.pair_rows import encode_pair
from chesslm.pairs import KINDS, ONE_SIDED, PREFIX_PLIES, Pair, check, make_pair, read_pairs
from chesslm.shards import SPLITS, open_dataset
from chesslm.streams import Source
from chesslm.text_tokenizer import CONTEXT, learn_text_tokenizer, read_text_tokenizer
from chesslm.tokenizer import BOS, EOS, Role

GAMES = [LIVELY, PROMOTIONS, *(random_game(seed, 45) for seed in range(30))]
SEEDS = range(int(os.environ.get("PAIR_SEEDS", "12")))
"""Of prefixes: 2,300 pairs in a second; PAIR_SEEDS=200 looks at 38,400."""


def after(moves: list[chess.Move]) -> chess.Board:
    board = chess.Board()
    for move in moves:
        assert move in board.legal_moves
        board.push(move)
    return board


def sans(moves: list[chess.Move]) -> str:
    board = chess.Board()
    return " ".join(board.san_and_push(move) for move in moves)


def true_to(pair: Pair, codes: boards.MoveCodes) -> bool:
    """Whether python-chess alone says that a pair of this game is right."""
    game = boards.to_moves(codes)
    moves = game[: len((pair.source or pair.target).split(" "))]
    uci = " ".join(move.uci() for move in moves)
    match pair.kind:
        case "uci-san":
            return (pair.source, pair.target) == (uci, sans(moves))
        case "san-uci":
            return (pair.source, pair.target) == (sans(moves), uci)
        case "moves-fen":
            return (pair.source, pair.target) == (uci, after(moves).fen())
        case "fen-legal":
            board = chess.Board(pair.source)
            assert board.fen() in {each.fen() for each in boards.replay(game)}
            return pair.target.split(" ") == sorted(move.uci() for move in board.legal_moves)
        case "uci":
            return (pair.source, pair.target) == ("", uci) and len(moves) == len(game)
        case "san":
            return (pair.source, pair.target) == ("", sans(moves)) and len(moves) == len(game)
        case "move-english":
            board = after(moves[:-1])
            return pair.source == uci and says(pair.target, board, moves[-1])
    board = next(each for each in boards.replay(game) if says(pair.source, each, chess.Move.from_uci(pair.target)))
    return board.ply() < PREFIX_PLIES


def says(sentence: str, board: chess.Board, move: chess.Move) -> bool:
    """Whether a sentence names the pieces, squares, and marks of a legal move on a board, by its plain words."""
    if not board.is_legal(move):
        return False
    san, words = board.san(move), sentence.replace(",", "").split()
    if san.startswith("O-O"):
        side = "queen" if san.startswith("O-O-O") else "king"
        return "castles" in words and (f"{side}side" in words or f"{side}'s" in words)
    piece = board.piece_type_at(move.from_square) or 0
    took = board.is_capture(move)
    captured = board.piece_type_at(move.to_square) or chess.PAWN
    named = [piece, *([captured] if took else []), *([move.promotion] if move.promotion else [])]
    return (
        sorted(word for word in words if word in chess.PIECE_NAMES) == sorted(chess.piece_name(kind) for kind in named)
        and chess.square_name(move.from_square) in words
        and chess.square_name(move.to_square) in words
        and ("passant" in words) == board.is_en_passant(move)
        and ("check" in words) == san.endswith("+")
        and (bool({"checkmate", "mate"} & set(words))) == san.endswith("#")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_right_by_python_chess(kind: str):
    made = [
        (make_pair(kind, codes, seed), codes) for codes in GAMES for seed in SEEDS[: 1 if kind in ONE_SIDED else None]
    ]
    for pair, codes in made:
        assert true_to(pair, codes), pair
        assert check(kind, pair.source, pair.target), pair
    plies = {len(pair.source.split()) for pair, _ in made if kind == "uci-san"} or {1, 2, 40}
    assert min(plies) < 3 and 38 <= max(plies) <= PREFIX_PLIES


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_target_is_wrong(kind: str):
    pair, other = (make_pair(kind, codes, 1) for codes in (LIVELY, PROMOTIONS))
    for wrong in ("", pair.target[:-1], pair.target + " ", f"{pair.target} e2e4", pair.target.upper(), "nonsense"):
        assert not check(kind, pair.source, wrong), wrong
    if kind not in ONE_SIDED:
        assert not check(kind, pair.source, other.target)
        assert not check(kind, "nonsense", pair.target)


POSITIONS = {
    "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1": ("e1g1", "e1c1"),
    "r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1": ("e8g8", "e8c8"),
    # Castling that gives check; a move that mates.
    "5k2/8/8/8/8/8/8/4K2R w K - 0 1": ("e1g1",),
    "3k4/1R6/3K4/8/8/8/8/8 w - - 0 1": ("b7b8",),
    "4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 1": ("e5d6", "e5e6"),
    # Promotion with capture: plain, check, and mate.
    "1n5k/P7/8/8/8/8/8/K7 w - - 0 1": ("a7b8q", "a7b8n", "a7a8r"),
    "1n4k1/P4ppp/8/8/8/8/8/K7 w - - 0 1": ("a7b8q", "a7b8r", "a7b8b"),
}


def test_every_wording_of_special_moves_is_read_back():
    seen: dict[str, Facts] = {}
    checks: set[tuple[str | None, str]] = set()
    for fen, moves in POSITIONS.items():
        for uci in moves:
            board, move = chess.Board(fen), chess.Move.from_uci(uci)
            facts = facts_of(board, move)
            assert facts.uci == uci
            checks.add((facts.promotion, facts.check))
            said = wordings(facts)
            assert len(set(said)) == len(said) >= 6
            for sentence in said:
                assert read_english(sentence) == facts
                assert says(sentence, board, move), sentence
                assert seen.setdefault(sentence, facts) == facts
    assert {("queen", "mate"), ("rook", "mate"), ("knight", ""), ("queen", "check")} <= checks


@pytest.mark.parametrize(
    "sentence",
    [
        "the knight on g1 takes the bishop on f3 with check ",
        "with check, the knight on g1 moves to f3 with check",
        "the knight on g9 moves to f3",
        "the king on e2 castles kingside",
        "white castles kingside, promoting to a queen",
        "The knight on g1 moves to f3",
        "",
    ],
)
def test_what_no_wording_says_is_not_read(sentence: str):
    assert read_english(sentence) is None


def test_a_sentence_as_the_documentation_has_it():
    said = "the knight on g1 takes the bishop on f3 with check"
    assert read_english(said) == Facts("knight", "g1", "f3", "bishop", check="check")


# Files


def test_a_file_is_the_same_for_any_number_of_workers_and_comes_from_games(tmp_path: Path, cli: Cli, tiny_pgn: Path):
    for workers in ("1", "2"):
        options = ["--pairs", "move-english", "--games", "12", "--seed", "3", "--workers", workers, "--quiet"]
        ended = cli("generate", tmp_path / f"{workers}.jsonl.zst", *options)
        assert ended.code == 0 and "12 pairs" in ended.out
    assert (tmp_path / "1.jsonl.zst").read_bytes() == (tmp_path / "2.jsonl.zst").read_bytes()
    pairs = list(read_pairs(Source(str(tmp_path / "1.jsonl.zst"))))
    assert len({pair.game for pair in pairs}) == 12
    for kind in ("moves-fen", "san"):
        options = ["--pairs", kind, "--games", "500", "--from", tiny_pgn, "--workers", "1", "--quiet"]
        ended = cli("generate", tmp_path / f"{kind}.jsonl", *options)
        assert "240 pairs; there were no more games" in ended.out
    kinds = [list(read_pairs(Source(str(tmp_path / f"{kind}.jsonl")))) for kind in ("moves-fen", "san")]
    assert [pair.game for pair in kinds[0]] == [pair.game for pair in kinds[1]]


def test_pairs_to_measure_on_share_nothing_with_those_of_training(tmp_path: Path, cli: Cli, tiny_pgn: Path):
    options = ["--pairs", "english-move", "--workers", "1", "--quiet"]
    known, new = tmp_path / "known.jsonl", tmp_path / "new.jsonl"
    assert cli("generate", known, "--games", "400", *options).code == 0
    assert cli("generate", new, "--games", "60", "--seed", "2", *options).code == 0
    sources = {pair.source for pair in read_pairs(Source(str(known)))}
    assert sources & {pair.source for pair in read_pairs(Source(str(new)))}, "random games say the same sentences"
    assert cli("generate", new, "--games", "60", "--seed", "2", "--exclude", known, *options).code == 0
    pairs = list(read_pairs(Source(str(new))))
    assert len(pairs) == 60 and not sources & {pair.source for pair in pairs}
    # Of whole games, which have no source, those are left out that are there.
    options = ["--pairs", "uci", "--from", tiny_pgn, "--workers", "1", "--quiet"]
    assert "100 pairs" in cli("generate", known, "--games", "100", *options).out
    assert (
        "140 pairs; there were no more games"
        in cli("generate", new, "--games", "500", "--exclude", known, *options).out
    )


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of all kinds from the same games, some of them twice."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    made = [
        make_pair(kind, random_game(seed, 400 if kind in ONE_SIDED else 45), 1) for kind in KINDS for seed in range(30)
    ]
    lines = [json.dumps({"kind": p.kind, "game": p.game, "source": p.source, "target": p.target}) for p in made]
    file.write_text("\n".join([*lines, lines[0]]) + "\n")
    return file


def test_rows_are_the_pairs(pairs_file: Path, tmp_path: Path, cli: Cli):
    options = ["--vocabulary", "400", "--val", "0.2", "--test", "0.2", "--quiet"]
    assert cli("prepare", "--pairs", pairs_file, "--out", tmp_path / "data", *options).code == 0
    dataset = open_dataset(tmp_path / "data")
    text = read_text_tokenizer(str(dataset.folder / "tokenizer"))
    pairs = {(pair.kind, pair.source): pair for pair in read_pairs(Source(str(pairs_file)))}
    split_of: dict[str, str] = {}
    found = 0
    for name in SPLITS:
        split = dataset.splits[name]
        for i, about in enumerate(split.table().to_pylist()):
            row = split[i]
            of_target = (row.role & Role.TARGET) > 0
            assert row.ids[0] == BOS and row.role[0] == Role.GAME_BEGINS and len(row) <= CONTEXT
            source = text.plain.decode(row.ids[1:][~of_target[1:]].tolist())
            target = text.plain.decode(row.ids[of_target].tolist())
            assert source.endswith("\n")
            if about["kind"] in ONE_SIDED:
                whole = next(pair.target for pair in pairs_of(pairs_file, about["kind"]) if pair.game == about["game"])
                assert (whole + " ").startswith(target + " ")
                assert (row.ids[-1] == EOS) == (whole == target)
            else:
                assert pairs[about["kind"], source[:-1]].target == target
                assert row.ids[-1] == EOS and of_target[-1]
            assert split_of.setdefault(about["game"], name) == name
            found += 1
    counts = dataset.meta["pairs"]
    assert found == counts["kept"] == sum(dataset.meta["kinds"].values())
    assert counts["read"] == 8 * 30 + 1 == found + counts["duplicate"] + counts.get("too long", 0)
    assert counts["duplicate"] >= 1


def pairs_of(file: Path, kind: str) -> list[Pair]:
    return [pair for pair in read_pairs(Source(str(file))) if pair.kind == kind]


def test_a_long_pair_is_left_out_and_a_long_game_is_cut_after_a_move():
    text = learn_text_tokenizer(["e2e4 "], 300)
    game = make_pair("uci", random_game(1, 400), 1)
    row = encode_pair(text, game)
    assert 500 < len(row) <= CONTEXT
    said = text.plain.decode(row.ids[(row.role & Role.TARGET) > 0].tolist())
    assert game.target.startswith(said + " ")
    assert len(encode_pair(text, Pair("uci-san", "x", game.target, "e4"))) > CONTEXT
    whole = make_pair("uci", random_game(1, 30), 1)
    ended = False
    for context in range(30, len(encode_pair(text, whole)) + 2):
        row = encode_pair(text, whole, context)
        assert len(row) <= context
        said = text.plain.decode(row.ids[(row.role & Role.TARGET) > 0].tolist())
        ended = bool(row.role[-1] & Role.GAME_ENDS)
        assert whole.target == said.removesuffix("<eos>") if ended else whole.target.startswith(said + " ")
    assert ended


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["generate", "out", "--pairs", "uci-fen", "--games", "2"],
            "unknown kind of pairs 'uci-fen'; kinds are uci-san,",
        ),
        (["generate", "out", "--pairs", "uci-san", "--games", "0"], "ask for at least one game"),
        (["generate", "out", "--pairs", "uci-san", "--games", "2", "--by", "random"], "--by is for games"),
        (["generate", "out", "--games", "2", "--from", "x.pgn"], "--from is for pairs"),
        (["generate", "out", "--games", "2", "--exclude", "x.jsonl"], "--exclude is for pairs"),
        (["generate", "out", "--pairs", "uci", "--games", "2", "--exclude", "no.jsonl"], "no such file"),
        (["generate", "out", "--pairs", "uci-san", "--games", "2", "--from", "no.pgn"], "no such file"),
        (["prepare", "--pairs", "bad.jsonl", "--out", "out"], "line 2 is no pair; make pairs with"),
        (["prepare", "--pairs", "kind.jsonl", "--out", "out"], "line 1 is no pair of a known kind"),
        (["prepare", "--pairs", "few.jsonl", "--out", "out"], "too few pairs: 1 of 1 left"),
        (["prepare", "--pairs", "few.jsonl", "--out", "out", "--min-elo", "5"], "--min-elo is for games; leave it out"),
        (["evaluate", "--suite", "translation"], "the suite translation takes --pairs FILE"),
        (["evaluate", "--random", "1", "--pairs", "few.jsonl"], "the suite translation takes --pairs FILE"),
        (["evaluate", "--suite", "translation", "--pairs", "empty.jsonl"], "the file is empty"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, arguments: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    fine = {"kind": "english-move", "game": "a", "source": "the pawn on e2 moves to e4", "target": "e2e4"}
    Path("few.jsonl").write_text(json.dumps(fine) + "\n")
    Path("bad.jsonl").write_text(json.dumps(fine) + '\n{"kind": "uci-san"}\n')
    Path("kind.jsonl").write_text(json.dumps({**fine, "kind": "english"}) + "\n")
    Path("empty.jsonl").write_text("")
    ended = cli(*arguments, "--quiet")
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 1
    assert not Path("out").exists()


# Learning curves


def test_examples_needed_on_a_known_curve():
    examples = [0, *(2.0**k for k in range(11))]
    # From 8 bits to a floor of 2, half of the rest gone with each doubling.
    bits = [8.0, *(2 + 6 * 0.5**k for k in range(11))]
    assert examples_needed(examples, bits, 0.5, floor=2.0) == pytest.approx(2)
    assert examples_needed(examples, bits, 0.75, floor=2.0) == pytest.approx(4)
    assert examples_needed(examples, bits, 0.625, floor=2.0) == pytest.approx(2 * 2**0.5)
    assert examples_needed(examples, bits, 0.9999, floor=2.0) is None
    assert examples_needed(examples, bits, 0.9999, floor=2.0, start=80.0) == pytest.approx(
        examples_needed(examples, bits, 0.9987, floor=2.0) or 0, rel=1e-3
    )
    # A loss that rises again takes nothing back, and noise above the best so far changes nothing.
    bumpy = [*bits[:4], 7.0, *bits[4:]]
    assert examples_needed([*examples[:4], 5.0, *examples[4:]], bumpy, 0.75, floor=2.0) == pytest.approx(4)
    assert examples_needed([0, 4], [8.0, 1.0], 0.5) == 4
    assert examples_needed([4, 8], [1.0, 0.5], 0.5, start=4.0) == 4
    assert examples_needed([0, 4], [2.0, 1.0], 0.5, floor=2.0) is None
    with pytest.raises(ValueError, match="at least one"):
        examples_needed([], [], 0.5)


def test_a_prefix_is_drawn_evenly():
    rng = random.Random(1)
    lengths = [len(make_pair("uci-san", GAMES[2], rng.randrange(10**9)).source.split()) for _ in range(400)]
    assert len(GAMES[2]) > PREFIX_PLIES
    assert abs(np.mean(lengths) - (1 + PREFIX_PLIES) / 2) < 2.5
