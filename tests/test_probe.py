"""Board probes: planted boards are found at their layer, nothing is found where nothing is, files go with weights."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
import torch
from conftest import NOTATIONS, Cli
from random_games import random_game, write_pgn
from toy import toy

from chesslm import boards, parallel
from chesslm.boards import MoveCodes
from chesslm.errors import InputError
from chesslm.eval.games import sample_games
from chesslm.eval.intervals import Bootstrap
from chesslm.inside import activations, controls, editing, edits, iterated
from chesslm.inside import probe as probes
from chesslm.inside.activations import capture
from chesslm.inside.iterated import logistic, network
from chesslm.inside.layers import fit_layers, measure_layers
from chesslm.inside.linear import Moments, Part, discriminant, one_hot, part_of, read, regression, scores
from chesslm.inside.measure import Found, auc, by_piece, by_ply, explained, of_board
from chesslm.inside.origin import model_of, origin_of, random_weights
from chesslm.inside.residual import blocks, hooked
from chesslm.inside.samples import Drawing, Sample, sample
from chesslm.inside.truths import BOARD, CODES, Question, mine, pieces_of, truths_of
from chesslm.model import load_model
from chesslm.tokenizer import Role

pytestmark = pytest.mark.usefixtures("one_thread")


KNIGHTS = "g1f3 g8f6 f3g1 f6g8 g1f3 e7e5 f3g1 e5e4 d2d4"
"""Repetitions, and at the end a pawn that can be taken en passant."""
QUEEN = "e2e4 d7d5 e4d5 d8d5 b1c3 d5g2 f1g2"


@pytest.fixture(scope="module")
def games() -> list[MoveCodes]:
    return [random_game(number, plies=40) for number in range(60)]


@pytest.fixture(scope="module")
def parts(games: list[MoveCodes]) -> tuple[Part, Part, Part]:
    return part_of(games[:40]), part_of(games[40:50]), part_of(games[50:])


# What is true


def test_truths_are_those_of_python_chess(games: list[MoveCodes]) -> None:
    knights = [chess.Move.from_uci(word) for word in KNIGHTS.split()]
    repeated = truths_of(boards.to_codes(knights))
    assert repeated.repeated.tolist() == [False] * 3 + [True] * 2 + [False] * 4 and repeated.en_passant[-1]
    for codes in (*games[:8], boards.to_codes(knights)):
        truths, seen = truths_of(codes), set[str]()
        assert np.array_equal(truths.pieces, pieces_of(codes)[1:])
        for ply, board in enumerate(boards.replay(boards.to_moves(codes))):
            fen = board.fen(en_passant="legal").rsplit(" ", 2)[0]
            if ply:
                shown = [board.piece_at(square) for square in chess.SQUARES]
                row = "".join(CODES[code] for code in truths.pieces[ply - 1])
                assert row == "".join(piece.symbol() if piece else "." for piece in shown)
                assert truths.white[ply - 1] == board.turn
                rights = "".join(sign for sign, has in zip("KQkq", truths.castling[ply - 1], strict=True) if has)
                assert (rights or "-") == board.castling_xfen()
                assert truths.en_passant[ply - 1] == any(map(board.is_en_passant, board.legal_moves))
                assert truths.check[ply - 1] == board.is_check()
                assert truths.repeated[ply - 1] == (fen in seen)
            seen.add(fen)


def test_material_is_that_of_the_side_to_move() -> None:
    moves = [chess.Move.from_uci(word) for word in QUEEN.split()]
    assert truths_of(boards.to_codes(moves)).material.tolist() == [0, 0, -1, 0, 0, -1, -8]


def test_mine_and_yours_go_back_and_forth(games: list[MoveCodes]) -> None:
    pieces = pieces_of(games[0])
    white = np.arange(len(pieces)) % 2 == 0
    turned = mine(pieces, white)
    assert np.array_equal(turned[white], pieces[white])
    assert [CODES[code] for code in turned[1]] == [CODES[code].swapcase() for code in pieces[1]]
    assert np.array_equal(mine(turned, white), pieces)


# The residual stream


@pytest.mark.parametrize("notation", NOTATIONS)
def test_activations_are_those_of_a_plain_pass(
    notation: str, tiny_models: Mapping[str, Path], games: list[MoveCodes]
) -> None:
    loaded = load_model(str(tiny_models[notation]), device="cpu", precision="fp32")
    found = list(capture(loaded, games[:4], [0, 1, 2], batch_tokens=300))
    assert sorted(positions.game for positions in found) == [0, 1, 2, 3]
    for positions in found:
        game = loaded.tokenizer.encode(games[positions.game])
        with torch.inference_mode():
            ids = torch.from_numpy(game.ids[None].astype(np.int64))
            states = loaded.model(ids, output_hidden_states=True).hidden_states
            # transformers gives out the last layer behind the last layer norm.
            norm: Any = loaded.model.base_model.ln_f
            last_layer = norm(torch.from_numpy(positions.hidden[2])).numpy()
        for layer, hidden in zip((0, 1, 2), (*positions.hidden[:2], last_layer), strict=True):
            for ply, row in zip(positions.ply, hidden, strict=True):
                last = max(np.flatnonzero((game.ply == ply - 1) & (game.role & Role.MOVE_ENDS > 0)))
                assert row == pytest.approx(states[layer][0, last].numpy(), abs=1e-4)
        assert len(positions.ply) == len(games[positions.game])
        assert positions.white.tolist() == [ply % 2 == 0 for ply in positions.ply.tolist()]


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_what_goes_by_can_be_changed(layer: int, tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model), device="cpu", precision="fp32")
    ids = torch.tensor([[1, 20, 30, 40]])
    plain = loaded.model(ids).logits
    with hooked(loaded, {layer: lambda hidden: hidden + 0.0}):
        assert torch.equal(loaded.model(ids).logits, plain)
    with hooked(loaded, {layer: torch.zeros_like}):
        changed = loaded.model(ids).logits
    assert not torch.allclose(changed, plain, atol=1e-3)
    assert torch.equal(loaded.model(ids).logits, plain)
    seen: list[torch.Tensor] = []
    with pytest.raises(ZeroDivisionError), hooked(loaded, {layer: seen.append}):
        loaded.model(ids)
        raise ZeroDivisionError
    assert torch.equal(loaded.model(ids).logits, plain) and len(seen) == 1


def test_a_model_whose_blocks_cannot_be_found() -> None:
    loaded = toy()
    loaded.model.config.num_hidden_layers = 3
    with pytest.raises(InputError, match="nothing can be read between them"):
        blocks(loaded)


def test_games_are_read_elsewhere_as_here(
    tiny_models: Mapping[str, Path], games: list[MoveCodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tiny_models["san"])
    loaded = load_model(".", device="cpu", precision="fp32")
    with parallel.pool(2) as elsewhere:
        for model in (loaded, random_weights(loaded, 3), loaded):
            here, there = (list(capture(model, games, [2, 0], 300, each)) for each in (None, elsewhere))
            assert [each.game for each in here] == [each.game for each in there]
            for one, other in zip(here, there, strict=True):
                assert np.array_equal(one.ply, other.ply) and np.array_equal(one.hidden, other.hidden)
        monkeypatch.setattr(activations, "ON_THE_WAY", 0)
        assert len(list(capture(loaded, games, [2, 0], 300, elsewhere))) == len(games)


@pytest.mark.parametrize(
    ("seed", "why"), [(None, "it has other weights or settings"), (3, "other random weights are drawn")]
)
def test_another_model_elsewhere_is_refused(
    seed: int | None, why: str, tiny_model: Path, games: list[MoveCodes]
) -> None:
    loaded = load_model(str(tiny_model), device="cpu", precision="fp32")
    model = loaded if seed is None else random_weights(loaded, seed)
    next(model.model.parameters()).data[0, 0] += 1e-3
    with parallel.pool(1) as pool, pytest.raises(InputError, match=f"^on .*: {tiny_model}: {why} there than here"):
        next(capture(model, games, [0], elsewhere=pool))


def test_as_many_weights_with_other_heads_are_another_model(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chesslm.json").unlink()
    loaded = load_model(str(folder), "uci-move", device="cpu", precision="fp32")
    found = origin_of(loaded)
    assert model_of(found).name == loaded.name
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"n_head": 1}))
    assert origin_of(load_model(str(folder), "uci-move", device="cpu", precision="fp32")).sha256 != found.sha256


def test_a_model_that_is_not_elsewhere_is_missed_there(
    tiny_model: Path, games: list[MoveCodes], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    loaded = load_model(str(folder), device="cpu", precision="fp32")
    shutil.rmtree(folder)
    with parallel.pool(1) as pool, pytest.raises(InputError, match=f"^on .*: {folder}: no such folder"):
        next(capture(loaded, games, [0], elsewhere=pool))


# Planted boards


def test_a_planted_board_is_found_at_its_layer(parts: tuple[Part, Part, Part]) -> None:
    train, validation, test = parts
    loaded = toy()
    fitted = fit_layers(loaded, train, validation)
    layers = fitted.probes
    assert [probe.layer for probe in layers] == [0, 1, 2] and fitted.best == 2
    over = Bootstrap(len(test.codes), 1)
    measured = {layer: each.metrics for layer, each in measure_layers(loaded, layers, test, over).items()}
    # A piece on a square where it never stood in 40 games is not known.
    assert measured[2]["piece_accuracy"].value > 0.985 > 0.85 > measured[1]["piece_accuracy"].value
    # Whose a piece is takes two facts that are added up, whose turn it is and whether it is the mover's.
    assert measured[2]["piece_accuracy_absolute"].value < measured[2]["piece_accuracy"].value - 0.01
    assert measured[2]["side_auc"].value > 0.999 and measured[2]["castling_auc"].value > 0.9
    assert measured[1]["side_auc"].value == pytest.approx(0.5, abs=0.1) and measured[1]["material_r2"].value < 0.1
    assert "white_elo_r2" not in measured[2]
    fitting, choosing = (sample(loaded, part, 2) for part in (train, validation))
    probe = probes.fit(fitting, choosing)
    deep = network(fitting, choosing, BOARD.answers, probe.weight, seed=1)
    (known,) = probes.ask(loaded, train, [probe])
    assert of_board(known, Bootstrap(len(train.codes), 1))["piece_accuracy"].value > 0.999
    for found in probes.ask(loaded, test, [probe, deep]):
        assert of_board(found, over)["piece_accuracy"].value > 0.97
    positions = next(capture(loaded, test.codes, [2]))
    believed, sure = probe.believed(positions.hidden[0], positions.white)
    assert (believed == pieces_of(test.codes[positions.game])[1:]).mean() > 0.95 and sure.mean() > 0.9
    chances = np.exp(probe.scores(positions.hidden[0]).astype(np.float64)).reshape(len(sure), 64, -1)
    assert sure == pytest.approx((chances / chances.sum(-1, keepdims=True)).max(-1), rel=1e-4)


def test_positions_are_drawn_from_all_games(parts: tuple[Part, Part, Part]) -> None:
    train, loaded = parts[0], toy()
    total = sum(map(len, train.truths))
    every, some = sample(loaded, train, 2), sample(loaded, train, 2, most=300)
    assert len(every.labels) == total and len(some.labels) == 300
    assert np.array_equal(some.hidden, sample(loaded, train, 2, most=300).hidden)
    # Each with its own board: of all positions there are some rows, in their order.
    row = {labels.tobytes() + hidden.tobytes() for labels, hidden in zip(every.labels, every.hidden, strict=True)}
    assert all(a.tobytes() + b.tobytes() in row for a, b in zip(some.labels, some.hidden, strict=True))
    drawing = Drawing(train, [0, 1, 2], 300, 1)
    for block in read(loaded, train, [0, 1, 2]):
        drawing.take(block)
    drawn = drawing.samples()
    assert np.array_equal(drawn.at(2).hidden, some.hidden) and np.array_equal(drawn.labels, some.labels)


def test_where_nothing_is_the_probe_finds_the_base_rate(parts: tuple[Part, Part, Part]) -> None:
    train, validation, test = parts
    labels = np.concatenate([BOARD.labels(truths) for truths in test.truths])
    base = np.mean([np.bincount(labels[:, square]).max() / len(labels) for square in range(64)])
    empty, full = toy(signal=0.0), toy()
    samples = [sample(full, part, 2) for part in (train, validation)]
    shuffled = controls.shuffled(samples[0], seed=1)
    assert np.array_equal(np.bincount(shuffled.labels.ravel()), np.bincount(samples[0].labels.ravel()))
    for loaded, probe in (
        (empty, probes.fit(sample(empty, train, 2), sample(empty, validation, 2))),
        (full, probes.fit(shuffled, samples[1])),
    ):
        (found,) = probes.ask(loaded, test, [probe])
        figures = of_board(found, Bootstrap(len(test.codes), 1))
        assert figures["piece_accuracy"].value <= base + 0.01
        assert figures["board_exact"].value == 0


def test_ratings_are_found_where_games_have_them(games: list[MoveCodes]) -> None:
    elo = np.array([(1000 + 10 * n, 1500) if n % 2 else (1200, np.nan) for n in range(60)], np.float32)
    whole = part_of(games)
    train, test = (Part(whole.codes[some], whole.truths[some], elo[some]) for some in (slice(0, 40), slice(40, 60)))
    loaded = toy()
    measured = measure_layers(loaded, fit_layers(loaded, train, test).probes, test, Bootstrap(20, 1))[2].metrics
    assert "black_elo_r2" not in measured
    found = measured["white_elo_r2"]
    assert found.n == sum(len(codes) for codes in test.codes[1::2])
    assert found.low and found.high and found.low < found.value < found.high < 0.5


def test_the_majority_is_that_of_the_ply(parts: tuple[Part, Part, Part]) -> None:
    train, _, test = parts
    plies = np.concatenate([np.arange(1, len(codes) + 1) for codes in test.codes])
    labels = np.concatenate([BOARD.labels(truths) for truths in test.truths])
    empty = Found(np.zeros(len(plies), np.int64), plies, labels, np.zeros(labels.shape, bool))
    found = controls.majority(train, empty)
    for ply in (1, 10, 39):
        (rows,) = np.nonzero(plies == ply)
        there = np.stack([BOARD.labels(truths)[ply - 1] for truths in train.truths if len(truths) >= ply])
        for square in range(64):
            counts = np.bincount(there[:, square], minlength=13)
            if (counts == counts.max()).sum() == 1:
                assert (found.right[rows, square] == (labels[rows, square] == counts.argmax())).all()


def test_random_weights_are_of_the_same_shape(tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model), device="cpu", precision="fp32")
    fresh, again, other = (random_weights(loaded, seed) for seed in (1, 1, 2))
    weights = [dict(each.model.named_parameters()) for each in (loaded, fresh, again, other)]
    assert all({k: v.shape for k, v in each.items()} == {k: v.shape for k, v in weights[0].items()} for each in weights)
    name = "transformer.h.0.mlp.c_fc.weight"
    learned, first, second, third = (each[name] for each in weights)
    assert torch.equal(first, second) and not torch.equal(first, third) and not torch.equal(first, learned)


# Fits and figures


def clouds(seed: int, rows: int, answers: int = 4) -> Sample:
    """Labels of three items, each known from some of 12 activations, all of another size."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(rows, 12))
    weight = np.random.default_rng(0).normal(size=(12, 3 * answers))
    chosen = (hidden @ weight).reshape(rows, 3, answers) + random.gumbel(size=(rows, 3, answers))
    sized = (hidden * np.geomspace(0.1, 10, 12) + 3).astype(np.float32)
    return Sample(1, sized, chosen.argmax(-1).astype(np.int8))


