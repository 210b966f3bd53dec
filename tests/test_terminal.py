"""``chesslm play`` as a person uses it: under tmux, on a screen of 80 x 24, with and without colour."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from test_uci import checkpoint

Screen = list[str]
"""What stands on a terminal, a line each."""
RANKS = [*"87654321"]
PROMPTS = ["Your move:", ">"]
"""Of a game that goes on, and of one that is over; the prompt is what is drawn last."""


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("terminal") / "rated", "elo")


class Terminal:
    """A tmux session with ``chesslm play`` in it."""

    def __init__(self, folder: Path, socket: Path, command: str, environment: str) -> None:
        self._tmux = ["tmux", "-u", "-S", str(socket), "-f", "/dev/null"]
        shell = f"trap : INT; cd {shlex.quote(str(folder))}; env {environment} {command}; echo ended $?; sleep 600"
        subprocess.run([*self._tmux, "new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", shell], check=True)

    def type(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def until(self, *texts: str, last: Sequence[str] = ()) -> Screen:
        """The screen as soon as it shows all of these, and one of ``last``, if any, as its last line."""
        deadline = time.monotonic() + 60
        while True:
            shown = subprocess.run(
                [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
            ).stdout.rstrip()
            lines = shown.splitlines()
            if all(text in shown for text in texts) and (not last or (lines[-1:] and lines[-1].rstrip() in last)):
                return lines
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)

    def say(self, line: str, *texts: str) -> Screen:
        """Type a line; the screen that answers it, drawn to the end."""
        if line:
            # Literally: f3 is a key as well. Seen before it is sent: no earlier screen is taken for the answer.
            subprocess.run([*self._tmux, "send-keys", "-l", line], check=True)
            self.until(last=[f"{prompt} {line}" for prompt in PROMPTS])
        self.type("Enter")
        return self.until(*texts, last=PROMPTS)

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)


@pytest.fixture
def play(rated: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    open_ones: list[Terminal] = []

    def start(*options: str, environment: str = "TERM=xterm-256color") -> Terminal:
        command = shlex.join([sys.executable, "-m", "chesslm", "play", str(rated), "--device", "cpu", *options])
        open_ones.append(Terminal(tmp_path, tmp_path / f"tmux{len(open_ones)}", command, environment))
        return open_ones[-1]

    yield start
    for each in open_ones:
        each.end()


def board_of(screen: Screen) -> list[str]:
    """The lines of the board, which stands in one place."""
    assert [line[:1] for line in screen[2:10]] == RANKS, screen
    return screen[2:10]


def test_a_game_on_one_screen(play: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = play()
    screen = terminal.until("Your move:", "or help")
    assert screen[0].split() == ["White:", "you", "Black:", "rated"] and "No move yet" in screen[12]
    assert board_of(screen)[7].split() == list("1♜♞♝♛♚♝♞♜")
    screen = terminal.say("e4", "You: 1. e4", "rated: 1... ")
    assert "Last move: 1... " in screen[12] and "♟" in board_of(screen)[4]
    screen = terminal.say("legal d2", "d2: d3 d4")
    assert board_of(screen)
    screen = terminal.say("hint", "All legal moves together", "█")
    assert board_of(screen) and len(screen) <= 24
    screen = terminal.say("help", "Ctrl-C")
    assert "  a move" in screen[0] and "8 " not in screen[2]
    board = board_of(terminal.say("", "Last move: 1... "))
    terminal.say("d4", "rated: 2... ")
    assert board_of(terminal.say("undo", "Last move: 1... ")) == board
    terminal.say("undo 2", "No move yet")
    terminal.say("undo 3", "only 0 plies")
    terminal.say("level 0.5", "temperature 0.5")
    terminal.say("elo 1500", "told of 1500 Elo")
    terminal.say("e2e5", "is illegal: that piece never moves so")
    terminal.say("f3", "rated: 1... ")
    screen = terminal.say("blindfold", "Last move: 1... ")
    assert not any("♜" in line for line in screen)
    board = board_of(terminal.say("blindfold", "♜"))
    terminal.say("save mine.pgn", "Saved as mine.pgn")
    terminal.say("new", "No move yet")
    assert board_of(terminal.say("load mine.pgn", "Last move: 1... ")) == board
    terminal.say("resign", "White resigns: Black wins, 0-1")
    terminal.type("quit", "Enter")
    assert "Bye." in terminal.until("ended 0")
    assert 'White "human"' in (tmp_path / "mine.pgn").read_text()


def test_without_colour_and_in_black(play: Callable[..., Terminal]) -> None:
    terminal = play("--color", "black", "--opening", "e4 c5 Nf3", environment="TERM=xterm-256color NO_COLOR=1")
    screen = terminal.until("Your move:", "Last move: ", "or help")
    assert [line[:1] for line in screen[2:10]] == RANKS[::-1]
    assert screen[3].split() == ["2", *"♙♙♙·♙♙♙♙"] or "♙" in screen[3]
    assert "rated: 2... " not in "\n".join(screen)
    terminal.type("C-d")
    terminal.until("ended 0")


def test_a_clock_runs_out(play: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = play("--clock", "0.05+0", "--seed", "1")
    screen = terminal.until("Your move:", "or help")
    assert "White: you, 0:03   Black: rated, 0:03" in screen[0]
    time.sleep(3.5)
    terminal.say("e4", "White's time is up: Black wins, 0-1")
    terminal.say("undo", "time does not come back")
    terminal.say("save late.pgn", "Saved as")
    assert '[Termination "time forfeit"]' in (tmp_path / "late.pgn").read_text()
    screen = terminal.say("new", "No move yet")
    assert "White: you, 0:0" in screen[0]


def test_a_saved_game_goes_on(play: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "old.pgn").write_text('[White "human"]\n[Black "rated"]\n\n1. e4 e5 2. Nf3 *\n')
    terminal = play("--resume", "old.pgn")
    terminal.until("rated: 2... ", "Last move: 2... ", "Your move:")
    terminal.type("C-c")
    screen = terminal.until("ended 130")
    assert "chesslm: stopped" in screen


def test_wrong_options_come_before_the_model_is_loaded(play: Callable[..., Terminal]) -> None:
    for options, says in (
        (("--opening", "e4 e4"), "is illegal"),
        (("--resume", "none.pgn"), "none.pgn cannot be read"),
        (("--clock", "soon"), "'soon' is no clock"),
        (("--opening", "e4", "--resume", "none.pgn"), "give one of them"),
    ):
        screen = play(*options).until("ended 2")
        # A long line is two on this screen.
        assert says in "".join(screen) and sum("chesslm:" in line for line in screen) == 1
