"""The rules exam: every question held to a judge who takes away what forbids a move and looks again."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import chess
import pytest
from odd_games import lively_game
from random_games import random_game

from chesslm import boards, parallel
from chesslm.boards import MoveCodes
from chesslm.eval import exam as exam_module
from chesslm.eval.exam import FIRST_RANDOM, Exam, mine
from chesslm.eval.games import RANDOM_NUMBERS
from chesslm.eval.items import (
    ALLOWED,
    CASTLING,
    ENDED,
    ITEMS,
    NO_CASTLING,
    PINNED,
    PROMOTIONS,
    REFUSED,
    WAY_BACK,
    Finder,
)

PER_ITEM = 6
GIVEN = [*(random_game(seed, 60) for seed in range(8)), *(lively_game(seed, 60) for seed in range(8))]

Question = tuple[int, frozenset[str]]
"""A ply and the moves asked about."""
Questions = dict[str, set[Question]]


@pytest.fixture(scope="module", autouse=True)
def small_rounds() -> Iterator[None]:
    """Fewer games than these few rows are worth: random ones have up to 300 plies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exam_module, "LEAST_ROUND", 8)
        yield


@pytest.fixture(scope="module")
def exam(small_rounds: None) -> Exam:
    with parallel.pool(1) as pool:
        return mine(GIVEN, pool, PER_ITEM)


def game(moves: str) -> MoveCodes:
    """A game from its moves in SAN."""
    board = chess.Board()
    for word in moves.split():
        board.push_san(word)
    return boards.to_codes(board.move_stack)


def uci(*codes: int) -> frozenset[str]:
    return frozenset(boards.code_move(code).uci() for code in codes)


def found(codes: MoveCodes) -> Questions:
    """What the finder says."""
    finder = Finder()
    for board in boards.replay(boards.to_moves(codes)):
        finder.look(board)
    return {item: {(each.ply, uci(*each.moves)) for each in of_item} for item, of_item in finder.found.items()}


# The judge. It knows nothing of how questions are found: where a move is forbidden for one reason, it is legal on a
# board without that reason.


def judged(history: list[chess.Board], ply: int) -> Questions:
    """All that could be asked in a position of a game."""
    board = history[ply]
    legal = list(board.legal_moves)
    asked: Questions = {}

    def ask(item: str, *moves: chess.Move) -> None:
        asked.setdefault(item, set()).add((ply, frozenset(move.uci() for move in moves)))

    for item, moves in [*castling(board), *in_check(board), *pins(board)]:
        ask(item, *moves)
    for move in legal:
        if board.is_en_passant(move):
            ask("en passant", move)
        if move.promotion:
            ask(PROMOTIONS[move.promotion], move)
        if comes_back(history[: ply + 1], move):
            ask("piece goes back", move)
    if ply >= 2:
        for move in history[ply - 2].legal_moves:
            if was_passed(history[ply - 2], board, move):
                ask("en passant too late", move)
            if was_captured(history[ply - 1], board, move):
                ask("captured piece moves", move)
    if not legal:
        ask("checkmate" if board.is_check() else "stalemate")
    return asked


def without(board: chess.Board, squares: chess.SquareSet | list[int]) -> chess.Board:
    """The same with some squares empty."""
    other = board.copy()
    for square in squares:
        other.remove_piece_at(square)
    return other


def castling(board: chess.Board) -> Iterator[tuple[str, list[chess.Move]]]:
    side = chess.COLOR_NAMES[board.turn]
    for wing, corner, way in (("short", "h", "fg"), ("long", "a", "dc")):
        rank = "1" if board.turn else "8"
        home, rook = chess.parse_square("e" + rank), chess.parse_square(corner + rank)
        move = chess.Move(home, chess.parse_square(way[1] + rank))
        if board.piece_at(home) != chess.Piece(chess.KING, board.turn):
            continue
        if board.piece_at(rook) != chess.Piece(chess.ROOK, board.turn):
            continue
        if board.is_legal(move):
            yield f"{side} castles {wing}", [move]
            continue
        barred = chess.SquareSet.between(home, rook) & board.occupied
        attacked = any(attacks_king_on(board, chess.parse_square(file + rank)) for file in way)
        righted = board.copy()
        righted.castling_rights |= chess.BB_SQUARES[rook]
        reasons = {
            "castling out of check": board.is_check(),
            "castling through check": attacked,
            "castling after king or rook moved": righted.castling_rights != board.castling_rights,
            "castling over a piece": bool(barred),
        }
        ideal = righted
        if board.is_check():
            while ideal.is_check():
                ideal = without(ideal, ideal.checkers())
        if attacked:
            ideal = without(ideal, chess.SquareSet(board.occupied_co[not board.turn]))
        ideal = without(ideal, barred)
        if sum(reasons.values()) == 1 and len(barred) <= 1 and ideal.is_legal(move):
            yield next(item for item, holds in reasons.items() if holds), [move]


