"""Playing in the terminal: the loop in this process, whole games through a pipe, a real terminal."""

import io
import os
import pty
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import chess
import chess.engine
import chess.pgn
import pytest
import torch
from conftest import NOTATIONS, Cli
from random_games import tokenizer_of
from rich.console import Console

from chesslm.boards import Illegal
from chesslm.conditions import Headers
from chesslm.config import ModelConfig
from chesslm.errors import InputError
from chesslm.model import LoadedModel, load_model, new_gpt2, save_checkpoint
from chesslm.play.choice import POLICY_SAYS, Candidate, Choice, Player, Style, explained
from chesslm.play.game import Clock, Game
from chesslm.play.player import ModelPlayer, RandomPlayer
from chesslm.play.screen import View, board_lines, new_console, read_move
from chesslm.play.terminal import answer, play, reader, run_game
from chesslm.tokenizer import get_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints with random weights, by notation: they know no rules, so nearly every raw choice is illegal."""
    root = tmp_path_factory.mktemp("fresh")
    for notation in NOTATIONS:
        tokenizer = tokenizer_of(notation)
        model = new_gpt2(ModelConfig(layers=2, width=32, heads=2, sinusoids=False), tokenizer, seed=1)
        with torch.no_grad():
            model.transformer.wte.weight *= 20
        save_checkpoint(model, tokenizer, root / f"fresh-{notation}", {"notation": notation})
    return {notation: root / f"fresh-{notation}" for notation in NOTATIONS}


@pytest.fixture(scope="module")
def engine() -> Iterator[chess.engine.SimpleEngine]:
    with chess.engine.SimpleEngine.popen_uci("/usr/games/stockfish") as engine:
        yield engine


def session(player: Player, *lines: str, human: chess.Color = chess.WHITE) -> str:
    """What the terminal shows for these lines of input."""
    left = iter(lines)
    screen = io.StringIO()
    view = View(Console(file=screen, markup=False, highlight=False))
    run_game(Game(player, human), lambda prompt: next(left, None), view)
    return screen.getvalue()


def won_game(player: Player, human: chess.Color, engine: chess.engine.SimpleEngine) -> chess.Board:
    """A game that Stockfish wins for the person."""
    board = chess.Board()
    while not board.is_game_over():
        ours = board.turn == human
        move = engine.play(board, chess.engine.Limit(nodes=3000)).move if ours else player.choose(board).move
        assert move
        board.push(move)
    assert board.is_checkmate()
    assert board.turn != human
    return board


def typed(board: chess.Board, human: chess.Color) -> list[str]:
    """The person's moves in a game as they might be typed: SAN and UCI in turn."""
    lines, at = [], chess.Board()
    for move in board.move_stack:
        if at.turn == human:
            lines.append(move.uci() if len(lines) % 2 else at.san(move))
        at.push(move)
    return lines


# Whole games through a pipe


