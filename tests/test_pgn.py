"""Games as chess.pgn.read_game gives them, odd ones included, and what is dropped and why."""

import io
import logging
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import chess.pgn
import pytest
import zstandard
from conftest import SOAK
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odd_games import lively_game, odd_pgn

from chesslm.boards import MoveCodes, to_codes
from chesslm.errors import InputError
from chesslm.pgn import Dropped, Game, parse_chunk, read_games, read_pgn
from chesslm.streams import Source


@cache
def base() -> list[MoveCodes]:
    """400 games of 0 to 69 plies, made when they are first asked for: every worker reads this file."""
    return [lively_game(seed, plies=seed % 70) for seed in range(400)]


class Judge(chess.pgn.GameBuilder):
    """What read_game uses, except that an illegal move in a nested variation does not crash it."""

    def begin_variation(self) -> None:
        if self.variation_stack[-1].parent is None:
            self.variation_stack.append(self.variation_stack[-1])
        else:
            super().begin_variation()

    def end_variation(self) -> None:
        if len(self.variation_stack) > 1:
            super().end_variation()


def judged(text: str) -> list[chess.pgn.Game]:
    """The games of a text as python-chess reads them."""
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    handle = io.StringIO(text, newline=None)
    return list(iter(lambda: chess.pgn.read_game(handle, Visitor=Judge), None))


def usable(game: chess.pgn.Game) -> bool:
    """Whether a sequence of moves from the standard start can stand for what python-chess read."""
    moves = list(game.mainline_moves())
    standard = game.headers.get("FEN", chess.STARTING_FEN) == chess.STARTING_FEN
    standard &= game.headers.get("Variant", "Standard") == "Standard"
    return bool(moves) and all(moves) and not game.errors and standard


def agree(ours: list[Game | Dropped], theirs: list[chess.pgn.Game]) -> Counter[str]:
    """Check every game against python-chess; reasons by count, with '' for games read."""
    assert len(ours) == len(theirs)
    for game, judge in zip(ours, theirs, strict=True):
        assert isinstance(game, Game) == usable(judge), judge
        if isinstance(game, Game):
            assert game.codes.tolist() == to_codes(judge.mainline_moves()).tolist()
            if judge.headers["Result"] != "1/2":
                assert game.result == judge.headers["Result"]
            assert game.event == (judge.headers["Event"] if judge.headers["Event"] != "?" else None)
            assert game.white_elo == (int(judge.headers["WhiteElo"]) if "WhiteElo" in judge.headers else None)
    return Counter(game.reason if isinstance(game, Dropped) else "" for game in ours)


def sourced(path: Path, text: str | bytes, workers: int = 1) -> list[Game | Dropped]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return [game for _, game in read_games([Source(str(path))], workers)]


def test_odd_games_are_read_as_python_chess_reads_them() -> None:
    found = Counter[str]()
    texts = 6 if SOAK else 2
    for seed in range(texts):
        text = odd_pgn(seed, base())
        found += agree(parse_chunk(text.encode()).items, judged(text))
    assert found[""] > 2000 * texts // 6
    assert set(found) == {"", "illegal move", "null move", "no moves", "not a game", "FEN start", "variant"}


@example(173477, 20, "\n")  # a byte order mark in mid-file, in front of tags that a blank line interrupts
@given(st.integers(100, 10**6), st.integers(0, 300), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=25, deadline=None)
def test_odd_files_are_read_alike_with_any_newline(tmp_path_factory, seed: int, first: int, newline: str) -> None:
    text = odd_pgn(seed, base()[first : first + 40]).lstrip("\ufeff")
    path = tmp_path_factory.mktemp("odd") / "x.pgn"
    agree(sourced(path, text.replace("\n", newline)), judged(text.replace("\n", newline)))


