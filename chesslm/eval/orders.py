"""Pairs of games up to a position: other move orders to the same position, and other positions that lie near.

Games in, pairs out. The same position means the same squares, side to move, castling rights, legal en passant and
number of earlier occurrences, which is all that a legal move can depend on but the fifty-move clock. python-chess is
the judge. Of each game at most one pair of each kind is made, at a random ply.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import chess
import numpy as np

from chesslm import boards

MINED, SWAPPED, NEAR = "mined", "swapped", "near"
FIRST = 8
"""Positions are taken after so many plies at least: before, everything is known by heart."""
BACK = 12
"""Plies before the position in which moves are exchanged or replaced."""
TRIES = 40
CHUNK_GAMES = 8


class Key(NamedTuple):
    """A position as far as legal moves depend on it."""

    fen: str
    before: int


@dataclass(frozen=True)
class Pair:
    """Two games up to a position.

    Attributes:
        kind: ``mined``: the same position, in two of the games; ``swapped``: the same, two moves of one side
            exchanged; ``near``: one piece stands elsewhere, and other moves are legal.
        game: index of the first one's game.
        moves: codes of both.
        legal: codes of the moves that are legal behind each.
    """

    kind: str
    game: int
    moves: tuple[boards.MoveCodes, boards.MoveCodes]
    legal: tuple[frozenset[int], frozenset[int]]

    @property
    def either(self) -> boards.MoveCodes:
        """Codes of the moves that are legal behind either, rising."""
        return np.array(sorted(self.legal[0] | self.legal[1]), np.uint16)


def make_pairs(games: Sequence[boards.MoveCodes], seed: int, pool: Executor) -> list[Pair]:
    """Pairs of each kind from games, in the order of the games.

    Args:
        games: their moves.
        seed: of plies, and of what is exchanged or replaced.
        pool: processes, for the rules of chess.
    """
    numbers = range(0, len(games), CHUNK_GAMES)
    chunks = [list(enumerate(games))[i : i + CHUNK_GAMES] for i in numbers]
    built = pool.map(_build, chunks, [seed] * len(chunks))
    return [*_mined(games, seed), *(pair for chunk in built for pair in chunk)]


def _mined(games: Sequence[boards.MoveCodes], seed: int) -> Iterator[Pair]:
    """The same position in two games that came there in other ways; of a position one pair, of a game one."""
    random = np.random.default_rng(seed)
    found: dict[Key, tuple[int, int]] = {}
    used = set[int]()
    for game in random.permutation(len(games)).tolist():
        for ply, key in enumerate(keys_of(games[game])):
            if ply < FIRST:
                continue
            first, at = found.setdefault(key, (game, ply))
            mine, other = games[game][:ply], games[first][:at]
            if first != game and not {first, game} & used and not np.array_equal(mine, other):
                used |= {first, game}
                legal = legal_of(mine)
                yield Pair(MINED, game, (mine, other), (legal, legal))


def _build(chunk: Sequence[tuple[int, boards.MoveCodes]], seed: int) -> list[Pair]:
    pairs = []
    for number, codes in chunk:
        random = np.random.default_rng([seed, number])
        for kind, others in ((SWAPPED, _swapped), (NEAR, _replaced)):
            for _ in range(TRIES if len(codes) > FIRST else 0):
                ply = int(random.integers(FIRST, len(codes) + 1))
                mine = codes[:ply]
                other = others(mine, random)
                if other is not None and _right(kind, mine, other):
                    pairs.append(Pair(kind, number, (mine, other), (legal_of(mine), legal_of(other))))
                    break
    return pairs


def _swapped(codes: boards.MoveCodes, random: np.random.Generator) -> boards.MoveCodes | None:
    """Two moves of one side exchanged, both among the last ones."""
    first = int(random.integers(max(len(codes) - BACK, 0), len(codes)))
    second = first + 2 * int(random.integers(1, 4))
    if second >= len(codes) or codes[first] == codes[second]:
        return None
    other = codes.copy()
    other[[first, second]] = codes[[second, first]]
    return other if _is_legal(other) else None


def _replaced(codes: boards.MoveCodes, random: np.random.Generator) -> boards.MoveCodes | None:
    """One of the last moves replaced by another of the same piece."""
    at = int(random.integers(max(len(codes) - BACK, 0), len(codes)))
    board = boards.board_after(codes[:at])
    options = [code for code in boards.legal_codes(board) if code & 63 == codes[at] & 63 and code != codes[at]]
    if not options:
        return None
    other = codes.copy()
    other[at] = options[int(random.integers(len(options)))]
    return other if _is_legal(other) else None


def _right(kind: str, mine: boards.MoveCodes, other: boards.MoveCodes) -> bool:
    *_, here = keys_of(mine)
    *_, there = keys_of(other)
    if kind == SWAPPED:
        return here == there
    boards_of = [chess.Board(f"{key.fen} 0 1").piece_map() for key in (here, there)]
    different = [at for at in chess.SQUARES if boards_of[0].get(at) != boards_of[1].get(at)]
    pieces = [[each[at] for at in different if at in each] for each in boards_of]
    return len(different) == 2 and len(pieces[0]) == 1 and pieces[0] == pieces[1] and legal_of(mine) != legal_of(other)


def _is_legal(codes: boards.MoveCodes) -> bool:
    moves = boards.to_moves(codes)
    return all(
        boards.illegal_kind(board, move) is None for board, move in zip(boards.replay(moves), moves, strict=False)
    )


def keys_of(codes: boards.MoveCodes) -> Iterator[Key]:
    """The position before each move of a game and after the last one."""
    seen: dict[str, int] = {}
    for board in boards.replay(boards.to_moves(codes)):
        fen = board.fen(en_passant="legal").rsplit(" ", 2)[0]
        yield Key(fen, seen.get(fen, 0))
        seen[fen] = seen.get(fen, 0) + 1


def legal_of(codes: boards.MoveCodes) -> frozenset[int]:
    """Codes of the legal moves behind a game."""
    return frozenset(boards.legal_codes(boards.board_after(codes)))