@pytest.mark.parametrize(
    ("notation", "human"),
    [("uci-square", chess.WHITE), ("bpe", chess.BLACK)],
)
def test_a_whole_game_through_a_pipe(
    notation: str,
    human: chess.Color,
    folders: dict[str, Path],
    engine: chess.engine.SimpleEngine,
    run_cli: Cli,
    tmp_path: Path,
) -> None:
    folder = folders[notation]
    board = won_game(ModelPlayer(load_model(str(folder), device="cpu")), human, engine)
    first, *rest = typed(board, human)
    lines = [first, "undo", "hint", first, *rest, "moves", "save won.pgn", ""]
    color = chess.COLOR_NAMES[human]
    ended = run_cli("play", folder, "--color", color, "--device", "cpu", input="\n".join(lines), cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    assert "♚" in ended.out
    assert f"is illegal: {choice_of(folder, board, human)}" in ended.out
    assert "Policy mask" in ended.out
    assert "All legal moves together" in ended.out
    assert f"Checkmate: {color.capitalize()} wins, {board.result()}." in ended.out
    assert chess.Board().variation_san(board.move_stack) in ended.out
    assert ended.out.endswith("Saved as won.pgn\nBye.\n")
    game = read_pgn(tmp_path / "won.pgn")
    assert list(game.mainline_moves()) == board.move_stack
    white, black = ("human", folder.name) if human else (folder.name, "human")
    expected = {"White": white, "Black": black, "Result": board.result(), "Termination": "normal"}
    assert {name: game.headers[name] for name in expected} == expected
    assert any("is illegal" in node.comment for node in game.mainline())


def choice_of(folder: Path, board: chess.Board, human: chess.Color) -> str:
    """Why the model's first raw choice in a game is illegal."""
    at = chess.Board()
    player = ModelPlayer(load_model(str(folder), device="cpu"))
    for move in board.move_stack:
        if at.turn != human and (reason := player.choose(at).raw[0].illegal):
            return reason
        at.push(move)
    raise AssertionError("every raw choice was legal")


def read_pgn(path: Path) -> chess.pgn.Game:
    with path.open() as file:
        game = chess.pgn.read_game(file)
        assert game
        assert not game.errors
        assert chess.pgn.read_game(file) is None
    return game


# A real terminal


@pytest.fixture
def terminal(folders: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """``chesslm play`` in a terminal of its own: type something, wait for something, get what was shown."""
    child, screen = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="40")
        os.environ.pop("NO_COLOR", None)
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "chesslm", "play", str(folders["uci-move"])])

    def talk(keys: str, until: str) -> str:
        os.write(screen, keys.encode())
        shown, deadline = b"", time.monotonic() + 240
        while until.encode() not in shown and time.monotonic() < deadline:
            try:
                if select.select([screen], [], [], 3)[0]:
                    shown += os.read(screen, 65536)
                elif keys == "\x03" and not shown:
                    # Python's input() sleeps on through a Ctrl-C that comes just after its prompt.
                    os.write(screen, keys.encode())
            except OSError:
                # The other end is gone.
                break
        return shown.decode()

    yield talk
    os.close(screen)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130


def test_a_real_terminal_draws_the_board_and_control_c_leaves(terminal: Callable[[str, str], str]) -> None:
    opening = terminal("", "Your move: ")
    # Black's pieces are black on squares with colours of their own.
    assert "\x1b[" in opening
    assert opening.count("♟") == 16
    assert opening.count("♚") == 2
    assert "You are White against fresh-uci-move" in opening
    reply = terminal("e4\r", "Your move: ")
    assert "You: 1. e4" in reply
    assert "fresh-uci-move: 1... " in reply
    assert "1. e4 " in terminal("moves\r", "Your move: ")
    end = terminal("\x03", "nothing more")
    assert end.rstrip().endswith("\nchesslm: stopped")
    assert "Traceback" not in end


# The loop


def test_either_colour_and_the_side_at_the_bottom() -> None:
    white = session(RandomPlayer(1)).splitlines()
    assert [line[:1] for line in white[2:11]] == [*"87654321", " "]
    assert white[9] == "1  ♖ ♘ ♗ ♕ ♔ ♗ ♘ ♖"
    assert white[10] == "   a b c d e f g h"
    black = session(RandomPlayer(1), human=chess.BLACK).splitlines()
    assert black[1].startswith("random: 1. ")
    assert [line[:1] for line in black[3:12]] == [*"12345678", " "]
    assert black[11] == "   h g f e d c b a"


def test_undo_takes_back_both_moves_the_mate_and_the_resignation() -> None:
    shown = session(RandomPlayer(1), "undo", "e4", "d4", "undo", "moves", "undo", "undo", "moves", "resign", "undo")
    assert shown.count("there is no move of yours to take back") == 2
    moves = [line for line in shown.splitlines() if line.startswith("1. e4")]
    assert len(moves) == 1
    assert len(moves[0].split()) == 3
    assert "no moves yet" in shown
    assert "White resigns: Black wins, 0-1" in shown
    assert shown.endswith("   a b c d e f g h\n\nBye.\n")
    assert "no move of yours" in session(RandomPlayer(1), "undo", human=chess.BLACK)


def test_after_the_end_a_game_can_be_saved_taken_back_or_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "given up.pgn"
    shown = session(RandomPlayer(1), "e4", "resign", "d4", "hint", "resign", f"save {path}", "new", "moves", "d4")
    assert shown.count("the game is over: undo, save FILE.pgn, new or quit") == 3
    assert f"Saved as {path}" in shown
    assert "no moves yet" in shown
    assert "You: 1. d4" in shown
    game = read_pgn(path)
    assert (game.headers["Result"], game.headers["Termination"]) == ("0-1", "normal")
    assert (game.headers["White"], game.headers["Black"]) == ("human", "random")