def attacks_king_on(board: chess.Board, square: int) -> bool:
    """Whether the king of the side to move would be in check there."""
    king = board.king(board.turn)
    assert king is not None
    other = without(board, [king])
    other.set_piece_at(square, chess.Piece(chess.KING, board.turn))
    return other.is_check()


def in_check(board: chess.Board) -> Iterator[tuple[str, list[chess.Move]]]:
    legal, checkers, king = list(board.legal_moves), list(board.checkers()), board.king(board.turn)
    if len(checkers) > 1 and legal:
        assert all(move.from_square == king for move in legal)
        yield "double check", []
    if len(checkers) != 1:
        return
    ways: dict[str, list[chess.Move]] = {}
    for move in legal:
        after = board.copy()
        after.push(move)
        stands = after.piece_at(checkers[0]) == board.piece_at(checkers[0])
        way = "king moves" if move.from_square == king else "block" if stands else "capture"
        ways.setdefault(f"check: {way}", []).append(move)
    yield from ways.items()


def pins(board: chess.Board) -> Iterator[tuple[str, list[chess.Move]]]:
    for move in board.pseudo_legal_moves:
        pinned = board.is_pinned(board.turn, move.from_square) and not board.is_check()
        if pinned and not board.is_legal(move) and not board.is_en_passant(move):
            free = board.copy()
            # The pinner, and whatever stands behind it on the line.
            while king_attackers := pinners(free, move):
                free = without(free, king_attackers)
            assert free.is_legal(move)
            yield "pinned piece moves", [move]


def pinners(board: chess.Board, move: chess.Move) -> chess.SquareSet:
    """What would attack the king after a move: one piece at a time, since all stand on one line."""
    after = board.copy()
    after.push(move)
    king = after.king(board.turn)
    assert king is not None
    attackers = after.attackers(not board.turn, king)
    assert len(attackers) <= 1
    return attackers


def comes_back(history: list[chess.Board], move: chess.Move) -> bool:
    """Whether a piece returns to where it stood before its last move: going back, its square was not always its own."""
    piece = history[-1].piece_at(move.from_square)
    for before, after in zip(history[-2::-1], history[:0:-1], strict=True):
        last = after.peek()
        if before.piece_at(move.from_square) != piece or last.to_square == move.from_square:
            castled, promoted = before.is_castling(last), last.promotion
            own = before.color_at(last.from_square) == history[-1].turn
            return last.from_square == move.to_square and own and not castled and not promoted
    return False


def was_passed(before: chess.Board, board: chess.Board, move: chess.Move) -> bool:
    """A capture in passing that one could make on the last turn, and that nothing but the delay forbids."""
    if not before.is_en_passant(move) or board.is_legal(move):
        return False
    passed = chess.square(chess.square_file(move.to_square), chess.square_rank(move.from_square))
    if board.piece_at(move.from_square) != before.piece_at(move.from_square):
        return False
    if board.piece_at(passed) != chess.Piece(chess.PAWN, not board.turn) or board.piece_at(move.to_square):
        return False
    timely = board.copy()
    timely.ep_square = move.to_square
    return timely.is_legal(move)


def was_captured(between: chess.Board, board: chess.Board, move: chess.Move) -> bool:
    """A move that one could make on the last turn, and forbidden only because the piece was taken then."""
    last = board.peek()
    piece = between.piece_at(move.from_square)
    if last.to_square != move.from_square or piece is None or piece.color != board.turn:
        return False
    restored = board.copy()
    restored.set_piece_at(move.from_square, piece)
    assert not board.is_legal(move)
    return restored.is_legal(move)


@cache
def boards_of(codes: tuple[int, ...]) -> list[chess.Board]:
    return [board.copy(stack=1) for board in boards.replay(boards.to_moves(codes))]


def test_all_questions_of_a_game_are_found_and_no_others() -> None:
    seen: set[str] = set()
    for seed in range(8):
        codes = random_game(seed, 150) if seed % 2 else lively_game(seed, 150)
        history, expected = boards_of(tuple(codes)), {item: set[Question]() for item in ITEMS}
        for ply in range(len(history)):
            for item, questions in judged(history, ply).items():
                expected[item] |= questions
        assert found(codes) == expected
        seen |= {item for item, questions in expected.items() if questions}
    assert not set(ITEMS) - seen - {"castling out of check", "double check", *ENDED}, set(ITEMS) - seen


