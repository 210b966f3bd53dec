"""A chunk of PGN to games: which pieces of it are games, what their tags say, and what their moves are.

What a game's moves are is python-chess's word: ``chess.pgn.read_game`` reads whatever is unusual. Ordinary games
(tags, moves, comments, but no variations) take the fast road of ``san``, which gives the same moves five times as
fast, or that of ``fast``. Games that a sequence of moves from the standard start cannot stand for are dropped, with a
reason.
"""

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import Generic, NamedTuple, TypeVar

import chess
import chess.pgn
import numpy as np

from chesslm import boards
from chesslm.fast import STANDARD, read_many
from chesslm.game import Dropped, Game
from chesslm.streams import BOUNDARY
from chesslm.tokenizer import KNOWN_RESULTS

T = TypeVar("T")

MOST_PLIES = 17_697
"""No game is longer by the rules: it is drawn after 75 moves without a capture or the move of a pawn."""
MOST_DEPTH = 50
"""Variations within each other, at most: python-chess holds a board with all its moves for each."""
MOST_COPIED = 1_000_000
"""Moves that python-chess may copy for the variations of a game, at most: some seconds."""
MOST_REREAD = 1 << 31
"""Characters that it may copy for the comments on a line, at most."""
TAG = 200
"""Characters that are kept of a tag."""

# One of each, since there may be millions of them.
_dropped = cache(Dropped)
NOT_A_GAME = _dropped("not a game")
_STANDARD = ("standard", "chess", "classical", "normal", "from position")
RESULTS = (*KNOWN_RESULTS, "*")


class Parsed(NamedTuple, Generic[T]):
    """What a chunk holds.

    Attributes:
        items: its games, or what they were made into, or why they were dropped.
        ended: whether the last of them ended with a termination marker.
        marked: whether any other did.
    """

    items: list[T | Dropped]
    ended: bool
    marked: bool


def parse_chunk(chunk: bytes, name: str = "") -> Parsed[Game]:
    """The games of a chunk of whole games.

    Args:
        chunk: UTF-8, or Latin-1 game by game where it is not.
        name: of the file that it is from.
    """
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        text = None
    whole = text if text is not None else chunk.decode("latin-1")
    pieces = [piece if text is not None else _redecoded(piece) for piece in _pieces(whole)]
    ordinary = [_ordinary(piece) for piece in pieces]
    codes = iter(read_many([each.words for each in ordinary if each and each.words]))
    items: list[Game | Dropped] = []
    ended = marked = False
    for piece, each in zip(pieces, ordinary, strict=True):
        quick = _quick(each, next(codes) if each.words else None, name) if each else None
        for item, ends in [(quick, bool(each and each.marker))] if quick else _read_any(piece, name):
            marked = marked or ended
            items.append(item)
            ended = ends
    return Parsed(items, ended, marked)


def _redecoded(piece: str) -> str:
    raw = piece.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return piece


_BOUNDARY = re.compile(BOUNDARY)


def _pieces(text: str) -> Iterator[str]:
    """Text cut into games; some pieces hold several, where that is not easily told."""
    start = seen = 0
    opened = closed = -1
    last_close = text.rfind("}")
    for match in _BOUNDARY.finditer(text):
        end = match.end()
        opened, closed = max(opened, text.rfind("{", seen, end)), max(closed, text.rfind("}", seen, end))
        seen = end
        # An open brace that nothing closes later opens no comment, or one that must not swallow the other games.
        if end < last_close and opened > closed:
            continue
        yield text[start:end]
        start, opened, closed = end, -1, -1
    yield text[start:]


_TAGS = re.compile(r'^\[([A-Za-z0-9][A-Za-z0-9_+#=:-]*)[ \t]+"(.*)"\][ \t]*$', re.MULTILINE)
_COMMENT = re.compile(r"\{[^}]*\}")
_UNUSUAL = re.compile(r"[^A-Za-z0-9.+#=\-/*!?$ \n]")
# The tokens of chess.pgn.MOVETEXT_REGEX that are left when the above is not there, in its order.
_TOKEN = re.compile(
    r"[NBKRQ]?[a-h]?[1-8]?[\-x]?[a-h][1-8](?:=?[nbrqkNBRQK])?|--|Z0|0000|O-O(?:-O)?|0-0(?:-0)?"
    r"|\$[0-9]+|\*|1-0|0-1|1/2-1/2|[?!]{1,2}"
)


