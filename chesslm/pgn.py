"""PGN to games: files, URLs or standard input in, games as move codes out, in input order.

    stream -> chunks of whole games (this process) -> games (worker processes) -> games in order

How a chunk is read is told in ``parsing``.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from typing import TypeVar

from chesslm import parallel
from chesslm.errors import InputError
from chesslm.game import Dropped, Game
from chesslm.parsing import NOT_A_GAME, Parsed, parse_chunk
from chesslm.streams import Source

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


def read_chunks(
    sources: Sequence[Source], parse: Callable[[bytes, str], Parsed[T]], workers: parallel.Workers = 0
) -> Generator[tuple[Source, Parsed[T]], None, None]:
    """What several inputs hold, a chunk of games at a time, each with the input that it is from, in input order.

    A truncated input gives its whole games, and a warning on stderr. Close the generator to stop early.

    Args:
        sources: each is read once.
        parse: reads a chunk, given the name of its file, in a worker process.
        workers: who parses.

    Raises:
        InputError: an input is missing, empty, corrupt, or has no game in it.
        FailureError: reading failed or a worker died.
    """
    with parallel.pool(workers) as executor, closing(_chunks(sources)) as chunks:
        ahead = 2 * parallel.width(executor) + 2
        games, marked = 0, False
        for (source, last, ends_in_newline), parsed in parallel.in_order(executor, parse, chunks, ahead):
            games += sum(item != NOT_A_GAME for item in parsed.items)
            marked = marked or parsed.marked or (parsed.ended and not last)
            if last:
                source.truncated |= not parsed.ended and _cut(parsed.items, ends_in_newline, marked)
                if not games:
                    why = "truncated before its first game ends" if source.truncated else "no chess game in it"
                    raise InputError(f"{source.where}: {why}; is it a whole PGN?")
                if source.truncated:
                    if parsed.items and not parsed.ended:
                        parsed.items[-1] = Dropped("truncated")
                    print(f"chesslm: {source.where} is truncated; only its whole games are read", file=sys.stderr)
                games, marked = 0, False
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
