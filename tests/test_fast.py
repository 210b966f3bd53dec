"""Games read by the extra ``fast`` and without it: the same moves, the same files."""

import random
from pathlib import Path

import chess
import numpy as np
import pytest
from odd_games import lively_game, odd_pgn
from test_prepare import contents

from chesslm import fast
from chesslm.game import Dropped, Game
from chesslm.parsing import parse_chunk
from chesslm.prepare import prepare
from chesslm.san import read_moves, write_moves

pytest.importorskip("rust_pgn_reader_python_binding")
GAMES = [lively_game(seed, plies=20 + seed % 200) for seed in range(300)]


def sans(codes: np.ndarray) -> list[str]:
    return [word.rstrip("+#") for word in write_moves(codes)]


def without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_reader", lambda: None)


def moves_of(chunk: bytes) -> list[list[int] | Dropped]:
    return [item.codes.tolist() if isinstance(item, Game) else item for item in parse_chunk(chunk).items]


def read_by_it(words: list[str]) -> list[int] | None:
    """The moves as the reader alone finds them; None where it is not asked or does not find them legal."""
    if not fast._is_standard(words):
        return None
    (codes,) = fast._read(fast._reader(), [words])
    return None if codes is None else codes.tolist()


def test_legal_games_are_read_by_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "read_moves", lambda words: pytest.fail(f"not read: {words}"))
    read = fast.read_many([sans(codes) for codes in GAMES])
    assert [codes is not None and codes.tolist() for codes in read] == [codes.tolist() for codes in GAMES]


def test_a_word_put_in_by_chance_is_never_taken_wrongly() -> None:
    draw, taken = random.Random(1), 0
    words = sorted({word for codes in GAMES[:60] for word in sans(codes)})
    for codes in GAMES[:100]:
        game = sans(codes)
        for _ in range(40):
            place = draw.randrange(len(game))
            changed = [*game[:place], draw.choice(words), *game[place + 1 :]]
            found = read_by_it(changed)
            taken += found is not None
            assert found is None or found == read_moves(changed)
    assert taken > 10


@pytest.mark.parametrize(
    "moves",
    [
        "e4 d5 xd5",
        "e4 d5 ed5",
        "e4 d5 e4xd5",
        "e4 e5 Nf3 Nc6 Bc4 Bc5 0-0",
        "e4 e5 Nf3 Nc6 Bc4 Bc5 Kg1",
        "e2e4 e7e5",
        "e4 e5 Ng1f3",
        "e4 -- d4",
        "e4 Z0",
        "a4 b5 axb5 a6 bxa6 Bb7 axb7 h6 bxa8",
        "a4 b5 axb5 a6 bxa6 Bb7 axb7 h6 bxa8Q",
        "f3 e5 g4 Qh4 a3",
        "e4 e5 Nf3 Nf6 Nxf6",
    ],
)
def test_what_is_not_standard_is_read_alike(monkeypatch: pytest.MonkeyPatch, moves: str) -> None:
    chunk = f'[Event "x"]\n\n{moves} *\n\n[Event "y"]\n\n1. e4 *\n\n'.encode()
    with_it = moves_of(chunk)
    without_it(monkeypatch)
    assert moves_of(chunk) == with_it


@pytest.mark.parametrize("notation", ["uci-move", "uci-square", "san"])
def test_the_dataset_is_the_same_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notation: str) -> None:
    path = tmp_path / "x.pgn"
    path.write_text("".join(odd_pgn(seed, GAMES[::3]) for seed in range(2)))
    for name in ("with", "without"):
        prepare([str(path)], tmp_path / name, notation=notation, workers=1, quiet=True)
        without_it(monkeypatch)
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


def test_it_knows_the_end_of_a_game() -> None:
    """The reader goes on where python-chess does: a game may go on after a draw by the rules, never after a mate."""
    shuffled = [*["Nf3", "Nf6", "Ng1", "Ng8"] * 30]
    board = chess.Board()
    for word in shuffled:
        board.push_san(word)
    assert board.is_fivefold_repetition() and read_by_it(shuffled) == read_moves(shuffled)
    assert read_by_it(["f3", "e5", "g4", "Qh4", "a3"]) is None


def test_legal_moves_are_python_chess_s(monkeypatch: pytest.MonkeyPatch) -> None:
    games = [*GAMES[:80], np.zeros(0, np.uint16), GAMES[80]]
    found = fast.legal_moves(games)
    without_it(monkeypatch)
    monkeypatch.setattr(fast, "_legal_in", lambda *_: pytest.fail("not without it"))
    for (ours, counts), (theirs, their_counts) in zip(found, fast.legal_moves(games), strict=True):
        assert (ours.dtype, ours.tolist(), counts.tolist()) == (theirs.dtype, theirs.tolist(), their_counts.tolist())


def test_legal_moves_come_from_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_legal_here", lambda game: pytest.fail(f"not read: {sans(game)}"))
    assert sum(int(counts.sum()) for _, counts in fast.legal_moves(GAMES)) > 10_000
