"""The chances of a random mover's moves, held to counting legal moves and to the loss of moves as they are drawn."""

from collections import Counter
from itertools import islice
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from conftest import Cli
from lightning import Trainer
from random_games import random_game

from chesslm import boards
from chesslm.chances import RandomMover
from chesslm.config import ModelConfig, TrainConfig
from chesslm.errors import InputError
from chesslm.generate import RANDOM_EVENT
from chesslm.loader import GameBatches, cut_game, pad_rows, targets_of, without
from chesslm.model import new_gpt2
from chesslm.module import ChessModule, loss_sum
from chesslm.shards import open_dataset
from chesslm.tokenizer import GameTokenizer, Role, TokenizedGame, get_tokenizer


def _batch_of(game: TokenizedGame) -> tuple[torch.Tensor, torch.Tensor]:
    """A game as a batch: ids and targets."""
    return torch.from_numpy(pad_rows([game.ids])), torch.from_numpy(pad_rows([targets_of(game)]))


def _written(tokenizer: GameTokenizer, codes: boards.MoveCodes) -> list[list[tuple[int, ...]]]:
    """The tokens of every legal move before each move of a game."""
    return [
        [tokenizer.spell_word(move.uci()) for move in board.legal_moves]
        for board in boards.replay(boards.to_moves(codes))
    ][: len(codes)]


@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("notation", ["uci-move", "uci-square"])
def test_chances_are_shares_of_the_legal_moves_and_the_rest_of_the_one_played(notation: str, share: float) -> None:
    tokenizer = get_tokenizer(notation)
    codes = random_game(5, 80)
    game = tokenizer.encode(codes, "1-0")
    chances = RandomMover(tokenizer, 0.3).chances([(3, game, share)])
    assert chances.row.tolist() == [3] * len(chances.at)
    of_moves = ~(game.role & (Role.GAME_BEGINS | Role.GAME_ENDS)).astype(bool)
    assert chances.at.tolist() == np.flatnonzero(of_moves).tolist()
    starts = np.flatnonzero(game.role & Role.MOVE_BEGINS).tolist()
    legal = _written(tokenizer, codes)
    lists = chances.at.tolist(), chances.ids.tolist(), chances.shares.tolist(), chances.legal.tolist()
    for at, ids, shares, may in zip(*lists, strict=True):
        ply = int(game.ply[at])
        begun = tuple(game.ids[starts[ply] : at].tolist())
        open_to = [move for move in legal[ply] if move[: len(begun)] == begun]
        expected = {token: 0.0 for move in open_to for token in [move[len(begun)]]}
        for move in open_to:
            expected[move[len(begun)]] += share / len(legal[ply])
        expected[int(game.ids[at])] += 1 - share
        whole = sum(expected.values())
        expected = {token: chance / whole for token, chance in expected.items()}
        found = Counter[int]()
        for token, chance in zip(ids, shares, strict=True):
            if chance:
                found[token] += chance
        assert found == pytest.approx({token: chance for token, chance in expected.items() if chance})
        assert int(game.ids[at]) in found
        # each of them once, however many moves begin with it
        assert sorted(token for token, is_legal in zip(ids, may, strict=True) if is_legal) == sorted(expected)


def test_after_a_hint_only_that_piece_moves() -> None:
    tokenizer = get_tokenizer("uci-square")
    game = tokenizer.encode(boards.to_codes(map(chess.Move.from_uci, ("g1f3", "d7d5"))), hints=True)
    hint = game.role & Role.HINT > 0
    second = game.ply == 1
    shown = without(game, hint & second)  # a hint on the first move alone
    chances = RandomMover(tokenizer, 1.0).chances([(0, shown, 1.0)])
    squares = [{tokenizer.tokens[i] for i, share in zip(*each, strict=True) if share} for each in zip(
        chances.ids.tolist(), chances.shares.tolist(), strict=True
    )]  # fmt: skip
    assert squares[:2] == [{"b1", "g1"}, {"f3", "h3"}]
    assert squares[2] == {*(f"{file}7" for file in "abcdefgh"), "b8", "g8"}


def test_a_hint_says_nothing_of_whether_the_game_was_left() -> None:
    """20 legal moves, of which a knight has four: each is drawn by 0.5 / 20, and the one played by 0.5 more."""
    tokenizer = get_tokenizer("uci-square")
    game = tokenizer.encode(boards.to_codes([chess.Move.from_uci("g1f3")]), hints=True)
    chances = RandomMover(tokenizer, 0.5).chances([(0, game, 0.5)])
    found = Counter[str]()
    for token, share in zip(chances.ids[0].tolist(), chances.shares[0].tolist(), strict=True):
        found[tokenizer.tokens[token]] += share
    assert found["g1"] == pytest.approx((0.5 + 2 * 0.025) / (0.5 + 4 * 0.025))
    assert found["b1"] == pytest.approx(2 * 0.025 / (0.5 + 4 * 0.025))


def test_a_game_may_be_cut() -> None:
    tokenizer = get_tokenizer("uci-move")
    whole = tokenizer.encode(random_game(5, 60))
    mover = RandomMover(tokenizer, 0.5)
    some, all_of_it = (mover.chances([(0, game, 0.5)]) for game in (cut_game(whole, 21), whole))
    assert len(some.at) == 20
    width = some.ids.shape[1]
    assert torch.equal(some.ids, all_of_it.ids[:20, :width])
    assert torch.equal(some.shares, all_of_it.shares[:20, :width])


