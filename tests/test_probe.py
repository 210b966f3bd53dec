"""Board probes: planted boards are found, nothing is found where nothing is, and files go with their weights."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from conftest import NOTATIONS, Cli
from random_games import random_game

from chesslm import boards
from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.eval.games import sample_games
from chesslm.inside import probe as probes
from chesslm.inside.activations import CODES, Positions, capture, mine, pieces_of
from chesslm.inside.probe import ANSWERS, answers_of
from chesslm.model import load_model
from chesslm.tokenizer import Role

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def games() -> list[MoveCodes]:
    return [random_game(number, plies=40) for number in range(60)]


def test_pieces_are_those_of_python_chess(games: list[MoveCodes]) -> None:
    for codes in games[:5]:
        found = pieces_of(codes)
        assert found.shape == (len(codes) + 1, 64)
        for row, board in zip(found, boards.replay(boards.to_moves(codes)), strict=True):
            shown = [board.piece_at(square) for square in chess.SQUARES]
            assert "".join(CODES[code] for code in row) == "".join(piece.symbol() if piece else "." for piece in shown)


def test_mine_and_yours_go_back_and_forth(games: list[MoveCodes]) -> None:
    pieces = pieces_of(games[0])
    white = np.arange(len(pieces)) % 2 == 0
    turned = mine(pieces, white)
    assert np.array_equal(turned[white], pieces[white])
    assert [CODES[code] for code in turned[1]] == [CODES[code].swapcase() for code in pieces[1]]
    assert np.array_equal(mine(turned, white), pieces)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_activations_are_those_of_a_plain_pass(
    notation: str, tiny_models: Mapping[str, Path], games: list[MoveCodes]
) -> None:
    loaded = load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
    found = list(capture(loaded, games[:4], [0, 2], batch_tokens=300))
    assert sorted(positions.game for positions in found) == [0, 1, 2, 3]
    for positions in found:
        game = loaded.tokenizer.encode(games[positions.game])
        with torch.inference_mode():
            ids = torch.from_numpy(game.ids[None].astype(np.int64))
            states = loaded.model(ids, output_hidden_states=True).hidden_states
        for layer, hidden in zip((0, 2), positions.layers, strict=True):
            for ply, row in zip(positions.ply, hidden, strict=True):
                last = max(np.flatnonzero((game.ply == ply - 1) & (game.role & Role.MOVE_ENDS > 0)))
                assert row == pytest.approx(states[layer][0, last].numpy(), abs=1e-4)
        assert np.array_equal(positions.pieces, pieces_of(games[positions.game])[1 : len(positions.ply) + 1])
        assert positions.white.tolist() == [ply % 2 == 0 for ply in positions.ply.tolist()]


def planted(codes: Sequence[MoveCodes], layers: Sequence[int], signal: float) -> Iterator[Positions]:
    """Positions of whose layers only the second knows the board, turned in space, beside noise."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64 * ANSWERS, 64 * ANSWERS)))
    for number, each in enumerate(codes):
        pieces = pieces_of(each)[1:]
        white = np.arange(1, len(pieces) + 1) % 2 == 0
        random = np.random.default_rng(number)
        empty = Positions(number, np.arange(1, len(pieces) + 1), pieces, white, ())
        noise = [random.normal(size=(len(pieces), 64 * ANSWERS)).astype(np.float32) for _ in range(2)]
        board = (signal * answers_of(empty) @ turn.astype(np.float32) + 0.01 * noise[1]).astype(np.float32)
        hidden = {1: noise[0], 2: board}
        yield Positions(number, empty.ply, pieces, white, tuple(hidden[layer] for layer in layers))


def test_a_planted_board_is_found_at_its_layer(monkeypatch: pytest.MonkeyPatch, games: list[MoveCodes]) -> None:
    monkeypatch.setattr(probes, "n_layers", lambda loaded: 2)
    monkeypatch.setattr(probes, "capture", lambda loaded, codes, layers: planted(codes, layers, 1.0))
    probe = probes.fit(None, games[:40], games[40:50])  # pyright: ignore[reportArgumentType]
    assert probe.layer == 2
    # A piece on a square where it never stood in 40 games is not known.
    for some, least in ((games[:40], 0.999), (games[50:], 0.985)):
        found = probes.measure(probe, None, some)  # pyright: ignore[reportArgumentType]
        assert found["piece_accuracy"].value > least and found["piece_accuracy_nonempty"].value > least - 0.01
    (positions, *_) = planted(games[50:], [2], 1.0)
    believed, sure = probe.believed(positions.layers[0], positions.white)
    assert (believed == positions.pieces).mean() > 0.985 and sure.mean() > 0.9
    scores = probe.scale * probe.scores(positions.layers[0]).astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert sure == pytest.approx(chances.max(-1), rel=1e-4)


