"""The UCI engine: real processes under python-chess, the protocol line by line, and anything that is no protocol."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import chess
import chess.engine
import numpy as np
import pytest
import torch
from conftest import SOAK, Cli

from chesslm import boards
from chesslm.config import ModelConfig
from chesslm.model import load_model, new_gpt2, save_checkpoint
from chesslm.play.choice import POLICY_SAYS
from chesslm.play.engine import COMMANDS, Engine
from chesslm.play.player import RandomPlayer
from chesslm.play.uci import player_of
from chesslm.tokenizer import get_tokenizer

GAMES = 1000 if SOAK else 6
LINES = 100_000 if SOAK else 5_000
BYTES = 1_000_000

pytestmark = pytest.mark.usefixtures("one_thread")


def checkpoint(folder: Path, *conditions: str) -> Path:
    """A model of random weights that has opinions; it knows no rules, so nearly every raw choice is illegal."""
    tokenizer = get_tokenizer("uci-move", conditions)
    model = new_gpt2(ModelConfig(layers=2, width=32, heads=2, sinusoids=False), tokenizer, seed=1)
    with torch.no_grad():
        model.transformer.wte.weight *= 20
    save_checkpoint(model, tokenizer, folder, {"notation": "uci-move"})
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("uci") / "fresh")


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("uci") / "rated", "elo")


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "chesslm", "uci", str(folder), "--device", "cpu"]


@pytest.fixture(scope="module")
def process(rated: Path) -> Iterator[chess.engine.SimpleEngine]:
    with chess.engine.SimpleEngine.popen_uci(command(rated), timeout=60) as engine:
        yield engine


class Talk:
    """An engine in this process with what it said."""

    def __init__(self, folder: Path | None = None) -> None:
        self.said: list[str] = []
        self.engine = Engine(self.said.append, "fresh", rated=folder is not None and folder.name == "rated")
        if folder:
            loaded = load_model(str(folder), device="cpu", precision="fp32")
            self.engine.player_of = lambda settings: player_of(loaded, settings)
        else:
            self.engine.player_of = lambda settings: RandomPlayer(settings.seed)

    def __call__(self, *lines: str) -> list[str]:
        """What the engine answers to these lines."""
        self.said.clear()
        for line in lines:
            self.engine.obey(line)
        return list(self.said)

    def best(self, *lines: str) -> str:
        """The move that these lines end in."""
        answers = [line for line in self(*lines) if line.startswith("bestmove ")]
        assert len(answers) == 1, answers
        return answers[0].split()[1]


# A real process


def test_whole_games_with_clocks(process: chess.engine.SimpleEngine) -> None:
    for white in (chess.WHITE, chess.BLACK):
        board, other, clocks = chess.Board(), RandomPlayer(seed=int(white)), {True: 30.0, False: 30.0}
        while not boards.outcome(board) and board.ply() < 300:
            if board.turn == white:
                limit = chess.engine.Limit(
                    white_clock=clocks[True], black_clock=clocks[False], white_inc=0.1, black_inc=0.1
                )
                move = process.play(board, limit, game=white).move
            else:
                move = other.choose(board).move
            assert move and board.is_legal(move)
            board.push(move)
        assert board.ply() > 20


@pytest.mark.parametrize(
    "limit",
    [
        chess.engine.Limit(time=0.01),
        chess.engine.Limit(depth=3),
        chess.engine.Limit(nodes=100),
        chess.engine.Limit(mate=2),
        chess.engine.Limit(white_clock=1, black_clock=1, remaining_moves=1),
        chess.engine.Limit(),
    ],
)
def test_every_limit(process: chess.engine.SimpleEngine, limit: chess.engine.Limit) -> None:
    move = process.play(chess.Board(), limit).move
    assert move and chess.Board().is_legal(move)


def test_analysis_names_the_likeliest_moves(process: chess.engine.SimpleEngine, rated: Path) -> None:
    board = chess.Board()
    board.push_san("e4")
    known = load_model(str(rated), device="cpu", precision="fp32")
    player = player_of(known, Talk().engine._settings)
    likeliest = [each.move for each in player.candidates(board) if not each.illegal][:5]
    found = process.analyse(board, chess.engine.Limit(depth=1), multipv=5)
    assert [line.get("pv") for line in found] == [[move] for move in likeliest]
    with process.analysis(board, multipv=3) as analysis:
        assert analysis.next()
        analysis.stop()
        assert analysis.wait().move == likeliest[0]


def test_pondering_waits_to_be_asked(process: chess.engine.SimpleEngine) -> None:
    played = process.play(chess.Board(), chess.engine.Limit(time=0.01), ponder=True)
    assert played.move and chess.Board().is_legal(played.move) and played.ponder is None


def test_options_are_taken_and_listed(process: chess.engine.SimpleEngine) -> None:
    assert set(process.options) == {"Temperature", "TopP", "IllegalPolicy", "Elo", "Seed", "MultiPV"}
    drawn = set[chess.Move | None]()
    for seed in range(1, 9):
        process.configure({"Temperature": "1", "TopP": "0.9", "IllegalPolicy": "retry", "Elo": 1500, "Seed": seed})
        first, again = (process.play(chess.Board(), chess.engine.Limit(depth=1)).move for _ in range(2))
        process.configure({"Seed": 100})
        process.configure({"Seed": seed})
        assert process.play(chess.Board(), chess.engine.Limit(depth=1)).move == first
        drawn |= {first, again}
    assert len(drawn) > 1
    process.configure({"Temperature": "0", "TopP": "1", "IllegalPolicy": "mask", "Elo": 0, "Seed": 0})


def test_uci_is_answered_while_torch_is_loaded_and_quit_does_not_wait(fresh: Path, tmp_path: Path) -> None:
    # A torch that is never there: the one way to see that nothing waits for it.
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(3600)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    lines = "uci\nsetoption name Seed value 3\nposition startpos moves e2e4\n"
    with subprocess.Popen(
        command(fresh), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(lines)
        process.stdin.flush()
        assert "uciok\n" in iter(process.stdout.readline, "")
        process.stdin.write("isready\ngo infinite\nstop\nquit\n")
        process.stdin.flush()
        assert process.stdout.read() == ""
        assert process.wait(60) == 0


def test_quit_ends_it_at_once_while_more_might_come(fresh: Path) -> None:
    with subprocess.Popen(
        command(fresh), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write("isready\n")
        process.stdin.flush()
        assert process.stdout.readline() == "readyok\n"
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(60) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_lines_from_a_pipe_are_answered_in_their_order(fresh: Path) -> None:
    lines = "position startpos\ngo infinite\nisready\nstop\nposition startpos moves e2e4\ngo depth 1\nfoo\n"
    ended = subprocess.run(command(fresh), input=lines, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    kinds = [" ".join(line.split()[:2]) for line in ended.stdout.splitlines()]
    assert [kind.split()[0] if "best" in kind else kind for kind in kinds if kind != "info depth"] == [
        *["info string"] * 2,
        "readyok",
        "bestmove",
        *["info string"] * 2,
        "bestmove",
        "info string",
    ]


def test_a_model_that_is_not_there_or_broken_is_one_line(cli: Cli, tmp_path: Path) -> None:
    ended = cli("uci", tmp_path / "none")
    assert (ended.code, ended.out) == (2, "") and ended.err.count("\n") == 1
    broken = checkpoint(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nonsense")
    ended = subprocess.run(command(broken), input="isready\n", capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "") and ended.stderr.count("\n") == 1, ended.stderr


def test_random_bytes(fresh: Path) -> None:
    noise = np.random.default_rng(1).bytes(BYTES)
    with subprocess.Popen(command(fresh), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        out, err = it.communicate(noise + b"\nisready\nposition startpos\ngo\n", timeout=100)
    assert (it.returncode, err) == (0, b"")
    lines = out.decode().splitlines()
    assert {line.split()[0] for line in lines} == {"info", "readyok", "bestmove"}
    assert lines[-1].startswith("bestmove ")


# The protocol, line by line


def test_it_introduces_itself(fresh: Path, rated: Path) -> None:
    for folder, elo in ((fresh, False), (rated, True)):
        said = Talk(folder)("uci")
        assert said[0].startswith("id name chesslm ") and said[1].startswith("id author ") and said[-1] == "uciok"
        form = r"option name \w+ type (string default \S+|spin( \w+ \d+){3}|combo default \w+( var \w+)+)"
        assert all(re.fullmatch(form, line) for line in said[2:-1])
        assert any("name Elo " in line for line in said) == elo


def test_it_says_whether_the_raw_choice_was_legal(fresh: Path) -> None:
    talk, seen = Talk(fresh), set[bool]()
    board = chess.Board()
    for _ in range(40):
        said = talk(f"position startpos moves {' '.join(map(str, board.move_stack))}", "go")
        raw = re.fullmatch(r"info string raw choice (\S+) \([\d.]+%\) is (legal|illegal: [^.]*)\.(.*)", said[0])
        assert raw, said
        legal = raw[2] == "legal"
        assert raw[3] == ("" if legal else f" {POLICY_SAYS['mask']}")
        move = chess.Move.from_uci(said[-1].split()[1])
        assert move in board.legal_moves and legal == (raw[1] == move.uci())
        assert (chess.Move.from_uci(raw[1]) in board.legal_moves) == legal
        seen.add(legal)
        board.push(move)
        if boards.outcome(board):
            board.reset()
    assert False in seen


def test_moves_wait_for_stop_or_ponderhit() -> None:
    talk = Talk()
    for held, word in itertools.product(("go infinite", "go ponder wtime 1 btime 1"), ("stop", "ponderhit")):
        assert not any("bestmove" in line for line in talk("position startpos", held, "isready"))
        assert "passed over" in talk("go")[0]
        assert talk.best(word) in {move.uci() for move in chess.Board().legal_moves}
        assert talk(word) == []


def test_only_some_moves() -> None:
    talk = Talk()
    assert {talk.best("go searchmoves a2a3 h2h4 depth 2") for _ in range(30)} == {"a2a3", "h2h4"}
    assert talk.best("position startpos moves e2e4", "go searchmoves e7e5") == "e7e5"
    assert talk.best("go searchmoves e2e4 nonsense") in {move.uci() for move in board_of("e2e4").legal_moves}


def board_of(*moves: str) -> chess.Board:
    board = chess.Board()
    for move in moves:
        board.push_uci(move)
    return board


def test_positions_are_followed_back_and_forth(fresh: Path) -> None:
    line = ["e2e4", "e7e5", "g1f3", "b8c6", "f1b5", "a7a6", "b5a4", "g8f6", "e1g1", "f8e7", "f1e1", "b7b5", "a4b3"]
    one, random = Talk(fresh), np.random.default_rng(2)
    for _ in range(30):
        moves = line[: random.integers(len(line) + 1)]
        if len(moves) > 3 and random.random() < 0.3:
            moves = [*moves[:2], "b1c3"]
        position = f"position startpos moves {' '.join(moves)}"
        # A new engine has nothing to go on from.
        assert one.best(position, "go") == Talk(fresh).best(position, "go")


def test_a_fen_has_no_history(fresh: Path) -> None:
    talk = Talk(fresh)
    said = talk("position fen 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1 moves e2e4 e8e7", "go")
    assert "random legal move" in said[0]
    board = chess.Board("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1")
    for move in ("e2e4", "e8e7"):
        board.push_uci(move)
    assert chess.Move.from_uci(said[-1].split()[1]) in board.legal_moves
    assert "raw choice" in talk(f"position fen {chess.STARTING_FEN} moves e2e4", "go")[0]


def test_where_the_game_is_over() -> None:
    assert Talk().best("position startpos moves f2f3 e7e5 g2g4 d8h4", "go") == "0000"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("position", "startpos or with fen"),
        ("position startpos moves e2e5", "move 1, 'e2e5', is not legal"),
        ("position startpos moves e2e4 0000", "move 2, '0000', is not legal"),
        ("position startpos moves e2e4 e7e5 e4", "move 3"),
        ("position fen 8/8/8/8/8/8/8/8 w - - 0 1", "cannot come about"),
        ("position fen nonsense", "nonsense"),
        ("setoption name Temperature value hot", "'hot' is no number"),
        ("setoption name Temperature value -1", "the temperature is 0 or from 0.01"),
        ("setoption name TopP value 0", "top p is a share"),
        ("setoption name IllegalPolicy value strict", "policies are mask and retry"),
        ("setoption name MultiPV value 0", "whole number from 1 to 218"),
        ("setoption name MultiPV value 1.5", "whole number from 1 to 218"),
        ("setoption name Seed value nan", "whole number"),
        ("setoption name Elo value 1500", "no such option"),
        ("setoption name Hash value 16", "no such option"),
        ("setoption", "no such option"),
        ("bestmove e2e4", "no such command"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(line: str, says: str) -> None:
    talk = Talk()
    talk("position startpos moves d2d4", "setoption name Seed value 5")
    before = talk.best("go")
    (said,) = talk(line)
    assert said.startswith("info string passed over ") and says in said
    talk("setoption name Seed value 6", "setoption name Seed value 5")
    assert talk.best("go") == before
    assert board_of("d2d4").is_legal(chess.Move.from_uci(before))


def test_words_that_nobody_knows_before_a_command_are_passed_over() -> None:
    assert Talk()("joho isready") == ["readyok"]
    assert Talk()("", "   ", "debug on", "register later", "ponderhit", "stop", "ucinewgame") == []


def test_half_valid_commands() -> None:
    talk, random = Talk(), np.random.default_rng(3)
    words = [
        *COMMANDS,
        *["startpos", "fen", "moves", "name", "value", "infinite", "ponder", "searchmoves", "depth", "wtime"],
        *["Seed", "MultiPV", "Temperature", "TopP", "IllegalPolicy", "mask", "e2e4", "e7e5", "0000", "a1a1", "e7e8q"],
        *["-1", "0", "3", "1e9", "nan", "²", "٣", "\x00", "\x1b[0m", "9" * 30],
        chess.STARTING_FEN,
        "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1",
    ]
    for _ in range(LINES):
        line = " ".join(words[i] for i in random.integers(len(words), size=random.integers(1, 9)))
        said = talk(line)
        assert all("\n" not in text and text.split()[0] in SAYS for text in said), (line, said)
    talk("stop")
    assert talk.best("ucinewgame", "position startpos", "go") in {move.uci() for move in chess.Board().legal_moves}


SAYS = {"id", "option", "uciok", "readyok", "info", "bestmove"}


# For long


def resident(pid: int) -> int:
    """Memory of a process in KiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def test_many_games_in_a_row_in_the_same_memory(fresh: Path) -> None:
    with chess.engine.SimpleEngine.popen_uci(command(fresh), timeout=60) as engine:
        engine.configure({"Temperature": "1", "IllegalPolicy": "retry", "Seed": 1})
        pid, used = engine.transport.get_pid(), list[int]()  # pyright: ignore
        for game in range(GAMES):
            board, other = chess.Board(), RandomPlayer(seed=game)
            while not boards.outcome(board) and board.ply() < 120:
                model = (board.ply() + game) % 2 == 0
                limit = chess.engine.Limit(white_clock=10, black_clock=10)
                move = engine.play(board, limit, game=game).move if model else other.choose(board).move
                assert move and board.is_legal(move)
                board.push(move)
            used.append(resident(pid))
        tenth = max(GAMES // 10, 1)
        # What grows with every game would show; the first ones fill caches.
        assert used[-1] - used[tenth] < 8 * 1024, used[:: GAMES // 10]
