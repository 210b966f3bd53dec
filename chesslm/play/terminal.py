"""Playing a model in the terminal: lines are read, a board and the model's moves are written.

A person at a terminal sees one screen, drawn anew before each prompt. From a pipe it is the same game line by line,
without prompts and without colours, so a script can play; the end of the input ends it. ``play`` is the command;
``run_game`` is the same loop with any player and any way of reading lines.
"""

import contextlib
import math
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

import chess
import numpy as np
from rich.console import Console

from chesslm.bundled import bundled
from chesslm.conditions import Headers
from chesslm.errors import FailureError, InputError
from chesslm.play.choice import Player, Style, explained
from chesslm.play.game import Clock, Game, name_of
from chesslm.play.match import read_openings
from chesslm.play.player import ModelPlayer, RandomPlayer
from chesslm.play.screen import View, hint_lines, legal_lines, new_console, read_move

Read = Callable[[str], str | None]
"""Shows a prompt and reads a line; None at the end of the input."""

COLORS = {"white": chess.WHITE, "black": chess.BLACK}

HELP = """\
  a move           in SAN or UCI: e4, Nf3, exd5, O-O, e8=Q, e2e4, e7e8q
  legal  legal e2  all legal moves, or those of the piece on a square
  hint             the model's likeliest moves here, the illegal ones marked
  undo  undo 3     take your last move back (or your resignation), or three plies
  board  moves     show the position, or the game so far
  blindfold        hide the pieces, or show them again
  level 0.5        the model's temperature: 0 plays the likeliest move, 1 as often as in its games
  elo 1500         what a model that was told ratings is told of both sides
  save FILE.pgn    write the game; a file that exists is left alone
  load FILE.pgn    go on with a game that was saved
  resign  new      give up, or begin again
  quit             leave, as do the end of the input (Ctrl-D) and Ctrl-C"""


