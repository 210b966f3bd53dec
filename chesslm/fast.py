"""The moves of many games from their words, all at once: by a reader in Rust where the extra ``fast`` is installed.

It is asked only for games of standard SAN, which it and python-chess understand alike, and believed only where it
finds every move legal. Any other game is read by ``san``, and by python-chess if need be, so that the moves are the
same with the extra and without.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from chesslm import boards
from chesslm.san import read_moves

# No pawn takes without its file: the reader would find one that can, and python-chess does not.
STANDARD = r"[NBRQK][a-h]?[1-8]?x?[a-h][1-8]|(?:[a-h]x)?[a-h][1-8](?:=[NBRQ])?|O-O(?:-O)?"
"""Regular expression of a move in standard SAN without check marks."""
_STANDARD = re.compile(STANDARD)
_known = set[str]()
"""Words that are in it; there are fewer than 30,000."""


def read_many(games: Sequence[Sequence[str]]) -> list[boards.MoveCodes | None]:
    """The moves of games from the standard start; None where it takes python-chess to say.

    Args:
        games: of each its moves, SAN without check marks, e.g. ``["e4", "Nf6", "O-O"]``; at least one.
    """
    found: list[boards.MoveCodes | None] = [None] * len(games)
    if reader := _reader():
        asked = [number for number, game in enumerate(games) if _is_standard(game)]
        for number, codes in zip(asked, _read(reader, (games[number] for number in asked)), strict=True):
            found[number] = codes if codes is not None and len(codes) == len(games[number]) else None
    for number, game in enumerate(games):
        if found[number] is None and (read := read_moves(game)) is not None:
            found[number] = np.array(read, np.uint16)
    return found


@cache
def _reader() -> Any:
    """The reader, if it is installed; imported here, since with pyarrow it takes a quarter of a second."""
    try:
        import rust_pgn_reader_python_binding
    except ImportError:
        return None
    return rust_pgn_reader_python_binding


def _is_standard(game: Sequence[str]) -> bool:
    if _known.issuperset(game):
        return True
    new = {word for word in game if word not in _known}
    if not all(map(_STANDARD.fullmatch, new)):
        return False
    _known.update(new)
    return True


def _read(reader: Any, games: Iterable[Sequence[str]]) -> Iterator[boards.MoveCodes | None]:
    """The moves of each game as the reader finds them, None where one is not legal."""
    texts = [" ".join(game) for game in games]
    if not texts:
        return
    try:
        parsed = reader.parse_games_from_strings(texts, num_threads=1)
    except BaseException as error:
        # A panic in Rust, which pyo3 makes no Exception of. None is known; it would end a worker process.
        if type(error).__name__ != "PanicException":
            raise
        yield from [None] * len(texts)
        return
    for chunk in parsed.chunks:
        promotions = np.maximum(chunk.promotions, 0).astype(np.uint16)
        codes = chunk.from_squares | chunk.to_squares.astype(np.uint16) << 6 | promotions << 12
        ends = chunk.move_offsets.tolist()
        for valid, start, stop in zip(chunk.valid.tolist(), ends, ends[1:], strict=False):
            yield codes[start:stop] if valid else None
