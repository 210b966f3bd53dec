"""The moves of many games from their words, and their legal moves, by a reader in Rust where ``fast`` is installed.

It is asked only for games of standard SAN, which it and python-chess understand alike, and believed only where it
finds every move legal. Any other game is read by ``san``, and by python-chess if need be, so that the moves are the
same with the extra and without; so are the legal ones, which come in the order of their codes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.san import read_moves
from chesslm.words import san_stem

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
        read = list(_read(reader, (games[number] for number in asked)))
        for number, codes in zip(asked, read, strict=len(read) > 0):
            found[number] = codes if codes is not None and len(codes) == len(games[number]) else None
    for number, game in enumerate(games):
        if found[number] is None and (read := read_moves(game)) is not None:
            found[number] = np.array(read, np.uint16)
    return found


def legal_moves(games: Sequence[boards.MoveCodes]) -> list[tuple[boards.MoveCodes, NDArray[np.int64]]]:
    """The legal moves before each move of games of legal moves, from the standard start.

    Returns:
        For each game their codes, one position after the other, rising in each, (moves of all positions,); and how many
        each position has, (plies,).
    """
    if not (reader := _reader()):
        return [_legal_here(game) for game in games]
    texts = [" ".join(_words(game)) for game in games if len(game)]
    found = _legal_in(reader, texts) if texts else iter(())
    return [legal if len(game) and (legal := next(found, None)) is not None else _legal_here(game) for game in games]


def _legal_here(game: boards.MoveCodes) -> tuple[boards.MoveCodes, NDArray[np.int64]]:
    """The same by python-chess."""
    moves = boards.to_moves(game)
    legal = [sorted(boards.legal_codes(board)) for _, board in zip(moves, boards.replay(moves), strict=False)]
    return np.array(list(chain.from_iterable(legal)), np.uint16), np.array(list(map(len, legal)), np.int64)


def _words(game: boards.MoveCodes) -> list[str]:
    """The moves of a game in SAN with all the disambiguation that there is, for which no board is looked at."""
    before = zip(game.tolist(), boards.types_before(game), strict=True)
    return [_word(code, types[code & 63], types[code >> 6 & 63] > 0) for code, types in before]


@cache
def _word(code: int, kind: int, captures: bool) -> str:
    return san_stem(code, kind, chess.SQUARE_NAMES[code & 63], captures)


def _legal_in(reader: Any, texts: list[str]) -> Iterator[tuple[boards.MoveCodes, NDArray[np.int64]] | None]:
    """The legal moves of each game, None where the reader finds a move illegal."""
    for chunk in _chunks(reader, texts, store_legal_moves=True):
        codes = _codes(chunk.legal_move_from_squares, chunk.legal_move_to_squares, chunk.legal_move_promotions)
        ends = chunk.legal_move_offsets.astype(np.int64)
        # One number for position and code sorts five times as fast as two. They come in runs, which a stable sort goes
        # by: all of this takes 0.6 of the time that it takes with the default, which is slow with AVX-512 on Zen 4.
        places = np.repeat(np.arange(len(ends) - 1) << 16, np.diff(ends)) | codes
        codes = np.sort(places, kind="stable").astype(np.uint16)
        games = chunk.position_offsets.tolist()
        for valid, start, stop in zip(chunk.valid.tolist(), games, games[1:], strict=False):
            # The last position has no move behind it.
            of_game = ends[start:stop]
            yield (codes[of_game[0] : of_game[-1]], np.diff(of_game)) if valid else None


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
    for chunk in _chunks(reader, texts):
        codes = _codes(chunk.from_squares, chunk.to_squares, chunk.promotions)
        ends = chunk.move_offsets.tolist()
        for valid, start, stop in zip(chunk.valid.tolist(), ends, ends[1:], strict=False):
            yield codes[start:stop] if valid else None


def _chunks(reader: Any, texts: list[str], **options: bool) -> Sequence[Any]:
    """What the reader finds, as flat arrays over games."""
    try:
        return reader.parse_games_from_strings(texts, num_threads=1, **options).chunks
    except BaseException as error:
        # A panic in Rust, which pyo3 makes no Exception of, would end a worker process. None is known.
        if type(error).__name__ != "PanicException":
            raise
        return ()


def _codes(origins: NDArray[np.uint8], targets: NDArray[np.uint8], promotions: NDArray[np.int8]) -> boards.MoveCodes:
    """Move codes; the reader's promotion is -1 where there is none."""
    codes = origins | targets.astype(np.uint16) << 6 | np.maximum(promotions, 0).astype(np.uint16) << 12
    return codes.astype(np.uint16)
