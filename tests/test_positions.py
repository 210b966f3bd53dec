"""What is true of each position, held to python-chess, on hand-made games and on random ones."""

import subprocess
import sys
from collections.abc import Sequence

import chess
import numpy as np
import pytest
from random_games import random_game

from chesslm import boards, parallel
from chesslm.boards import Illegal, MoveCodes
from chesslm.eval.positions import PHASES, Positions, Special, find_positions, illegal_kinds, pinned


def game(moves: str) -> MoveCodes:
    """A game from its moves in SAN."""
    board = chess.Board()
    for word in moves.split():
        board.push_san(word)
    return boards.to_codes(board.move_stack)


def positions_of(codes: Sequence[MoveCodes]) -> Positions:
    with parallel.pool(1) as pool:
        return find_positions(codes, pool)


RANDOM = [random_game(seed, 150) for seed in range(40)]
# Réti against Tartakower, 1910: a double check at the end.
DOUBLE = game("e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nf6 Qd3 e5 dxe5 Qa5+ Bd2 Qxe5 O-O-O Nxe4 Qd8+ Kxd8 Bg5+ Kc7 Bd8#")


def test_legal_moves_are_those_of_python_chess() -> None:
    positions = positions_of(RANDOM)
    at = 0
    for number, codes in enumerate(RANDOM):
        for ply, board in enumerate(boards.replay(boards.to_moves(codes))):
            if ply == len(codes):
                break
            legal = {boards.code_move(code) for code in positions.legal_codes(at).tolist()}
            assert legal == set(board.legal_moves)
            assert (positions.game[at], positions.ply[at], positions.played[at]) == (number, ply, codes[ply])
            assert positions.piece[at] == board.piece_type_at(boards.code_move(codes[ply]).from_square)
            at += 1
    assert at == len(positions) == positions.first[-1]


def test_checks_and_pins_are_those_of_python_chess() -> None:
    games = [*RANDOM, DOUBLE]
    positions = positions_of(games)
    seen = np.zeros(3, int)
    for at, board in enumerate(board for codes in games for board in replayed(codes)):
        special = positions.special[at]
        pins = [
            square
            for square in chess.SQUARES
            if board.color_at(square) == board.turn and board.is_pinned(board.turn, square)
        ]
        assert pinned(board) == chess.SquareSet(pins).mask
        assert bool(special & Special.PINNED_PIECE) == bool(pins)
        assert bool(special & Special.CHECK) == board.is_check()
        assert bool(special & Special.DOUBLE_CHECK) == (len(board.checkers()) == 2)
        seen += [bool(pins), board.is_check(), len(board.checkers()) == 2]
    assert (seen > 0).all()


def replayed(codes: MoveCodes) -> list[chess.Board]:
    """The boards before each move."""
    return [board.copy() for board in boards.replay(boards.to_moves(codes))][:-1]


@pytest.mark.parametrize(
    ("moves", "special"),
    [
        ("e4 e5 Nf3 Nc6 Bc4 Bc5 O-O", Special.CASTLING),
        ("d4 d5 Nc3 Nc6 Bf4 Bf5 Qd2 Qd7 O-O-O O-O-O", Special.CASTLING),
        ("e4 a6 e5 d5 exd6", Special.EN_PASSANT),
        ("a3 e5 a4 e4 d4 exd3", Special.EN_PASSANT),
        ("a4 b5 axb5 a6 bxa6 Bb7 axb7 h6 bxa8=N", Special.PROMOTION),
        ("h4 g5 hxg5 h6 gxh6 a6 h7 a5 hxg8=Q", Special.PROMOTION),
    ],
)
def test_special_moves(moves: str, special: Special) -> None:
    assert positions_of([game(moves)]).special[-1] == special


def test_a_capture_by_a_pawn_and_a_step_of_the_king_are_not_special() -> None:
    assert not positions_of([game("e4 d5 exd5 e6 Ke2")]).special.any()


def test_phases_go_one_way() -> None:
    positions = positions_of([random_game(seed, 400) for seed in range(12)])
    for start, stop in zip(positions.first, positions.first[1:], strict=False):
        phases = positions.phase[start:stop].tolist()
        assert phases == sorted(phases)
        assert phases[0] == 0
    assert set(positions.phase) == set(range(len(PHASES)))


def test_facts_do_not_depend_on_the_number_of_processes() -> None:
    with parallel.pool(2) as pool:
        spread = find_positions(RANDOM, pool)
    here = positions_of(RANDOM)
    for name in ("lengths", "played", "legal", "n_legal", "phase", "piece", "special"):
        assert (getattr(spread, name) == getattr(here, name)).all(), name


# After 1. e4 e5 2. Nf3 Nc6 3. Bb5 d6 the knight on c6 is pinned to the king on e8.
RUY = "e4 e5 Nf3 Nc6 Bb5 d6 O-O"


@pytest.mark.parametrize(
    ("move", "kind"),
    [
        ("", Illegal.NOT_A_MOVE),
        ("e4e5", Illegal.NO_PIECE),
        ("a4a5", Illegal.NO_PIECE),
        ("c6c5", Illegal.NEVER_MOVES_SO),
        ("e8e6", Illegal.NEVER_MOVES_SO),
        ("e5f4", Illegal.NEVER_MOVES_SO),
        ("d8d5", Illegal.BLOCKED),
        ("e5e4", Illegal.BLOCKED),
        ("a8b8b", Illegal.SPECIAL_PAWN),
        ("d6d5q", Illegal.SPECIAL_PAWN),
        ("d8c7", Illegal.OWN_PIECE),
        ("c6e5", Illegal.OWN_PIECE),
        ("e8g8", Illegal.CASTLING),
        ("e8c8", Illegal.CASTLING),
        ("c6d4", Illegal.CHECK),
        ("c6b8", Illegal.CHECK),
    ],
)
def test_kinds_are_asked_of_the_right_position(move: str, kind: Illegal) -> None:
    """Black to move at ply 7; other games and plies are asked about alongside."""
    codes = [game("e4 e5"), game(RUY + " a6"), game("d4 d5 c4")]
    positions = positions_of(codes)
    code = boards.move_code(chess.Move.from_uci(move)) if move else 0
    nowhere = boards.move_code(chess.Move.from_uci("d4d5"))
    where = np.array([0, 2 + 7, 2 + 8 + 2])
    with parallel.pool(1) as pool:
        kinds = illegal_kinds(positions, np.array([0, code, nowhere], np.uint16), where, pool)
    assert kinds == [Illegal.NOT_A_MOVE, kind, Illegal.BLOCKED]


def test_worker_processes_load_no_torch() -> None:
    """They would take four seconds each to start, and hundreds of megabytes."""
    script = "import sys, chesslm.eval.positions, chesslm.eval.games; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