_WORD = re.compile(
    # A move, with what may be marked on it.
    rf"({STANDARD})[+#]?[!?]{{0,2}}"
    # A move number, what is left of one, NAGs, and nothing between two spaces: no moves.
    r"|[1-9][0-9]{0,2}\.?|\.|[!?]{1,2}|\$[0-9]{1,3}|"
)


class _Words(dict[str, str]):
    """What a word comes to: a move in SAN without marks, or nothing.

    Raises:
        KeyError: on asking for a word that ``_TOKEN`` has to look at more closely.
    """

    def __missing__(self, word: str) -> str:
        if (match := _WORD.fullmatch(word)) is None:
            raise KeyError(word)
        move = match[1] or ""
        # Games have some ten thousand different ones; a file of junk has more, and longer ones.
        if len(self) < 1 << 16 and len(word) < 32:
            self[word] = move
        return move


_words = _Words()


class _Ordinary(NamedTuple):
    """A piece that is one ordinary game.

    Attributes:
        tags: its tags.
        words: its moves in SAN without check marks.
        marker: the result that it ends with, or nothing.
        reason: why the tags rule it out, if they do; it has no words then.
    """

    tags: dict[str, str]
    words: list[str]
    marker: str
    reason: str = ""


def _ordinary(piece: str) -> _Ordinary | None:
    """A piece as an ordinary game; None if it is anything else."""
    head, _, rest = piece.partition("\n\n")
    found = _TAGS.findall(head)
    if len(found) != head.count("\n") + 1:
        return None
    if "{" in rest:
        if rest.rfind("{") > rest.rfind("}"):
            # Nothing closes it, and looking for what does would take a look at the rest from every brace.
            return None
        # Not by a space: what stands between a comment and the next line is no blank line.
        rest = _COMMENT.sub("!", rest)
    rest = rest.rstrip(" \n")
    if not rest or rest[0] in " \n" or "\n\n" in rest or "\n " in rest:
        return None
    tags = dict(found)
    # By these two alone: a word with any other space in it is none.
    words = rest.replace("\n", " ").replace(".", ". ").split(" ")
    marker = words.pop() if words[-1] in RESULTS else ""
    try:
        moves = list(filter(None, map(_words.__getitem__, words)))
    except KeyError:
        if _UNUSUAL.search(rest):
            return None
        found = _TOKEN.findall(rest)
        marker = found.pop() if found and found[-1] in RESULTS else ""
        moves = [move for move in found if move[0] not in "$!?"]
    if reason := _unusable(tags) or ("too long" if len(moves) > MOST_PLIES else ""):
        return _Ordinary(tags, [], marker, reason)
    return _Ordinary(tags, moves, marker)


def _quick(ordinary: _Ordinary, codes: boards.MoveCodes | None, name: str) -> Game | Dropped | None:
    """An ordinary game, its moves read; None where python-chess has to read it."""
    if ordinary.reason:
        return _dropped(ordinary.reason)
    if not ordinary.words:
        return _dropped("no moves")
    return None if codes is None else _game(codes, ordinary.tags, ordinary.marker, name)