def moments_of(sample: Sample, labels: np.ndarray) -> Moments:
    moments = Moments(1, sample.hidden.shape[1], labels.shape[1])
    for rows in np.array_split(np.arange(len(labels)), 3):
        moments.add(sample.hidden[None, rows], labels[rows])
    return moments


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    sample = clouds(1, 4000)
    question = Question("", 3, 4, lambda truths: truths.pieces)
    moments = moments_of(sample, one_hot(sample.labels, 4))
    found = scores(discriminant(moments, 0, slice(0, 12), question, 0.0), sample.hidden).reshape(-1, 3, 4)
    for item in range(3):
        theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(sample.hidden, sample.labels[:, item])
        expected = theirs.decision_function(sample.hidden)
        # Each up to what is common to all answers; our means are drawn to the middle by 1 position in 1,000.
        mine, their = (each - each.mean(1, keepdims=True) for each in (found[:, item], expected))
        assert mine == pytest.approx(their, abs=0.05)
        assert (mine.argmax(1) == their.argmax(1)).mean() > 0.998


def test_an_answer_that_was_never_right_is_never_given() -> None:
    sample = clouds(1, 400)
    moments = moments_of(sample, one_hot(sample.labels, 6))
    found = scores(discriminant(moments, 0, slice(0, 18), Question("", 3, 6, lambda t: t.pieces), 1e-4), sample.hidden)
    assert found.reshape(-1, 3, 6).argmax(-1).max() == 3 and np.isfinite(found).all()


