"""The suite sinks: classes against positions counted by hand and by python-chess, bits in closed form; and the same
while a model is trained.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Cli
from oracles import Indifferent, Oracle, uniform
from random_games import ALL_NOTATIONS, LIVELY, PROMOTIONS, san_game, tokenizer_of
from test_legality import held_out, random_model

from chesslm import boards, parallel
from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.eval.falls import PARTS, falls, floors, parts
from chesslm.eval.legality import HeldOut
from chesslm.eval.moves import score_moves
from chesslm.eval.positions import find_positions
from chesslm.eval.results import Result
from chesslm.eval.scorers import Scorer
from chesslm.eval.sinks import sinks, tokens_of
from chesslm.eval.tokens import BOARD, CLASSES, END, ENDS, FREE, SYNTAX, WHOLE, MoveTokens, roles
from chesslm.eval.tracking import track_sinks
from chesslm.forks import Forks
from chesslm.learning import Curve, read_curve
from chesslm.names import METRICS
from chesslm.notation import ALPHABETS, get_notation, legal_spellings, next_tokens
from chesslm.recorder import is_tracked
from chesslm.report.figures import sinks_svg
from chesslm.run import TRACKED
from chesslm.shards import open_dataset
from chesslm.tokenizer import GameTokenizer

all_notations = pytest.mark.parametrize("notation", ALL_NOTATIONS)
FORCED = san_game("f4 e5 h3 Qh4+ g3 Qxg3#")
"""After the check g3 is the only legal move."""


@pytest.fixture(scope="module")
def few(pool: parallel.Executor) -> HeldOut:
    return held_out([LIVELY, FORCED], pool)


def found(tokenizer: GameTokenizer, games: Sequence[MoveCodes], pool: parallel.Executor) -> MoveTokens:
    return tokens_of(Forks(tokenizer), list(map(tokenizer.encode, games)), find_positions(games, pool), pool)


def measured(scorer: Scorer, held: HeldOut, pool: parallel.Executor) -> Result:
    return sinks(scorer, held.games, held.positions, pool)


BY_HAND = {
    "pgn-char": {
        # The knights of b8 and f6 can go to d7, and no other one begins with Nb. _ is the space.
        ("LIVELY", 7): "N:free b:free d:board 7:board _:board",
        # Only the e-pawn takes, on d6 alone.
        ("LIVELY", 4): "e:free x:free d:board 6:board _:board",
        # O-O-O cannot be played, but the notation knows it.
        ("LIVELY", 10): "O:free -:syntax O:syntax _:board",
        ("FORCED", 3): "Q:free h:free 4:board +:board _:syntax",
        ("FORCED", 4): "g:board 3:board _:board",
        ("FORCED", 5): "Q:free x:free g:free 3:board #:board _:syntax",
        ("PROMOTIONS", 8): "b:free x:free a:board 8:board =:syntax N:free _:board",
    },
    "bpe": {
        ("LIVELY", 7): "Nbd:free 7:board _:board",
        ("FORCED", 5): "Q:free x:free g:free 3:board #_:board",
    },
    "san": {("LIVELY", 7): "Nbd7_:free", ("FORCED", 4): "g:board 3:board _:board"},
    "uci-square": {
        ("FORCED", 3): "d8:free h4:free",
        ("FORCED", 4): "g2:board g3:board",
        ("PROMOTIONS", 8): "b7:free a8:free n:free",
        # A rook: no letter of a promotion follows.
        ("PROMOTIONS", 18): "d7:free d8:free END:board",
    },
    "uci-move": {("FORCED", 4): "g2g3:board", ("FORCED", 5): "h4g3:free"},
}
GAMES = {"LIVELY": LIVELY, "FORCED": FORCED, "PROMOTIONS": PROMOTIONS}
VOCABULARIES = {
    "bpe": ((*ALPHABETS["bpe"], "Nb", "Nbd", "# "), (("N", "b"), ("Nb", "d"), ("#", " "))),
    "san": ((*ALPHABETS["san"], "Nbd7 ", "e4 "), ()),
}


@pytest.mark.parametrize("notation", BY_HAND)
def test_classes_counted_by_hand(notation: str, pool: parallel.Executor) -> None:
    tokenizer = GameTokenizer(get_notation(notation, *VOCABULARIES.get(notation, ())))
    tokens = found(tokenizer, list(GAMES.values()), pool)
    first = dict(zip(GAMES, (0, len(LIVELY), len(LIVELY) + len(FORCED)), strict=True))
    for (game, ply), expected in BY_HAND[notation].items():
        move = np.cumsum(tokens.begins) - 1 == first[game] + ply
        names = ["END" if i == END else tokenizer.tokens[i].replace(" ", "_") for i in tokens.token[move].tolist()]
        classes = [CLASSES[kind] for kind in tokens.kind[move].tolist()]
        assert " ".join(map(":".join, zip(names, classes, strict=True))) == expected
        assert set(tokens.forced[move].tolist()) == {(game, ply) == ("FORCED", 4)}


@all_notations
def test_classes_by_the_trees_of_legal_moves_and_of_the_notation(notation: str, pool: parallel.Executor) -> None:
    """Found one by one on the board, in another way; and no token of ``ends`` or ``extensions`` is passed over."""
    tokenizer = tokenizer_of(notation)
    plain, names = tokenizer.notation, tokenizer.tokens
    tokens, rows = found(tokenizer, [LIVELY, PROMOTIONS], pool), iter(range(10**6))
    for game in (LIVELY, PROMOTIONS):
        moves = boards.to_moves(game)
        for move, board in zip(moves, boards.replay(moves), strict=False):
            spelled = plain.spell(move, board)
            legal = legal_spellings(plain, board)
            open_end = plain.ends(spelled) and plain.extensions(spelled)
            for n in range(len(spelled) + bool(open_end)):
                row, begun = next(rows), spelled[:n]
                going = {names[i] if i != END else "END" for i in tokens.legal[row]}
                assert going == next_tokens(legal, begun) | ({"END"} if begun in legal else set())
                can = set(plain.extensions(begun)) | ({"END"} if n and plain.ends(begun) else set())
                assert going <= can
                if notation in ("uci-move", "pgn-char", "pgn-char-spaced"):
                    # No text has two spellings, so the notation's tree is that of its moves.
                    expected = SYNTAX if len(can) == 1 else BOARD if len(going) == 1 else FREE
                    assert tokens.kind[row] == expected, (begun, can)
                assert tokens.forced[row] == (len(legal) == 1)
    assert next(rows) == len(tokens)


def test_what_a_token_says() -> None:
    squares, characters = get_notation("uci-square"), get_notation("pgn-char")
    assert roles(squares, ("e7", "e8", "q")) == ["start square", "end square", "promotion"]
    assert roles(get_notation("uci-move"), ("e7e8q",)) == [WHOLE]
    expected = ["piece", "origin", "origin", "capture", "file", "rank", "check"]
    assert roles(characters, tuple("Qa1xb2+ ")) == [*expected, ENDS]
    assert roles(characters, tuple("exd8=Q ")) == ["piece", "capture", "file", "rank", *["promotion"] * 2, ENDS]
    assert roles(characters, tuple("O-O ")) == ["piece", "castling", "castling", ENDS]
    assert roles(characters, ("N", "bd", "7 ")) == ["piece", "origin", "rank"]


# Figures


@all_notations
def test_the_bits_are_those_of_legality(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    scorer = random_model(notation, context=100)
    result, scores = measured(scorer, few, pool), score_moves(scorer, few.games, few.positions, pool, plies=1)
    metrics = {key: metric.value for key, metric in result.metrics.items()}
    assert metrics["bits_per_move"] == pytest.approx(scores.bits[scores.within].mean(), rel=1e-5)
    assert metrics["plies_beyond_context"] == (~scores.within).sum()
    for share in ("tokens", "loss"):
        assert sum(metrics.get(f"{name}_{share}", 0) for name in CLASSES) == pytest.approx(1)
        assert sum(role[f"role_{share}"].value for role in result.by["role"].values()) == pytest.approx(1)
    assert metrics["free_legality_bits"] <= metrics["free_bits"]
    assert set(metrics) <= set(METRICS)
    json.dumps(result.as_dict(), allow_nan=False)


@all_notations
def test_a_player_who_knows_the_rules(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    metrics = measured(Oracle(tokenizer_of(notation), uniform), few, pool).metrics
    for key in ("board_bits", "syntax_bits", "forced_bits", "board_loss", "free_legality_bits"):
        assert key not in metrics or metrics[key].value == pytest.approx(0, abs=1e-5), key
    assert metrics["board_top1"].value == metrics["forced_top1"].value == 1
    assert metrics["free_loss"].value == pytest.approx(1)
    assert metrics["bits_per_move"].value == pytest.approx(np.log2(few.positions.n_legal).mean(), abs=1e-5)


def test_a_scorer_that_knows_nothing(pool: parallel.Executor) -> None:
    held = held_out([LIVELY, FORCED, PROMOTIONS], pool)
    characters = measured(Indifferent(tokenizer_of("pgn-char")), held, pool)
    alphabet = len(ALPHABETS["bpe"])
    for name in (*CLASSES, "forced"):
        assert characters.metrics[f"{name}_bits"].value == pytest.approx(math.log2(alphabet))
        assert characters.metrics[f"{name}_top1"].value == pytest.approx(1 / alphabet)
        assert characters.metrics[f"{name}_loss"].value == pytest.approx(characters.metrics[f"{name}_tokens"].value)
    squares = measured(Indifferent(tokenizer_of("uci-square")), held, pool).by["role"]
    assert squares["start square"]["free_bits"].value == pytest.approx(math.log2(68))
    # Any token but four letters ends the rook's move; which of them it would be is not asked.
    every = len(tokenizer_of("uci-square"))
    assert squares[ENDS]["board_bits"].value == pytest.approx(-math.log2(1 - 4 / every))
    assert squares[ENDS]["board_top1"].value == 1


def test_the_suite_on_the_command_line(cli: Cli, tiny_model: Path, tiny_pgn: Path, tmp_path: Path) -> None:
    sample = ("--games", tiny_pgn, "--limit", "3", "--random", "2", "--workers", "1")
    ended = cli("evaluate", tiny_model, "--suite", "sinks", *sample, "--json", tmp_path / "out.json")
    assert ended.code == 0 and "Free tokens" in ended.out
    results = json.loads((tmp_path / "out.json").read_text())
    assert set(results["suites"]) == {"sinks", "sinks-random"}
    assert results["suites"]["sinks"]["by"]["role"].keys() == {WHOLE}


# While a model is trained


def test_it_is_measured_four_times_a_doubling() -> None:
    due = [step for step in range(130) if is_tracked(step)]
    assert due == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 108, 128]


def test_tracking_measures_what_the_suite_does(tiny_datasets: Mapping[str, Path], pool: parallel.Executor) -> None:
    dataset = open_dataset(tiny_datasets["uci-square"])
    scorer = random_model("uci-square", context=40)
    model = scorer.loaded.model
    tokens = int(dataset.splits["val"].lengths[:3].sum())
    tracked = track_sinks(dataset, tokens)(lambda ids: model(ids, use_cache=False).logits.detach(), 40)
    codes = [boards.to_codes(dataset.tokenizer.decode_moves(dataset.splits["val"][i].ids)) for i in range(3)]
    suite = measured(scorer, held_out(codes, pool), pool).metrics
    assert tracked == pytest.approx({key: suite[key].value for key in tracked}, rel=1e-5)
    assert {"bits_per_move", "board_bits", "free_bits", "free_loss"} <= set(tracked) <= set(TRACKED["sinks"])
    of_move = parts({key: np.array([value]) for key, value in tracked.items()})
    assert tuple(of_move) == PARTS and sum(of_move.values()) == pytest.approx(tracked["bits_per_move"])
    board = suite["board_tokens"].value * suite["board_bits"].value / suite["token_bits"].value
    assert of_move["board"] == pytest.approx(board * suite["bits_per_move"].value)
    assert 0 < of_move["legality"] < of_move["choice"] + of_move["legality"]


# How sharply


def curves(**bits: list[float]) -> Curve:
    steps = np.array([0.0, *(2.0**n for n in range(len(next(iter(bits.values()))) - 1))])
    return {"step": steps, **{f"{name}_bits": np.array(values) for name, values in bits.items()}}


def test_falls() -> None:
    """Levels 3 and 1 of 4, crossed along straight lines in log-steps; what rises again is no crossing."""
    short = curves(
        board=[4, 4, 3.5, 2.5, 0.5, 0.75, 0.25], free=[4, 4, 4, 3, 2, 2, 2], forced=[4.0, 4, 4, 3.9, 3.8, 3.9, 4]
    )
    long = curves(free=[4, 4, 3.9, 2, 1.5, 1.5, 1.2, 1.2])
    floor = floors([short, long])
    assert floor == {"board": 0, "free": 1.2, "forced": 0}
    found = falls(short, floor)
    # 3 between steps 2 and 4, 1 between 4 and 8.
    assert (found["board"].high, found["board"].low) == pytest.approx((2**1.5, 2**2.75))
    assert found["board"].doublings == pytest.approx(1.25)
    assert found["free"].high == pytest.approx(2**1.7) and found["free"].low is found["free"].doublings is None
    assert found["forced"].high is None and found["forced"].doublings is None
    lower = falls(long, floors([short, long], share=0.5))["free"].doublings
    assert lower and lower > (falls(long, floor)["free"].doublings or 0) > 0


def test_curves_are_drawn(tmp_path: Path) -> None:
    runs = {"text <first>": [curves(board=[5, 4, 1], free=[5, 4, 3])], "scratch": [curves(free=[5, 5, 4])]}
    root = ElementTree.fromstring(sinks_svg(runs))
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    words = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert len(lines) == 3
    assert {"text <first>", "scratch", "Free, bits a token"} <= set(words)
    with pytest.raises(InputError, match=r"sinks\.csv"):
        read_curve(tmp_path / "sinks.csv")
