"""PGN to games: files, URLs or standard input in, games as move codes out, in input order.

    stream -> chunks of whole games (this process) -> games (worker processes) -> games in order

What a game's moves are is python-chess's word: ``chess.pgn.read_game`` reads whatever is unusual. Ordinary games
(tags, moves, comments, but no variations) take the fast road of ``san``, which gives the same moves five times
as fast. Games that a sequence of moves from the standard start cannot stand for are dropped, with a reason.
"""

import io
import re
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import chess
import chess.pgn
import numpy as np

from chesslm import boards, parallel
from chesslm.errors import InputError
from chesslm.game import Dropped, Game
from chesslm.san import read_moves
from chesslm.streams import BOUNDARY, Source
from chesslm.tokenizer import KNOWN_RESULTS
from chesslm.words import san_words

_NOT_A_GAME = Dropped("not a game")
_STANDARD = ("standard", "chess", "classical", "normal", "from position")
_MARKERS = (*KNOWN_RESULTS, "*")


def read_games(
    sources: Sequence[Source], workers: int = 0, words: bool = False
) -> Generator[tuple[Source, Game | Dropped], None, None]:
    """All games of several inputs, usable or not, each with the input that it is from, in input order.

    A truncated input gives its whole games, and a warning on stderr. Close the generator to stop early.

    Args:
        sources: each is read once.
        workers: processes that parse; 0 is one a core, 1 this one.
        words: whether the games come with their moves in SAN.

    Raises:
        InputError: an input is missing, empty, corrupt, or has no game in it.
        FailureError: reading failed or a worker died.
    """
    ahead = 2 * parallel.cores(workers) + 2
    parse = parse_with_words if words else parse_chunk
    with parallel.processes(workers) as executor, closing(_chunks(sources)) as chunks:
        games, marked = 0, False
        for (source, last, ends_in_newline), parsed in parallel.in_order(executor, parse, chunks, ahead):
            items = parsed.items
            games += sum(item != _NOT_A_GAME for item in items)
            marked = marked or parsed.marked or (parsed.ended and not last)
            if last:
                source.truncated |= not parsed.ended and _cut(items, ends_in_newline, marked)
                if not games:
                    why = "truncated before its first game ends" if source.truncated else "no chess game in it"
                    raise InputError(f"{source.where}: {why}; is it a whole PGN?")
                if source.truncated:
                    if items and not parsed.ended:
                        items[-1] = Dropped("truncated")
                    print(f"chesslm: {source.where} is truncated; only its whole games are read", file=sys.stderr)
                games, marked = 0, False
            for item in items:
                yield source, item


def _cut(items: list[Game | Dropped], ends_in_newline: bool, marked: bool) -> bool:
    """Whether a text whose last game has no termination marker was cut: if it ends in mid-line or others have one."""
    return bool(items) and (not ends_in_newline or (marked and items[-1] != _NOT_A_GAME))


def read_pgn(source: str, limit: int | None = None) -> list[Game]:
    """The first usable games of one input, in order, read by this process and no further than needed.

    Args:
        source: path, URL, or - for standard input.
        limit: how many; None is all.

    Raises:
        InputError: as ``read_games``, and where there is no usable game.
    """
    with closing(read_games([Source(source)], workers=1)) as games:
        usable = list(islice((game for _, game in games if isinstance(game, Game)), limit))
    if not usable and limit != 0:
        raise InputError(f"{source}: no usable game in it")
    return usable


def _chunks(
    sources: Sequence[Source],
) -> Generator[tuple[tuple[Source, bool, bool], tuple[bytes, str]], None, None]:
    """Each chunk with its source, whether it is the last one of it, and whether it ends in a newline."""
    for source in sources:
        with closing(source.chunks()) as chunks:
            chunk = next(chunks, b"")
            for following in chunks:
                yield (source, False, True), (chunk, source.name)
                chunk = following
            yield (source, True, chunk.endswith(b"\n")), (chunk, source.name)


class Parsed(NamedTuple):
    """What a chunk holds.

    Attributes:
        items: its games.
        ended: whether the last of them ended with a termination marker.
        marked: whether any other did.
    """

    items: list[Game | Dropped]
    ended: bool
    marked: bool


def parse_chunk(chunk: bytes, name: str = "") -> Parsed:
    """The games of a chunk of whole games.

    Args:
        chunk: UTF-8, or Latin-1 game by game where it is not.
        name: of the file that it is from.
    """
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        text = None
    items: list[Game | Dropped] = []
    ended = marked = False
    for piece in _pieces(text if text is not None else chunk.decode("latin-1")):
        if text is None:
            piece = _redecoded(piece)
        quick = _read_ordinary(piece, name)
        for item, ends in [quick] if quick else _read_any(piece, name):
            marked = marked or ended
            items.append(item)
            ended = ends
    return Parsed(items, ended, marked)


def parse_with_words(chunk: bytes, name: str = "") -> Parsed:
    """The same with the moves of each game in SAN, as python-chess would write them, whatever the PGN has."""
    parsed = parse_chunk(chunk, name)
    items = [
        replace(item, words=tuple(san_words(boards.to_moves(item.codes)))) if isinstance(item, Game) else item
        for item in parsed.items
    ]
    return parsed._replace(items=items)


