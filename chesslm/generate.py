"""Games made here: by uniformly random legal moves, or by a UCI engine at varied strength. Out comes PGN.

Everything about game ``i`` is drawn from a generator seeded with ``(seed, i)``, so the file is the same for any number
of workers. An engine is asked for a fixed number of nodes on one thread with its hash cleared before each game, and
every weakness (few nodes, random moves mixed in) is drawn here, not by the engine (Stockfish seeds ``Skill Level`` with
the clock): its games come out the same again too, given the same version of it.

Games are made in chunks by a pool of processes and written in order as a stream; a game with the moves of an earlier
one is left out and one more is made in its place. A second of one core makes about 100 random games, four
times as many with the extra ``fast`` (``playout``), or 16 of Stockfish.
"""

import asyncio
import bz2
import gzip
import hashlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import chess
import chess.engine

from chesslm import engines, parallel
from chesslm.errors import InputError
from chesslm.files import atomic
from chesslm.playout import Played, play_at_random
from chesslm.progress import counting

MAX_PLIES = 300
"""A game that has not ended by then is left unfinished, with the result ``*``."""
OPENING_PLIES = (2, 12)
"""Fewest and most random plies before an engine's first move."""
NODES = (10, 1000)
"""Fewest and most nodes an engine looks at for a move, log-uniform, drawn for each side of each game."""
MAX_SLIPS = 0.25
"""Half of the sides play a random move instead of the engine's with a chance drawn up to this; the others never."""
RANDOM_EVENT = "Uniformly random legal moves"
"""The tag ``Event`` of a game in which each move was drawn from the legal ones, all alike."""
MOST_GAMES = 10**12
CHUNK = 50
"""Most games made in one go by a worker."""

MakeGames = Callable[[range], list[str]]
"""Numbers of games -> the PGN of each. Must be picklable."""


def generate(
    out: Path, *, games: int, by: str = "random", seed: int = 1, workers: parallel.Workers = 0, quiet: bool = False
) -> None:
    """Write games to a PGN file, no two with the same moves.

    Args:
        out: the file; what its name ends in (``.zst``, ``.gz``, ``.bz2``) says how it is compressed.
        games: how many.
        by: ``random``, or ``uci:`` and the command line of an engine.
        seed: with the number of a game, what all its chance is drawn from.
        workers: who makes them.
        quiet: no progress on stderr.

    Raises:
        InputError: ``games``, ``by`` or ``out`` make no sense, or the command is no UCI engine.
        FailureError: the engine died or went silent, a worker died, or the disk is full.
    """
    if games < 1:
        raise InputError(f"--games {games}: ask for at least one game")
    if games > MOST_GAMES:
        raise InputError(f"--games {games}: {MOST_GAMES:,} are the most")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a PGN file")
    make = _maker(by, seed)
    with (
        atomic(out) as temporary,
        temporary.open("wb") as file,
        compressed(file, out.suffix) as stream,
        counting(games, quiet) as advance,
        parallel.pool(workers) as executor,
    ):
        numbers, seen = range(games), set[bytes]()
        while numbers:
            for game in _make_all(make, numbers, executor):
                moves = game.partition("\n\n")[2].encode()
                key = hashlib.blake2b(moves, digest_size=16).digest()
                if key not in seen:
                    seen.add(key)
                    stream.write(game.encode())
                    advance()
            # As many more as there were repeats.
            numbers = range(numbers.stop, numbers.stop + games - len(seen))


