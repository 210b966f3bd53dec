"""A chunk of PGN to rows of a dataset, in a worker process: filters, tokens, and hashes of the moves.

    chunk -> games (parsing) -> filters -> split, tokens, a row of the table

What is left for one process is what takes all games together: duplicates, and the order in the shards (``prepare``).
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from chesslm.conditions import Headers, hidden
from chesslm.filters import Filters, Seen
from chesslm.game import Dropped, Game
from chesslm.parsing import Parsed, parse_chunk
from chesslm.san import write_moves
from chesslm.shards import split_of
from chesslm.tokenizer import GameTokenizer, TokenizedGame, get_tokenizer

EXCLUDE_PLIES = 40


@dataclass(frozen=True)
class Work:
    """What is done with every game.

    Attributes:
        notation, conditions: of the tokenizer; no notation: it is not known here, and games come as they are.
        hints: whether the moved piece is named before each move.
        words: whether games come with their moves in SAN.
        filters: which games are kept.
        seed: of the splits and of what is hidden.
        shares: of the splits val and test.
    """

    notation: str | None
    conditions: tuple[str, ...]
    hints: bool
    words: bool
    filters: Filters
    seed: int
    shares: tuple[float, float]


class Row(NamedTuple):
    """A game that passed the filters.

    Attributes:
        key: its moves' hash, by which they are seen again.
        opening: hash of its first plies.
        split: that it falls in.
        about: its row of the table.
        game: where its tokens are still to be made.
        ids, roles: its tokens otherwise, as bytes: arrays take ten times as long from process to process.
    """

    key: int
    opening: bytes
    split: str
    about: dict[str, Any]
    game: Game | None
    ids: bytes = b""
    roles: bytes = b""


def make_rows(work: Work, chunk: bytes, name: str = "") -> Parsed[Row]:
    """The rows of a chunk of whole games, and why the other games have none.

    Args:
        work: what is done.
        chunk: as for ``parse_chunk``.
        name: of the file that it is from.
    """
    parsed = parse_chunk(chunk, name)
    items = [item if isinstance(item, Dropped) else _row(work, item) for item in parsed.items]
    return Parsed(items, parsed.ended, parsed.marked)


def _row(work: Work, game: Game) -> Row | Dropped:
    if reason := work.filters.reason(game):
        return Dropped(reason)
    if work.words:
        # As python-chess would write them, whatever the PGN has.
        game = replace(game, words=tuple(write_moves(game.codes)))
    content = game.codes.tobytes()
    split = split_of(content, work.seed, *work.shares)
    row = Row(Seen.key(content), opening_of(game), split, _about(game), None)
    if not work.notation:
        return row._replace(game=game)
    tokens = tokens_of(_tokenizer(work.notation, work.conditions), game, work)
    return row._replace(ids=tokens.ids.tobytes(), roles=tokens.role.tobytes())


_tokenizer = cache(get_tokenizer)


def tokens_of(tokenizer: GameTokenizer, game: Game, work: Work) -> TokenizedGame:
    """The tokens of a game; now and then a condition is hidden, by a hash of its moves."""
    headers = _shown(game, work.seed) if tokenizer.conditions else None
    return tokenizer.encode(game.codes, game.result, headers, game.words, work.hints)


def opening_of(game: Game) -> bytes:
    """Hash of the plies by which a game counts as one of another file."""
    return hashlib.blake2b(game.codes[:EXCLUDE_PLIES].tobytes(), digest_size=16).digest()


def _shown(game: Game, seed: int) -> Headers:
    digest = hashlib.blake2b(game.codes.tobytes(), digest_size=16, key=f"{seed} hidden".encode()).digest()
    draws = iter(np.frombuffer(digest, dtype="<u4") / 2**32)
    return hidden(game.headers, lambda: float(next(draws)))


def _about(game: Game) -> dict[str, Any]:
    return {
        "plies": len(game.codes),
        "white_elo": game.white_elo,
        "black_elo": game.black_elo,
        "result": game.result,
        "eco": game.eco,
        "date": game.date,
        "event": game.event,
        "time_control": game.time_control,
        "source": game.source,
    }


def columns() -> Any:
    """Of the table of games: fixed, since a shard in which no game has an Elo would not say what type it is."""
    import pyarrow as pa

    whole, text = pa.int16(), pa.string()
    return pa.schema(
        [
            ("plies", pa.int32()),
            ("white_elo", whole),
            ("black_elo", whole),
            ("result", text),
            ("eco", text),
            ("date", text),
            ("event", text),
            ("time_control", text),
            ("source", text),
        ]
    )