def test_games_written_by_python_chess_come_back_in_full(tmp_path: Path) -> None:
    headers = {
        "Event": "Möbius",
        "Date": "2021.??.??",
        "Result": "0-1",
        "WhiteElo": "2000",
        "BlackElo": "?",
        "ECO": "B01",
    }
    game = chess.pgn.Game(headers=headers)
    game.add_line(chess.Move.from_uci(move) for move in ("e2e4", "d7d5"))
    (read,) = sourced(tmp_path / "x.pgn", f"{game}\n\n")
    assert isinstance(read, Game)
    assert read.codes.tolist() == to_codes(game.mainline_moves()).tolist()
    assert (read.result, read.white_elo, read.black_elo, read.eco, read.date, read.event, read.source) == (
        "0-1", 2000, None, "B01", "2021.??.??", "Möbius", "x.pgn",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "end", "result"),
    [
        ('[Result "1-0"]', "1-0", "1-0"),
        ('[Result "1-0"]', "0-1", "1-0"),
        ('[Result "1-0"]', "", "1-0"),
        ('[Result "*"]', "0-1", "0-1"),
        ('[Result "?"]', "1/2-1/2", "1/2-1/2"),
        ('[White "x"]', "1/2-1/2", "1/2-1/2"),
        ('[White "x"]', "", "*"),
        ('[White "x"]', "*", "*"),
    ],
)
def test_the_result_is_the_tag_s_then_the_marker_s(tmp_path: Path, tags: str, end: str, result: str) -> None:
    first, *_ = sourced(tmp_path / "x.pgn", f'{tags}\n\n1. e4 e5 {end}\n\n[Event "y"]\n\n1. d4 *\n')
    assert isinstance(first, Game)
    assert first.result == result


def test_each_game_has_the_encoding_that_fits_it(tmp_path: Path) -> None:
    game = '[Event "{}"]\n\n1. e4 *\n\n'
    data = game.format("Zürich").encode() + game.format("Malmö").encode("latin-1") + game.format("Łódź").encode()
    assert [read.event for read in sourced(tmp_path / "x.pgn", data) if isinstance(read, Game)] == [
        "Zürich", "Malmö", "Łódź",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("game", "reason"),
    [
        ('[FEN "8/8/8/8/8/8/8/K1k5 w - - 0 1"]\n\n1. Kb1 *', "FEN start"),
        ('[Variant "Chess960"]\n\n1. e4 *', "variant"),
        ('[Variant "Antichess"]\n\n1. e4 {comment} *', "variant"),
        ('[Event "x"]\n\n1. e4 Ke5 *', "illegal move"),
        ('[Event "x"]\n\n1. Nf3 d5 2. Nc3 a6 3. Nd4 b6 4. Ncb5 a5 5. Nb3 a4 6. Nd4 *', "illegal move"),
        ('[Event "x"]\n\n1. e4 (1. Ke5) e5 *', "illegal move"),
        ('[Event "x"]\n\n1. e4 -- 2. d4 *', "null move"),
        ('[Event "x"]\n\n*', "no moves"),
        ("A paragraph between the games.", "not a game"),
        ('[Event "x"]\n\n1. e4 (1. d4) $' + "1" * 5000 + " *", "illegal move"),
    ],
)
def test_broken_games_are_dropped_for_a_reason_and_the_others_read(tmp_path: Path, game: str, reason: str) -> None:
    good = '[Event "good"]\n\n1. e4 e5 *\n\n'
    first, second, third = sourced(tmp_path / "x.pgn", f"{good}{game}\n\n{good}")
    assert second == Dropped(reason)
    assert all(isinstance(read, Game) and len(read.codes) == 2 for read in (first, third))


def test_an_unclosed_comment_swallows_no_other_game(tmp_path: Path) -> None:
    good = '[Event "good"]\n\n1. e4 e5 *\n\n'
    text = good + '[Event "bad"]\n\n1. e4 {never closed e5 *\n\n' + good * 3
    read = sourced(tmp_path / "x.pgn", text)
    assert read[1] == Dropped("unclosed comment")
    assert [isinstance(game, Game) for game in read] == [True, False, True, True, True]


WHOLE = '[Event "a"]\n[Result "1-0"]\n\n1. e4 e5 2. Nf3 1-0\n\n[Event "b"]\n[Result "1-0"]\n\n1. d4 d5 {so} 2. c4 1-0\n'


