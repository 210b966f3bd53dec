"""The engine's side of UCI, the Universal Chess Interface (Huber and Meyer-Kahlen, April 2006): lines in, lines out.

A model moves at once, whatever its clock says: depth, nodes and time limit nothing here. ``infinite`` and ``ponder``
hold the move back until it is asked for.

Before each move, ``info string`` says what the model wrote first and whether that was legal. What cannot be understood
is passed over, with an ``info string`` that says so.

A model knows a position from the moves that led to it. Where a FEN gives it, uniformly random legal moves are played,
as past the model's context, and ``info string`` says so.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import chess

from chesslm import __version__
from chesslm.errors import InputError
from chesslm.play.choice import Choice, Player, Style, explained

COMMANDS = [
    "uci",
    "debug",
    "isready",
    "setoption",
    "register",
    "ucinewgame",
    "position",
    "go",
    "stop",
    "ponderhit",
    "quit",
]
WAIT = ("isready", "go")
"""Commands that need the model."""
LIMITS = ["wtime", "btime", "winc", "binc", "movestogo", "depth", "nodes", "mate", "movetime"]
MOST = {"elo": 4000, "seed": 2**31 - 1, "multipv": 218}
"""The largest values of options; no position has more than 218 legal moves."""
SHOWN = 60
"""Characters that are repeated of what is not understood."""
SAID = 200
"""Characters of what python-chess says of it."""


@dataclass(frozen=True)
class Settings:
    """What options change.

    Attributes:
        style: how moves are chosen.
        elo: what a model that was told ratings in training is told of both players; 0: nothing.
        seed: of the draws; 0: others each time.
    """

    style: Style = field(default_factory=Style)
    elo: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Go:
    """What a ``go`` asks for.

    Attributes:
        board: the position.
        among: the moves to choose from; empty: all.
        held: whether the move waits for ``stop`` or ``ponderhit``.
    """

    board: chess.Board
    among: tuple[chess.Move, ...]
    held: bool


@dataclass
class Engine:
    """The engine's side of the protocol.

    Attributes:
        say: writes a line.
        name: of the model.
        rated: whether the model was told ratings in training.
        player_of: makes a player; has to be there before one of ``WAIT`` is obeyed.
    """

    say: Callable[[str], None]
    name: str
    rated: bool = False
    player_of: Callable[[Settings], Player] | None = None
    _player: Player | None = None
    _settings: Settings = field(default_factory=Settings)
    _pvs: int = 1
    _board: chess.Board = field(default_factory=chess.Board)
    _held: str = ""

    def obey(self, line: str) -> None:
        """Do what a line says, but for ``quit``."""
        words = words_of(line)
        try:
            match words[:1]:
                case ["uci"]:
                    self._introduce()
                case ["isready"]:
                    self.say("readyok")
                case ["setoption"]:
                    self._set(words[1:])
                case ["ucinewgame"]:
                    self._board = chess.Board()
                case ["position"]:
                    self._board = followed(self._board, words[1:])
                case ["go"]:
                    self._think(self._asked_for(words[1:]))
                case ["stop" | "ponderhit"] if self._held:
                    self.say(f"bestmove {self._held}")
                    self._held = ""
                case []:
                    if line.strip():
                        raise InputError("no such command")
                case _:
                    pass
        except InputError as error:
            self._note(f"passed over {line.strip()[:SHOWN]!a}: {error}")

    def _introduce(self) -> None:
        self.say(f"id name chesslm {__version__} {self.name}")
        self.say("id author the authors of chesslm")
        self.say("option name Temperature type string default 0")
        self.say("option name TopP type string default 1")
        self.say("option name IllegalPolicy type combo default mask var mask var retry")
        if self.rated:
            self.say(f"option name Elo type spin default 0 min 0 max {MOST['elo']}")
        self.say(f"option name Seed type spin default 0 min 0 max {MOST['seed']}")
        self.say(f"option name MultiPV type spin default 1 min 1 max {MOST['multipv']}")
        self.say("uciok")

    def _set(self, words: Sequence[str]) -> None:
        name, _, value = " ".join(words).partition(" value ")
        name = name.removeprefix("name ").strip().lower()
        old = self._settings
        match name:
            case "temperature":
                self._settings = replace(old, style=replace(old.style, temperature=_number(value)))
            case "topp":
                self._settings = replace(old, style=replace(old.style, top_p=_number(value)))
            case "illegalpolicy":
                self._settings = replace(old, style=replace(old.style, policy=value.strip().lower()))
            case "elo" if self.rated:
                self._settings = replace(old, elo=_whole(value, 0, MOST[name]))
            case "seed":
                self._settings = replace(old, seed=_whole(value, 0, MOST[name]))
            case "multipv":
                self._pvs = _whole(value, 1, MOST[name])
            case _:
                raise InputError("no such option")
        if self._settings != old:
            self._player = None

    def _asked_for(self, words: list[str]) -> Go:
        if self._held:
            raise InputError("a move is held back already; stop comes first")
        held, among = False, list[chess.Move]()
        while words:
            word = words.pop(0)
            if word in ("infinite", "ponder"):
                held = True
            elif word == "searchmoves":
                while words and (move := legal_move(self._board, words[0])):
                    among.append(move)
                    words.pop(0)
            elif word in LIMITS and words and words[0].removeprefix("-").isdecimal():
                words.pop(0)
            else:
                self._note(f"passed over {word[:SHOWN]!a} of go")
        return Go(self._board, tuple(among), held)

    def _think(self, go: Go) -> None:
        """Find the move, and say it or hold it back."""
        began = time.perf_counter()
        if any(go.board.generate_legal_moves()):
            choice = self._chosen(go)
            likeliest = self._likeliest(choice, go)
            took = int(1000 * (time.perf_counter() - began))
            self._note(" ".join(explained(choice)) or _said(choice))
            for number, (move, probability) in enumerate(likeliest, start=1):
                self.say(f"info depth 1 multipv {number} time {took} nodes 1 pv {move}")
                self._note(f"multipv {number} {move} has probability {probability:.4f}")
            best = choice.move.uci()
        else:
            self._note("the game is over here: there is no legal move")
            best = chess.Move.null().uci()
        if go.held:
            self._held = best
        else:
            self.say(f"bestmove {best}")

    def _chosen(self, go: Go) -> Choice:
        """The player's move, or of those that it has to choose from the likeliest."""
        if self._player is None:
            assert self.player_of
            self._player = self.player_of(self._settings)
        choice = self._player.choose(go.board)
        if go.among and choice.move not in go.among:
            likeliest = [each.move for each in choice.candidates if each.move in go.among]
            return replace(choice, move=next(filter(None, likeliest), go.among[0]))
        return choice

    def _likeliest(self, choice: Choice, go: Go) -> list[tuple[str, float]]:
        """As many of the likeliest legal moves as MultiPV says, with their probabilities; of one, the move itself."""
        legal = [each for each in choice.candidates if each.move and not each.illegal]
        if self._pvs == 1:
            legal = [each for each in legal if each.move == choice.move]
        elif go.among:
            legal = [each for each in legal if each.move in go.among]
        return [(each.move.uci(), each.probability) for each in legal[: self._pvs] if each.move]

    def _note(self, text: str) -> None:
        # In ASCII, whatever was typed: standard output need not know any other letter.
        self.say("info string " + " ".join(text.split()).encode("ascii", "backslashreplace").decode())