def test_the_expected_loss_is_the_mean_over_what_may_be_drawn() -> None:
    tokenizer = get_tokenizer("uci-square")
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=1), tokenizer, seed=0).eval()
    codes = random_game(9, 12)
    mover = RandomMover(tokenizer, 1.0)
    played = codes[:11]
    *_, board = boards.replay(boards.to_moves(played))

    def loss(game: boards.MoveCodes, expected: bool) -> float:
        tokens = tokenizer.encode(game)
        found = loss_sum(model, *_batch_of(tokens), mover.chances([(0, tokens, 1.0)]) if expected else None)
        assert found.tokens == 2 * len(game)
        return float(found.cross_entropy.detach())

    drawn = [np.append(played, code).astype(np.uint16) for code in boards.legal_codes(board)]
    before = loss(played, expected=False)
    last = float(np.mean([loss(game, expected=False) - before for game in drawn]))
    # The loss of the first token is the same for all; that of the second depends on the first that was drawn.
    expected = float(np.mean([loss(game, expected=True) for game in drawn])) - loss(played, expected=True)
    assert expected == pytest.approx(last, rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_illegality_is_the_surprise_that_some_legal_move_comes(share: float) -> None:
    tokenizer = get_tokenizer("uci-move")
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=1), tokenizer, seed=0).eval()
    codes = random_game(9, 30)
    game = tokenizer.encode(codes)
    ids, targets = _batch_of(game)
    chances = RandomMover(tokenizer, share).chances([(0, game, share)])
    with torch.inference_mode():
        loss = loss_sum(model, ids, targets, chances)
        chance = model(ids).logits[0].double().softmax(-1)
    legal = _written(tokenizer, codes)
    masses = [sum(float(chance[ply, token]) for (token,) in legal[ply]) for ply in range(len(codes))]
    assert float(loss.illegality) == pytest.approx(-np.log(masses).sum(), rel=1e-4)


@torch.no_grad()
def test_a_step_weighs_illegality_and_reports_the_cross_entropy() -> None:
    tokenizer = get_tokenizer("uci-move")
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=1), tokenizer, seed=0).eval()
    game = tokenizer.encode(random_game(9, 30))
    ids, targets = _batch_of(game)
    chances = RandomMover(tokenizer, 0.0).chances([(0, game, 0.0)])
    plain, loss = loss_sum(model, ids, targets), loss_sum(model, ids, targets, chances)
    assert float(loss.cross_entropy) == pytest.approx(float(plain.cross_entropy))
    assert float(plain.illegality) == 0
    module = ChessModule(model, TrainConfig(legality=2.0))
    module.trainer = Trainer(accelerator="cpu", barebones=True)
    whole = {"tokens": loss.tokens, "games": 1}
    step = module.training_step({"ids": ids, "targets": targets, "expected": chances, "whole": whole, "last": True}, 0)
    assert float(step) == pytest.approx(float(loss.cross_entropy + 2 * loss.illegality) / loss.tokens)
    assert module.nats == pytest.approx(float(loss.cross_entropy))


def test_games_of_the_random_mover_have_nothing_else(tmp_path: Path, cli: Cli) -> None:
    pgn, data = tmp_path / "games.pgn", tmp_path / "data"
    cli("generate", str(pgn), "--games", "30")
    with pgn.open("a") as file:
        file.writelines(
            f'[Event "Club"]\n[Result "*"]\n\n1. {first} e5 2. Nc3 *\n\n' for first in ("e4", "d4", "c4", "f4")
        )
    cli("prepare", str(pgn), "--out", str(data), "--val", "0.01", "--test", "0.01")
    dataset = open_dataset(data)
    split = dataset.splits["train"]
    events = split.table()["event"].to_pylist()
    assert {"Club", RANDOM_EVENT} == set(events)
    # With a loss of legality alone, all games are learned as they were played.
    plain = GameBatches(split, 4096, 512, seed=1, mover=RandomMover(dataset.tokenizer, 0.0))
    for batch in islice(plain, len(plain.plan(0))):
        assert bool((batch["expected"].shares.count_nonzero(1) == 1).all())
    batches = GameBatches(split, 4096, 512, seed=1, parts=2, mover=RandomMover(dataset.tokenizer, 0.25))
    parts = iter(batches)
    seen = []
    for games in batches.plan(0):
        for numbers in (games[::2], games[1::2]):
            expected = next(parts)["expected"]
            for row, game in enumerate(numbers):
                of_row = expected.shares[expected.row == row]
                least = torch.where(of_row > 0, of_row, 1).amin(1)
                evenly = torch.allclose(of_row.amax(1), least)
                assert len(of_row) >= 3 and evenly == (events[game] == RANDOM_EVENT)
            seen += numbers.tolist()
    assert sorted(seen) == list(range(len(split)))


def test_notations_that_read_the_board_are_refused() -> None:
    with pytest.raises(InputError, match=r"train\.legality"):
        RandomMover(get_tokenizer("pgn-char"), 0.5)
