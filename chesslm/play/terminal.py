"""Playing a model in the terminal: lines are read, a board and the model's moves are written.

From a pipe it is the same game without prompts and without colours, so a script can play; the end of the input
ends it. ``play`` is the command; ``run_game`` is the same loop with any player and any way of reading lines.
"""

import contextlib
import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import chess
import chess.pgn
import numpy as np
from rich.console import Console

from chesslm import __version__, boards, files
from chesslm.conditions import Headers
from chesslm.errors import FailureError, InputError
from chesslm.play.player import ModelPlayer, Player, Style, explained
from chesslm.play.screen import board_lines, hint_lines, new_console, read_move

Read = Callable[[str], str | None]
"""Shows a prompt and reads a line; None at the end of the input."""

COLORS = {"white": chess.WHITE, "black": chess.BLACK}

HELP = """\
  a move          in SAN or UCI: e4, Nf3, exd5, O-O, e8=Q, e2e4, e7e8q
  hint            the model's likeliest moves here, the illegal ones marked
  undo            take your last move back, or your resignation
  board  moves    show the position, or the game so far
  save FILE.pgn   write the game; a file that exists is left alone
  resign  new     give up, or begin again
  quit            leave, as does the end of the input"""

ENDINGS = {
    chess.Termination.CHECKMATE: "Checkmate",
    chess.Termination.STALEMATE: "Stalemate",
    chess.Termination.INSUFFICIENT_MATERIAL: "Neither side can mate with what is left",
    chess.Termination.THREEFOLD_REPETITION: "The same position for the third time",
    chess.Termination.FIFTY_MOVES: "Fifty moves without a capture or a pawn move",
}
RESULTS = {"1-0": "White wins", "0-1": "Black wins", "1/2-1/2": "a draw"}


@dataclass
class Game:
    """A game in progress.

    Attributes:
        player: the opponent.
        human: the person's colour.
        board: the position with its moves.
        notes: for each move, what its comment in the PGN is to say.
        resigned: whether the person gave up.
    """

    player: Player
    human: chess.Color
    board: chess.Board = field(default_factory=chess.Board)
    notes: list[str] = field(default_factory=list)
    resigned: bool = False

    def ending(self) -> tuple[str, str] | None:
        """How the game ended, in words and as a PGN result; None while it goes on."""
        if self.resigned:
            return f"{_name(self.human)} resigns", "0-1" if self.human == chess.WHITE else "1-0"
        outcome = boards.outcome(self.board)
        return (ENDINGS[outcome.termination], outcome.result()) if outcome else None

    def push(self, move: chess.Move, note: str = "") -> str:
        """Play a move and return it with its number, as in ``3... Nf6``."""
        text = f"{self.board.fullmove_number}{'.' if self.board.turn else '...'} {self.board.san(move)}"
        self.board.push(move)
        self.notes.append(note)
        return text

    def undo(self) -> None:
        """Take back the resignation, or else the person's last move and all after it.

        Raises:
            InputError: there is neither.
        """
        if self.resigned:
            self.resigned = False
            return
        if len(self.board.move_stack) <= (self.human == chess.BLACK):
            raise InputError("there is no move of yours to take back")
        while True:
            self.board.pop()
            self.notes.pop()
            if self.board.turn == self.human:
                return


def play(
    model: str | None,
    color: str = "white",
    temperature: float = 0.0,
    policy: str = "mask",
    white_elo: int | None = None,
    black_elo: int | None = None,
    notation: str | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> None:
    """Play against a model on standard input and output.

    Args:
        model: folder or hub id; None is the released model.
        color: of the person: white, black or random.
        temperature: 0 plays what is likeliest.
        policy: what the model does when its choice is illegal: mask or retry.
        white_elo, black_elo: ratings that a model trained with ``--condition elo`` is told.
        notation: how the model writes moves, if it does not say.
        seed: of a random colour and of the draws; None for others each time.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: a wrong option, or no such model.
    """
    if color not in (*COLORS, "random"):
        raise InputError(f"unknown colour {color!r}; colours are white, black and random")
    style = Style(policy, temperature)
    with Console(stderr=True).status("Loading the model"):
        from chesslm.model import load_model

        # One move at a time bf16 is no quicker, and its coarse logits make ties of the likeliest moves.
        loaded = load_model(model, notation, device, precision="fp32")
        player = ModelPlayer(loaded, style, seed, Headers(white_elo, black_elo))
    drawn = bool(np.random.default_rng(seed).integers(2))
    console = new_console()
    try:
        run_game(player, COLORS.get(color, drawn), reader(sys.stdin), console)
    except KeyboardInterrupt:
        # So that the last word does not stand behind the prompt.
        console.print()
        raise


def reader(stdin: TextIO | None) -> Read:
    """How to read lines: with a prompt and line editing at a terminal, silently from anything else."""
    if stdin is None:
        return lambda prompt: None
    if stdin.isatty():
        return _ask
    with contextlib.suppress(AttributeError):
        # Bytes that are not UTF-8 are no move, and no reason to stop.
        stdin.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    return lambda prompt: stdin.readline() or None


def _ask(prompt: str) -> str | None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives input() its line editing)
    try:
        return input(prompt)
    except EOFError:
        print()
        return None


