"""Parallel data made from games: the same moves or the same position in two languages, each pair exactly checkable.

    game -> prefix of 1 to 40 plies -> {"kind": ..., "game": ..., "source": ..., "target": ...}, a line of JSON a game

| kind | source | target |
|---|---|---|
| uci-san, san-uci | the moves so far in one | the same moves in the other |
| moves-fen | the moves so far in UCI | the position after them, as FEN |
| fen-legal | the position before the last move, as FEN | its legal moves in UCI, sorted |
| move-english | the moves so far in UCI | the last one as an English sentence |
| english-move | the sentence alone | the move in UCI |
| uci, san | nothing | the whole game |

Moves have spaces between them and no numbers. The last two kinds are next-move prediction in the same format, to
compare with. A game's ``game`` is a hash of its first 40 plies, the same in every kind, so that a split by it keeps the
same games apart in all. How long a prefix is and how a sentence is worded is drawn from the seed and that hash. A FEN
names an en passant square only where a pawn can take there. One core makes about 300 pairs a second, 45 of whole games.
"""

import hashlib
import json
import random
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path

import chess

from chesslm import boards, parallel
from chesslm.boards import MoveCodes
from chesslm.english import facts_of, read_english, wording_bits, wordings
from chesslm.errors import InputError
from chesslm.files import atomic
from chesslm.game import Game
from chesslm.generate import CHUNK, MAX_PLIES, compressed, random_opening
from chesslm.pgn import read_games
from chesslm.progress import counting
from chesslm.san import write_moves
from chesslm.streams import Source
from chesslm.words import legal_words, read_word

TRANSLATIONS = ("uci-san", "san-uci", "moves-fen", "fen-legal", "move-english", "english-move")
ONE_SIDED = ("uci", "san")
KINDS = (*TRANSLATIONS, *ONE_SIDED)
PREFIX_PLIES = 40
"""Plies of the longest prefix, so that a pair fits into 512 tokens of text."""
SEPARATOR = "\n"
"""What stands between source and target in a model's text."""


@dataclass(frozen=True)
class Pair:
    """A source and its target.

    Attributes:
        kind: one of ``KINDS``.
        game: the same for all pairs of a game.
        source: empty for the kinds of one side.
        target: what a model has to write.
    """

    kind: str
    game: str
    source: str
    target: str


def make_pair(kind: str, codes: MoveCodes, seed: int) -> Pair:
    """A pair from a game.

    Args:
        kind: one of ``KINDS``.
        codes: the game's moves, at least one.
        seed: with the game, what the length of its prefix and the wording of a sentence are drawn from.
    """
    game = hashlib.blake2b(codes[:PREFIX_PLIES].tobytes(), digest_size=8).hexdigest()
    draw = random.Random(f"{seed} {game}")
    plies = len(codes) if kind in ONE_SIDED else draw.randint(1, min(PREFIX_PLIES, len(codes)))
    moves = boards.to_moves(codes[:plies])
    return Pair(kind, game, *_sides(kind, moves, draw))


def _sides(kind: str, moves: list[chess.Move], draw: random.Random) -> tuple[str, str]:
    """Source and target."""
    uci = " ".join(move.uci() for move in moves)
    match kind:
        case "uci":
            return "", uci
        case "san":
            return "", _in_san(moves)
        case "uci-san":
            return uci, _in_san(moves)
        case "san-uci":
            return _in_san(moves), uci
        case "moves-fen":
            return uci, _board_after(moves).fen()
    before = _board_after(moves[:-1])
    if kind == "fen-legal":
        return before.fen(), _legal_moves(before)
    sentence = draw.choice(wordings(facts_of(before, moves[-1])))
    return (uci, sentence) if kind == "move-english" else (sentence, moves[-1].uci())


def _in_san(moves: list[chess.Move]) -> str:
    return " ".join(write_moves(map(boards.move_code, moves)))


def _board_after(moves: Iterable[chess.Move]) -> chess.Board:
    board = chess.Board()
    for move in moves:
        board.push(move)
    return board


def _legal_moves(board: chess.Board) -> str:
    return " ".join(sorted(legal_words(board, "uci")))


def check(kind: str, source: str, target: str) -> bool:
    """Whether a target, perhaps a model's, is right for a source that is; a sentence in any of its wordings.

    Of the kinds of one side: whether it is a legal game.
    """
    if kind in ONE_SIDED:
        return bool(read_moves(target, kind))
    if kind == "english-move":
        facts = read_english(source)
        return facts is not None and target == facts.uci
    if kind == "fen-legal":
        try:
            return target == _legal_moves(chess.Board(source))
        except ValueError:
            return False
    moves = read_moves(source, "san" if kind == "san-uci" else "uci")
    if not moves:
        return False
    match kind:
        case "uci-san":
            return target == _in_san(moves)
        case "san-uci":
            return target == " ".join(move.uci() for move in moves)
        case "moves-fen":
            return target == _board_after(moves).fen()
    return read_english(target) == facts_of(_board_after(moves[:-1]), moves[-1])