# Games made for an item

STALEMATE = "e3 a5 Qh5 Ra6 Qxa5 h5 h4 Rah6 Qxc7 f6 Qxd7+ Kf7 Qxb7 Qd3 Qxb8 Qh7 Qxc8 Kg6 Qe6"  # Sam Loyd
DOUBLE = "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Nf6 Qd3 e5 dxe5 Qa5+ Bd2 Qxe5 O-O-O Nxe4 Qd8+ Kxd8 Bg5+"
PROMOTION = "a4 b5 axb5 a6 bxa6 Bb7 axb7 Nc6"
CHECKED = "e4 e5 Nf3 d5 d4 Nc6 Be2 Bb4+"


@pytest.mark.parametrize(
    ("item", "moves", "asked"),
    [
        ("white castles short", "e4 e5 Nf3 Nc6 Bb5 a6", ["e1g1"]),
        ("black castles short", "a3 Nf6 b3 g6 c3 Bg7 d3", ["e8g8"]),
        ("black castles long", "a3 Nc6 b3 d6 c3 Bg4 d3 Qd7 e3", ["e8c8"]),
        # b1 may be attacked, and the other rook may have moved.
        ("white castles long", "d4 d5 c4 Bf5 Nc3 e6 Bf4 Nf6 Qa4+ Nbd7", ["e1c1"]),
        ("white castles short", "e4 e5 Nf3 Nc6 Be2 d6 a4 a6 Ra2 Nf6 Ra1 h6", ["e1g1"]),
        ("white castles short", CHECKED, []),
        ("castling out of check", CHECKED, ["e1g1"]),
        # In check, and the bishop stands between; in check, and the king or rook has moved.
        ("castling out of check", "e4 e5 Nf3 d5 d4 Bb4+", []),
        ("castling out of check", "e4 e5 Nf3 d5 d4 Nc6 Be2 h6 Rg1 g6 Rh1 Bb4+", []),
        ("castling through check", "e4 b6 Nf3 Ba6 g3 Nc6 Bh3 e6", ["e1g1"]),
        ("castling through check", "e4 b6 Nf3 Ba6 g3 Nc6 Bh3 e6 Rg1 h6 Rh1 h5", []),
        ("castling after king or rook moved", "e4 e5 Nf3 Nc6 Be2 d6 Rg1 Nf6 Rh1 Be7", ["e1g1"]),
        ("castling after king or rook moved", "e4 e5 Nf3 Nc6 Be2 d6 Kf1 Nf6 Ke1 Be7", ["e1g1"]),
        ("castling after king or rook moved", "e4 e5 Nf3 Nc6 Be2 d6 Rg1 Nf6", []),
        ("castling after king or rook moved", "e4 b6 Nf3 Ba6 g3 Nc6 Bh3 e6 Rg1 h6 Rh1 h5", []),
        ("castling over a piece", "e4 e5 Be2 Nc6", ["e1g1"]),
        ("castling over a piece", "e4 e5", []),
        ("castling over a piece", "e4 e5 Be2 d5 d4 Bb4+", []),
        ("castling over a piece", "e4 e5 Be2 Nc6 Nf3 d6 Rg1 h6", []),
        ("en passant", "e4 a6 e5 d5", ["e5d6"]),
        ("en passant", "e4 a6 e5 d6", []),
        ("en passant too late", "e4 a6 e5 d5 a3 h6", ["e5d6"]),
        ("en passant too late", "e4 a6 e5 d5 a3 d4", []),
        ("en passant too late", "e4 a6 e5 d5 exd6 h6", []),
        ("en passant too late", "e4 a6 e5 d5 e6 h6", []),
        ("en passant too late", "e4 a6 e5 d5 a3 h6 b3 g6", []),
        # A capture after all; one that would leave the king in check.
        ("en passant too late", "e4 a6 e5 d5 a3 Qd6", []),
        ("en passant too late", "e4 e6 e5 d5 f3 Qh4+", []),
        ("promotion to a queen", PROMOTION, ["b7a8q", "b7b8q"]),
        ("promotion to a rook", PROMOTION, ["b7a8r", "b7b8r"]),
        ("promotion to a bishop", PROMOTION, ["b7a8b", "b7b8b"]),
        ("promotion to a knight", PROMOTION, ["b7a8n", "b7b8n"]),
        ("pinned piece moves", "e4 Nc6 d4 d6 Bb5", ["c6b4", "c6b8", "c6a5", "c6d4", "c6e5"]),
        ("pinned piece moves", "e4 Nc6 d4 d6 Bb5 Bd7", []),
        # In check all other moves are forbidden anyway.
        ("pinned piece moves", "e4 d6 d4 Nc6 Bb5 a6 Qf3 e5 Qxf7+", []),
        # Along its line a pinned piece moves as it likes.
        ("pinned piece moves", "e4 e6 d4 Bb4+ Bd2 a6", ["d2c1", "d2e3", "d2f4", "d2g5", "d2h6"]),
        ("check: king moves", CHECKED, ["e1f1"]),
        ("check: block", CHECKED, ["b1c3", "b1d2", "c1d2", "c2c3", "d1d2", "f3d2"]),
        ("check: capture", CHECKED, []),
        ("check: capture", "e4 e5 d4 Bb4+ c3 Bxc3+", ["b1c3", "b2c3"]),
        # Taken by the king, it is a move of the king.
        ("check: capture", "e4 e5 Qh5 Nc6 Qxf7+", []),
        ("check: king moves", "e4 e5 Qh5 Nc6 Qxf7+", ["e8f7"]),
        ("check: king moves", DOUBLE, []),
        ("double check", DOUBLE, [""]),
        ("double check", CHECKED, []),
        ("captured piece moves", "e4 Nc6 d4 a6 d5 h6 dxc6", ["c6a5", "c6a7", "c6b4", "c6b8", "c6d4", "c6e5"]),
        # It had only just come there; a full move later; pinned, it could not have moved.
        ("captured piece moves", "e4 d5 exd5", []),
        ("captured piece moves", "e4 Nc6 d4 a6 d5 h6 dxc6 g6 Nf3", []),
        ("captured piece moves", "e4 Nc6 d4 d6 Bb5 h6 Bxc6+", []),
        ("piece goes back", "Nf3 Nf6", ["f3g1"]),
        ("piece goes back", "Nf3 Nf6 Ng1 Ng8", ["g1f3"]),
        ("piece goes back", "Nf3 Nf6 h3 h6", ["f3g1"]),
        ("piece goes back", "e4 e5", []),
        ("piece goes back", "e4 e5 Nf3 Nc6 Be2 d6 O-O h6", []),
        ("checkmate", "f3 e5 g4 Qh4#", [""]),
        ("checkmate", "f3 e5 g4", []),
        ("stalemate", STALEMATE, [""]),
    ],
)
def test_what_is_asked_at_the_end_of_a_game(item: str, moves: str, asked: list[str]) -> None:
    codes = game(moves)
    here = {asked for ply, asked in found(codes)[item] if ply == len(codes)}
    if item.startswith("check: "):
        assert here == ({frozenset(asked)} if asked else set())
    else:
        assert here == {frozenset(move.split()) for move in asked}


