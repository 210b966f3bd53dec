"""Puzzles with the game that leads to them: mates in one by the rules, and tactics by the judgement of a UCI engine.

Games in, ``Puzzles`` out: positions, the moves that solve them, and what groups them. A game gives one puzzle at most.
Games are looked through in a random order until there are enough; the outcome is the same for any number of processes,
given the same engine (it is asked for a fixed number of nodes, on one thread, with its hash cleared before each
position). A second of one core looks through 60 games for mates, and through 7 for tactics. These need no torch.
"""

import asyncio
import logging
import random
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import chess
import chess.engine
import numpy as np

from chesslm import boards
from chesslm.engines import ENGINE_SECONDS, engine_command, open_engine
from chesslm.errors import InputError
from chesslm.eval.positions import PHASES, game_phase

MARGIN = 200
"""By how many centipawns the engine holds the best move better than the next."""
LEAST = 100
"""Centipawns that it holds the position worth after the best move."""
MATE = 10_000
"""Centipawns that a mate counts, less its moves."""
NODES = 20_000
"""That an engine looks at in a position: 13 ms of Stockfish 15.1."""
TRIES = 10
"""Positions of a game that an engine is shown at most."""
CHUNK_GAMES = 8
ROUND = 64
"""Games looked through before anybody asks whether there are enough."""


@dataclass(frozen=True)
class Puzzle:
    """A position to be solved by one move.

    Attributes:
        game: index into the games of the puzzles.
        ply: the position before this move; the number of its plies for the position after the last one.
        solutions: codes of the moves that solve it.
        legal: codes of the legal moves.
        phase: index into ``positions.PHASES``.
        pieces: types of the pieces that a solution moves, 1 (pawn) to 6 (king).
        played: whether the game went on with a solution.
    """

    game: int
    ply: int
    solutions: tuple[int, ...]
    legal: tuple[int, ...]
    phase: int
    pieces: frozenset[int]
    played: bool


@dataclass(frozen=True)
class Puzzles:
    """Puzzles, and the moves of the games that they are from."""

    games: list[boards.MoveCodes]
    rows: tuple[Puzzle, ...]


@dataclass(frozen=True)
class Position:
    """A position of a game with its phase; a game never goes back to an earlier phase."""

    board: chess.Board
    phase: int


def mates_in_one(games: Sequence[boards.MoveCodes], pool: Executor, limit: int = 1000, seed: int = 1) -> Puzzles:
    """Positions in which the side to move can mate at once, whatever the game went on with.

    Args:
        games: legal from the standard start.
        pool: processes.
        limit: puzzles wanted.
        seed: of the order of the games, and of the position drawn from each.
    """
    return _mine(_find_mates, games, pool, limit, seed)


def engine_puzzles(
    games: Sequence[boards.MoveCodes],
    engine: str,
    pool: Executor,
    limit: int = 500,
    seed: int = 1,
    nodes: int = NODES,
) -> Puzzles:
    """Positions in which an engine finds one move much better than all others (docs/metrics.md, Puzzles).

    Args:
        games: legal from the standard start.
        engine: command line of a UCI engine that knows MultiPV, with or without ``uci:`` before it.
        pool: processes, each with an engine of its own.
        limit: puzzles wanted.
        seed: of the order of the games, and of the positions tried in each.
        nodes: that the engine looks at in a position.

    Raises:
        InputError: the command is no UCI engine.
        FailureError: the engine died, went silent or broke a rule.
    """
    find = partial(_find_tactics, command=engine_command(engine.removeprefix("uci:")), nodes=nodes)
    return _mine(find, games, pool, limit, seed)


Found = tuple[boards.MoveCodes, Puzzle]


def _mine(
    find: Callable[..., list[Found]], games: Sequence[boards.MoveCodes], pool: Executor, limit: int, seed: int
) -> Puzzles:
    """Puzzles by ``find`` from games in a random order."""
    numbered = list(enumerate(games))
    np.random.default_rng(seed).shuffle(numbered)
    chosen: list[Found] = []
    for start in range(0, len(numbered), ROUND):
        if len(chosen) < limit:
            of_round = numbered[start : start + ROUND]
            chunks = [of_round[i : i + CHUNK_GAMES] for i in range(0, len(of_round), CHUNK_GAMES)]
            chosen += [found for chunk in pool.map(find, chunks, [seed] * len(chunks)) for found in chunk]
    rows = tuple(replace(puzzle, game=i) for i, (_, puzzle) in enumerate(chosen[:limit]))
    return Puzzles([codes for codes, _ in chosen[:limit]], rows)