def run_game(player: Player, human: chess.Color, read: Read, console: Console) -> None:
    """Play until the input ends or the person leaves.

    Args:
        player: the opponent.
        human: the person's colour.
        read: gives the person's lines.
        console: where to write.
    """
    game = Game(player, human)
    _say(console, f"You are {_name(human)} against {player.name}. Type a move, such as e4 or e2e4, or help.")
    changed = True
    while True:
        if game.board.turn != human and not game.ending():
            answer(game, console)
        if changed:
            show(game, console)
        line = read("> " if game.ending() else "Your move: ")
        if line is None or line.strip().lower() in ("quit", "exit"):
            _say(console, "Bye.")
            return
        try:
            changed = obey(game, line.strip(), console)
        except (InputError, FailureError) as error:
            _say(console, str(error))
            changed = False


def obey(game: Game, line: str, console: Console) -> bool:
    """Do what a line says: a command or a move.

    Returns:
        Whether the position is to be shown again.

    Raises:
        InputError: it cannot be done; the game is as it was.
        FailureError: a full disk.
    """
    command, _, rest = line.partition(" ")
    match command.lower():
        case "":
            return False
        case "help":
            _say(console, HELP)
            return False
        case "moves":
            _say(console, chess.Board().variation_san(game.board.move_stack) or "no moves yet")
            return False
        case "save":
            _say(console, f"Saved as {save(game, rest.strip())}")
            return False
        case "board":
            return True
        case "undo":
            game.undo()
            return True
        case "new":
            game.board.reset()
            game.notes.clear()
            game.resigned = False
            return True
    if game.ending():
        raise InputError("the game is over: undo, save FILE.pgn, new or quit")
    match command.lower():
        case "hint":
            hint(game, console)
            return False
        case "resign":
            game.resigned = True
        case _:
            _say(console, f"You: {game.push(read_move(line, game.board))}")
    return True


def show(game: Game, console: Console) -> None:
    """Draw the board, and say how the game ended if it did."""
    console.print()
    for line in board_lines(game.board, game.human, console):
        console.print(line, soft_wrap=True)
    console.print()
    if ending := game.ending():
        words, result = ending
        _say(console, f"{words}: {RESULTS[result]}, {result}. Type undo, save FILE.pgn, new or quit.")


def hint(game: Game, console: Console) -> None:
    """Show what the model would play in the person's place."""
    candidates = game.player.candidates(game.board)
    if not candidates:
        raise InputError(f"{game.player.name} has no opinion here: the game is longer than it can look back")
    for line in hint_lines(game.board, candidates, console):
        console.print(line, soft_wrap=True)


def answer(game: Game, console: Console) -> None:
    """Let the model move, and say what it wanted first where that was illegal."""
    choice = game.player.choose(game.board)
    for line in (notes := explained(choice)):
        _say(console, f"{game.player.name}: {line}")
    _say(console, f"{game.player.name}: {game.push(choice.move, ' '.join(notes))}")


def save(game: Game, name: str) -> Path:
    """Write the game as a PGN of its own.

    Raises:
        InputError: no name, the file exists already, or it cannot be written.
        FailureError: the disk is full.
    """
    if not (name and name.isprintable()):
        raise InputError("save needs the name of a file, as in save game.pgn")
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:
        # A name too long, or a ~user that is nobody.
        raise InputError(f"{name} cannot be a file's name ({error})") from error
    if exists:
        raise InputError(f"{path} exists already; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    with files.atomic(path) as temporary:
        temporary.write_text(f"{to_pgn(game)}\n\n", encoding="utf-8")
    return path


def to_pgn(game: Game) -> chess.pgn.Game:
    """The game with its headers; a comment stands where the model's raw choice was illegal."""
    record = chess.pgn.Game.from_board(game.board)
    ending = game.ending()
    sides = {game.human: ("human", "human"), not game.human: (game.player.name, "program")}
    record.headers.update(
        Event=f"chesslm {__version__} play",
        Date=datetime.date.today().strftime("%Y.%m.%d"),
        Round="-",
        White=sides[chess.WHITE][0],
        Black=sides[chess.BLACK][0],
        Result=ending[1] if ending else "*",
        WhiteType=sides[chess.WHITE][1],
        BlackType=sides[chess.BLACK][1],
        Termination="normal" if ending else "unterminated",
    )
    for node, note in zip(record.mainline(), game.notes, strict=True):
        node.comment = note
    return record


def _name(color: chess.Color) -> str:
    return "White" if color == chess.WHITE else "Black"


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True)
