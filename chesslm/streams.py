"""Bytes of PGN from anywhere, decompressed as a stream and cut into chunks of whole games.

In: a path, a URL that fsspec knows, or - for standard input; plain, zstd, gzip or bzip2 (several frames too).
Out: chunks of about 256 KB that each begin where a game begins. Memory is a few chunks, whatever the size.
"""

import bz2
import codecs
import hashlib
import io
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import chess.pgn

from chesslm import files
from chesslm.errors import FailureError, InputError, first_line

BLOCK_BYTES = 1 << 13
"""Read at once."""
PACKED_BYTES = 1 << 10
"""Decompressed at once: a malicious kilobyte of zstd becomes 32 MB. One of bzip2 becomes a gigabyte, in parts."""
CHUNK_BYTES = 1 << 18
"""Text that a worker gets at once: about 430 master games, a tenth of a second of work."""
GAME_BYTES = 1 << 22
"""A game longer than this is none: a comment was never closed, or it is no PGN."""

_MAGIC = {"zst": (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60))),
          "gz": (b"\x1f\x8b",), "bz2": (b"BZh",)}  # fmt: skip


@dataclass
class Source:
    """One input, as far as it is read.

    Attributes:
        where: path, URL, or - for standard input.
        read: raw bytes read so far.
        size: raw bytes of a local file.
        sha256: of the raw bytes, once all are read.
        truncated: whether the stream broke off in mid-frame or the text in mid-game.
    """

    where: str
    read: int = 0
    size: int | None = None
    sha256: str | None = None
    truncated: bool = False
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def __post_init__(self) -> None:
        if self._is_file:
            self.size = Path(self.where).stat().st_size

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return "standard input" if self.where == "-" else self.where.rstrip("/").rpartition("/")[2]

    @property
    def _local(self) -> bool:
        return self.where != "-" and (Path(self.where).exists() or not re.search("://|::", self.where))

    @property
    def _is_file(self) -> bool:
        """Whether it can be read again, which a pipe cannot."""
        return self._local and Path(self.where).is_file()

    def about(self) -> dict[str, Any]:
        """Name, size and hash; of a stream that was not read to its end, no more than the name."""
        if self.sha256 is None and self._is_file:
            self.sha256, self.read = files.sha256(Path(self.where)), Path(self.where).stat().st_size
        whole = self.sha256 is not None
        return {"name": self.name, "bytes": self.read if whole else None, "sha256": self.sha256}

    def chunks(self) -> Generator[bytes, None, None]:
        """Chunks of whole games, with newlines as \\n.

        Raises:
            InputError: the input is missing, empty, corrupt, or not text.
            FailureError: reading failed.
        """
        with closing(self.text()) as text:
            yield from split_games(text)

    def text(self) -> Generator[bytes, None, None]:
        """The bytes of the file, decompressed, without a byte order mark and with newlines as \\n; cut anywhere.

        Raises:
            InputError: the input is missing, empty, corrupt, or not text.
            FailureError: reading failed.
        """
        with closing(self._plain()) as plain:
            yield from _unix_lines(plain)

    def characters(self) -> Iterator[str]:
        """The text of the file, piece by piece; bytes that are no UTF-8 become replacement characters."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for block in self.text():
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)

    def lines(self) -> Iterator[str]:
        """The lines of the file, without their ends."""
        held = ""
        for piece in self.characters():
            *whole, held = (held + piece).split("\n")
            yield from whole
        if held:
            yield held

    def _open(self) -> BinaryIO:
        try:
            if self.where == "-":
                return io.FileIO(0, closefd=False)  # pyright: ignore[reportReturnType]
            if self._local:
                return Path(self.where).open("rb")
            import fsspec

            return fsspec.open(self.where, "rb").open()  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]
        except FileNotFoundError as error:
            # fsspec's word for a server that does not answer, too.
            why = f"cannot be reached ({first_line(error.__cause__)})" if error.__cause__ else "no such file"
            raise InputError(f"{self.where}: {why}") from None
        except (OSError, ValueError, ImportError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"{self.where}: cannot be opened ({why})") from error

    def _raw(self) -> Generator[bytes, None, None]:
        with self._open() as file:
            while True:
                try:
                    block = file.read(BLOCK_BYTES)
                except Exception as error:
                    raise FailureError(f"{self.where}: reading failed ({error})") from error
                if not block:
                    break
                self.read += len(block)
                self._digest.update(block)
                yield block
        self.sha256 = self._digest.hexdigest()

    def _plain(self) -> Generator[bytes, None, None]:
        """The bytes, decompressed."""
        with closing(self._raw()) as blocks:
            first = next(blocks, b"")
            if not first:
                raise InputError(f"{self.where}: the file is empty")
            kind = next((kind for kind, magics in _MAGIC.items() if first.startswith(magics)), None)
            suffix = self.name.lower().rpartition(".")[2]
            if suffix in _MAGIC and kind != suffix:
                raise InputError(f"{self.where}: not {suffix} data, although its name says so")
            begun = False
            for block in _chain(first, blocks) if kind is None else self._decompressed(kind, _chain(first, blocks)):
                if not begun and b"\0" in block:
                    raise InputError(f"{self.where}: binary data, not text; unpack archives, turn UTF-16 into UTF-8")
                begun = begun or bool(block)
                yield block

    def _decompressed(self, kind: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
        import zstandard

        stream = None
        for data in (block[at : at + PACKED_BYTES] for block in blocks for at in range(0, len(block), PACKED_BYTES)):
            while data:
                if stream is None:
                    # Tapes and some tools pad with zeros.
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    stream = _decompressor(kind)
                try:
                    yield from _unpacked(stream, data)
                except (OSError, zlib.error, zstandard.ZstdError) as error:
                    raise InputError(f"{self.where}: the {kind} data is corrupt ({error})") from error
                data = b""
                if stream.eof:
                    data, stream = stream.unused_data, None
        self.truncated = stream is not None


def _decompressor(kind: str) -> Any:
    """An object with ``decompress``, ``eof`` and ``unused_data``, for one frame or member."""
    if kind == "zst":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 28).decompressobj()
    return zlib.decompressobj(wbits=31) if kind == "gz" else bz2.BZ2Decompressor()


def _unpacked(stream: Any, data: bytes) -> Iterator[bytes]:
    """What a decompressor makes of some more data."""
    if isinstance(stream, bz2.BZ2Decompressor):
        yield stream.decompress(data, CHUNK_BYTES)
        while not (stream.eof or stream.needs_input):
            yield stream.decompress(b"", CHUNK_BYTES)
    else:
        yield stream.decompress(data)


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _unix_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Text without a byte order mark, every line ended by \\n, as a file opened in text mode gives it."""
    held, begun = b"", False
    for block in blocks:
        data = held + block
        if not begun:
            if len(data) < len(codecs.BOM_UTF8):
                held = data
                continue
            data, begun = data.removeprefix(codecs.BOM_UTF8), True
        data, held = (data[:-1], b"\r") if data.endswith(b"\r") else (data, b"")
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
    if held:
        yield held.replace(b"\r", b"\n")


