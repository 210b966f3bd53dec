"""The suite ``translation``, with oracles and with a model that was really trained; the learning curve of a run."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import Cli
from random_games import random_game

from chesslm.english import read_english, wordings
from chesslm.eval.scorers import TokenTree
from chesslm.eval.steppers import ScorerStepper
from chesslm.eval.translation import translation
from chesslm.foreign import foreign_tokenizer
from chesslm.learning import examples_needed, read_curve
from chesslm.pair_rows import encode_pair
from chesslm.pairs import TRANSLATIONS, Pair, floor_bits, make_pair
from chesslm.run import TRACKED
from chesslm.text_tokenizer import learn_text_tokenizer
from chesslm.tokenizer import GameTokenizer, Role

PAIRS = [
    make_pair(kind, random_game(100 * i + seed, 16), 1) for i, kind in enumerate(TRANSLATIONS) for seed in range(4)
]
"""No source is that of two kinds: nobody could know which target is meant."""
TEXT = learn_text_tokenizer((f"{pair.source}\n{pair.target}" for pair in PAIRS), 500)
TOKENIZER = foreign_tokenizer(TEXT, "text")


@dataclass(frozen=True)
class Knows:
    """A scorer that knows what to write after each source.

    Attributes:
        said: by the source's tokens, all that it writes.
    """

    said: dict[tuple[int, ...], tuple[int, ...]]
    tokenizer: GameTokenizer = TOKENIZER
    context: int = 512

    @staticmethod
    def of(pairs: Sequence[Pair]) -> "Knows":
        rows = [encode_pair(TEXT, pair) for pair in pairs]
        splits = [int(((row.role & Role.TARGET) == 0).sum()) for row in rows]
        ids = [tuple(row.ids.tolist()) for row in rows]
        return Knows({row[:n]: row[n:] for row, n in zip(ids, splits, strict=True)})

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        out = torch.zeros(len(trees), max(map(len, trees)), len(self.tokenizer))
        for scores, tree in zip(out, trees, strict=True):
            ids = tuple(tree.ids.tolist())
            for source, said in self.said.items():
                if ids[: len(source)] == source:
                    n = min(len(said), len(ids) - len(source) + 1)
                    scores[torch.arange(n) + len(source) - 1, torch.tensor(said[:n])] = 40
        return out


def measured(said: Sequence[Pair], pairs: Sequence[Pair] = PAIRS) -> dict[str, dict[str, float]]:
    """The figures of one who says this, by kind and over all."""
    scorer = Knows.of(said)
    result = translation(scorer, ScorerStepper(scorer), pairs)
    found = {kind: {key: metric.value for key, metric in each.items()} for kind, each in result.by["kind"].items()}
    return {**found, "all": {key: metric.value for key, metric in result.metrics.items()}}


def test_who_knows_all_targets_is_right_everywhere():
    found = measured(PAIRS)
    assert set(found) == {*TRANSLATIONS, "all"}
    for kind in TRANSLATIONS:
        assert found[kind]["exact"] == 1
        assert found[kind]["bits_per_target"] == pytest.approx(0, abs=1e-4)
    assert found["uci-san"]["moves_right"] == found["san-uci"]["moves_right"] == 1
    assert found["fen-legal"]["set_f1"] == found["fen-legal"]["set_precision"] == 1
    assert "moves_right" not in found["moves-fen"] and "set_f1" not in found["uci-san"]


def test_another_wording_is_right_and_costs_bits():
    pairs = [pair for pair in PAIRS if pair.kind == "move-english"]
    others = [wordings(facts) for pair in pairs if (facts := read_english(pair.target))]
    said = [
        replace(pair, target=next(each for each in other if each != pair.target))
        for pair, other in zip(pairs, others, strict=True)
    ]
    found = measured(said, pairs)["all"]
    assert found["exact"] == 1
    assert found["bits_per_target"] > 10
    floors = [bits for pair in pairs if (bits := floor_bits(pair))]
    assert len(floors) == len(pairs) and found["floor_bits"] == pytest.approx(sum(floors) / len(floors))


def test_who_says_something_else_is_wrong():
    def wrong(pair: Pair) -> Pair:
        *first, last = pair.target.split(" ")
        if pair.kind in ("uci-san", "san-uci"):
            return replace(pair, target=" ".join([*first, last + "x"]))
        if pair.kind == "fen-legal":
            return replace(pair, target=" ".join([*first, "a1a1", "a2a1"]))  # no legal move is either
        return replace(pair, target=pair.target[1:])

    said = [wrong(pair) for pair in PAIRS]
    found = measured(said)
    assert all(found[kind]["exact"] == 0 for kind in found)
    pairs = {kind: [pair for pair in PAIRS if pair.kind == kind] for kind in TRANSLATIONS}
    moves = [len(pair.target.split(" ")) for pair in pairs["uci-san"]]
    assert found["uci-san"]["moves_right"] == pytest.approx(1 - len(moves) / sum(moves))
    legal = [len(pair.target.split(" ")) for pair in pairs["fen-legal"]]
    assert found["fen-legal"]["set_precision"] == pytest.approx(sum((n - 1) / (n + 1) for n in legal) / len(legal))
    assert found["fen-legal"]["set_recall"] == pytest.approx(sum((n - 1) / n for n in legal) / len(legal))


def test_who_never_ends_is_stopped():
    scorer = Knows.of(PAIRS)
    endless = replace(scorer, said={source: said[:-1] * 40 for source, said in scorer.said.items()})
    result = translation(endless, ScorerStepper(endless), PAIRS[:4])
    assert result.metrics["exact"].value == 0
    low, high = result.metrics["exact"].low, result.metrics["exact"].high
    assert (low, high) == (0, 0.75), "the rule of three over four pairs"


def test_who_is_right_and_never_ends_is_wrong():
    """Spaces behind the target would be no difference if it had ended."""
    scorer = Knows.of(PAIRS)
    (space,) = TEXT.plain.encode(" ", add_special_tokens=False).ids
    endless = replace(scorer, said={source: (*said[:-1], *[space] * 400) for source, said in scorer.said.items()})
    assert translation(scorer, ScorerStepper(scorer), PAIRS[:4]).metrics["exact"].value == 1
    assert translation(endless, ScorerStepper(endless), PAIRS[:4]).metrics["exact"].value == 0


def test_a_game_alone_has_bits_a_move_and_a_pair_too_long_is_wrong():
    games = [make_pair("uci", random_game(seed, 12), 1) for seed in range(3)]
    scorer = Knows.of(games[:1])
    short = replace(scorer, context=100)
    long = make_pair("uci-san", random_game(1, 40), 3)
    result = translation(short, ScorerStepper(short), [*games[1:], long])
    (kind,) = [each for name, each in result.by["kind"].items() if name == "uci"]
    assert "exact" not in kind and kind["bits_per_move"].n == 24
    assert result.metrics["pairs_beyond_context"].value == 1
    assert result.metrics["exact"].value == 0


SMALL = ["--set", "model.layers=1", "--set", "model.width=32", "--set", "model.heads=2", "--set", "train.val_games=6"]
SMALL += ["--set", "train.batch_tokens=400", "--quiet"]


def test_from_pairs_to_figures(tmp_path: Path, cli: Cli, tiny_model: Path):
    pairs, data, out = tmp_path / "pairs.jsonl", tmp_path / "data", tmp_path / "out"
    made = ["--pairs", "english-move", "--games", "60", "--workers", "1", "--quiet"]
    assert cli("generate", pairs, *made).code == 0
    split = ["--val", "0.2", "--test", "0.1", "--vocabulary", "400", "--quiet"]
    assert cli("prepare", "--pairs", pairs, "--out", data, *split).code == 0
    assert cli("train", "--data", data, "--out", out, "--max-steps", "5", "--track", "target", *SMALL).code == 0
    about = json.loads((out / "chesslm.json").read_text())
    assert about["notation"] == "pairs" and about["dataset"]["kinds"].keys() == {"english-move"}
    assert about["validation"].keys() == {"val_bits_per_target", "val_bits_per_target_token", "val_exact"}
    assert "Kinds of pairs: english-move" in (out / "README.md").read_text()
    curve = read_curve(out / "target.csv")
    assert curve["step"].tolist() == [0, 1, 2, 3, 4, 5]
    with (out / "target.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == TRACKED["target"]
    assert curve["games"][0] == 0 and curve["games"][-1] == about["trained"]["games"]
    assert curve["bits_per_target"][-1] == pytest.approx(about["validation"]["val_bits_per_target"], rel=1e-4)
    assert curve["bits_per_target"][-1] < curve["bits_per_target"][0]
    seen, bits = curve["games"], curve["bits_per_target"]
    assert examples_needed(seen, bits, 1.0, floor=float(bits.min())) == seen[bits.argmin()]
    # The models: of pairs, and one of chess whose tokens are its own.
    results = tmp_path / "results.json"
    asked = ["--suite", "translation", "--pairs", pairs, "--limit", "20", "--quiet", "--json", results]
    assert cli("evaluate", out, *asked).code == 0
    found = json.loads(results.read_text())
    assert found["suites"]["translation"]["metrics"]["exact"]["n"] == 20
    assert found["data"]["path"] == str(pairs)
    ended = cli("evaluate", tiny_model, *asked)
    assert ended.code == 2 and "the suite translation is for models of text; uci-move has tokens of" in ended.err
    ended = cli("train", "--data", data, "--out", tmp_path / "x", "--max-steps", "1", "--track", "sinks")
    assert ended.code == 2 and "--track sinks is for games" in ended.err
    ended = cli("evaluate", "--games", data, "--quiet")
    assert ended.code == 2 and "holds pairs, and this needs games" in ended.err
    assert "val_exact" in cli("info", out).out
