"""Conditions where models are measured: what is told of each game, and what is not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from conftest import Cli
from oracles import Indifferent
from random_games import random_game, tokenizer_of, write_pgn

from chesslm import parallel
from chesslm.config import ModelConfig
from chesslm.eval.moves import score_moves
from chesslm.eval.positions import find_positions
from chesslm.eval.scorers import TokenTree
from chesslm.game import Game
from chesslm.model import new_gpt2, save_checkpoint
from chesslm.tokenizer import GameTokenizer

KINDS = ("elo", "result", "time")


@dataclass(frozen=True)
class Listening(Indifferent):
    """Remembers what it is told."""

    heard: list[list[str]] = field(default_factory=list)

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        self.heard.extend([self.tokenizer.tokens[i] for i in tree.ids[:5]] for tree in trees)
        return super().logits(trees)


@pytest.mark.parametrize("notation", ["uci-move", "pgn-char"])
@pytest.mark.parametrize("told", [True, False])
def test_a_scorer_is_told_what_is_known_of_the_game_or_nothing(notation: str, told: bool) -> None:
    codes = random_game(1, 6)
    games = [Game(codes, result="1-0", white_elo=1850, black_elo=None, time_control="180+2")]
    scorer = Listening(GameTokenizer(tokenizer_of(notation).notation, KINDS))
    with parallel.pool(1) as pool:
        score_moves(scorer, games, find_positions([codes], pool), pool, told=told)
    known = ["<white 1800>", "<black ?>", "<result 1-0>", "<time blitz>"]
    nothing = ["<white ?>", "<black ?>", "<result ?>", "<time ?>"]
    assert scorer.heard and {tuple(each) for each in scorer.heard} == {("<bos>", *(known if told else nothing))}


def test_unknown_changes_only_what_models_with_conditions_are_told(cli: Cli, tmp_path: Path) -> None:
    pgn = write_pgn(tmp_path / "g.pgn", [random_game(seed, 12) for seed in range(3)], WhiteElo="1500", BlackElo="2300")
    folders = []
    for kinds in ((), ("elo",)):
        tokenizer = GameTokenizer(tokenizer_of("uci-move").notation, kinds)
        model = new_gpt2(ModelConfig(layers=1, width=16, heads=1), tokenizer, seed=1)
        with torch.no_grad():
            model.transformer.wte.weight *= 20
        folders.append(tmp_path / f"model{len(folders)}")
        save_checkpoint(model, tokenizer, folders[-1], {"notation": "uci-move"})

    def results(*options: str) -> list[dict[str, dict[str, object]]]:
        out = tmp_path / "out.json"
        ended = cli("evaluate", *folders, "--games", pgn, "--json", out, "--quiet", "--workers", 1, *options)
        assert (ended.code, ended.err) == (0, "")
        return json.loads(out.read_text())[:2]

    (plain, rated), (plain_unknown, rated_unknown) = results(), results("--unknown")
    assert plain["suites"] == plain_unknown["suites"] and "told" not in plain["model"]
    assert rated["suites"] != rated_unknown["suites"]
    assert (rated["model"]["told"], rated_unknown["model"]["told"]) == (["elo"], [])