def test_the_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    sample = clouds(1, 500)
    numbers = np.random.default_rng(2).normal(size=(500, 2)).astype(np.float32) + sample.hidden[:, :2]
    moments = moments_of(sample, numbers)
    spread = ((sample.hidden - sample.hidden.mean(0)) ** 2).sum(0).mean()
    for ridge in (0.0, 0.1):
        theirs = Ridge(alpha=ridge * spread).fit(sample.hidden.astype(np.float64), numbers)
        found = scores(regression(moments, 0, slice(0, 2), ridge), sample.hidden)
        assert found == pytest.approx(theirs.predict(sample.hidden), abs=1e-3)


def test_the_logistic_regression_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(iterated, "MOST", 1000)
    train = clouds(1, 3000)
    # Theirs stops early where activations are of different sizes, at a higher loss than ours.
    sized = (train.hidden - train.hidden.mean(0)) / train.hidden.std(0)
    # Judged by the very positions it is fitted on, it goes on to the end, where scikit-learn ends without a penalty.
    found = scores(logistic(train, train, 4), train.hidden).reshape(-1, 3, 4)
    for item in range(3):
        theirs = LogisticRegression(C=np.inf, max_iter=5000, tol=1e-8).fit(sized, train.labels[:, item])
        ours = np.exp(found[:, item].astype(np.float64))
        assert ours / ours.sum(1, keepdims=True) == pytest.approx(theirs.predict_proba(sized), abs=0.02)


