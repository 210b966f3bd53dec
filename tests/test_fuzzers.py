"""What the fuzzers try, on what they begin with and on what they found: the fuzzing itself is ``make fuzz``."""

from collections.abc import Callable
from pathlib import Path

import chess
import fuzz_pgn
import fuzz_play
import fuzz_uci
import pytest
from fuzz_play import ask

from chesslm.errors import InputError
from chesslm.play.game import Game
from chesslm.play.player import ModelPlayer, RandomPlayer
from chesslm.play.terminal import set_level

BROKEN = "1. e4 (1. d4 d5 2. Ke5) ( ( 1. d4"
"""python-chess's builder of games raises an AssertionError here."""
CHESS960 = b'[Variant "Chess960"]\n\n'
FOUND: list[tuple[Callable[[bytes], None], bytes]] = [
    *((fuzz_play.one, bytes([kind]) + BROKEN.encode()) for kind in (1, 2)),
    *((fuzz_play.one, bytes([kind]) + b"1. e4 e5) (1. Ke5) ) 2. Nf3") for kind in (1, 2)),
    *((fuzz_play.one, bytes([kind]) + b"1. e4 -- 2. d4") for kind in (1, 2)),
    *((fuzz_play.one, bytes([kind]) + b"1. e4 $" + b"9" * 5000) for kind in (1, 2)),
    *((fuzz_play.one, bytes([kind]) + CHESS960 + b"1. Nf3 Nf6 2. g3 g6 3. Bg2 Bg7 4. O-O") for kind in (1, 2)),
    (fuzz_play.one, b'\3[Variant "\xed\xa0\x80"]\n\n1. e4'),
    (fuzz_play.one, bytes([6 + 8 * 3]) + b'{"moves": [], "temperature": 1' + b"0" * 400 + b"}"),
    (fuzz_uci.one, "position fen é".encode()),
    (fuzz_uci.one, b"position fen " + b"8/" * 10_000),
]  # fmt: skip


@pytest.mark.parametrize("target", [fuzz_pgn, fuzz_uci, fuzz_play])
def test_what_the_fuzzers_begin_with_passes(target: object) -> None:
    for seed in target.seeds():  # pyright: ignore[reportAttributeAccessIssue]
        target.one(seed)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("one", "data"), FOUND)
def test_what_they_found_passes(one: Callable[[bytes], None], data: bytes) -> None:
    one(data)


@pytest.mark.parametrize(
    ("pgn", "says"),
    [
        ("1. e4 -- 2. d4", "move 2 of this game is none: a side passes"),
        ("1. e4 $" + "9" * 5000, "a number in this game is too long"),
        ('[Variant "\ud800"]\n\n1. e4', "unsupported variant: \\ud800"),
        ('[Variant "' + "x" * 5000 + '"]\n\n1. e4', "cannot be read: unsupported variant: xxx"),
        ('[Variant "Chess960"]\n\n1. e4', "of a variant"),
    ],
)
def test_what_is_wrong_with_a_pasted_game_is_said(pgn: str, says: str) -> None:
    status, found = ask("read", {"pgn": pgn})
    assert status == 400 and says in found["error"] and len(found["error"]) < 200


def test_a_pasted_game_is_followed_whatever_its_variations() -> None:
    assert ask("read", {"pgn": f"{BROKEN} *"}) == (200, {"moves": ["e2e4"]})
    assert ask("read", {"pgn": "1. e4 (1. Ke5 (1. d4 e9)) e5 {so} $1"}) == (200, {"moves": ["e2e4", "e7e5"]})


def test_a_loaded_game_is_followed_whatever_its_variations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pgn"
    path.write_text("1. e4 {good} (1. d4 d5 2. Ke5) (1. c4) e5 2. Nf3")
    game = Game(RandomPlayer(1), chess.WHITE)
    game.load(str(path))
    assert [move.uci() for move in game.board.move_stack] == ["e2e4", "e7e5", "g1f3"]
    assert game.notes == ["good", "", ""]
    for text in ("1. e4 -- 2. d4", '[Variant "Chess960"]\n\n1. e4', "1. e4 Ke5"):
        path.write_text(text)
        with pytest.raises(InputError, match="no game from the standard position"):
            game.load(str(path))
    assert len(game.board.move_stack) == 3
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999", "hot"])
def test_a_level_is_a_number(number: str) -> None:
    player = ModelPlayer.__new__(ModelPlayer)
    for what in ("level", "elo"):
        with pytest.raises(InputError, match=f"{what} takes a number, not '{number}'"):
            set_level(player, what, number)