class _Visitor(chess.pgn.BaseVisitor["_Visitor"]):
    """What ``chess.pgn.read_game`` finds, reduced to the tags and the main line; of a game that is dropped, as little
    as may be."""

    def begin_game(self) -> None:
        self.tags: dict[str, str] = {}
        self.codes: list[int] = []
        self.reason = self.marker = ""
        self.comment: str | None = None
        self.depth = self.height = self.copied = 0
        self.ended = False

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.tags[tagname] = tagvalue

    def end_headers(self) -> chess.pgn.SkipType | None:
        self.reason = _unusable(self.tags)
        return chess.pgn.SKIP if self.reason else None

    def begin_parse_san(self, board: chess.Board, san: str) -> chess.pgn.SkipType | None:
        self.height = len(board.move_stack)
        if self.height >= MOST_PLIES:
            self.reason = self.reason or "too long"
        if not self.reason:
            return None
        self.ended = self.ended and bool(self.depth)
        return chess.pgn.SKIP

    def begin_variation(self) -> chess.pgn.SkipType | None:
        self.depth += 1
        self.copied += self.height
        if self.depth > MOST_DEPTH or self.copied > MOST_COPIED:
            self.reason = self.reason or "too long"
        return chess.pgn.SKIP if self.reason else None

    def end_variation(self) -> None:
        self.depth -= 1

    def visit_comment(self, comment: str) -> None:
        self.comment = comment

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        if self.depth:
            return
        if not move:
            self.reason = self.reason or "null move"
        self.codes.append(boards.move_code(move))
        self.ended = False

    def visit_result(self, result: str) -> None:
        if self.marker in ("", "*"):
            self.marker = result
        self.ended = True

    def handle_error(self, error: Exception) -> None:
        self.reason = self.reason or "illegal move"

    def result(self) -> "_Visitor":
        return self


def _read_any(piece: str, name: str) -> Iterator[tuple[Game | Dropped, bool]]:
    """The games of a piece as python-chess reads them, and whether each ended with a marker."""
    if _takes_long(piece):
        yield _dropped("too long"), True
        return
    handle = io.StringIO(piece)
    while True:
        try:
            read = chess.pgn.read_game(handle, Visitor=_Visitor)
        except ValueError:
            # A NAG of thousands of digits is no int to Python, and where its game ends python-chess does not say.
            yield _dropped("illegal move"), True
            return
        if read is None:
            return
        if _in_open_comment(piece, handle.tell(), read.comment):
            yield _dropped("unclosed comment"), False
        elif read.reason:
            # Nothing is told of what is behind an illegal move: whether a marker is there, the text says.
            end = piece[max(0, handle.tell() - 20) : handle.tell()].rstrip()
            yield _dropped(read.reason), read.ended or end.endswith(RESULTS) or read.reason in ("variant", "FEN start")
        elif read.codes:
            yield _game(np.array(read.codes, np.uint16), read.tags, read.marker, name), read.ended
        else:
            yield (_dropped("no moves") if read.tags else NOT_A_GAME), read.ended


def _takes_long(piece: str) -> bool:
    """Whether python-chess would read a line for minutes: at each comment it copies the rest of it."""
    if len(piece) < 1 << 16:
        return False
    return any(len(line) * min(line.count("{"), line.count("}")) > MOST_REREAD for line in piece.split("\n"))


def _in_open_comment(piece: str, position: int, comment: str | None) -> bool:
    """Whether the last comment of a game goes on to the end of the text because nothing closes it."""
    return position == len(piece) and comment is not None and piece.endswith(("{" + comment, "{ " + comment))


def _unusable(tags: dict[str, str]) -> str:
    """Why the tags rule a game out, if they do."""
    if tags.get("Variant", "standard").lower() not in _STANDARD:
        return "variant"
    return "" if tags.get("FEN", chess.STARTING_FEN) == chess.STARTING_FEN else "FEN start"


def _game(codes: boards.MoveCodes, tags: dict[str, str], marker: str, name: str) -> Game:
    result = tags.get("Result", "*")
    date = tags.get("Date", "")
    return Game(
        codes,
        result if result in KNOWN_RESULTS else marker or "*",
        _elo(tags.get("WhiteElo", "")),
        _elo(tags.get("BlackElo", "")),
        tags.get("ECO", "")[:TAG] or None,
        (date if date[:1].isdecimal() else tags.get("UTCDate") or date)[:TAG] or None,
        tags.get("Event", "")[:TAG] or None,
        tags.get("TimeControl", "")[:TAG] or None,
        name,
    )


def _elo(text: str) -> int | None:
    return int(text) if text.isdecimal() and 3 <= len(text) <= 4 else None