def test_a_network_finds_what_is_not_linear() -> None:
    def crossed(seed: int, rows: int) -> Sample:
        hidden = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
        return Sample(1, hidden, (hidden[:, :1] * hidden[:, 1:2] > 0).astype(np.int8))

    train, validation, test = crossed(1, 3000), crossed(2, 1000), crossed(3, 1000)
    plain = logistic(train, validation, 2)
    deep = network(train, validation, 2, plain, seed=1)
    linear, nonlinear = (
        (said.argmax(1) == test.labels[:, 0]).mean() for said in (scores(plain, test.hidden), deep.scores(test.hidden))
    )
    assert linear < 0.6 and nonlinear > 0.9


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    game = np.repeat(np.arange(20), 100)
    true = random.random((2000, 3)) < 0.2
    true[:, 2] = False
    said = (random.normal(size=(2000, 3)) + true).astype(np.float32)
    over = Bootstrap(20, 1)
    one = auc(game, said[:, :1], true[:, :1], over)
    assert one and one.value == pytest.approx(roc_auc_score(true[:, 0], said[:, 0]), abs=2e-3)
    assert one.low and one.high and one.low < one.value < one.high and one.n == 2000
    both = auc(game, said, true, over)
    assert both and both.value == pytest.approx(
        np.mean([roc_auc_score(true[:, i], said[:, i]) for i in (0, 1)]), abs=2e-3
    )
    assert auc(game, said[:, 2:], true[:, 2:], over) is None
    level = auc(game, np.zeros((2000, 1), np.float32), true[:, :1], over)
    assert level and level.value == 0.5