def test_where_nothing_is_the_probe_finds_the_base_rate(
    monkeypatch: pytest.MonkeyPatch, games: list[MoveCodes]
) -> None:
    monkeypatch.setattr(probes, "n_layers", lambda loaded: 2)
    monkeypatch.setattr(probes, "capture", lambda loaded, codes, layers: planted(codes, layers, 0.0))
    probe = probes.fit(None, games[:40], games[40:50])  # pyright: ignore[reportArgumentType]
    found = probes.measure(probe, None, games[50:])  # pyright: ignore[reportArgumentType]
    pieces = np.concatenate([pieces_of(each)[1:] for each in games[50:]])
    white = np.concatenate([np.arange(1, len(each) + 1) % 2 == 0 for each in games[50:]])
    turned = mine(pieces, white)
    base = np.mean([np.bincount(turned[:, square]).max() / len(turned) for square in range(64)])
    assert found["piece_accuracy"].value <= base + 0.01
    assert found["board_exact"].value == 0


def test_the_fit_is_that_of_a_plain_least_squares(games: list[MoveCodes]) -> None:
    x = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    y = np.random.default_rng(2).normal(size=(300, 64 * ANSWERS)).astype(np.float32)
    sums = probes._Sums(5)
    for part in (slice(0, 100), slice(100, 300)):
        sums.add(x[part], y[part])
    plain, *_ = np.linalg.lstsq(np.concatenate([x, np.ones((300, 1))], 1), y, rcond=None)
    assert sums.weight(0.0) == pytest.approx(plain, abs=1e-4)
    assert np.abs(sums.weight(1e6)[:-1]).max() < 1e-3


def test_the_command_keeps_a_probe_that_goes_with_its_weights(
    cli: Cli, tiny_model: Path, tiny_dataset: Path, tiny_pgn: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    ended = cli("probe", folder, "--games", tiny_pgn, "--limit", 60, "--device", "cpu", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert "12 test games" in ended.out and "Squares found" in ended.out
    about = json.loads((folder / "probe" / "board.json").read_text())
    assert about["games"] == {**about["games"], "fitted": 42, "validation": 6, "test": 12}
    assert 0.6 < about["metrics"]["piece_accuracy"]["value"] < 1
    probe = probes.load(folder)
    assert probe and probe.layer == about["layer"] and probe.weight.shape[1] == 64 * ANSWERS
    assert load_model(str(folder), device="cpu").name == "model"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match="made for other weights"):
        probes.load(folder)
    assert probes.load(tiny_model) is None


def test_the_released_one_follows_games_of_another_kind() -> None:
    root = Path(__file__).parents[1]
    probe = probes.load(root / "checkpoints" / "chesslm-small")
    loaded = load_model(str(root / "checkpoints" / "chesslm-small"), device="cpu")
    with ThreadPoolExecutor() as pool:
        codes = sample_games(str(root / "games" / "bundle-engine.pgn.zst"), 20, 1, pool).codes
    boards_of = [pieces_of(each[: loaded.context - 1]) for each in codes]
    as_at_the_start = np.mean(np.concatenate([each[1:] == each[0] for each in boards_of]))
    assert probe
    found = probes.measure(probe, loaded, codes)["piece_accuracy"]
    assert found.low and found.low > as_at_the_start + 0.25


def test_bad_usage(cli: Cli, tiny_model: Path, tiny_pgn: Path, tmp_path: Path) -> None:
    for arguments, says in (
        ((tiny_model, "--games", tiny_pgn, "--limit", 5), "too few for three parts"),
        ((tiny_model, "--games", tmp_path / "none.pgn"), "none.pgn"),
        ((tmp_path / "none", "--games", tiny_pgn), "no such folder"),
        ((tiny_model,), "--games"),
    ):
        ended = cli("probe", *arguments, "--quiet")
        assert (ended.code, ended.out) == (2, "") and ended.err.count("\n") == 1 and says in ended.err
    assert not (tiny_model / "probe").exists()