class Copycat(RandomPlayer):
    """Steps to and fro with the knight, so that the rules end the game."""

    def choose(self, board: chess.Board) -> Choice:
        move = chess.Move.from_uci("g8f6" if board.piece_at(chess.G8) else "f6g8")
        return Choice(move, (), None, ())


def test_repetition_is_announced() -> None:
    shown = session(Copycat(), "Nf3", "Ng1", "Nf3", "Ng1", "e4", "quit", "never read")
    assert "The same position for the third time: a draw, 1/2-1/2" in shown
    assert "the game is over" in shown
    assert shown.endswith("Bye.\n")
    assert "never read" not in shown


def test_a_hint_has_bars_and_says_why_moves_are_illegal(folders: dict[str, Path]) -> None:
    player = ModelPlayer(load_model(str(folders["uci-move"]), device="cpu"))
    shown = session(player, "hint")
    candidates = player.candidates(chess.Board())
    hints = shown.split("\n\n")[-1].splitlines()[:-2]
    legal = [candidate for candidate in candidates if not candidate.illegal]
    expected = [*candidates[:8], *(candidate for candidate in legal[:3] if candidate not in candidates[:8])]
    for line, candidate in zip(hints, expected, strict=True):
        assert ("illegal: " + str(candidate.illegal) in line) == (candidate.illegal is not None)
        assert f"{candidate.probability:.1%}" in line
        assert set("█▉▊▋▌▍▎▏") & set(line)
    assert f"All legal moves together: {sum(candidate.probability for candidate in legal):.1%}." in shown


def test_past_the_context_a_hint_has_nothing_to_say_and_the_move_says_why() -> None:
    tokenizer = get_tokenizer("uci-move")
    model = new_gpt2(ModelConfig(layers=1, width=8, heads=1, context=2), tokenizer, seed=1).eval()
    shown = session(ModelPlayer(LoadedModel(model, tokenizer, "short", "short", {}, torch.float32)), "e4", "hint")
    assert "short: The game is longer than the model can look back: a random legal move." in shown
    assert "short has no opinion here" in shown