def test_explained_variance_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    random = np.random.default_rng(1)
    game, true = np.repeat(np.arange(20), 50), random.normal(size=1000).astype(np.float32) + 2000
    said = (true + random.normal(size=1000)).astype(np.float32)
    found = explained(game, said, true, Bootstrap(20, 1))
    assert found and found.value == pytest.approx(r2_score(true, said), abs=1e-4)
    assert found.low and found.high and found.low < found.value < found.high
    assert explained(game, said, np.full(1000, 5, np.float32), Bootstrap(20, 1)) is None


def test_figures_of_a_board_by_hand() -> None:
    labels = np.zeros((3, 64), np.int8)
    labels[:, 0], labels[2, 63] = 4, 12
    right = np.ones((3, 64), bool)
    right[0, 0] = right[2, 5] = False
    found, over = Found(np.array([0, 0, 1]), np.array([1, 25, 2]), labels, right), Bootstrap(2, 1)
    figures = {key: metric.value for key, metric in of_board(found, over).items()}
    assert figures == {"piece_accuracy": 190 / 192, "piece_accuracy_nonempty": 3 / 4, "board_exact": 1 / 3}
    groups = by_ply(found, over)
    assert [(name, each["board_exact"].value) for name, each in groups.items()] == [("0-19", 0), ("20-39", 1)]
    pieces = by_piece(found, over)
    assert {name: (each["piece_accuracy"].value, each["piece_accuracy"].n) for name, each in pieces.items()} == {
        "empty": (187 / 188, 188), "own rook": (2 / 3, 3), "other king": (1, 1),
    }  # fmt: skip