def read_moves(text: str, words: str) -> list[chess.Move] | None:
    """The moves of a text in UCI or SAN from the standard start; None if one is illegal or not written exactly so."""
    board = chess.Board()
    for word in text.split(" "):
        move = read_word(word, board, "uci" if words == "uci" else "san")
        if boards.illegal_kind(board, move) or move is None:
            return None
        board.push(move)
    moves = board.move_stack
    return moves if words == "uci" or _in_san(moves) == text else None


def floor_bits(pair: Pair) -> float | None:
    """Bits of a target that nothing in its source decides: of the wording of a sentence; None where nobody knows."""
    if pair.kind in ONE_SIDED:
        return None
    facts = read_english(pair.target) if pair.kind == "move-english" else None
    return wording_bits(facts) if facts else 0.0


# The file


def generate_pairs(
    out: Path,
    *,
    kind: str,
    games: int,
    inputs: Iterable[str] = (),
    exclude: Iterable[str] = (),
    seed: int = 1,
    workers: parallel.Workers = 0,
    quiet: bool = False,
) -> int:
    """Write pairs as JSON lines, one of each of so many different games.

    Args:
        out: the file; what its name ends in (``.zst``, ``.gz``, ``.bz2``) says how it is compressed.
        kind: one of ``KINDS``.
        games: how many; fewer where the inputs have no more.
        inputs: PGNs, whose first games are taken; none: games of random legal moves.
        exclude: files of pairs of which none shall share its source or its game.
        seed: of prefixes, wordings, and random games.
        workers: who makes them.
        quiet: no progress on stderr.

    Returns:
        The number of pairs.

    Raises:
        InputError: ``kind``, ``games`` or ``out`` make no sense, or an input is none.
        FailureError: reading failed, a worker died, or the disk is full.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of pairs {kind!r}; kinds are {', '.join(KINDS)}")
    if games < 1:
        raise InputError(f"--games {games}: ask for at least one game")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file for JSON lines")
    sources = [Source(where) for where in inputs]
    left_out = {
        text for where in exclude for pair in read_pairs(Source(where)) for text in (pair.source, pair.game) if text
    }
    found = _of_games(kind, sources, seed, workers) if sources else _of_chance(kind, games, seed, workers)
    with (
        atomic(out) as temporary,
        temporary.open("wb") as file,
        compressed(file, out.suffix) as stream,
        counting(games, quiet) as advance,
        closing(found),
    ):
        written = 0
        for pair in islice(_once_a_game(found, left_out), games):
            stream.write((json.dumps(asdict(pair), ensure_ascii=False) + "\n").encode())
            written += 1
            advance()
    return written


def _once_a_game(pairs: Iterable[Pair], left_out: set[str]) -> Iterator[Pair]:
    seen = set[str]()
    for pair in pairs:
        if pair.game not in seen and not {pair.game, pair.source} & left_out:
            seen.add(pair.game)
            yield pair


def _of_games(kind: str, sources: list[Source], seed: int, workers: parallel.Workers) -> Generator[Pair, None, None]:
    with closing(read_games(sources, workers)) as games:
        for _, game in games:
            if isinstance(game, Game):
                yield make_pair(kind, game.codes, seed)


def _of_chance(kind: str, games: int, seed: int, workers: parallel.Workers) -> Generator[Pair, None, None]:
    """Pairs from random games, without end."""
    with parallel.pool(workers) as executor:
        at_once = parallel.width(executor)
        size = max(1, min(CHUNK, games // (2 * at_once)))
        calls = ((None, (range(start, start + size), kind, seed)) for start in count(0, size))
        for _, made in parallel.in_order(executor, random_pairs, calls, ahead=2 * at_once):
            yield from made


def random_pairs(numbers: range, kind: str, seed: int) -> list[Pair]:
    """Pairs from the games of random legal moves that have these numbers."""
    plies = MAX_PLIES if kind in ONE_SIDED else PREFIX_PLIES
    return [make_pair(kind, boards.to_codes(random_opening(number, seed, plies)), seed) for number in numbers]


def read_pairs(source: Source) -> Iterator[Pair]:
    """The pairs of a file of JSON lines.

    Raises:
        InputError: it is missing, empty or corrupt, or a line is no pair.
        FailureError: reading failed.
    """
    for number, line in enumerate(source.lines(), 1):
        if line.strip():
            yield _pair(source, number, line)


def sample(file: Path, limit: int, seed: int) -> list[Pair]:
    """A seeded sample of a file's pairs, in their order.

    Raises:
        InputError: as for ``read_pairs``, or there are none.
    """
    pairs = list(read_pairs(Source(str(file))))
    if not pairs:
        raise InputError(f"{file}: no pairs in it")
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), min(limit, len(pairs))))
    return [pairs[i] for i in chosen]


def _pair(source: Source, number: int, line: str) -> Pair:
    try:
        fields = json.loads(line)
        pair = Pair(*(fields[name] for name in ("kind", "game", "source", "target")))
    except (ValueError, KeyError, TypeError):
        pair = None
    if pair is None or not all(isinstance(value, str) for value in asdict(pair).values()):
        raise InputError(f"{source.where}: line {number} is no pair; make pairs with chesslm generate --pairs")
    if pair.kind not in KINDS or not pair.target or bool(pair.source) == (pair.kind in ONE_SIDED):
        raise InputError(f"{source.where}: line {number} is no pair of a known kind; kinds are {', '.join(KINDS)}")
    return pair
