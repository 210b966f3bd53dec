"""Attention to a piece's moves: heads that follow pieces are told from those that look at what is near."""

from collections.abc import Mapping
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from random_games import random_game, san_game

from chesslm import boards
from chesslm.inside.heads import FURTHEST, RANGES, Sums, attention, attention_of, movers, sums_of
from chesslm.inside.origin import random_weights
from chesslm.model import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_piece_is_known_by_its_first_square() -> None:
    castled = san_game("e4 e5 Nf3 Nc6 Bc4 Bc5 O-O Nf6 Re1 O-O Nxe5")
    names = [chess.square_name(square) for square in movers(castled).tolist()]
    assert names == ["e2", "e7", "g1", "b8", "f1", "f8", "e1", "g8", "h1", "e8", "g1"]
    promoted = san_game("a4 b5 axb5 a6 bxa6 Bb7 axb7 Nc6 bxa8=Q Nb8 Qxb8")
    assert [chess.square_name(square) for square in movers(promoted).tolist()[::2]] == ["a2"] * 6
    for number in range(20):
        codes = random_game(number, plies=60)
        for ply, (piece, move) in enumerate(zip(movers(codes), boards.to_moves(codes), strict=True)):
            board = boards.board_after(codes[:ply])
            first = chess.Board().piece_at(int(piece))
            there = board.piece_at(move.from_square)
            assert first and there and first.color == there.color
            assert first.piece_type in (there.piece_type, chess.PAWN)


def planted(follows: float, decay: float) -> Sums:
    """Games in which the first head falls off with the distance, the second one follows pieces besides, and the third
    looks at all moves alike."""
    each = []
    for number in range(12):
        mover = movers(random_game(number, plies=50))
        back = np.arange(50)[:, None] - np.arange(50)
        near = np.where(back > 0, decay**back, 0)
        same = 1 + (follows - 1) * (mover[:, None] == mover)
        alike = np.where(back > 0, 1 / np.arange(1, 51)[:, None], 0)
        each.append(sums_of(np.stack([near, near * same, alike])[None], mover))
    return Sums(
        *(np.concatenate([getattr(of, name) for of in each]) for name in ("same", "other", "n_same", "n_other"))
    )


def test_what_is_near_is_no_lift() -> None:
    for decay in (0.6, 0.99):
        ((lifts,),) = planted(3.0, decay).lifts(np.ones((1, 12)))
        assert lifts == pytest.approx([1, 3, 1], rel=0.02)
        assert lifts[:2] == pytest.approx([1, 3], rel=1e-5)
    resampled = planted(3.0, 0.9).lifts(np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), 20).astype(float))
    assert resampled.shape == (20, 1, 3) and resampled[:, 0, 1] == pytest.approx(3.0, rel=1e-5)


def test_pairs_are_counted_by_hand() -> None:
    codes = san_game("e4 d5 Nf3 Nc6 Ng1 Nb8")
    sums = sums_of(np.ones((1, 1, 6, 6)), movers(codes))
    # One back: e4-Nf3 and d5-Nc6 of others, Nf3-Ng1 and Nc6-Nb8 of the same; two back: of others alone.
    by_distance = [n.reshape(FURTHEST, -1).sum(1)[:3].tolist() for n in (sums.n_same, sums.n_other)]
    assert by_distance == [[2, 0, 0], [2, 2, 0]]
    assert sums.same.shape == (1, FURTHEST * len(RANGES), 1, 1) and sums.same.sum() == 2 and sums.other.sum() == 4


@pytest.mark.parametrize("notation", ["uci-move", "pgn-char"])
def test_attention_is_that_of_the_model(notation: str, tiny_models: Mapping[str, Path]) -> None:
    loaded = load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
    games = [random_game(number, plies=20 + number) for number in range(3)]
    usual = loaded.model.config._attn_implementation or "sdpa"  # pyright: ignore[reportPrivateUsage]
    for number, found in attention_of(loaded, games):
        plies = found.shape[-1]
        assert found.shape[:2] == (loaded.model.config.n_layer, loaded.model.config.n_head)
        # What is left of it is on <bos> and on nothing that comes later.
        assert (found.sum(-1) <= 1 + 1e-5).all() and not np.triu(found[0, 0], 1).any()
        game = loaded.tokenizer.encode(games[number])
        loaded.model.set_attn_implementation("eager")
        with torch.inference_mode():
            ids = torch.from_numpy(game.ids[None].astype(np.int64))
            weights = loaded.model(ids, output_attentions=True).attentions[1][0, 0].numpy()
        loaded.model.set_attn_implementation(usual)
        last = max(np.flatnonzero(game.ply == plies - 1))
        assert found[1, 0, -1, 0] == pytest.approx(weights[last, game.ply == 0].sum(), abs=1e-5)
    assert loaded.model.config._attn_implementation == usual  # pyright: ignore[reportPrivateUsage]


def test_a_model_that_knows_nothing_follows_nothing(tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model), device="cpu", precision="fp32")
    fresh = random_weights(loaded, 1)
    games = [random_game(number, plies=40) for number in range(16)]
    result = attention(loaded, fresh, games[:6], {"": games[6:]}, seed=1)[""]
    assert set(result.metrics) == {"attention_lift", "attention_lift_random_weights"}
    none = result.metrics["attention_lift_random_weights"]
    assert none.value == pytest.approx(1, abs=0.2) and none.low and none.high and none.low < none.value < none.high
    heads = loaded.model.config.n_layer * loaded.model.config.n_head
    assert len(result.by["head"]) == heads
    assert result.metrics["attention_lift"] in [each["attention_lift"] for each in result.by["head"].values()]
    assert attention(loaded, fresh, games[:2], {"": [games[3][:1]]}, seed=1)[""].metrics == {}