def _said(choice: Choice) -> str:
    """The raw choice, which was legal."""
    return " ".join(f"raw choice {raw.text} ({raw.probability:.1%}) is legal." for raw in choice.raw)


def words_of(line: str) -> list[str]:
    """The words of a line from the first command on: what stands before it is passed over, as the protocol has it."""
    words = line.split()
    return next((words[n:] for n, word in enumerate(words) if word in COMMANDS), [])


def followed(board: chess.Board, words: Sequence[str]) -> chess.Board:
    """The position that ``position`` gives; the moves that it shares with the one before are not played again.

    Raises:
        InputError: no such position, or a move that is not legal there.
    """
    split = words.index("moves") if "moves" in words else len(words)
    moves = words[split + 1 :]
    fen = chess.STARTING_FEN if words[:split] == ["startpos"] else " ".join(words[1:split])
    if words[:split] != ["startpos"] and words[:1] != ["fen"]:
        raise InputError("it goes on with startpos or with fen")
    try:
        root = chess.Board(fen)
    except ValueError as error:
        raise InputError(str(error)[:SAID]) from error
    if not root.is_valid():
        raise InputError("that position cannot come about in chess")
    new = board.copy() if board.root() == root else root
    pairs = enumerate(zip(new.move_stack, moves, strict=False))
    shared = next((n for n, (old, word) in pairs if old.uci() != word), min(len(new.move_stack), len(moves)))
    for _ in range(len(new.move_stack) - shared):
        new.pop()
    for ply, word in enumerate(moves[shared:], start=shared + 1):
        move = legal_move(new, word)
        if move is None:
            raise InputError(f"move {ply}, {word[:SHOWN]!a}, is not legal there")
        new.push(move)
    return new


def legal_move(board: chess.Board, word: str) -> chess.Move | None:
    """A move in UCI, if it is legal."""
    try:
        # A null move is none.
        return board.parse_uci(word) or None
    except ValueError:
        return None


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InputError(f"{value[:SHOWN]!a} is no number") from error


def _whole(value: str, least: int, most: int) -> int:
    number = _number(value)
    if not (least <= number <= most and number == int(number)):
        raise InputError(f"a whole number from {least} to {most} is wanted")
    return int(number)