BOUNDARY = "\n[^\\s\\[%;\ufeff\xef][^\n]*\n\\s*\n(?=\\[)"
"""A line of movetext, blank lines, a line of tags: unless this is inside a comment, a game ends here and another one
begins, by the rules of ``chess.pgn.read_game`` too. (After a line of tags it would not: a blank line may interrupt
them. Behind a byte order mark, or the first byte of one, there may be a tag as well.)"""
_BOUNDARY = re.compile(BOUNDARY.encode())


def split_games(
    blocks: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES, game_bytes: int = GAME_BYTES
) -> Iterator[bytes]:
    """Cut text into chunks of whole games.

    Args:
        blocks: the text, cut anywhere.
        chunk_bytes: text to gather before a chunk is cut off it.
        game_bytes: no more than this is held to find a game's end.
    """
    parts: list[bytes] = []
    held, enough = 0, chunk_bytes
    for block in blocks:
        for start in range(0, len(block), chunk_bytes):
            parts.append(block[start : start + chunk_bytes])
            held += len(parts[-1])
            if held < enough:
                continue
            buffer = b"".join(parts)
            end = _safe_end(buffer) or _forced_end(buffer, held >= game_bytes)
            if end:
                yield buffer[:end]
            parts = [buffer[end:]]
            held -= end
            enough = chunk_bytes if end else 2 * held
    if held:
        yield b"".join(parts)


def _safe_end(buffer: bytes) -> int:
    """The last end of a game that is surely not inside a comment, 0 if there is none."""
    last_open, last_close = buffer.rfind(b"{"), buffer.rfind(b"}")
    for start in (max(0, len(buffer) - (1 << 15)), 0):
        for match in reversed(list(_BOUNDARY.finditer(buffer, start))):
            end = match.end()
            # Each looked for from where it is needed, and what is not there only once: no byte is looked at twice.
            last_open = buffer.rfind(b"{", 0, end) if last_open > end else last_open
            last_close = buffer.rfind(b"}", 0, end) if last_close > end else last_close
            # Only a brace can open a comment; one in a tag makes us wait for a later boundary, no more.
            if last_open <= last_close:
                return end
    return 0


def _forced_end(buffer: bytes, full: bool) -> int:
    """Where to cut a text that has no safe end, 0 if it is better to wait for more.

    python-chess says where the last but one game ends (games without tags, a brace in a tag). If the whole buffer is
    one game to it and no more can be held, a comment was never closed: then the last boundary, comment or not.
    Otherwise everything goes.
    """
    handle = io.StringIO(buffer.decode("latin-1"))
    ends = [0]
    while chess.pgn.skip_game(handle):
        ends.append(handle.tell())
    if len(ends) > 2:
        return ends[-2]
    return max((match.end() for match in _BOUNDARY.finditer(buffer)), default=len(buffer)) if full else 0
