"""The functions for notebooks."""

from pathlib import Path

import chess
import numpy as np
import pytest
from random_games import random_game
from toy import toy

from chesslm.errors import InputError
from chesslm.inside import notebook
from chesslm.inside.notebook import activations, believed, erase, fit_probe, game, load_model, moves

pytestmark = pytest.mark.usefixtures("one_thread")


def test_games_as_one_types_them() -> None:
    expected = game("e2e4 e7e5 g1f3 b8c6")
    for text in ("e4 e5 Nf3 Nc6", "1. e4 e5 2. Nf3 Nc6", "1.e4 e5 2.Nf3 Nc6", "1. e4 1... e5 2. Nf3 Nc6"):
        assert np.array_equal(game(text), expected)
    assert game(expected) is expected
    with pytest.raises(InputError, match="Nf6 at ply 2"):
        game("e4 e5 Nf6")


def test_a_tiny_model(tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu", precision="fp32")
    for layer in range(3):
        assert activations(model, "e4 e5 Nf3", layer).shape == (3, 64)
    ideas = moves(model, "e4 e5 Nf3", n=3)
    assert len(ideas) == 3 and sum(idea.probability for idea in ideas) < 1
    assert moves(model, "e4 e5 Nf3", 3, patch={1: activations(model, "e4 e5 Nf3", 1)[-1]})[0].move == ideas[0].move
    other = moves(model, "d4 d5 c4", 3)
    # At the last layer all that is left to do depends on the last token alone.
    patched = moves(model, "e4 e5 Nf3", 3, patch={2: activations(model, "d4 d5 c4", 2)[-1]})
    assert [(idea.move, pytest.approx(idea.probability, abs=1e-4)) for idea in other] == [
        (idea.move, idea.probability) for idea in patched
    ]
    with pytest.raises(InputError, match="has no probe"):
        believed(model, "e4 e5")
    with pytest.raises(InputError, match="has no probe"):
        erase(model, "e4 e5", "e5")


def test_no_board_is_believed_of_a_game_that_is_too_long() -> None:
    model = toy()
    probe = fit_probe(model, [random_game(number, 40) for number in range(16)], layer=2)
    shuffle = "Nf3 Nf6 Ng1 Ng8 " * 200
    fits = model.context - 1
    assert len(activations(model, shuffle, 1)) == fits
    believed(model, " ".join(shuffle.split()[:fits]), probe)
    with pytest.raises(InputError, match=f"after 800 moves: .* can look back at {fits}"):
        believed(model, shuffle, probe)
    with pytest.raises(InputError, match="no move was played"):
        believed(model, "", probe)


def test_a_planted_board_is_believed() -> None:
    model = toy()
    probe = fit_probe(model, [random_game(number, 40) for number in range(64)], layer=2)
    board = chess.Board()
    for word in ("e4", "e5", "Nf3", "Nc6"):
        board.push_san(word)
    assert str(believed(model, "e4 e5 Nf3 Nc6", probe)) == str(board)
    assert {idea.move for idea in moves(model, "e4 e5 Nf3 Nc6", n=4)} <= {move.uci() for move in board.legal_moves}


def test_the_module_says_what_it_has() -> None:
    assert all(hasattr(notebook, name) for name in notebook.__all__)
    assert notebook.__doc__ and all(f"{name}(" in notebook.__doc__ for name in notebook.__all__ if name != "game")
