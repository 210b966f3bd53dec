"""The fast road for SAN, both ways, against python-chess, on games rich in castling, promotion, pins and en passant."""

import random

import chess
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_games import lively_game
from random_games import games

from chesslm.boards import move_code, to_moves
from chesslm.san import read_moves, write_moves


def sans(moves: list[chess.Move]) -> list[str]:
    board = chess.Board()
    return [board.san_and_push(move) for move in moves]


def tokens_of(moves: list[chess.Move]) -> list[str]:
    return [san.rstrip("+#") for san in sans(moves)]


def judged(tokens: list[str]) -> list[int] | None:
    """Move codes by python-chess; None where a token is not a legal move."""
    board = chess.Board()
    try:
        return [move_code(board.push_san(token)) for token in tokens]
    except ValueError:
        return None


@pytest.mark.parametrize("seed", range(60))
def test_legal_games_are_read_as_python_chess_reads_them(seed: int) -> None:
    codes = lively_game(seed, plies=250)
    assert read_moves(tokens_of(to_moves(codes))) == codes.tolist()
    assert write_moves(codes) == sans(to_moves(codes))


def test_lively_games_have_every_special_move() -> None:
    seen = set()
    for seed in range(60):
        board = chess.Board()
        for move in to_moves(lively_game(seed, plies=250)):
            pinned = board.is_pinned(board.turn, move.from_square)
            for kind, there in (
                ("short castling", board.is_kingside_castling(move)),
                ("long castling", board.is_queenside_castling(move)),
                ("en passant", board.is_en_passant(move)),
                ("promotion", bool(move.promotion)),
                ("underpromotion", bool(move.promotion) and move.promotion != chess.QUEEN),
                ("pinned piece moves", pinned),
                ("out of check", board.is_check()),
                ("disambiguated", len(board.san(move).strip("+#x")) > 3 and board.san(move)[0] in "NBRQ"),
            ):
                if there:
                    seen.add(kind)
            board.push(move)
    assert len(seen) == 8


@given(games(max_plies=80))
@settings(max_examples=40, deadline=None)
def test_any_legal_game(moves: list[chess.Move]) -> None:
    codes = [move_code(move) for move in moves]
    assert read_moves(tokens_of(moves)) == codes
    assert write_moves(codes) == sans(moves)


@pytest.mark.parametrize(
    "game",
    [
        # A pinned knight is no rival, and two of three queens take more than a file to tell apart.
        "d4 e6 Nc3 Bb4 e3 a6 Ne2",
        "e4 b5 f4 c5 Be2 c4 g3 g6 d4 e6 a4 bxa4 e5 a3 c3 Nf6 g4 Bc5 Nd2 Qe7 g5 Qf8 Nb3 axb2 Rxa7 bxc1=Q Kf1 cxb3 h3 "
        "d5 gxf6 Qc2 Qd3 Be7 fxe7 Qh6 c4 Qd2 cxd5 exd5 Rb7 Qh5 Qg3 Bg4 hxg4 Qxh1 Bd3 Nd7 f5 Qc3 f6 Qxg1+ Ke2 Qgc1 "
        "Bc2 bxc2 Kf2 Nb6 Qg2 h5 Qxd5 Qa5 Qf3 Qh6 gxh5 Qa6 Kg3 c1=Q Rd7 Qa2 Ra7 Qe1+ Kh3 Qhc1 h6 Qxa7 Qe4 Qc2 h7 "
        "Qec3+ Kh4 Qaa2 e6 Qc2b3",
        # Only taking it in passing leads out of a pawn's check.
        "d4 h5 f3 h4 a3 Rh6 a4 f6 a5 Kf7 b3 Kg6 b4 Kh5 c3 g6 g4+",
        # Mate by taking in passing (Gundersen and Faul, 1928).
        "e4 e6 d4 d5 e5 c5 c3 cxd4 cxd4 Bb4+ Nc3 Nc6 Nf3 Nge7 Bd3 O-O Bxh7+ Kxh7 Ng5+ Kg6 h4 Nxd4 Qg4 f5 h5+ Kh6 Nxe6+ "
        "g5 hxg6#",
        # A castling rook gives check; a knight mates, since a pawn is pinned.
        "d4 d5 Nc3 e5 dxe5 d4 Be3 dxe3 Qd3 Ke7 Qa6 Kd7 O-O-O+",
        "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nd7 Qe2 Ngf6 Nd6#",
    ],
)
def test_disambiguation_and_marks_are_written_as_python_chess_writes_them(game: str) -> None:
    codes = judged(game.split())
    assert codes and write_moves(codes) == sans(to_moves(codes)) == game.split()


