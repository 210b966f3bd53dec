"""PGN to games: files, URLs or standard input in, games as move codes out, in input order.

    stream -> chunks of whole games (this process) -> games (worker processes) -> games in order

How a chunk is read is told in ``parsing``.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from chesslm import parallel
from chesslm.errors import InputError
from chesslm.game import Dropped, Game
from chesslm.parsing import NOT_A_GAME, RESULTS, Parsed, parse_chunk
from chesslm.streams import Source

MARKERS = tuple(marker.encode() for marker in RESULTS)

T = TypeVar("T")


def read_games(
    sources: Sequence[Source], workers: parallel.Workers = 0
) -> Generator[tuple[Source, Game | Dropped], None, None]:
    """All games of several inputs, usable or not, each with the input that it is from, in input order.

    Close the generator to stop early. Arguments and errors are those of ``read_chunks``.
    """
    with closing(read_chunks(sources, parse_chunk, workers)) as chunks:
        for source, parsed in chunks:
            for game in parsed.items:
                yield source, game


@dataclass
class Place:
    """How far inputs are read.

    Attributes:
        chunks: of all inputs, read so far.
        digest: of the last of them and of all before it, in hex.
        games: so far, in the input that is being read.
        marked: whether any of them ended with a termination marker.
    """

    chunks: int = 0
    digest: str = ""
    games: int = 0
    marked: bool = False


@dataclass(frozen=True)
class Share:
    """One of several shares that inputs are cut into by their bytes, so that several machines can read them.

    Attributes:
        number: from 0.
        of: how many there are.
    """

    number: int
    of: int

    @staticmethod
    def read(text: str) -> "Share":
        """The share that is written so: 2/8 is the second of eight.

        Raises:
            InputError: it is malformed.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard takes a number out of how many, such as 2/8, not {text!r}")
        return Share(int(match[1]) - 1, int(match[2]))


WHOLE = Share(0, 1)


def read_chunks(
    sources: Sequence[Source],
    parse: Callable[[bytes, str], Parsed[T]],
    workers: parallel.Workers = 0,
    place: Place | None = None,
    share: Share = WHOLE,
) -> Generator[tuple[Source, Parsed[T]], None, None]:
    """What several inputs hold, a chunk of games at a time, each with the input that it is from, in input order.

    A truncated input gives its whole games, and a warning on stderr. Close the generator to stop early.

    Args:
        sources: each is read once.
        parse: reads a chunk, given the name of its file, in a worker process.
        workers: who parses.
        place: where to go on, kept up to date with what is given out.
        share: what of the inputs to read.

    Raises:
        InputError: an input is missing, empty, corrupt, has no game in it, or is not what it was up to ``place``; or
            it is to be shared and its size is not known.
        FailureError: reading failed or a worker died.
    """
    at = place or Place()
    with parallel.pool(workers) as executor, closing(_chunks(sources, at, share)) as chunks:
        ahead = 2 * parallel.width(executor) + 2
        for (source, last, in_newline, digest, marked), parsed in parallel.in_order(executor, parse, chunks, ahead):
            at.chunks, at.digest = at.chunks + 1, digest
            at.games += sum(item != NOT_A_GAME for item in parsed.items)
            at.marked = at.marked or marked or parsed.marked or (parsed.ended and not last)
            if last:
                source.truncated |= not parsed.ended and _cut(parsed.items, in_newline, at.marked)
                if not at.games and share == WHOLE:
                    why = "truncated before its first game ends" if source.truncated else "no chess game in it"
                    raise InputError(f"{source.where}: {why}; is it a whole PGN?")
                if source.truncated:
                    if parsed.items and not parsed.ended:
                        parsed.items[-1] = Dropped("truncated")
                    print(f"chesslm: {source.where} is truncated; only its whole games are read", file=sys.stderr)
                at.games, at.marked = 0, False
            yield source, parsed


def _cut(items: Sequence[object], ends_in_newline: bool, marked: bool) -> bool:
    """Whether a text whose last game has no termination marker was cut: if it ends in mid-line or others have one."""
    return bool(items) and (not ends_in_newline or (marked and items[-1] != NOT_A_GAME))


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
    sources: Sequence[Source], place: Place, share: Share
) -> Generator[tuple[tuple[Source, bool, bool, str, bool], tuple[bytes, str]], None, None]:
    """Each chunk of a share, from a place on; with its source, whether it is the last one of it, whether it ends in a
    newline, the digest up to it, and whether a game of its input in another share ended with a termination marker.
    """
    hashed, passed, (skip, known) = hashlib.blake2b(digest_size=16), 0, (place.chunks, place.digest)
    for source, chunk, last, marked in _of_share(sources, share):
        hashed.update(chunk)
        passed += 1
        if passed > skip:
            yield (source, last, chunk.endswith(b"\n"), hashed.hexdigest(), marked), (chunk, source.name)
        elif passed == skip and hashed.hexdigest() != known:
            break
    if passed < skip or (passed == skip > 0 and hashed.hexdigest() != known):
        raise InputError(
            f"{sources[0].where}: not the input that the interrupted run read; begin anew without --resume"
        )


def _of_share(sources: Sequence[Source], share: Share) -> Iterator[tuple[Source, bytes, bool, bool]]:
    """The chunks of a share, whether each is the last one of its input, and whether one before the share ends with a
    termination marker.

    A chunk is in the share that the compressed bytes read by its end fall in: the same on every machine.
    """
    sizes = [source.size for source in sources]
    if share != WHOLE and None in sizes:
        raise InputError(f"{sources[sizes.index(None)].where}: to be shared it must be a file, whose size is known")
    before, total = 0, sum(size or 0 for size in sizes)
    for source in sources:
        with closing(source.chunks()) as chunks:
            chunk, marked = next(chunks, b""), False
            while chunk is not None:
                number = share.of * (before + source.read - 1) // total if share != WHOLE else 0
                following = next(chunks, None)
                if number > share.number:
                    return
                if number == share.number:
                    yield source, chunk, following is None, marked
                marked = marked or (number < share.number and chunk[-99:].rstrip().endswith(MARKERS))
                chunk = following
        before += source.size or 0
