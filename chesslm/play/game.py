"""A game between a person and a player: its moves, its clock, how it ends, and its PGN."""

import datetime
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import chess
import chess.pgn

from chesslm import __version__, boards, files
from chesslm.errors import InputError
from chesslm.play.choice import Player

ENDINGS = {
    chess.Termination.CHECKMATE: "Checkmate",
    chess.Termination.STALEMATE: "Stalemate",
    chess.Termination.INSUFFICIENT_MATERIAL: "Neither side can mate with what is left",
    chess.Termination.THREEFOLD_REPETITION: "The same position for the third time",
    chess.Termination.FIFTY_MOVES: "Fifty moves without a capture or a pawn move",
    # Of games that went on where a draw might have been claimed.
    chess.Termination.FIVEFOLD_REPETITION: "The same position for the fifth time",
    chess.Termination.SEVENTYFIVE_MOVES: "Seventy-five moves without a capture or a pawn move",
}
MOST = 1 << 20
"""Characters that are read of a file, at most."""
RESULTS = {"1-0": "White wins", "0-1": "Black wins", "1/2-1/2": "a draw"}


@dataclass
class Clock:
    """A chess clock.

    Attributes:
        seconds: that each side begins with.
        increment: seconds that a move adds.
        left: seconds of each side.
    """

    seconds: float
    increment: float
    left: dict[chess.Color, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = dict.fromkeys(chess.COLORS, self.seconds)

    @classmethod
    def read(cls, text: str) -> "Clock":
        """Minutes and increment, as in ``5+3``, ``0.5+0`` or ``10``; InputError if it is neither."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:\+(\d+))?", text)
        if not found or not 0 < float(found[1]) <= 1000:
            raise InputError(f"{text!r} is no clock; give minutes and seconds a move, as in 5+3")
        return cls(60 * float(found[1]), float(found[2] or 0))

    def late(self) -> chess.Color | None:
        """Whose time is up."""
        return next((color for color, seconds in self.left.items() if seconds <= 0), None)

    def shown(self, color: chess.Color) -> str:
        """Time left, as in 4:59."""
        minutes, seconds = divmod(max(round(self.left[color]), 0), 60)
        return f"{minutes}:{seconds:02}"


@dataclass
class Game:
    """A game in progress.

    Attributes:
        player: the opponent.
        human: the person's colour.
        board: the position with its moves.
        notes: for each move, what its comment in the PGN is to say.
        clock: None where there is none.
        resigned: whether the person gave up.
    """

    player: Player
    human: chess.Color
    board: chess.Board = field(default_factory=chess.Board)
    notes: list[str] = field(default_factory=list)
    clock: Clock | None = None
    resigned: bool = False

    def ending(self) -> tuple[str, str] | None:
        """How the game ended, in words and as a PGN result; None while it goes on."""
        if self.clock and (late := self.clock.late()) is not None:
            # Whoever could never mate does not win by the clock.
            won = "1/2-1/2" if self.board.has_insufficient_material(not late) else "0-1" if late else "1-0"
            return f"{name_of(late)}'s time is up", won
        if self.resigned:
            return f"{name_of(self.human)} resigns", "0-1" if self.human == chess.WHITE else "1-0"
        outcome = boards.outcome(self.board)
        return (ENDINGS[outcome.termination], outcome.result()) if outcome else None

    def push(self, move: chess.Move, note: str = "") -> str:
        """Play a move and return it with its number, as in ``3... Nf6``."""
        text = _numbered(self.board, move)
        if self.clock:
            self.clock.left[self.board.turn] += self.clock.increment
        self.board.push(move)
        self.notes.append(note)
        return text

    def last(self) -> str:
        """The last move with its number; empty before the first."""
        if not self.board.move_stack:
            return ""
        before = self.board.copy()
        move = before.pop()
        return _numbered(before, move)

    def undo(self, plies: int = 0) -> None:
        """Take back so many plies; 0: the resignation, or else the person's last move and all after it.

        Raises:
            InputError: there are not so many.
        """
        if self.resigned and not plies:
            self.resigned = False
            return
        if self.clock and self.clock.late() is not None:
            raise InputError("time does not come back; new begins again")
        played = len(self.board.move_stack)
        if not plies:
            plies = 1 + (self.board.turn == self.human)
            if played < plies:
                raise InputError("there is no move of yours to take back")
        if plies > played:
            raise InputError(f"only {played} plies were played")
        self.resigned = False
        for _ in range(plies):
            self.board.pop()
            self.notes.pop()

    def restart(self) -> None:
        """Begin again."""
        self.board.reset()
        self.notes.clear()
        self.resigned = False
        if self.clock:
            self.clock = Clock(self.clock.seconds, self.clock.increment)

    def load(self, name: str) -> None:
        """Go on with the first game of a PGN, from its last move.

        Raises:
            InputError: there is none, or it does not begin at the standard position.
        """
        try:
            with Path(name).expanduser().open(encoding="utf-8", errors="replace") as file:
                record = read_main_line(file.read(MOST))
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if record is None or record.errors or not all(record.mainline_moves()) or not is_standard(record):
            raise InputError(f"{name} has no game from the standard position, or one with a move that is not legal")
        self.board = record.end().board()
        self.notes = [node.comment for node in record.mainline()]
        self.resigned = False

    def save(self, name: str) -> Path:
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
            temporary.write_text(f"{self.to_pgn()}\n\n", encoding="utf-8")
        return path

    def to_pgn(self) -> chess.pgn.Game:
        """The game with its headers; a comment stands where the model's raw choice was illegal."""
        record = chess.pgn.Game.from_board(self.board)
        ending = self.ending()
        late = self.clock is not None and self.clock.late() is not None
        sides = {self.human: ("human", "human"), not self.human: (self.player.name, "program")}
        record.headers.update(
            Event=f"chesslm {__version__} play",
            Date=datetime.date.today().strftime("%Y.%m.%d"),
            Round="-",
            White=sides[chess.WHITE][0],
            Black=sides[chess.BLACK][0],
            Result=ending[1] if ending else "*",
            WhiteType=sides[chess.WHITE][1],
            BlackType=sides[chess.BLACK][1],
            Termination="time forfeit" if late else "normal" if ending else "unterminated",
        )
        for node, note in zip(record.mainline(), self.notes, strict=True):
            node.comment = note
        return record


class _MainLine(chess.pgn.GameBuilder[chess.pgn.Game]):
    """A game without its variations: in a broken one python-chess's own builder loses its place, and raises anything.

    Nor does it say on standard error what is said here anyway.
    """

    def begin_variation(self) -> chess.pgn.SkipType:  # pyright: ignore[reportIncompatibleMethodOverride]
        return chess.pgn.SKIP

    def end_variation(self) -> None:
        pass

    def handle_error(self, error: Exception) -> None:
        self.game.errors.append(error)


def read_main_line(text: str) -> chess.pgn.Game | None:
    """The first game of a PGN with its comments, but without variations; None if there is none.

    Raises:
        InputError: a NAG that is no number to Python.
    """
    try:
        return chess.pgn.read_game(io.StringIO(text), Visitor=_MainLine)
    except ValueError as error:
        raise InputError("a number in this game is too long to be read") from error


def is_standard(record: chess.pgn.Game) -> bool:
    """Whether a game without errors is one of standard chess from the standard start; Chess960 castles otherwise."""
    board = record.board()
    return board == chess.Board() and not board.chess960


def _numbered(board: chess.Board, move: chess.Move) -> str:
    return f"{board.fullmove_number}{'.' if board.turn else '...'} {board.san(move)}"


def name_of(color: chess.Color) -> str:
    """White or Black."""
    return "White" if color == chess.WHITE else "Black"