SAN_LIKE = st.from_regex(r"(?:[NBRQK]?[a-h]?[1-8]?x?[a-h][1-8](?:=[QRBN])?|O-O(?:-O)?)", fullmatch=True)


@given(st.integers(0, 59), st.integers(0, 249), SAN_LIKE)
@settings(max_examples=300, deadline=None)
def test_a_move_put_in_by_chance_is_never_taken_wrongly(seed: int, place: int, token: str) -> None:
    tokens = tokens_of(to_moves(lively_game(seed, plies=place)))
    read = read_moves([*tokens, token])
    if read is not None:
        assert read == judged([*tokens, token])


def test_every_token_at_every_turn_of_some_games() -> None:
    """Legal SAN is accepted, anything else is left to python-chess, exhaustively over the moves of the other side."""
    draw = random.Random(5)
    accepted = 0
    for seed in range(12):
        moves = to_moves(lively_game(100 + seed, plies=60 + 10 * seed))
        tokens = tokens_of(moves)
        board = chess.Board()
        for move in moves:
            board.push(move)
        legal = {board.san(move).rstrip("+#") for move in board.legal_moves}
        board.turn = not board.turn
        others = {board.san(move).rstrip("+#") for move in board.pseudo_legal_moves if board.is_legal(move)}
        for token in sorted(legal) + draw.sample(sorted(others), min(10, len(others))):
            read = read_moves([*tokens, token])
            expected = judged([*tokens, token])
            if token in legal:
                assert read == expected is not None
                accepted += 1
            else:
                assert read is None or read == expected
    assert accepted > 100


@pytest.mark.parametrize(
    ("moves", "why"),
    [
        ("e4 e5 Ke3", "the king does not reach it"),
        ("e4 e5 O-O", "pieces between"),
        ("e4 e5 Nf3 Nc6 Bc4 Bc5 Ke2 d6 Ke1 a6 O-O", "the king has moved"),
        ("d4 e6 c4 Bb4 a3", "the king is in check"),
        ("e4 d5 exd5 Qxd5 Nf3 Qe4 Nd4", "still in check"),
        ("d4 e6 Nc3 Bb4 a3 a6 Nd5", "pinned"),
        ("e4 a6 e5 d5 a3 a5 exd6", "en passant a move too late"),
        ("Nf3 a6 Nc3 a5 Nd4 a4 Ncb5 h6 Nb3 h5 Nd4", "two knights can"),
        ("e4 e5 e4", "blocked pawn"),
        ("e4 d5 ed", "not a square"),
        ("e2e4", "long algebraic"),
        ("e4 --", "null move"),
        ("h4 g5 hxg5 h6 gxh6 a6 h7 a5 hxg8", "no promotion piece"),
        ("h4 g5 hxg5 h6 gxh6 a6 h7 a5 hxg8=K", "promotion to a king"),
        ("e4=Q", "promotion on the way"),
        ("e1=Q", "promotion on the wrong side"),
        ("e4 e8=Q", "promotion on the wrong side"),
        ("f3 e5 g4 Qh4 a3", "checkmate"),
    ],
)
def test_unusual_games_are_left_to_python_chess(moves: str, why: str) -> None:
    assert read_moves(moves.split()) is None, why


def test_a_pin_decides_which_knight_is_meant() -> None:
    """The knight on c3 is pinned, so that Ne4 can only mean the one on f6."""
    tokens = ["d4", "e6", "Nc3", "Bb4", "Nf3", "a6", "Ne5", "a5", "Nd7", "a4", "Nf6", "Ke7", "Ne4"]
    codes = judged(tokens)
    assert codes is not None
    assert read_moves(tokens) == codes