def _make_all(make: MakeGames, numbers: range, executor: Executor) -> Iterator[str]:
    """The games of many numbers, in their order."""
    at_once = parallel.width(executor)
    size = max(1, min(CHUNK, len(numbers) // (2 * at_once)))
    chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    calls = ((chunk, (chunk,)) for chunk in chunks)
    for _, made in parallel.in_order(executor, make, calls, ahead=4 * at_once):
        yield from made


def _maker(by: str, seed: int) -> MakeGames:
    if by == "random":
        return partial(random_games, seed=seed)
    if by.startswith("uci:"):
        return partial(engine_games, seed=seed, command=engines.engine_command(by.removeprefix("uci:")))
    raise InputError(f"--by {by}: give random, or uci:COMMAND such as uci:stockfish")


# Random games


def random_games(numbers: range, seed: int) -> list[str]:
    """Games of uniformly random legal moves, each as PGN."""
    return [_random_game(number, seed) for number in numbers]


def random_opening(number: int, seed: int, plies: int) -> list[chess.Move]:
    """The first plies of the random game of that number; fewer if it is over before."""
    return _by_python_chess(number, seed, plies).board.move_stack


def _random_game(number: int, seed: int) -> str:
    played = play_at_random(_rng(seed, number), MAX_PLIES) or _by_python_chess(number, seed, MAX_PLIES).played()
    return _pgn(number, RANDOM_EVENT, {"White": "Random", "Black": "Random"}, played)


def _by_python_chess(number: int, seed: int, plies: int) -> "Game":
    rng = _rng(seed, number)
    game = Game()
    while len(game.words) < plies and not game.over():
        game.push(rng.choice(game.legal))
    return game


def _rng(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed} {number}")


# Engine games


def engine_games(numbers: range, seed: int, command: list[str]) -> list[str]:
    """Games of a UCI engine against itself, varied as this module's constants say, each as PGN.

    Raises:
        InputError: the command is no UCI engine.
        FailureError: the engine died, went silent or gave an illegal move.
    """
    return asyncio.run(_engine_games(numbers, seed, command))


async def _engine_games(numbers: range, seed: int, command: list[str]) -> list[str]:
    async with engines.open_engine(command) as engine:
        return [await _engine_game(number, seed, engine) for number in numbers]


async def _engine_game(number: int, seed: int, engine: chess.engine.UciProtocol) -> str:
    rng = _rng(seed, number)
    low, high = NODES
    nodes = [round(low * (high / low) ** rng.random()) for _ in chess.COLORS]
    slips = [round(rng.choice((0.0, rng.uniform(0, MAX_SLIPS))), 2) for _ in chess.COLORS]
    opening = rng.randint(*OPENING_PLIES)
    game = Game(claim_draws=True)
    while not game.over():
        side = len(game.words) % 2
        if len(game.words) < opening or rng.random() < slips[side]:
            game.push(rng.choice(game.legal))
            continue
        limit = chess.engine.Limit(nodes=nodes[side])
        # A new number makes python-chess send ``ucinewgame``, which clears the hash.
        answer = await asyncio.wait_for(engine.play(game.board, limit, game=number), engines.ENGINE_SECONDS)
        if answer.move is None:
            raise chess.engine.EngineError("no move where there are legal ones")
        game.push(answer.move)
    name = engine.id.get("name", "engine").replace('"', "'")  # in PGN a tag ends with "
    players = [f"{name}, {n} nodes" + (f", {p:.0%} random" if p else "") for n, p in zip(nodes, slips, strict=True)]
    tags = {"White": players[0], "Black": players[1], "RandomOpeningPlies": str(opening)}
    return _pgn(number, "Engine games of varied strength", tags, game.played())


# One game


class Game:
    """A game being played: the board, its legal moves, and its moves so far in SAN."""

    def __init__(self, claim_draws: bool = False) -> None:
        self.board = chess.Board()
        self.legal = list(self.board.generate_legal_moves())
        self.words: list[str] = []
        self._claim_draws = claim_draws

    def push(self, move: chess.Move) -> None:
        """Play a legal move."""
        self.words.append(self.board.san_and_push(move))
        self.legal = list(self.board.generate_legal_moves())

    def over(self) -> bool:
        """Whether the rules end it, a draw is claimed by repetition or fifty moves, or it is at ``MAX_PLIES``."""
        repetitions, quiet_plies = (3, 100) if self._claim_draws else (5, 150)
        return (
            not self.legal
            or len(self.words) >= MAX_PLIES
            or self.board.halfmove_clock >= quiet_plies
            or self.board.is_insufficient_material()
            or self.board.is_repetition(repetitions)
        )

    def _outcome(self) -> chess.Outcome | None:
        # Not outcome(claim_draw=True): that also claims draws that only a further move would bring about.
        outcome = self.board.outcome()
        if outcome or not self._claim_draws:
            return outcome
        if self.board.is_repetition(3):
            return chess.Outcome(chess.Termination.THREEFOLD_REPETITION, None)
        if self.board.halfmove_clock >= 100:
            return chess.Outcome(chess.Termination.FIFTY_MOVES, None)
        return None

    def played(self) -> Played:
        """The game as it is over."""
        return Played(self.words, self._outcome())


def _pgn(number: int, event: str, tags: dict[str, str], game: Played) -> str:
    """A game in PGN's export format."""
    result = game.outcome.result() if game.outcome else "*"
    how = game.outcome.termination.name.replace("_", " ").lower() if game.outcome else "unterminated"
    tags = {
        "Event": event,
        "Site": "chesslm generate",
        "Date": "????.??.??",
        "Round": str(number + 1),
        "White": tags["White"],  # this order is PGN's
        "Black": tags["Black"],
        "Result": result,
        **tags,
        "Termination": how,
    }
    header = "".join(f'[{key} "{value}"]\n' for key, value in tags.items())
    tokens: list[str] = []
    for ply, word in enumerate(game.words):
        if ply % 2 == 0:
            tokens.append(f"{ply // 2 + 1}.")
        tokens.append(word)
    return f"{header}\n{_wrapped([*tokens, result])}\n\n"


def _wrapped(tokens: list[str]) -> str:
    """Tokens in lines of fewer than 80 characters, as the PGN standard asks."""
    lines, line = [], ""
    for token in tokens:
        if line and len(line) + 1 + len(token) > 79:
            lines.append(line)
            line = ""
        line = f"{line} {token}" if line else token
    return "\n".join([*lines, line])


# The file and the progress


@contextmanager
def compressed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    """A stream that compresses into a file as a name's ending says, to the same bytes each time."""
    if suffix == ".zst":
        import zstandard

        # The highest level short of zstd's "ultra" ones: a tenth smaller than 12, for 0.7 ms a random game.
        with zstandard.ZstdCompressor(level=19, write_checksum=True).stream_writer(file, closefd=False) as stream:
            yield stream
    elif suffix == ".gz":
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as stream:
            yield cast(IO[bytes], stream)
    elif suffix == ".bz2":
        with bz2.BZ2File(file, "wb") as stream:
            yield stream
    else:
        yield file
