"""What the terminal shows and reads: the board, bars of probability, and moves as people type them.

The board has its own background colours, chosen so that both sides stand out from both squares (contrast of at
least 3 : 1) whatever the terminal's own colours are. Without colour, or with sixteen only, white pieces are the
outlined ones; an output that cannot encode chess pieces gets letters, white in capitals.
"""

import re
from collections.abc import Sequence

import chess
from rich.console import Console
from rich.text import Text

from chesslm.boards import Illegal, illegal_kind
from chesslm.errors import InputError
from chesslm.play.choice import Candidate
from chesslm.play.game import RESULTS, Game, name_of

SQUARES = {(False, False): "#5c7080", (True, False): "#8496a3", (False, True): "#7a6a2c", (True, True): "#9c8b45"}
"""Background by (light square, part of the last move)."""
PIECES = {chess.WHITE: "bold #ffffff", chess.BLACK: "bold #000000"}
BAR, NARROW_BAR, NARROW = 30, 12, 97
"""Columns of a bar that stands for certainty; the narrow one is for screens of so many columns, or fewer."""
HINTS, LEGAL_HINTS = 8, 3
"""Moves that a hint shows: so many of the likeliest, and at least so many legal ones."""
HEAD = 14
"""Lines of the screen with the board, and one for the prompt."""


def new_console() -> Console:
    """A console that changes nothing in what it is given."""
    return Console(highlight=False, markup=False, emoji=False)