# The exam


def test_every_item_has_its_rows(exam: Exam) -> None:
    by_item = {item: [row for row in exam.rows if row.item == item] for item in ITEMS}
    assert [row.item for row in exam.rows] == [item for item in ITEMS for _ in range(PER_ITEM)]
    given = {codes.tobytes() for codes in GIVEN}
    for item, rows in by_item.items():
        assert len({row.game for row in rows}) == PER_ITEM, f"{item}: a game asked twice"
        alike = {(row.moves, exam.games[row.game][: row.ply].tobytes()) for row in rows}
        assert len(alike) == PER_ITEM, f"{item}: two rows alike"
        assert sum(row.source == "given" for row in rows) <= PER_ITEM // 2
        for row in rows:
            assert (exam.games[row.game].tobytes() in given) == (row.source == "given")
    # What all games have comes from both in equal parts.
    assert sum(row.source == "given" for row in by_item["piece goes back"]) == PER_ITEM // 2
    assert {row.game for row in exam.rows} == set(range(len(exam.games)))
    assert exam.positions == len(exam.rows) + sum(row.control is not None for row in exam.rows)


def test_every_row_is_what_the_judge_would_ask(exam: Exam) -> None:
    for row in exam.rows:
        history = boards_of(tuple(exam.games[row.game]))
        assert (row.ply, uci(*row.moves)) in judged(history[: row.ply + 1], row.ply)[row.item], row
        assert sorted(row.legal) == sorted(boards.legal_codes(history[row.ply]))
        assert (row.ply == len(history) - 1) or row.item not in ENDED
        legal = {code in row.legal for code in row.moves}
        assert legal == ({True} if row.item in ALLOWED else {False} if row.item in REFUSED else set())