@pytest.mark.parametrize(
    ("illegal", "policy", "says"),
    [
        (0, None, []),
        (1, "mask", ["raw choice e2e5 (12.5%) is illegal: that piece never moves so.", POLICY_SAYS["mask"]]),
        (2, "retry", ["raw choice e2e5 (12.5%) is illegal: that piece never moves so."] * 2 + [POLICY_SAYS["retry"]]),
    ],
)
def test_what_a_policy_did_is_said(illegal: int, policy: str | None, says: list[str]) -> None:
    move = chess.Move.from_uci("e2e4")
    wrong = Candidate("e2e5", chess.Move.from_uci("e2e5"), 0.125, Illegal.NEVER_MOVES_SO)
    right = [Candidate("e2e4", move, 0.5, None)] * (policy != "mask")
    assert explained(Choice(move, (*[wrong] * illegal, *right), policy, ())) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "save needs the name of a file"),
        ("there.pgn", "exists already"),
        (".", "exists already"),
        ("nowhere/game.pgn", "no such folder"),
        ("x" * 300, "cannot be a file's name"),
        ("~nobody-of-that-name/game.pgn", "cannot be a file's name"),
        ("a\0b", "save needs the name of a file"),
        ("there.pgn/game.pgn", "no such folder"),
    ],
)
def test_a_game_that_cannot_be_saved_goes_on(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.pgn").write_text("mine")
    shown = session(RandomPlayer(1), f"save {name}", "e4")
    assert says in shown
    assert "You: 1. e4" in shown
    assert "Saved" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["there.pgn"]
    assert Path("there.pgn").read_text() == "mine"


def test_a_place_that_cannot_be_written_leaves_the_game() -> None:
    shown = session(RandomPlayer(1), "save /proc/game.pgn", "e4")
    assert "Saved" not in shown
    assert "/proc/" in shown
    assert "You: 1. e4" in shown


def test_help_names_every_command() -> None:
    shown = session(RandomPlayer(1), "help", "BOARD", "  ", "Quit")
    for command in ("hint", "undo", "board", "moves", "save FILE.pgn", "resign", "new", "quit"):
        assert command in shown
    assert shown.count("8  ♜") == 2


def test_bytes_that_are_no_text_are_no_move() -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00\ne4"), encoding="utf-8")
    screen = io.StringIO()
    run_game(Game(RandomPlayer(1), chess.WHITE), reader(stdin), View(Console(file=screen)))
    assert "is neither a move nor a command" in screen.getvalue()
    assert "You: 1. e4" in screen.getvalue()
    assert reader(None)("") is None


# Moves as they are typed

ROOKS = "4k3/P7/8/3pP3/8/8/6K1/R6R w - d6 0 1"


@pytest.mark.parametrize(
    ("fen", "text", "uci"),
    [
        (chess.STARTING_FEN, "e4", "e2e4"),
        (chess.STARTING_FEN, "e2e4", "e2e4"),
        (chess.STARTING_FEN, "e2-e4", "e2e4"),
        (chess.STARTING_FEN, " Nf3 ", "g1f3"),
        (chess.STARTING_FEN, "nf3", "g1f3"),
        (chess.STARTING_FEN, "Ng1-f3!?", "g1f3"),
        (chess.STARTING_FEN, "1. e4", "e2e4"),
        ("r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", "O-O", "e1g1"),
        ("r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", "0-0-0", "e1c1"),
        ("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", "o-o", "e8g8"),
        ("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", "e8c8", "e8c8"),
        (ROOKS, "a8=Q", "a7a8q"),
        (ROOKS, "a8q", "a7a8q"),
        (ROOKS, "a8N", "a7a8n"),
        (ROOKS, "a7a8r", "a7a8r"),
        (ROOKS, "a7a8=B", "a7a8b"),
        (ROOKS, "exd6", "e5d6"),
        (ROOKS, "ed6", "e5d6"),
        (ROOKS, "Rad1", "a1d1"),
        (ROOKS, "Rh1d1", "h1d1"),
        (ROOKS, "a8=Q+", "a7a8q"),
    ],
)
def test_moves_in_many_spellings(fen: str, text: str, uci: str) -> None:
    assert read_move(text, chess.Board(fen)).uci() == uci


@pytest.mark.parametrize(
    ("fen", "text", "says"),
    [
        (ROOKS, "Rd1", "Rd1 is ambiguous: Rad1 or Rhd1"),
        (ROOKS, "a8", "a8 promotes: say to what, as in a8=Q"),
        (ROOKS, "a7a8", "a7a8 promotes: say to what, as in a7a8=Q"),
        (ROOKS, "a8=K", "a8=K is illegal: en passant or promotion wrong"),
        (ROOKS, "O-O", "O-O is illegal: castling not allowed"),
        (ROOKS, "Nf3", "Nf3 is illegal: no piece of the side to move there"),
        (ROOKS, "Ra8", "Ra8 is illegal: path blocked"),
        (ROOKS, "e5e7", "e5e7 is illegal: that piece never moves so"),
        (ROOKS, "exf6", "exf6 is illegal: that piece never moves so"),
        (ROOKS, "e5e5", "e5e5 is illegal: not a move"),
        ("4k3/8/8/8/4r3/8/4N3/4K3 w - - 0 1", "Nc3", "Nc3 is illegal: king left in check"),
        # A rook on the king's square does not castle.
        ("4k3/8/8/8/8/8/1K6/4R3 w - - 0 1", "O-O", "O-O is illegal: castling not allowed"),
        (ROOKS, "castle", "'castle' is neither a move nor a command; type help"),
        (ROOKS, "z9", "'z9' is neither a move nor a command; type help"),
        (ROOKS, "--", "'--' is neither a move nor a command; type help"),
        (ROOKS, "0000", "'0000' is neither a move nor a command; type help"),
        (ROOKS, "e2e4 e7e5", "'e2e4 e7e5' is neither a move nor a command; type help"),
    ],
)
def test_what_is_wrong_with_a_move_is_said_in_a_line(fen: str, text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        read_move(text, chess.Board(fen))
    assert str(error.value) == says


def test_every_legal_move_is_read_in_san_and_uci() -> None:
    board = chess.Board()
    player = RandomPlayer(7)
    for _ in range(40):
        for move in board.legal_moves:
            for text in (board.san(move), move.uci(), board.lan(move)):
                assert read_move(text, board) == move
        if board.is_game_over():
            break
        board.push(player.choose(board).move)


# The clock


def test_an_opening_adds_no_time(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    games: list[Game] = []
    monkeypatch.setattr("chesslm.play.terminal.run_game", lambda game, *rest: games.append(game))
    play(str(folders["uci-move"]), Style(), opening="e4 c5", clock="5+3")
    (game,) = games
    assert game.board.ply() == 2 and game.clock and set(game.clock.left.values()) == {300.0}


def test_a_move_that_comes_too_late_is_not_played() -> None:
    """The increment would have paid for it."""
    game, screen = Game(RandomPlayer(), chess.BLACK, clock=Clock(60.0, 3.0)), io.StringIO()
    assert game.clock
    game.clock.left[chess.WHITE] = 0.0
    answer(game, View(Console(file=screen)))
    assert game.board.ply() == 0 and game.ending() == ("White's time is up", "0-1")


# Ratings


def test_a_model_that_knows_ratings_is_told_them(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = get_tokenizer("uci-move", ("elo",))
    model = new_gpt2(ModelConfig(layers=1, width=32, heads=1), tokenizer, seed=1)
    with torch.no_grad():
        model.transformer.wte.weight *= 20
    save_checkpoint(model, tokenizer, tmp_path / "rated", {"notation": "uci-move"})
    loaded = load_model(str(tmp_path / "rated"), device="cpu", precision="fp32")
    shown = set[str]()
    for options, headers in (
        ((), Headers()),
        (("--elo", 1500), Headers(1500, 1500)),
        (("--white-elo", 2500), Headers(2500, None)),
        (("--elo", 1500, "--black-elo", 0), Headers(1500, 0)),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO("hint\n"))
        ended = cli("play", tmp_path / "rated", "--device", "cpu", *options)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == session(ModelPlayer(loaded, headers=headers), "hint")
        shown.add(ended.out)
    assert len(shown) == 4
    ended = cli("play", tmp_path / "rated", "--elo", -5)
    assert (ended.code, ended.out, ended.err) == (2, "", "chesslm: a rating is 0 or more, not -5\n")


# The board on other screens


def test_boards_without_unicode_and_without_colour() -> None:
    ascii_screen = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert [str(line) for line in board_lines(chess.Board(), chess.WHITE, ascii_screen)][:3] == [
        "8  r n b q k b n r",
        "7  p p p p p p p p",
        "6  . . . . . . . .",
    ]
    for colors in ("256", "truecolor"):
        screen = Console(file=io.StringIO(), force_terminal=True, color_system=colors)
        lines = [str(line) for line in board_lines(chess.Board(), chess.BLACK, screen)]
        assert lines[0] == "1  ♜  ♞  ♝  ♚  ♛  ♝  ♞  ♜ "
    for screen in (
        Console(file=io.StringIO(), force_terminal=True, color_system="standard"),
        Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=True),
    ):
        assert str(board_lines(chess.Board(), chess.WHITE, screen)[7]) == "1  ♖ ♘ ♗ ♕ ♔ ♗ ♘ ♖"
    assert not new_console().is_terminal


# Bad input


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--color", "red"], "unknown colour 'red'"),
        (["--policy", "strict"], "unknown policy 'strict'"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "hot"], "--temperature"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--elo", "1500"], "fresh-uci-move was told no ratings in training, so it can be told none"),
        (["--white-elo", "0"], "fresh-uci-move was told no ratings in training, so it can be told none"),
        (["--black-elo", "strong"], "--black-elo"),
        (["--notation", "uci-square"], "writes uci-move, not uci-square"),
    ],
)
def test_bad_options_end_in_one_line(arguments: list[str], says: str, folders: dict[str, Path], cli: Cli) -> None:
    ended = cli("play", folders["uci-move"], *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_models_that_are_none_end_in_one_line(folders: dict[str, Path], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in folders["uci-move"].iterdir():
        (cut / path.name).write_bytes(path.read_bytes())
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    for model in (tmp_path / "missing", tmp_path / "file", tmp_path, cut):
        ended = cli("play", model)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), model