def play(
    model: str | None,
    style: Style,
    color: str = "white",
    opening: str = "",
    resume: str = "",
    clock: str = "",
    blindfold: bool = False,
    headers: Headers | None = None,
    notation: str | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> None:
    """Play against a model on standard input and output.

    Args:
        model: folder or hub id; None is the released model.
        style: how the model chooses.
        color: of the person: white, black or random.
        opening: moves to begin with, in SAN or UCI; ``random``: one of the bundled openings.
        resume: a PGN whose first game goes on.
        clock: minutes and increment, as in 5+3; empty: none.
        blindfold: whether pieces are hidden.
        headers: ratings that a model trained with ``--condition elo`` is told.
        notation: how the model writes moves, if it does not say.
        seed: of a random colour or opening and of the draws; None for others each time.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: a wrong option, or no such model.
    """
    if color not in (*COLORS, "random"):
        raise InputError(f"unknown colour {color!r}; colours are white, black and random")
    if opening and resume:
        raise InputError("--opening begins a game, and --resume goes on with one: give one of them")
    random = np.random.default_rng(seed)
    drawn = bool(random.integers(2))
    # All that may be wrong comes before a model is loaded.
    game, begun = Game(RandomPlayer(), COLORS.get(color, drawn)), Clock.read(clock) if clock else None
    if resume:
        game.load(resume)
    for move in opening_moves(opening, random):
        game.push(move)
    game.clock = begun  # moves that are given take no time and get none
    with Console(stderr=True).status("Loading the model"):
        from chesslm.model import load_model

        # One move at a time bf16 is no quicker, and its coarse logits make ties of the likeliest moves.
        loaded = load_model(model, notation, device, precision="fp32")
        game.player = ModelPlayer(loaded, style, seed, headers)
    console = new_console()
    view = View(console, live=console.is_terminal and bool(sys.stdin and sys.stdin.isatty()), blindfold=blindfold)
    try:
        run_game(game, reader(sys.stdin), view)
    except KeyboardInterrupt:
        # So that the last word does not stand behind the prompt.
        console.print()
        raise


def opening_moves(text: str, random: np.random.Generator) -> list[chess.Move]:
    """The moves of an opening: given in SAN or UCI, or ``random``, one of the bundled ones.

    Raises:
        InputError: one of them is not legal.
    """
    if text == "random":
        lines = read_openings(str(bundled("openings.pgn")[0]))
        return list(lines[random.integers(len(lines))])
    board = chess.Board()
    for word in text.split():
        # 1.e4 is a move, and 1. in front of one is none.
        if not re.fullmatch(r"\d+\.+", word):
            board.push(read_move(word, board))
    return board.move_stack


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


def run_game(game: Game, read: Read, view: View) -> None:
    """Play until the input ends or the person leaves.

    Args:
        game: from where it stands.
        read: gives the person's lines.
        view: where to write.
    """
    view.say(f"You are {name_of(game.human)} against {game.player.name}. Type a move, such as e4 or e2e4, or help.")
    changed = True
    while True:
        if game.board.turn != game.human and not game.ending():
            answer(game, view)
        if changed:
            view.show(game)
        view.draw(game)
        over, began = game.ending(), time.monotonic()
        line = read("> " if over else "Your move: ")
        if line is None or line.strip().lower() in ("quit", "exit"):
            view.bye()
            return
        if game.clock and not over:
            game.clock.left[game.human] -= time.monotonic() - began
            if changed := game.clock.late() is not None:
                continue
        try:
            changed = obey(game, line.strip(), view)
        except (InputError, FailureError) as error:
            view.say(str(error))
            changed = False


def obey(game: Game, line: str, view: View) -> bool:
    """Do what a line says: a command or a move.

    Returns:
        Whether the position is to be shown again.

    Raises:
        InputError: it cannot be done; the game is as it was.
        FailureError: a full disk.
    """
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    match command.lower():
        case "":
            return False
        case "help":
            view.say(HELP)
            return False
        case "moves":
            view.say(chess.Board().variation_san(game.board.move_stack) or "no moves yet")
            return False
        case "legal":
            view.say(legal_lines(game.board, rest))
            return False
        case "save":
            view.say(f"Saved as {game.save(rest)}")
            return False
        case "level" | "elo":
            view.say(set_level(game.player, command.lower(), rest))
            return False
        case "board":
            return True
        case "blindfold":
            view.blindfold = not view.blindfold
            return True
        case "undo":
            game.undo(_plies(rest))
            return True
        case "load":
            game.load(rest)
            return True
        case "new":
            game.restart()
            return True
    if game.ending():
        raise InputError("the game is over: undo, save FILE.pgn, new or quit")
    match command.lower():
        case "hint":
            hint(game, view)
            return False
        case "resign":
            game.resigned = True
        case _:
            view.say(f"You: {game.push(read_move(line, game.board))}")
    return True


def _plies(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text[:9])):
        raise InputError(f"undo takes a number of plies, not {text!r}")
    return int(text[:9] or 0)


def set_level(player: Player, what: str, text: str) -> str:
    """Change how strong a model plays, or say how it does.

    Raises:
        InputError: it is no such number, or the player has no such thing.
    """
    if not isinstance(player, ModelPlayer):
        raise InputError(f"{player.name} has one level only")
    if text:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{what} takes a number, not {text!r}")
        if what == "level":
            player.style = replace(player.style, temperature=number)
        else:
            player.tell(Headers(round(number), round(number)))
    elos = {elo for elo in (player.headers.white_elo, player.headers.black_elo) if elo is not None}
    told = f", told of {' and '.join(map(str, sorted(elos)))} Elo" if elos else ""
    return f"{player.name} plays at temperature {player.style.temperature:g}{told}."


def hint(game: Game, view: View) -> None:
    """Show what the model would play in the person's place."""
    candidates = game.player.candidates(game.board)
    if not candidates:
        raise InputError(f"{game.player.name} has no opinion here: the game is longer than it can look back")
    view.say(hint_lines(game.board, candidates, view.console, view.room()))


def answer(game: Game, view: View) -> None:
    """Let the model move, and say what it wanted first where that was illegal."""
    began = time.monotonic()
    choice = game.player.choose(game.board)
    if game.clock:
        game.clock.left[not game.human] -= time.monotonic() - began
        if game.clock.late() is not None:
            return
    for line in (notes := explained(choice)):
        view.say(f"{game.player.name}: {line}")
    view.say(f"{game.player.name}: {game.push(choice.move, ' '.join(notes))}")
