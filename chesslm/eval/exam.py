"""The rules exam: positions that ask about one rule each, with the game that led to them.

Games in, rows out: an item, a position, what is asked there, and for a forbidden move a position in which it is legal
(docs/metrics.md, The rules exam). A game gives an item one row at most, drawn from all that it could ask there, so
that rows are nearly independent.

Half of an item's rows come from the given games, in a random order, if they have so many. The rest are from games made
here: first of uniformly random moves, with numbers that no other game of ours has, then of random moves that make for
what is still missing (``steering``). All work is done in rounds whose size depends on nothing but ``per_item``, so the
exam is the same for any number of processes. These need no torch.

The 11,500 rows of ``per_item=500``, with 300 games given, take 65 s of one core.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import chess
import numpy as np

from chesslm import boards
from chesslm.eval.games import RANDOM_NUMBERS, random_games_of
from chesslm.eval.items import CASTLING, ITEMS, NO_CASTLING, PINNED, Candidate, Finder
from chesslm.eval.steering import steered_game

FIRST_RANDOM = RANDOM_NUMBERS + 100_000_000
"""Numbers of random games from here on are for exams: ``games.from_chance`` makes none that has one."""
GIVEN, RANDOM = SOURCES = ("given", "random")
"""Where a position comes from: the games given, or play by chance, steered or not."""
CHUNK_GAMES = 4
LEAST_ROUND = 32
"""Games looked through before anybody asks what is still missing, at least."""
TRIES = 40
"""Games steered to an item for each of its rows, before it is given up."""


@dataclass(frozen=True)
class Row:
    """A question of the exam.

    Attributes:
        item: one of ``items.ITEMS``.
        game: index into the exam's games.
        ply: the position before this move; the number of its plies for the position after the last one.
        moves: codes of the moves asked about: one, or all the ways out of check of a kind; none where it is about the
            position itself.
        legal: codes of the legal moves.
        control: a position, game and ply, and a move that is legal there: for a forbidden move the same one, for the
            end of a game its last move; None: none is known.
        source: one of ``SOURCES``.
    """

    item: str
    game: int
    ply: int
    moves: tuple[int, ...]
    legal: tuple[int, ...]
    control: tuple[int, int, int] | None
    source: str


@dataclass(frozen=True)
class Exam:
    """Questions about rules.

    Attributes:
        games: moves of the games asked about, legal from the standard start.
        rows: the questions, by item in the order of ``items.ITEMS``.
    """

    games: list[boards.MoveCodes]
    rows: tuple[Row, ...]

    @property
    def positions(self) -> int:
        """How many are asked about, controls included."""
        return len(self.rows) + sum(row.control is not None for row in self.rows)


@dataclass(frozen=True)
class Mined:
    """A game and what it could be asked, one question an item: candidate and legal moves there."""

    codes: boards.MoveCodes
    questions: dict[str, tuple[Candidate, tuple[int, ...]]]


def mine(
    games: Sequence[boards.MoveCodes],
    pool: Executor,
    per_item: int = 500,
    seed: int = 1,
    items: Sequence[str] = ITEMS,
) -> Exam:
    """Set an exam.

    Args:
        games: to take positions from, legal from the standard start; those that the scorers have not been trained on.
            May be empty.
        pool: processes.
        per_item: rows of each item.
        seed: of all that is drawn.
        items: to ask about.
    """
    found, half = _Found(items), per_item // 2
    size = max(LEAST_ROUND, half)
    given = list(enumerate(games))
    np.random.default_rng(seed).shuffle(given)
    for start in range(0, len(given), size):
        if wanted := found.missing(half):
            found.take(_in_pool(pool, _look_through, given[start : start + size], wanted, seed), half, GIVEN)
    for start in range(0, per_item, size):
        if wanted := found.missing(per_item):
            numbers = range(FIRST_RANDOM + start, FIRST_RANDOM + start + size)
            found.take(_in_pool(pool, _play, numbers, wanted, seed), per_item, RANDOM)
    tries, number = dict.fromkeys(items, 0), 0
    while wanted := [item for item in found.missing(per_item) if tries[item] < TRIES * per_item]:
        goals = [(number + i, wanted[i % len(wanted)]) for i in range(size)]
        for _, goal in goals:
            tries[goal] += 1
        number += size
        found.take(_in_pool(pool, _steer, goals, wanted, seed), per_item, RANDOM)
    return Exam(found.games, tuple(_with_controls(found, seed)))


class _Found:
    """Rows found so far, and their games."""

    def __init__(self, items: Sequence[str]) -> None:
        self.games: list[boards.MoveCodes] = []
        self.rows: dict[str, list[Row]] = {item: [] for item in items}
        self._asked: set[tuple[str, tuple[int, ...], bytes]] = set()

    def missing(self, enough: int) -> list[str]:
        """Items that have fewer rows than that."""
        return [item for item, rows in self.rows.items() if len(rows) < enough]

    def take(self, mined: Iterable[Mined], enough: int, source: str) -> None:
        """Add what some games could be asked, up to so many rows an item, no two alike."""
        for game in mined:
            number = len(self.games)
            for item, (candidate, legal) in game.questions.items():
                key = item, candidate.moves, game.codes[: candidate.ply].tobytes()
                if len(self.rows[item]) < enough and key not in self._asked:
                    self._asked.add(key)
                    control = (number, *candidate.control) if candidate.control else None
                    row = Row(item, number, candidate.ply, candidate.moves, legal, control, source)
                    self.rows[item].append(row)
                    self.games[number:] = [game.codes]


def _with_controls(found: _Found, seed: int) -> Iterator[Row]:
    """All rows; those whose control is in another game get it.

    Forbidden castling is compared with the castling allowed of its side, wing and source (if there is none, of the
    other source), each in turn. The move of a pinned piece that had no chance to make it before is compared with the
    same piece's in any position of the exam.
    """
    rng = random.Random(f"{seed} controls")
    rows = [row for of_item in found.rows.values() for row in of_item]
    castling: dict[tuple[int, str], list[Row]] = {}
    for row in rng.sample(rows, len(rows)):
        if row.item in CASTLING:
            castling.setdefault((row.moves[0], row.source), []).append(row)
    pinned = {row.moves[0]: list[Row]() for row in rows if row.item == PINNED and not row.control}
    for row in rng.sample(rows, len(rows)):
        for move in pinned.keys() & row.legal:
            pinned[move].append(row)
    used = Counter[tuple[str, int, str]]()
    for row in rows:
        control = None
        if row.item in NO_CASTLING:
            sources = row.source, *SOURCES
            allowed = next((castling[row.moves[0], each] for each in sources if (row.moves[0], each) in castling), [])
            key = row.item, row.moves[0], row.source
            control = allowed[used[key] % len(allowed)] if allowed else None
            used[key] += 1
        elif row.item == PINNED and not row.control:
            piece = _piece(found.games, row, row.moves[0])
            control = next(
                (each for each in pinned[row.moves[0]] if _piece(found.games, each, row.moves[0]) == piece), None
            )
        yield replace(row, control=(control.game, control.ply, row.moves[0])) if control else row


def _piece(games: Sequence[boards.MoveCodes], row: Row, move: int) -> chess.Piece | None:
    """The piece that makes a move in the position of a row."""
    board = boards.board_after(games[row.game][: row.ply])
    return board.piece_at(boards.code_move(move).from_square)


def _in_pool(
    pool: Executor, work: Callable[..., list[Mined]], tasks: Sequence[Any], wanted: Sequence[str], seed: int
) -> Iterator[Mined]:
    """What comes of tasks, in their order."""
    chunks = [tasks[i : i + CHUNK_GAMES] for i in range(0, len(tasks), CHUNK_GAMES)]
    for mined in pool.map(work, chunks, [wanted] * len(chunks), [seed] * len(chunks)):
        yield from mined


# In a worker


def _look_through(games: Sequence[tuple[int, boards.MoveCodes]], wanted: Sequence[str], seed: int) -> list[Mined]:
    mined: list[Mined] = []
    for number, codes in games:
        finder = Finder(wanted)
        for board in boards.replay(boards.to_moves(codes)):
            finder.look(board)
        mined.append(_drawn(codes, finder, f"{seed} {number}"))
    return mined


def _play(numbers: range, wanted: Sequence[str], seed: int) -> list[Mined]:
    codes = [game.codes for game in random_games_of(numbers, seed)]
    return _look_through(list(zip(numbers, codes, strict=True)), wanted, seed)


def _steer(goals: Sequence[tuple[int, str]], wanted: Sequence[str], seed: int) -> list[Mined]:
    mined: list[Mined] = []
    for number, goal in goals:
        finder, label = Finder(wanted), f"{seed} steered {number}"
        codes = steered_game(goal, finder, random.Random(label))
        mined.append(_drawn(codes, finder, label))
    return mined


def _drawn(codes: boards.MoveCodes, finder: Finder, label: str) -> Mined:
    """One question an item."""
    questions = {}
    for item, candidates in finder.found.items():
        if candidates:
            chosen = random.Random(f"{label} {item}").choice(candidates)
            questions[item] = (chosen, finder.legal[chosen.ply])
    return Mined(codes, questions)