@pytest.mark.parametrize("cut", range(WHOLE.index("1-0\n\n") + 5, len(WHOLE)))
def test_a_text_cut_anywhere_keeps_its_whole_games(tmp_path: Path, capfd: pytest.CaptureFixture[str], cut: int) -> None:
    read = sourced(tmp_path / "x.pgn", WHOLE[:cut])
    assert isinstance(read[0], Game)
    whole = WHOLE[:cut].rstrip() in (WHOLE.rstrip(), WHOLE[: WHOLE.index("1-0\n\n") + 3])
    assert ("truncated" in capfd.readouterr().err) == (not whole)
    assert read[1:] == ([] if len(read) == 1 else [Dropped("truncated")]) or whole


def test_a_file_without_any_markers_is_not_called_truncated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read = sourced(tmp_path / "x.pgn", "1. e4 e5\n\n1. d4 d5\n")
    assert [isinstance(game, Game) for game in read] == [True, True]
    assert not capfd.readouterr().err


@pytest.mark.parametrize("moves", ["1. e4 Ke5 1-0", "1. e4 -- 2. Ke5 {so} 1-0", "1. e4 (1. Ke5) e5 1-0\n"])
def test_a_last_game_that_is_illegal_is_no_truncated_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], moves: str
) -> None:
    read = sourced(tmp_path / "x.pgn", f'{WHOLE}\n[Event "c"]\n\n{moves}\n')
    assert read[2] == Dropped("null move" if "--" in moves else "illegal move")
    assert not capfd.readouterr().err


def test_text_after_the_last_game_is_no_truncated_game(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read = sourced(tmp_path / "x.pgn", WHOLE + "\nEnd of the collection.\n")
    assert read[2] == Dropped("not a game")
    assert not capfd.readouterr().err


def test_a_truncated_stream_keeps_its_whole_games(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "".join(odd_pgn(seed, base()) for seed in range(3))
    data = zstandard.ZstdCompressor().compress(text.encode())
    read = sourced(tmp_path / "x.pgn.zst", data[: len(data) // 2])
    assert "truncated" in capfd.readouterr().err
    assert read[-1] == Dropped("truncated")
    whole = sourced(tmp_path / "y.pgn", text)
    assert 1 < len(read) < len(whole)
    for cut, game in zip(read[:-1], whole, strict=False):
        assert type(cut) is type(game)
        assert not isinstance(cut, Game) or (isinstance(game, Game) and cut.codes.tolist() == game.codes.tolist())


def test_text_without_games_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no chess game in it"):
        sourced(tmp_path / "README", "# A project\n\nIt is about chess, and a plan.\n")
    with pytest.raises(InputError, match="truncated before its first game"):
        # zstd gives nothing of a block that is not whole.
        sourced(tmp_path / "x.pgn.zst", zstandard.ZstdCompressor().compress(WHOLE.encode())[:-20])


def test_several_inputs_come_in_order_from_any_number_of_workers(tmp_path: Path) -> None:
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.pgn")
        paths[-1].write_text(odd_pgn(seed, base()[:150]))

    def read(workers: int) -> list[tuple[str, object]]:
        games = read_games([Source(str(path)) for path in paths], workers)
        return [(source.name, game.codes.tolist() if isinstance(game, Game) else game) for source, game in games]

    alone = read(1)
    assert [name for name, _ in alone] == sorted(name for name, _ in alone)
    assert read(3) == alone


def test_read_pgn_stops_where_it_has_enough(tmp_path: Path) -> None:
    path = tmp_path / "x.pgn"
    # Nothing after the first games is looked at: it would be refused.
    path.write_bytes(b'[Event "x"]\n\n1. e4 *\n\n' * 30000 + b"\0" * 100)
    assert len(read_pgn(str(path), limit=5)) == 5
    with pytest.raises(InputError, match="no usable game"):
        path.write_text('[Variant "Atomic"]\n\n1. e4 *\n')
        read_pgn(str(path))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.pgn"
    path.write_text('[Event "x"]\n\n1. e4 *\n\n' * 50000)
    program = (
        "import multiprocessing, sys, time; from chesslm.pgn import read_games; from chesslm.streams import Source\n"
        "if __name__ == '__main__':\n"
        "    games = read_games([Source(sys.argv[1])], 2); next(games)\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True); time.sleep(60)\n"
    )
    script = tmp_path / "hold.py"
    script.write_text(program)
    with subprocess.Popen([sys.executable, script, path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert children
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and _runs(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
