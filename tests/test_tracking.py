"""Illegal moves: of who is blind to some squares they are errors of tracking, of who knows better they are none."""

from collections.abc import Sequence
from dataclasses import replace

import chess
import numpy as np
import pytest
from random_games import random_game, san_game
from toy import toy

from chesslm import boards, parallel
from chesslm.inside import probe as probes
from chesslm.inside.counterfactual import legal_on, with_pieces
from chesslm.inside.linear import Part, part_of
from chesslm.inside.probe import BoardProbe
from chesslm.inside.samples import sample
from chesslm.inside.tracking import Believed, moved, scattered, tracking
from chesslm.inside.truths import CODES, Truths, pieces_of, truths_of
from chesslm.model import LoadedModel

pytestmark = pytest.mark.usefixtures("one_thread")
CENTRE = [chess.D4, chess.E4, chess.D5, chess.E5, chess.C4, chess.C5, chess.F4, chess.F5]


@pytest.fixture(scope="module")
def parts() -> tuple[Part, Part, Part]:
    games = [random_game(number, plies=40) for number in range(70)]
    return part_of(games[:45]), part_of(games[45:50]), part_of(games[50:])


def probe_of(loaded: LoadedModel, parts: tuple[Part, Part, Part], blind: Sequence[int] = ()) -> BoardProbe:
    """A probe of what the toy believes."""

    def seen(truths: Truths) -> Truths:
        pieces = truths.pieces.copy()
        pieces[:, list(blind)] = 0
        return replace(truths, pieces=pieces)

    told = [replace(part, truths=list(map(seen, part.truths))) for part in parts[:2]]
    train, validation = (sample(loaded, part, 2) for part in told)
    return probes.fit(train, validation)


def test_a_blind_player_loses_track(parts: tuple[Part, Part, Part], pool: parallel.Executor) -> None:
    blind = toy(blind=CENTRE)
    probe = probe_of(blind, parts, CENTRE)
    nothing = BoardProbe(0, np.zeros_like(probe.weight))  # says that all squares are empty
    result = tracking(blind, probe, parts[2], 1, pool, layers=[nothing, probe])
    figures = {key: metric.value for key, metric in result.metrics.items()}
    # Of 17: the probe is not always right.
    assert figures["allowed_believed"] > 0.7, figures
    assert figures["allowed_scattered"] < figures["allowed_believed"] - 0.2
    assert figures["allowed_moved"] < figures["allowed_believed"]
    assert result.metrics["allowed_believed"].n > 10
    assert set(result.by) == {"illegal", "wrong squares", "layer"}
    assert result.by["layer"]["2"]["allowed_believed"] == result.metrics["allowed_believed"]
    assert result.by["layer"]["0"]["allowed_believed"].value == 0
    assert (
        sum(each["allowed_believed"].n for each in result.by["illegal"].values())
        == result.metrics["allowed_believed"].n
    )


def test_who_knows_better_decides_wrongly(parts: tuple[Part, Part, Part], pool: parallel.Executor) -> None:
    wanton = toy(wanton="a1h8")
    result = tracking(wanton, probe_of(wanton, parts), parts[2], 1, pool)
    assert result.metrics["allowed_believed"].value < 0.02
    assert "allowed_legal" not in result.metrics
    assert set(result.by["illegal"]) <= {str(kind) for kind in boards.Illegal}


def test_who_is_never_illegal_has_no_figures(parts: tuple[Part, Part, Part], pool: parallel.Executor) -> None:
    loaded = toy()
    games = [san_game("e4 e5 Nf3 Nc6 Bc4 Bc5 d3 d6")] * 2
    assert tracking(loaded, probe_of(loaded, parts), part_of(games), 1, pool).metrics == {}


def test_true_pieces_leave_a_board_as_it_is() -> None:
    games = [random_game(number, plies=10 + number) for number in range(60)]
    games += [san_game("e4 a6 e5 d5"), san_game("e4 e5 Nf3 Nc6 Bc4 Bc5")]
    for codes in games:
        board = boards.board_after(codes)
        same = with_pieces(board, truths_of(codes).pieces[-1])
        assert set(same.legal_moves) == set(board.legal_moves)


def test_rights_need_their_pieces() -> None:
    castles = san_game("e4 e5 Nf3 Nc6 Bc4 Bc5")
    pieces = pieces_of(castles)[-1]
    castling = chess.Move.from_uci("e1g1")
    assert legal_on(with_pieces(boards.board_after(castles), pieces), castling)
    gone = pieces.copy()
    gone[chess.H1] = 0
    assert not legal_on(with_pieces(boards.board_after(castles), gone), castling)
    takes = san_game("e4 a6 e5 d5")
    pieces, passing = pieces_of(takes)[-1], chess.Move.from_uci("e5d6")
    assert legal_on(with_pieces(boards.board_after(takes), pieces), passing)
    pieces[chess.D5] = 0
    assert not legal_on(with_pieces(boards.board_after(takes), pieces), passing)


def test_a_king_that_is_nowhere_stands_where_it_is() -> None:
    checked = san_game("e4 e5 Qh5 Nc6 Qxf7+")
    pieces, away = pieces_of(checked)[-1], chess.Move.from_uci("a7a6")
    for known in (True, False):
        pieces[chess.E8] = pieces[chess.E8] if known else 0
        assert not legal_on(with_pieces(boards.board_after(checked), pieces), away)
    # Believed to be elsewhere, it is in no check.
    pieces[chess.A5] = CODES.index("k")
    assert legal_on(with_pieces(boards.board_after(checked), pieces), away)


def test_controls_have_as_many_errors() -> None:
    random = np.random.default_rng(1)
    true = np.tile(pieces_of(random_game(1, 20))[-1], (200, 1))
    pieces = true.copy()
    for row, n in enumerate(random.integers(0, 6, 200)):
        squares = random.permutation(64)[:n]
        pieces[row, squares] = (true[row, squares] + 1 + random.integers(0, 11, n)) % 13
    board = Believed(np.arange(200) % 10, np.full(200, 20), true, pieces)
    rows = np.arange(0, 200, 3)
    for control in (scattered, moved):
        found = control(board, rows, np.random.default_rng(2))
        assert np.array_equal((found != true[rows]).sum(1), board.wrong[rows].sum(1))
        assert not np.array_equal(found, pieces[rows])
