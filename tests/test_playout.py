"""Random games by the extra ``fast`` and without it: the same draws, the same games."""

import random
from collections import Counter
from collections.abc import Iterator

import chess
import pytest
from conftest import SOAK
from odd_games import lively_game

from chesslm import boards, generate, playout
from chesslm.playout import Played

cozy_chess = pytest.importorskip("cozy_chess")


class Script(random.Random):
    """Draws the moves of a game that is known, from whatever it is given."""

    def __init__(self, moves: str) -> None:
        super().__init__(1)
        self.board, self.moves = chess.Board(), iter(moves.split())

    def choice(self, seq):
        legal = list(self.board.generate_legal_moves())
        assert len(seq) == len(legal)
        self.board.push_uci(next(self.moves))
        return seq[legal.index(self.board.peek())]


def played_by_python_chess(moves: str) -> Played:
    game, script = generate.Game(), Script(moves)
    while not game.over():
        game.push(script.choice(game.legal))
    return game.played()


def types_of(board: chess.Board) -> list[int]:
    return [board.piece_type_at(square) or 0 for square in chess.SQUARES]


def positions() -> Iterator[chess.Board]:
    for seed in range(2000 if SOAK else 40):
        yield from boards.replay(boards.to_moves(lively_game(seed, plies=20 + seed % 200)))
    for fen in (
        # Castling on both sides, and in check; en passant out of check, onto a pinned line, by two pawns.
        "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1",
        "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 0 1",
        "r3k2r/8/8/8/4q3/8/8/R3K2R w KQkq - 0 1",
        "8/8/8/2k5/2pPpP2/8/B7/4K3 b - d3 0 1",
        "8/8/8/8/k1pP3R/8/8/4K3 b - d3 0 1",
        "4k3/8/8/2pPp3/8/8/8/4K3 w - e6 0 1",
        "4k3/8/8/1PpP4/8/8/8/4K3 w - c6 0 1",
        # Promotions with and without captures, and out of check.
        "1n1r3k/P1P1P3/8/8/8/8/p1p1p3/1N1R3K w - - 0 1",
        "1n1r3k/P1P1P3/8/8/8/8/p1p1p3/1N1R3K b - - 0 1",
        "K2r4/2P5/8/8/8/8/8/7k w - - 0 1",
        # Double check; no move at all.
        "4k3/8/5N2/8/8/8/8/4R2K b - - 0 1",
        "7k/5Q2/6K1/8/8/8/8/8 b - - 0 1",
    ):
        yield chess.Board(fen)


def test_legal_moves_come_in_python_chess_s_order() -> None:
    checks = 0
    for board in positions():
        groups = cozy_chess.Board.from_fen(f"{board.epd()} 0 1").generate_piece_moves()
        legal = boards.legal_codes(board)
        assert sum(map(len, groups)) == len(legal), board.fen()
        found = [
            playout.legal_move(groups, board.is_check(), types_of(board), number)[0] for number in range(len(legal))
        ]
        assert found == legal, board.fen()
        checks += board.is_check()
    assert checks > 50


def test_random_games_are_the_same_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(5000 if SOAK else 60)
    games = generate.random_games(numbers, seed=7)
    monkeypatch.setattr(generate, "play_at_random", lambda *_: None)
    assert generate.random_games(numbers, seed=7) == games
    ends = Counter(game.rsplit('[Termination "', 1)[1].split('"')[0] for game in games)
    assert len(ends) > 2


SHUFFLE = "g1f3 g8f6 f3g1 f6g8 "


@pytest.mark.parametrize(
    ("moves", "ending"),
    [
        ("f2f3 e7e5 g2g4 d8h4", chess.Termination.CHECKMATE),
        ("e2e4 e7e5 d1h5 b8c6 f1c4 g8f6 h5f7", chess.Termination.CHECKMATE),
        (SHUFFLE * 5, chess.Termination.FIVEFOLD_REPETITION),
        # The pawn that could be taken en passant makes it another position the first time.
        ("e2e4 a7a6 e4e5 d7d5 " + SHUFFLE * 5, chess.Termination.FIVEFOLD_REPETITION),
        (
            "e2e3 a7a5 d1h5 a8a6 h5a5 h7h5 h2h4 a6h6 a5c7 f7f6 c7d7 e8f7 d7b7 d8d3 b7b8 d3h7 b8c8 f7g6 c8e6",
            chess.Termination.STALEMATE,
        ),
    ],
)
def test_the_end_of_a_game_is_python_chess_s(moves: str, ending: chess.Termination) -> None:
    played = playout.play_at_random(Script(moves), 300)
    assert played == played_by_python_chess(moves)
    assert played and played.outcome and played.outcome.termination == ending


def test_a_game_that_no_rule_ends_is_cut_off() -> None:
    played = playout.play_at_random(random.Random(1), 4)
    assert played and len(played.words) == 4 and played.outcome is None
