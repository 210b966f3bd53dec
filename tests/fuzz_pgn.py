"""Fuzzes the PGN reader: any bytes as a text and as a file, compressed or not (``fuzzing`` says how it is run)."""

import bz2
import gzip
from collections.abc import Generator, Iterator
from itertools import islice

import zstandard
from fuzzing import instrumented, run

with instrumented():
    from hostile import BOMBS, PIECES, check, real_games

    from chesslm.errors import InputError
    from chesslm.streams import Source


CHUNKS, LONG = 4, 1 << 16
"""How many chunks are looked at, and how much of each: 457 bytes that were found are 13 MB unpacked, and took 28 s."""


class Given(Source):
    """A file that is not there, with these bytes in it."""

    data: bytes = b""

    def _raw(self) -> Generator[bytes, None, None]:
        for at in range(0, len(self.data), 100):
            yield self.data[at : at + 100]


def one(data: bytes) -> None:
    """Both roads read the same of it, all legal, as python-chess does; and an error is one line."""
    check(data)
    source = Given("x")
    source.data = data
    try:
        for chunk in islice(source.chunks(), CHUNKS):
            check(chunk[:LONG])
    except InputError as error:
        assert "\n" not in str(error), error


def seeds() -> Iterator[bytes]:
    """Real games, small bombs, and both compressed."""
    texts = [*real_games(10), *(bomb(300) for bomb in BOMBS.values())]
    yield from texts
    for number, text in enumerate(texts):
        yield (gzip.compress, bz2.compress, zstandard.ZstdCompressor().compress)[number % 3](text)


if __name__ == "__main__":
    run("pgn", one, seeds(), PIECES)