# The command


def test_the_command_keeps_a_probe_that_goes_with_its_weights(
    cli: Cli, tiny_model: Path, tiny_pgn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(editing, "CASES", 20)
    monkeypatch.setattr(editing, "CHOOSING", 4)
    given = ("--games", tiny_pgn, "--limit", 60, "--random", 20, "--edit", "--device", "cpu", "--workers", 1, "--quiet")
    files = ("--json", tmp_path / "found.json", "--html", tmp_path / "found.html")
    ended = cli("probe", folder, *given, *files)
    assert (ended.code, ended.err) == (0, "")
    assert "The board inside" in ended.out and "on random games" in ended.out and "Squares found" in ended.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["data"]["games"] == 60 and found["data"]["random"]["games"] == 20
    for suite in ("probe", "probe-random"):
        metrics, by = found["suites"][suite]["metrics"], found["suites"][suite]["by"]
        assert 0.6 < metrics["piece_accuracy"]["value"] < 1
        controls = {key: metric["value"] for key, metric in metrics.items() if key.startswith("control")}
        assert set(controls) == {f"control_{name}" for name in ("random_weights", "embeddings", "shuffled", "majority")}
        assert all(0.5 < value < 1 for value in controls.values())
        assert set(by["layer"]) == set(by["layer, random weights"]) == {"0", "1", "2"}
        assert (
            {"logistic regression", "network", "majority"} < set(by["probe"])
            and by["ply"]
            and by["piece"]
            and by["ply, layer 2"]
        )
        assert len(found["suites"][suite]["belief"]["positions"]) == 12
    kinds = {"probe", "attention", "tracking", "edits", "patching"}
    assert set(found["suites"]) == kinds | {f"{kind}-random" for kind in kinds}
    edited = found["suites"]["edits"]["metrics"]
    assert edited["erase_edited_argmax"]["n"] == edited["swap_edited_argmax_random"]["n"] == 20
    page = (tmp_path / "found.html").read_text()
    for words in (
        "Squares found, by layer",
        "Castling rights",
        "random weights",
        " wrong<",
        "A piece erased",
        "by dose",
    ):
        assert words in page, words
    assert page.count('class="board"') == 2 * 12
    about = json.loads((folder / "probe" / "board.json").read_text())
    # Of each kind a fifth is for the test and a tenth for validation.
    assert (about["fitted"], about["validation"]) == (42 + 14, 6 + 2)
    assert about["suites"]["probe"] == found["suites"]["probe"]["metrics"]
    assert str(tmp_path) not in json.dumps(about)
    probe = probes.load(folder)
    assert probe and probe.layer == about["layer"] and probe.weight.shape[1] == BOARD.columns
    editor = edits.load(folder)
    assert editor and editor.dose == edited["edit_dose"]["value"] in editing.DOSES
    assert [min(editor.layers), max(editor.layers)] == [
        edited[f"edit_{end}_layer"]["value"] for end in ("first", "last")
    ]
    assert load_model(str(folder), device="cpu").name == "model"
    assert cli("probe", folder, *given).out == ended.out.rsplit("results:", 1)[0]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match="made for other weights"):
        probes.load(folder)
    assert probes.load(tiny_model) is None