# In a worker


def _find_mates(games: Sequence[tuple[int, boards.MoveCodes]], seed: int) -> list[Found]:
    found: list[Found] = []
    for number, codes in games:
        mates = [(position, moves) for position in _positions(codes) if (moves := mating_moves(position.board))]
        if mates:
            position, moves = random.Random(f"{seed} {number}").choice(mates)
            found.append((codes, _puzzle(codes, position, moves)))
    return found


def _find_tactics(
    games: Sequence[tuple[int, boards.MoveCodes]], seed: int, command: list[str], nodes: int
) -> list[Found]:
    # Where an engine's best move is illegal python-chess tells this logger alone, and we hear nothing until time is up.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return asyncio.run(_tactics(games, seed, command, nodes))


async def _tactics(
    games: Sequence[tuple[int, boards.MoveCodes]], seed: int, command: list[str], nodes: int
) -> list[Found]:
    found: list[Found] = []
    async with open_engine(command) as engine:
        if "MultiPV" not in engine.options:
            raise InputError(f"{shlex.join(command)} shows one line alone (no MultiPV); name an engine that shows two")
        for number, codes in games:
            positions = _positions(codes)
            tries = random.Random(f"{seed} {number}").sample(range(len(positions)), min(TRIES, len(positions)))
            for position in (positions[i] for i in tries):
                move = await _best_by_far(engine, position.board, nodes)
                if move:
                    found.append((codes, _puzzle(codes, position, [move])))
                    break
    return found


async def _best_by_far(engine: chess.engine.UciProtocol, board: chess.Board, nodes: int) -> chess.Move | None:
    """The move that solves a position, if there is one and it is neither a mate in one nor takes a piece back."""
    if board.legal_moves.count() < 2 or mating_moves(board):
        return None
    # A new game makes python-chess send ``ucinewgame``, which clears the hash.
    limit = chess.engine.Limit(nodes=nodes)
    analysis = asyncio.ensure_future(engine.analyse(board, limit, multipv=2, game=object()))
    # Not wait_for: python-chess waits for ever for the end of an engine whose analysis was cancelled.
    if not (await asyncio.wait([analysis], timeout=ENGINE_SECONDS))[0]:
        raise TimeoutError
    lines = analysis.result()
    best, second, *_ = (*(_worth(line, board.turn) for line in lines), None, None)
    by_far = best is not None and second is not None and best >= LEAST and best - second >= MARGIN
    move = next(iter(lines[0].get("pv", [])), None) if by_far else None
    return None if move is None or _takes_back(board, move) else move


def _worth(line: chess.engine.InfoDict, color: chess.Color) -> int | None:
    """Centipawns that an engine gives to a side."""
    score = line.get("score")
    return score.pov(color).score(mate_score=MATE) if score else None


def _takes_back(board: chess.Board, move: chess.Move) -> bool:
    """Whether a move takes the piece that has just taken."""
    if not board.move_stack or move.to_square != board.peek().to_square:
        return False
    last = board.pop()
    taken = board.is_capture(last)
    board.push(last)
    return taken


def mating_moves(board: chess.Board) -> list[chess.Move]:
    """The moves that mate at once; the board is as before afterwards."""
    found: list[chess.Move] = []
    for move in list(board.generate_legal_moves()):
        if board.gives_check(move):
            board.push(move)
            if board.is_checkmate():
                found.append(move)
            board.pop()
    return found


def _positions(codes: boards.MoveCodes) -> list[Position]:
    """The positions of a game in which there is a move to make."""
    found: list[Position] = []
    phase = 0
    for board in boards.replay(boards.to_moves(codes)):
        phase = max(phase, game_phase(board)) if phase < len(PHASES) - 1 else phase
        found.append(Position(board.copy(), phase))
    return found


def _puzzle(codes: boards.MoveCodes, position: Position, solutions: Sequence[chess.Move]) -> Puzzle:
    board, ply = position.board, position.board.ply()
    moves = tuple(map(boards.move_code, solutions))
    return Puzzle(
        game=0,
        ply=ply,
        solutions=moves,
        legal=tuple(boards.legal_codes(board)),
        phase=position.phase,
        pieces=frozenset(board.piece_type_at(move.from_square) or 0 for move in solutions),
        played=ply < len(codes) and codes[ply] in moves,
    )