def test_every_control_is_the_same_move_where_it_is_legal(exam: Exam) -> None:
    allowed = {(row.game, row.ply, row.moves[0]): row.source for row in exam.rows if row.item in CASTLING}
    without = 0
    for row in exam.rows:
        if row.control is None:
            assert row.item not in (set(REFUSED) | set(ENDED)) - {PINNED}
            without += row.item == PINNED
            continue
        game, ply, code = row.control
        here, there = boards_of(tuple(exam.games[row.game]))[row.ply], boards_of(tuple(exam.games[game]))[ply]
        move = boards.code_move(code)
        assert there.is_legal(move)
        if row.item in ENDED:
            assert (game, ply + 1) == (row.game, row.ply) and exam.games[game][ply] == code
            continue
        assert row.item in REFUSED and row.moves == (code,)
        if row.item in NO_CASTLING:
            same_source = [move for (*_, move), source in allowed.items() if source == row.source]
            assert allowed[row.control] == row.source or code not in same_source
        elif row.item == PINNED:
            assert there.piece_at(move.from_square) == here.piece_at(move.from_square)
            assert game != row.game or ply < row.ply
        else:
            assert (game, ply) == (row.game, row.ply - 2)
    assert without < PER_ITEM // 2


def test_a_pinned_piece_is_compared_with_another_game_where_its_own_has_nothing() -> None:
    """The knight comes to c6 and is pinned there at once; in the other game it stands there, free."""
    pinned, free = game("e4 d6 d4 Nc6 Bb5"), game("e4 Nc6 d4 d6 Nf3 Bg4 Nc3 Nb8 Ng1 Nc6 Nf3 Nb8")
    with parallel.pool(1) as pool:
        exam = mine([pinned, free] * 3, pool, PER_ITEM, items=(PINNED, WAY_BACK))
    rows = [row for row in exam.rows if row.item == PINNED and exam.games[row.game].tobytes() == pinned.tobytes()]
    controls = [row.control for row in rows if row.control]
    assert rows and controls
    for other, ply, code in controls:
        assert exam.games[other].tobytes() != pinned.tobytes()
        board = boards_of(tuple(exam.games[other]))[ply]
        assert board.is_legal(boards.code_move(code))
        assert board.piece_at(chess.C6) == chess.Piece(chess.KNIGHT, chess.BLACK)


def test_an_exam_without_games_is_by_chance_alone() -> None:
    with parallel.pool(1) as pool:
        exam = mine([], pool, 1, seed=2)
    assert [row.item for row in exam.rows] == list(ITEMS)
    assert {row.source for row in exam.rows} == {"random"}


def test_the_number_of_processes_changes_nothing_and_the_seed_does() -> None:
    """Given games, random ones, and games steered to what these two lack."""
    exams, items = [], ("white castles long", "castling through check", PINNED, WAY_BACK)
    for workers, seed in ((1, 1), (2, 1), (1, 2)):
        with parallel.pool(workers) as pool:
            exams.append(mine(GIVEN, pool, 4, seed, items))
    one, two, other = exams
    assert one.rows == two.rows != other.rows
    assert [codes.tolist() for codes in one.games] == [codes.tolist() for codes in two.games]
    assert len({row.game for row in other.rows if row.source == "given"}) > 2


def test_no_more_games_are_read_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    look = exam_module._look_through

    def count(games: list[tuple[int, MoveCodes]], wanted: list[str], seed: int) -> list[exam_module.Mined]:
        shown.extend(number for number, _ in games)
        return look(games, wanted, seed)

    monkeypatch.setattr(exam_module, "_look_through", count)
    monkeypatch.setattr(exam_module, "LEAST_ROUND", 16)
    with parallel.pool(1) as pool:
        exam = mine([random_game(seed, 40) for seed in range(50)], pool, 8, items=("piece goes back", "check: block"))
    # A round of the given games, and one of random ones.
    assert len(shown) == len(set(shown)) == 2 * exam_module.LEAST_ROUND
    assert len({number for number in shown if number < FIRST_RANDOM}) == exam_module.LEAST_ROUND
    assert sum(number > 20 for number in shown if number < FIRST_RANDOM) > 4, "not the first ones"
    assert len(exam.rows) == 16


def test_what_cannot_be_found_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exam_module, "TRIES", 0)
    with parallel.pool(1) as pool:
        exam = mine([random_game(1, 30)], pool, 2, items=("stalemate", "double check"))
    assert {row.source for row in exam.rows} <= {"random"} and len(exam.rows) < 4


def test_random_games_are_none_that_others_are_measured_on() -> None:
    assert FIRST_RANDOM == RANDOM_NUMBERS + 100_000_000


def test_worker_processes_load_no_torch() -> None:
    script = "import sys, chesslm.eval.exam, chesslm.eval.tactics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
