"""Why a move is illegal, and how games end, against python-chess."""

import chess
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_games import games

from chesslm import boards, words
from chesslm.boards import Illegal

EVERY_MOVE = [chess.Move.from_uci(uci) for uci in words.geometric_moves()]


@settings(max_examples=40, deadline=None)
@given(games(), st.data())
def test_boards_come_one_after_another(moves: list[chess.Move], data: st.DataObject) -> None:
    """Whichever beginnings of a game are asked for, in whatever order."""
    codes = boards.to_codes(moves)
    asked = data.draw(st.lists(st.integers(0, len(moves))))
    found = [board.fen() for board in boards.boards_after(codes[:ply] for ply in asked)]
    assert found == [boards.board_after(codes[:ply]).fen() for ply in asked]


@settings(max_examples=40, deadline=None)
@given(games())
def test_a_move_has_a_reason_just_when_it_is_illegal(moves: list[chess.Move]) -> None:
    board = list(boards.replay(moves))[-1]
    legal = set(board.generate_legal_moves())
    pseudo = set(board.generate_pseudo_legal_moves())
    for move in EVERY_MOVE:
        kind = boards.illegal_kind(board, move)
        assert (kind is None) == (move in legal)
        if kind is Illegal.CHECK:
            assert move in pseudo
        elif kind is not None and kind is not Illegal.CASTLING:
            assert move not in pseudo


@pytest.mark.parametrize(
    ("fen", "uci", "kind"),
    [
        (chess.STARTING_FEN, None, Illegal.NOT_A_MOVE),
        (chess.STARTING_FEN, "e4e5", Illegal.NO_PIECE),
        (chess.STARTING_FEN, "e7e5", Illegal.NO_PIECE),
        (chess.STARTING_FEN, "g1g3", Illegal.NEVER_MOVES_SO),
        (chess.STARTING_FEN, "e2d3", Illegal.NEVER_MOVES_SO),
        (chess.STARTING_FEN, "f1c4", Illegal.BLOCKED),
        (chess.STARTING_FEN, "a1a3", Illegal.BLOCKED),
        (chess.STARTING_FEN, "a1a2", Illegal.OWN_PIECE),
        (chess.STARTING_FEN, "e1g1", Illegal.CASTLING),
        (chess.STARTING_FEN, "e2e4", None),
        ("4k3/8/8/4p3/4P3/8/8/4K3 w - - 0 1", "e4e5", Illegal.BLOCKED),
        ("4k3/8/8/8/8/4p3/4P3/4K3 w - - 0 1", "e2e4", Illegal.BLOCKED),
        ("4k3/8/8/3pP3/8/8/8/4K3 w - - 0 1", "e5d6", Illegal.SPECIAL_PAWN),
        ("4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 1", "e5d6", None),
        ("8/4P3/8/k7/8/8/8/4K3 w - - 0 1", "e7e8", Illegal.SPECIAL_PAWN),
        ("8/4R3/8/k7/8/8/8/4K3 w - - 0 1", "e7e8q", Illegal.SPECIAL_PAWN),
        ("4k3/8/8/8/4r3/8/4B3/4K3 w - - 0 1", "e2d3", Illegal.CHECK),
        ("5k2/8/8/8/8/8/8/4K2R w K - 0 1", "e1g1", None),
        ("5k2/8/8/8/5r2/8/8/4K2R w K - 0 1", "e1g1", Illegal.CASTLING),
        # python-chess's own is_legal takes this for castling.
        ("5k2/8/8/8/8/8/8/4K2R w K - 0 1", "e1h1", Illegal.NEVER_MOVES_SO),
    ],
)
def test_the_reason_of_an_illegal_move(fen: str, uci: str | None, kind: Illegal | None) -> None:
    move = chess.Move.from_uci(uci) if uci else None
    assert boards.illegal_kind(chess.Board(fen), move) is kind


@pytest.mark.parametrize(
    ("moves", "termination", "result"),
    [
        ("f2f3 e7e5 g2g4 d8h4", chess.Termination.CHECKMATE, "0-1"),
        ("g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1 f6g8", chess.Termination.THREEFOLD_REPETITION, "1/2-1/2"),
        ("g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1", None, None),
        (
            "e2e3 a7a5 d1h5 a8a6 h5a5 h7h5 h2h4 a6h6 a5c7 f7f6 c7d7 e8f7 d7b7 d8d3 b7b8 d3h7 b8c8 f7g6 c8e6",
            chess.Termination.STALEMATE,
            "1/2-1/2",
        ),
    ],
)
def test_games_end_by_the_rules(moves: str, termination: chess.Termination | None, result: str | None) -> None:
    board = chess.Board()
    for uci in moves.split():
        assert boards.outcome(board) is None
        board.push_uci(uci)
    ended = boards.outcome(board)
    assert (ended and ended.termination, ended and ended.result()) == (termination, result)


def test_fifty_moves_and_bare_kings_are_drawn_and_mate_comes_first() -> None:
    quiet = chess.Board("4k3/8/8/8/8/8/4R3/4K3 w - - 99 80")
    assert boards.outcome(quiet) is None
    quiet.push_uci("e2e3")
    assert boards.outcome(quiet) == chess.Outcome(chess.Termination.FIFTY_MOVES, None)
    mating = chess.Board("k7/8/1K6/8/8/8/8/7R w - - 99 80")
    mating.push_uci("h1h8")
    assert boards.outcome(mating) == chess.Outcome(chess.Termination.CHECKMATE, chess.WHITE)
    kings = chess.Board("4k3/8/8/8/8/8/8/4K3 w - - 0 1")
    assert boards.outcome(kings) == chess.Outcome(chess.Termination.INSUFFICIENT_MATERIAL, None)
