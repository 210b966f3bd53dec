"""Patching a planted board: what comes from another game is that game's board, and its moves."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_games import random_game
from toy import toy

from chesslm import parallel
from chesslm.eval.orders import NEAR, make_pairs
from chesslm.inside.patching import patching
from chesslm.model import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_board_comes_along(pool: parallel.Executor) -> None:
    games = [random_game(number, plies=40) for number in range(30)]
    pairs = make_pairs(games, 1, pool)
    result = patching(toy(), pairs, 2, len(games), seed=1)
    near, same = result.by["layer, near"], result.by["layer, swapped"]
    assert set(near) == set(same) == {"none", "0", "1", "2", "source"}
    for arm, source, target in (("none", False, True), ("0", False, True), ("2", True, False), ("source", True, False)):
        assert (near[arm]["source_mass"].value > 0.99) == source and (near[arm]["target_mass"].value > 0.99) == target
        # The toy is blind to rights and en passant alone.
        assert (near[arm]["source_argmax"].value > 0.99) == source or not source
    assert near["2"]["divergence"].value < 1e-3 < 0.01 < near["none"]["divergence"].value
    assert same["none"]["divergence"].value < 0.05 and same["2"]["divergence"].value == pytest.approx(0, abs=1e-3)
    assert result.metrics["patched_source_argmax"] == near["2"]["source_argmax"]
    assert result.metrics["patched_source_argmax"].n == sum(pair.kind == NEAR for pair in pairs)


def test_a_patch_of_its_own_activations_changes_nothing(
    tiny_models: Mapping[str, Path], pool: parallel.Executor
) -> None:
    games = [random_game(number, plies=30) for number in range(6)]
    pairs = [replace(pair, moves=(pair.moves[0],) * 2) for pair in make_pairs(games, 1, pool) if pair.kind == NEAR]
    for notation in ("uci-move", "uci-square"):
        loaded = load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
        by = patching(loaded, pairs, 1, len(games), seed=1).by["layer, near"]
        plain = {key: metric.value for key, metric in by["none"].items()}
        for arm in by.values():
            found = {key: metric.value for key, metric in arm.items()}
            assert np.allclose(list(found.values()), list(plain.values()), atol=1e-4)