def test_the_released_one_follows_games_of_another_kind() -> None:
    root = Path(__file__).parents[1]
    probe = probes.load(root / "checkpoints" / "chesslm-small")
    loaded = load_model(str(root / "checkpoints" / "chesslm-small"), device="cpu")
    with parallel.pool(1) as pool:
        codes = sample_games(str(root / "games" / "bundle-engine.pgn.zst"), 20, 1, pool).codes
    boards_of = [pieces_of(each[: loaded.context - 1]) for each in codes]
    as_at_the_start = np.mean(np.concatenate([each[1:] == each[0] for each in boards_of]))
    assert probe
    (found,) = probes.ask(loaded, part_of(codes), [probe])
    figure = of_board(found, Bootstrap(len(codes), 1))["piece_accuracy"]
    assert figure.low and figure.low > as_at_the_start + 0.25


def test_bad_usage(cli: Cli, tiny_model: Path, tiny_pgn: Path, tiny_games: list[MoveCodes], tmp_path: Path) -> None:
    alike = write_pgn(tmp_path / "alike.pgn", tiny_games[:3] * 10)
    for arguments, says in (
        ((tiny_model, "--games", alike), "3 different games are too few"),
        ((tiny_model, "--games", tiny_pgn, "--limit", 5), "too few for three parts"),
        ((tiny_model, "--games", tiny_pgn, "--random", 5), "too few games for three parts"),
        ((tiny_model, "--games", tmp_path / "none.pgn"), "none.pgn"),
        ((tiny_model, "--games", tiny_pgn, "--json", tmp_path / "none" / "found.json"), "none"),
        ((tiny_model, "--games", tiny_pgn, "--html", tmp_path), "is a folder"),
        ((tmp_path / "none", "--games", tiny_pgn), "no such folder"),
        ((tiny_model,), "--games"),
    ):
        ended = cli("probe", *arguments, "--quiet")
        assert (ended.code, ended.out) == (2, "") and ended.err.count("\n") == 1 and says in ended.err
    assert not (tiny_model / "probe").exists()
