"""PGN to games: files, URLs or standard input, plain or compressed, in; games of move codes out, in input order.

The main process only decompresses the stream and cuts it into chunks of whole games; worker processes parse
them. What a game's moves are is python-chess's word (``chess.pgn.read_game``).
"""

import bz2
import hashlib
import io
import os
import re
import signal
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import chess
import chess.pgn
import numpy as np

from chesslm import boards
from chesslm.errors import FailureError, InputError
from chesslm.tokenizer import KNOWN_RESULTS

CHUNK_BYTES = 1 << 18
"""Text a worker gets at once: about 430 master games, half a second of work for python-chess."""


@dataclass(frozen=True)
class Game:
    """A game from the standard start; its moves are legal.

    Attributes:
        codes: the moves, uint16 (plies,), see ``boards``.
        result: 1-0, 0-1, 1/2-1/2 or *.
        date: as in PGN, e.g. 1954.??.??.
        source: name of the file that it came from.
    """

    codes: boards.MoveCodes
    result: str = "*"
    white_elo: int | None = None
    black_elo: int | None = None
    eco: str | None = None
    date: str | None = None
    event: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Dropped:
    """A game that cannot be used, and why."""

    reason: str


@dataclass
class Source:
    """One input as it is read.

    Attributes:
        where: path, URL, or - for standard input.
        bytes: raw bytes read so far.
        size: raw bytes in all, if known.
        sha256: over the raw bytes; known once all are read.
        truncated: whether the stream broke off.
    """

    where: str
    bytes: int = 0
    size: int | None = None
    sha256: str | None = None
    truncated: bool = False
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return "standard input" if self.where == "-" else self.where.rstrip("/").rpartition("/")[2]

    def raw(self) -> Iterator[bytes]:
        """The raw bytes, block by block."""
        with self._open() as file:
            while block := file.read(1 << 16):
                self.bytes += len(block)
                self._digest.update(block)
                yield block
        self.sha256 = self._digest.hexdigest()

    def _open(self) -> BinaryIO:
        if self.where == "-":
            return open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: PTH123
        try:
            if "://" in self.where or "::" in self.where:
                import fsspec

                return fsspec.open(self.where, "rb").open()  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]
            path = Path(self.where)
            self.size = path.stat().st_size
            return path.open("rb")
        except FileNotFoundError:
            raise InputError(f"{self.where}: no such file") from None
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"{self.where}: cannot be read ({error})") from error

    def text(self) -> Iterator[bytes]:
        """The bytes decompressed."""
        blocks = self.raw()
        first = next(blocks, b"")
        if not first:
            raise InputError(f"{self.where}: the file is empty")
        kind = next((kind for kind, magic in _MAGIC.items() if first.startswith(magic)), None)
        suffix = self.name.rpartition(".")[2]
        if suffix in _MAGIC and kind != suffix:
            raise InputError(f"{self.where}: not {suffix} data, whatever its name says")
        with closing(blocks):
            if kind is None:
                yield first
                yield from blocks
            else:
                yield from self._decompressed(kind, first, blocks)

    def _decompressed(self, kind: str, first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
        stream, data = None, first
        try:
            while True:
                if not data:
                    data = next(blocks, b"")
                    if not data:
                        break
                if stream is None:
                    stream = _decompressor(kind)
                yield stream.decompress(data)
                data = b""
                if stream.eof:
                    data = stream.unused_data
                    stream = None
        except (OSError, EOFError, ValueError, zlib.error, _zstd_error()) as error:
            raise InputError(f"{self.where}: the {kind} data is corrupt ({error})") from error
        self.truncated = stream is not None


_MAGIC = {"zst": b"\x28\xb5\x2f\xfd", "gz": b"\x1f\x8b", "bz2": b"BZh"}


def _zstd_error() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError


def _decompressor(kind: str) -> Any:
    """An object with ``decompress``, ``eof`` and ``unused_data``, good for one frame or member."""
    if kind == "zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()
    return zlib.decompressobj(wbits=31) if kind == "gz" else bz2.BZ2Decompressor()


# A line of movetext, blank lines, a line of tags: between them one game ends and another begins, unless inside of
# a comment. Where a game's own tags are interrupted by a blank line, the line before begins with a bracket.
_BOUNDARY = re.compile(rb"\n[^\s\[%;][^\n]*\n\s*\n(?=\[)")


def split_games(blocks: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cut a stream into chunks of whole games."""
    buffer = b""
    for block in blocks:
        buffer += block.replace(b"\r", b"")
        if len(buffer) >= chunk_bytes:
            end = _last_boundary(buffer)
            if end:
                yield buffer[:end]
                buffer = buffer[end:]
    if buffer:
        yield buffer


def _last_boundary(buffer: bytes) -> int:
    for start in (max(0, len(buffer) - (1 << 15)), 0):
        for match in reversed(list(_BOUNDARY.finditer(buffer, start))):
            if buffer.rfind(b"{", 0, match.end()) <= buffer.rfind(b"}", 0, match.end()):
                return match.end()
    return 0


class _Lean(chess.pgn.BaseVisitor["Game | Dropped"]):
    """Main line and the tags we keep; nothing else is built."""

    def begin_game(self) -> None:
        self.tags: dict[str, str] = {}
        self.codes: list[int] = []
        self.reason = ""
        self.marker = ""

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.tags[tagname] = tagvalue

    def end_headers(self) -> chess.pgn.SkipType | None:
        self.reason = _unusable(self.tags)
        return chess.pgn.SKIP if self.reason else None

    def begin_variation(self) -> chess.pgn.SkipType:
        return chess.pgn.SKIP

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        if not move:
            self.reason = self.reason or "null move"
        self.codes.append(boards.move_code(move))

    def visit_result(self, result: str) -> None:
        self.marker = self.marker or result

    def handle_error(self, error: Exception) -> None:
        self.reason = self.reason or "illegal move"

    def result(self) -> "Game | Dropped":
        if not self.reason and not self.codes:
            self.reason = "no moves"
        if self.reason:
            return Dropped(self.reason)
        return make_game(np.array(self.codes, dtype=np.uint16), self.tags, self.marker)


def make_game(codes: boards.MoveCodes, tags: dict[str, str], marker: str) -> Game:
    """A game from its moves, tags and termination marker."""
    result = tags.get("Result", "*")
    if result not in KNOWN_RESULTS:
        result = marker or "*"
    date = tags.get("Date", "")
    if not date or date.startswith("?"):
        date = tags.get("UTCDate", date)
    return Game(
        codes,
        result,
        _elo(tags.get("WhiteElo", "")),
        _elo(tags.get("BlackElo", "")),
        tags.get("ECO") or None,
        date or None,
        tags.get("Event") or None,
    )


def _elo(text: str) -> int | None:
    return int(text) if text.isdecimal() and 0 < len(text) < 5 and int(text) else None


def _unusable(tags: dict[str, str]) -> str:
    variant = tags.get("Variant", "standard").lower()
    if variant not in ("standard", "chess", "classical", "normal", "from position"):
        return "variant"
    fen = tags.get("FEN", chess.STARTING_FEN)
    return "" if fen == chess.STARTING_FEN else "FEN start"


def parse_chunk(chunk: bytes) -> list[Game | Dropped]:
    """The games of a chunk."""
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        text = chunk.decode("latin-1")
    handle = io.StringIO(text)
    games = []
    while (game := chess.pgn.read_game(handle, Visitor=_Lean)) is not None:
        games.append(game)
    return games


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_games(sources: list[Source], workers: int = 0) -> Iterator[tuple[Source, Game | Dropped]]:
    """Games and dropped ones of several inputs, in input order."""
    import multiprocessing

    workers = workers or os.cpu_count() or 1
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from _in_order(pool, sources, in_flight=2 * workers + 2)
    except OSError as error:
        raise FailureError(str(error)) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: Executor, sources: list[Source], in_flight: int) -> Iterator[tuple[Source, Game | Dropped]]:
    pending: deque[tuple[Source, Future[list[Game | Dropped]]]] = deque()
    for source in sources:
        for chunk in split_games(source.text()):
            pending.append((source, pool.submit(parse_chunk, chunk)))
            if len(pending) >= in_flight:
                done, future = pending.popleft()
                for game in future.result():
                    yield done, game
    while pending:
        done, future = pending.popleft()
        for game in future.result():
            yield done, game


def read_pgn(source: str, limit: int | None = None) -> list[Game]:
    """The first usable games of one input, read in this process."""
    games = (
        game for chunk in split_games(Source(source).text()) for game in parse_chunk(chunk) if isinstance(game, Game)
    )
    return list(islice(games, limit))