class View:
    """What is shown of a game: line after line, or one screen that is drawn anew before each prompt.

    Args:
        console: where to write.
        live: whether a person sits at a terminal.
        blindfold: whether pieces are hidden.
    """

    def __init__(self, console: Console, live: bool = False, blindfold: bool = False) -> None:
        self.console, self.live, self.blindfold = console, live, blindfold
        self._lines: list[Text] = []

    def say(self, what: str | Sequence[Text]) -> None:
        """Lines of text; in one screen they stand until the next prompt is answered."""
        lines = [Text(line) for line in what.splitlines()] if isinstance(what, str) else list(what)
        if self.live:
            self._lines += lines
        else:
            self._print(lines)

    def show(self, game: Game) -> None:
        """The position, where it is not on the screen anyway."""
        if not self.live:
            self._print([Text(), *self._board(game), Text()])
            self.say(_over(game))

    def draw(self, game: Game) -> None:
        """The screen, with what was said since the last prompt; what does not fit beside the board takes its place."""
        if not self.live:
            return
        players = (f"{name_of(color)}: {game.player.name if color != game.human else 'you'}" for color in (True, False))
        clocks = (f", {game.clock.shown(color)}" if game.clock else "" for color in (True, False))
        names = "   ".join(player + clock for player, clock in zip(players, clocks, strict=True))
        last = f"Last move: {game.last()}" if game.board.move_stack else "No move yet"
        head = [Text(names), Text(), *self._board(game), Text(), Text(last)]
        said = [*self._lines, *map(Text, _over(game).splitlines())]
        self._lines = []
        width = self.console.width
        lines = sum(max(1, -(-line.cell_len // width)) for line in said)
        # Written at once, so that nobody sees half a board.
        with self.console:
            self.console.clear()
            self._print(said if lines > self.room() else [*head, *said])

    def room(self) -> int:
        """Lines that fit below the board."""
        return self.console.height - HEAD if self.live else 100

    def bye(self) -> None:
        """The last word."""
        self._print([Text("Bye.")])

    def _board(self, game: Game) -> list[Text]:
        board = chess.Board(None) if self.blindfold else game.board
        return board_lines(board, game.human, self.console)

    def _print(self, lines: Sequence[Text]) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True)


def _over(game: Game) -> str:
    """How the game ended, if it did, and what can be done then."""
    if not (ending := game.ending()):
        return ""
    words, result = ending
    return f"{words}: {RESULTS[result]}, {result}. Type undo, save FILE.pgn, new or quit."


def board_lines(board: chess.Board, bottom: chess.Color, console: Console) -> list[Text]:
    """The board as lines, with the side ``bottom`` at the bottom.

    Args:
        board: the position; its last move is marked where there is colour.
        bottom: chess.WHITE or chess.BLACK.
        console: says what the terminal can show.
    """
    colored = console.color_system in ("256", "truecolor") and not console.no_color
    ranks = range(7, -1, -1) if bottom == chess.WHITE else range(8)
    files = range(8) if bottom == chess.WHITE else range(7, -1, -1)
    last = {board.peek().from_square, board.peek().to_square} if board.move_stack else set()
    lines = []
    for rank in ranks:
        line = Text(f"{rank + 1} ")
        for file in files:
            square = chess.square(file, rank)
            piece = board.piece_at(square)
            if colored:
                # The filled shapes for both sides: the outlines of the others vanish on a background.
                shape = chess.UNICODE_PIECE_SYMBOLS[piece.symbol().lower()] if piece else " "
                background = SQUARES[(rank + file) % 2 == 1, square in last]
                line.append(f" {shape} ", f"{PIECES[piece.color] if piece else ''} on {background}")
            elif _unicode(console):
                line.append(f" {piece.unicode_symbol() if piece else '·'}")
            else:
                line.append(f" {piece.symbol() if piece else '.'}")
        lines.append(line)
    lines.append(Text("  " + "".join(f" {chess.FILE_NAMES[file]}" + " " * colored for file in files)))
    return lines


def legal_lines(board: chess.Board, square: str = "") -> list[Text]:
    """The legal moves in SAN, a line for each piece, or those of the piece on one square.

    Raises:
        InputError: it is no square, or no piece there can move.
    """
    if square and square not in chess.SQUARE_NAMES:
        raise InputError(f"{square!r} is no square; give one such as e2")
    moves: dict[chess.Square, list[str]] = {}
    for move in board.generate_legal_moves():
        moves.setdefault(move.from_square, []).append(board.san(move))
    chosen = [chess.parse_square(square)] if square else sorted(moves)
    if not any(each in moves for each in chosen):
        raise InputError(f"no piece on {square} can move" if square else "there is no legal move")
    return [Text(f"  {chess.SQUARE_NAMES[each]}: {' '.join(sorted(moves[each]))}") for each in chosen]


def hint_lines(board: chess.Board, candidates: Sequence[Candidate], console: Console, room: int = 100) -> list[Text]:
    """The likeliest moves with bars, the illegal ones marked with the reason, and the share of all legal ones.

    Args:
        board: the position.
        candidates: likeliest first.
        console: says what the terminal can show.
        room: lines that there are at most.
    """
    legal = [candidate for candidate in candidates if not candidate.illegal]
    likeliest = candidates[: max(min(HINTS, room - LEGAL_HINTS - 1), 1)]
    shown = [*likeliest, *(candidate for candidate in legal[:LEGAL_HINTS] if candidate not in likeliest)]
    bar = NARROW_BAR if console.is_terminal and console.width <= NARROW else BAR
    lines = []
    for candidate in shown:
        name = board.san(candidate.move) if candidate.move and not candidate.illegal else candidate.text
        line = Text(f"  {name:<7} {_bar(candidate.probability, bar, console):<{bar}} {candidate.probability:6.1%}")
        if candidate.illegal:
            line.append(f"  illegal: {candidate.illegal}", "red")
        lines.append(line)
    legal_mass = sum(candidate.probability for candidate in legal)
    lines.append(Text(f"  All legal moves together: {legal_mass:.1%}."))
    return lines


def _bar(share: float, columns: int, console: Console) -> str:
    """A bar in steps of an eighth of a column; the least one can still be seen."""
    if not _unicode(console):
        return "#" * max(1, round(share * columns))
    whole, eighths = divmod(max(1, round(share * columns * 8)), 8)
    return "█" * whole + ("", *"▏▎▍▌▋▊▉")[eighths]


def _unicode(console: Console) -> bool:
    return console.encoding.startswith("utf")


UCI = re.compile(r"([a-h][1-8])[-x]?([a-h][1-8])=?([qrbnQRBN]?)")


def read_move(text: str, board: chess.Board) -> chess.Move:
    """A legal move from SAN or UCI, as strictly as it must be: ``e4``, ``Nf3``, ``e2e4``, ``0-0``, ``e8q``.

    Raises:
        InputError: one line on why it is none: ambiguous, illegal for a reason, or not a move at all.
    """
    # A number in front or a judgement behind, as in a pasted game, says nothing.
    plain = re.sub(r"^\d+\.+\s*", "", text.strip()).rstrip("!?+#")
    if uci := UCI.fullmatch(plain):
        move = chess.Move.from_uci("".join(uci.groups()).lower()) if uci[1] != uci[2] else None
        return _legal(plain, [move], board)
    if plain.upper().replace("0", "O") in ("O-O", "O-O-O"):
        try:
            return board.parse_san(plain.upper().replace("0", "O"))
        except ValueError:
            raise InputError(f"{plain} is illegal: {Illegal.CASTLING}") from None
    if plain[:1] in "nrqk":
        # Not b, which is also a file.
        plain = plain[:1].upper() + plain[1:]
    san = chess.SAN_REGEX.match(plain)
    if san is None:
        raise InputError(f"{text.strip()!r} is neither a move nor a command; type help")
    kind, file, rank, target, promotion = san.groups()
    piece = chess.PIECE_SYMBOLS.index(kind.lower()) if kind else chess.PAWN
    origins = [
        square
        for square in board.pieces(piece, board.turn)
        if file in (None, chess.FILE_NAMES[chess.square_file(square)])
        and rank in (None, chess.RANK_NAMES[chess.square_rank(square)])
        # e4 is not d3 takes e4.
        and (kind or file or chess.square_file(square) == chess.FILE_NAMES.index(target[0]))
    ]
    promoted = chess.PIECE_SYMBOLS.index(promotion[-1].lower()) if promotion else None
    return _legal(plain, [chess.Move(square, chess.parse_square(target), promoted) for square in origins], board)


def _legal(text: str, meant: Sequence[chess.Move | None], board: chess.Board) -> chess.Move:
    """The one legal move among those that a text may mean."""
    kinds = {move: illegal_kind(board, move) for move in meant}
    legal = [move for move, kind in kinds.items() if move and not kind]
    if len(legal) == 1:
        return legal[0]
    if legal:
        raise InputError(f"{text} is ambiguous: {' or '.join(board.san(move) for move in legal)}")
    for move in meant:
        if move and not move.promotion and not illegal_kind(board, chess.Move(move.from_square, move.to_square, 5)):
            raise InputError(f"{text} promotes: say to what, as in {text}=Q")
    # The reason of the piece that comes closest to being able to go there.
    order = list(Illegal)
    reason = max((kind for kind in kinds.values() if kind), key=order.index, default=Illegal.NO_PIECE)
    raise InputError(f"{text} is illegal: {reason}")