def _redecoded(piece: str) -> str:
    raw = piece.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return piece


_BOUNDARY = re.compile(BOUNDARY)


def _pieces(text: str) -> Iterator[str]:
    """Text cut into games; some pieces hold several, where that is not easily told."""
    start, last_close = 0, text.rfind("}")
    for match in _BOUNDARY.finditer(text):
        end = match.end()
        # An open brace that nothing closes later opens no comment, or one that must not swallow the other games.
        if end < last_close and text.rfind("{", start, end) > text.rfind("}", start, end):
            continue
        yield text[start:end]
        start = end
    yield text[start:]


_TAGS = re.compile(r'^\[([A-Za-z0-9][A-Za-z0-9_+#=:-]*)[ \t]+"(.*)"\][ \t]*$', re.MULTILINE)
_COMMENT = re.compile(r"\{[^}]*\}")
_UNUSUAL = re.compile(r"[^A-Za-z0-9.+#=\-/*!?$ \n]|\n[ \n]")
# The tokens of chess.pgn.MOVETEXT_REGEX that are left when the above is not there, in its order.
_TOKEN = re.compile(
    r"[NBKRQ]?[a-h]?[1-8]?[\-x]?[a-h][1-8](?:=?[nbrqkNBRQK])?|--|Z0|0000|O-O(?:-O)?|0-0(?:-0)?"
    r"|\$[0-9]+|\*|1-0|0-1|1/2-1/2|[?!]{1,2}"
)


def _read_ordinary(piece: str, name: str) -> tuple[Game | Dropped, bool] | None:
    """A piece that is one ordinary game, and whether it ended with a marker; None if it is anything else."""
    head, _, rest = piece.partition("\n\n")
    tags = _TAGS.findall(head)
    if len(tags) != head.count("\n") + 1:
        return None
    if "{" in rest:
        # Not by a space: what stands between a comment and the next line is no blank line.
        rest = _COMMENT.sub("!", rest)
    rest = rest.rstrip(" \n")
    if not rest or rest[0] in " \n" or _UNUSUAL.search(rest):
        return None
    tokens = _TOKEN.findall(rest)
    marker = tokens.pop() if tokens and tokens[-1] in _MARKERS else ""
    if "$" in rest or "!" in rest or "?" in rest:
        tokens = [token for token in tokens if token[0] not in "$!?"]
    known = dict(tags)
    reason = _unusable(known)
    if reason:
        return Dropped(reason), bool(marker)
    codes = read_moves(tokens)
    if codes is None:
        return None
    return (_game(codes, known, marker, name) if codes else Dropped("no moves")), bool(marker)


class _Visitor(chess.pgn.BaseVisitor["_Visitor"]):
    """What ``chess.pgn.read_game`` finds, reduced to the tags and the main line."""

    def begin_game(self) -> None:
        self.tags: dict[str, str] = {}
        self.codes: list[int] = []
        self.reason = self.marker = ""
        self.comment: str | None = None
        self.depth = 0
        self.ended = False

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.tags[tagname] = tagvalue

    def end_headers(self) -> chess.pgn.SkipType | None:
        self.reason = _unusable(self.tags)
        return chess.pgn.SKIP if self.reason else None

    def begin_variation(self) -> None:
        self.depth += 1

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
    handle = io.StringIO(piece)
    while True:
        try:
            read = chess.pgn.read_game(handle, Visitor=_Visitor)
        except ValueError:
            # A NAG of thousands of digits is no int to Python, and where its game ends python-chess does not say.
            yield Dropped("illegal move"), True
            return
        if read is None:
            return
        if _in_open_comment(piece, handle.tell(), read.comment):
            yield Dropped("unclosed comment"), False
        elif read.reason:
            yield Dropped(read.reason), read.ended or read.reason in ("variant", "FEN start")
        elif read.codes:
            yield _game(read.codes, read.tags, read.marker, name), read.ended
        else:
            yield (Dropped("no moves") if read.tags else _NOT_A_GAME), read.ended


def _in_open_comment(piece: str, position: int, comment: str | None) -> bool:
    """Whether the last comment of a game goes on to the end of the text because nothing closes it."""
    return position == len(piece) and comment is not None and piece.endswith(("{" + comment, "{ " + comment))


def _unusable(tags: dict[str, str]) -> str:
    """Why the tags rule a game out, if they do."""
    if tags.get("Variant", "standard").lower() not in _STANDARD:
        return "variant"
    return "" if tags.get("FEN", chess.STARTING_FEN) == chess.STARTING_FEN else "FEN start"


def _game(codes: list[int], tags: dict[str, str], marker: str, name: str) -> Game:
    result = tags.get("Result", "*")
    date = tags.get("Date", "")
    return Game(
        np.array(codes, dtype=np.uint16),
        result if result in KNOWN_RESULTS else marker or "*",
        _elo(tags.get("WhiteElo", "")),
        _elo(tags.get("BlackElo", "")),
        tags.get("ECO") or None,
        date if date[:1].isdecimal() else tags.get("UTCDate") or date or None,
        tags.get("Event") or None,
        tags.get("TimeControl") or None,
        name,
    )


def _elo(text: str) -> int | None:
    return int(text) if text.isdecimal() and 3 <= len(text) <= 4 else None
