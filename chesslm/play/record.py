"""The record of matches, a PGN: games go in as they end, and what a match came to comes out of its headers."""

import datetime
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chess
import chess.pgn

from chesslm import files
from chesslm.errors import InputError
from chesslm.play import elo
from chesslm.tables import markdown_table, percent

EVENT = "chesslm match"
SCORES = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
ENDS = tuple(f"{result}\n\n" for result in SCORES)
"""What the last game of a PGN ends in, if it is whole."""
TITLES = ("against", "games", "won", "drawn", "lost", "score", "Elo", "stronger", "illegal choices", "failed")
"""Stronger: the likelihood of superiority. Failed: games that an engine lost by hanging or dying."""

KEPT = {"White", "Black", "Round", "Result", "Terms"}
"""Headers by which a game counts."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Player:
    """Who plays.

    Attributes:
        name: as in the PGN.
        weights: of a model, the first 8 digits of their SHA-256; empty where there are none or they are not known.
    """

    name: str
    weights: str = ""


@dataclass(frozen=True)
class Played:
    """A game that has ended.

    Attributes:
        board: with its moves.
        round: number of the pair and of the game in it, as in 12.1.
        players: White and Black.
        given: plies of the opening.
        illegal: illegal raw choices of White and Black, of how many.
        result: in PGN.
        how: it ended.
    """

    board: chess.Board
    round: str
    players: tuple[Player, Player]
    given: int
    illegal: tuple[str, str]
    result: str
    how: str


@dataclass
class Record:
    """The PGN of a match.

    Args:
        path: the file; a game that a killed process had half written at its end is cut off.
        terms: of the match; games on other terms are left alone.

    Raises:
        InputError: a file that is no record of matches.
    """

    path: Path
    terms: str
    games: list[Headers] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.exists():
            return
        text, head = self.path.read_text(encoding="utf-8", errors="replace"), f'[Event "{EVENT}"]\n'
        if not (text.startswith(head) or head.startswith(text)):
            raise InputError(f"{self.path} has other games in it; name another file")
        whole = whole_games(text)
        if whole != text:
            with files.atomic(self.path) as temporary:
                temporary.write_text(whole, encoding="utf-8")
        self.games = read_headers(self.path)

    def of(self, one: str, other: str) -> list[Headers]:
        """The headers of the games of two sides on these terms."""
        return [
            headers for headers in self.games if headers.get("Terms") == self.terms and _sides(headers) == (one, other)
        ]

    def check(self, players: Iterable[Player]) -> None:
        """Refuse to go on where a player has other weights than it had.

        Raises:
            InputError: it has; two models would count as one.
        """
        known = _weights(self.games)
        for each in players:
            others = known.get(each.name, set()) - {each.weights}
            if each.weights and others:
                raise InputError(
                    f"{self.path} has games of {each.name} with other weights ({', '.join(sorted(others))}, not "
                    f"{each.weights}); name another file"
                )

    def add(self, game: Played) -> None:
        """Append a game that has ended.

        Raises:
            FailureError: the disk is full; what stands there of the game is cut off when the record is next opened.
        """
        record = chess.pgn.Game.from_board(game.board)
        record.headers.update(
            Event=EVENT,
            Site="?",
            Date=datetime.date.today().strftime("%Y.%m.%d"),
            Round=game.round,
            White=game.players[0].name,
            Black=game.players[1].name,
            Result=game.result,
            Terms=self.terms,
            OpeningPlies=str(game.given),
            PlyCount=str(game.board.ply()),
            WhiteIllegal=game.illegal[0],
            BlackIllegal=game.illegal[1],
            Termination=game.how,
        )
        for color, player in zip(("White", "Black"), game.players, strict=True):
            if player.weights:
                record.headers[f"{color}Weights"] = player.weights
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(record.accept(chess.pgn.StringExporter(columns=79)) + "\n\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise files.explain(error, self.path) from error
        self.games.append(dict(record.headers))


def whole_games(text: str) -> str:
    """A record up to the end of its last whole game."""
    return text[: max((text.rfind(end) + len(end) for end in ENDS if end in text), default=0)]


def read_headers(path: Path) -> list[Headers]:
    """The headers of all whole games in a record.

    Raises:
        InputError: it cannot be read.
    """
    try:
        file = io.StringIO(whole_games(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable PGN ({error})") from error
    return [dict(headers) for headers in iter(lambda: chess.pgn.read_headers(file), None)]


def _weights(games: Iterable[Headers]) -> dict[str, set[str]]:
    """The weights that each player had in some games, where they say so."""
    found: dict[str, set[str]] = {}
    for headers in games:
        for color in ("White", "Black"):
            if weights := headers.get(f"{color}Weights"):
                found.setdefault(headers[color], set()).add(weights)
    return found


def _sides(headers: Headers) -> tuple[str, str]:
    """The first side of a game's match, which has White in the first game of each pair, and the second one."""
    white, black = headers["White"], headers["Black"]
    return (white, black) if headers["Round"].endswith(".1") else (black, white)


def pair_scores(games: Iterable[Headers], one: str) -> list[float]:
    """The scores of a player in whole pairs, in [0, 1], by the number of the pair."""
    pairs: dict[str, list[float]] = {}
    for headers in games:
        score = SCORES[headers["Result"]]
        number, _, _ = headers["Round"].partition(".")
        pairs.setdefault(number, []).append(score if headers["White"] == one else 1 - score)
    return [sum(both) / 2 for both in pairs.values() if len(both) == 2]


def table(record: Record, one: str, others: Sequence[str]) -> list[str]:
    """A line in Markdown for each opponent of a side, on the terms of the record."""
    return markdown_table(TITLES, [_row(record.of(one, other), one, other) for other in others])


def _row(games: Sequence[Headers], one: str, other: str) -> tuple[str, ...]:
    """A line of the table."""
    scores = [SCORES[each["Result"]] if each["White"] == one else 1 - SCORES[each["Result"]] for each in games]
    pairs = pair_scores(games, one)
    if not pairs:
        return (other, str(len(games)), *"–" * (len(TITLES) - 2))
    found = elo.compare(pairs)
    counts = [each["WhiteIllegal" if each["White"] == one else "BlackIllegal"].split(" of ") for each in games]
    illegal, chosen = (sum(int(count[i]) for count in counts) for i in range(2))
    failed = sum(each["Termination"].startswith("engine failed") for each in games)
    return (
        other,
        str(len(games)),
        *(str(scores.count(score)) for score in (1.0, 0.5, 0.0)),
        f"{percent(found.score)} ({percent(found.low)} to {percent(found.high)})",
        shown_elo(found.elo, found.elo_low, found.elo_high),
        percent(found.superiority) if found.superiority is not None else "–",
        f"{illegal:,} of {chosen:,}",
        str(failed),
    )


def ladder_table(paths: Sequence[Path], anchor: str) -> list[str]:
    """The places of all players in some records, as lines in Markdown.

    Args:
        paths: PGNs of matches.
        anchor: the player at 0.

    Raises:
        InputError: a file is none of those, the anchor played in none, or a name stands for two models.
    """
    matches: dict[tuple[Path, str, str, str], list[Headers]] = {}
    counted = set[frozenset[tuple[str, str]]]()
    for path in paths:
        here = set[frozenset[tuple[str, str]]]()
        for headers in read_headers(path):
            if headers.get("Event") != EVENT:
                raise InputError(f"{path} has games in it that are not of chesslm match")
            here.add(game := frozenset(headers.items()))
            # One that lacks what it is counted by, or that stands in a copy of another file.
            if not headers.keys() >= KEPT or headers["Result"] not in SCORES or game in counted:
                continue
            matches.setdefault((path, *_sides(headers), headers["Terms"]), []).append(headers)
        counted |= here
    results: dict[tuple[str, str], list[float]] = {}
    for (_, first, second, _), games in matches.items():
        one, other = sorted((first, second))
        results.setdefault((one, other), []).extend(pair_scores(games, one))
    for name, weights in _weights(headers for games in matches.values() for headers in games).items():
        if len(weights) > 1:
            raise InputError(f"{name} is {len(weights)} models in these games (weights {', '.join(sorted(weights))})")
    if not any(anchor in names for names in results):
        raise InputError(f"{anchor} played in none of these games; name another --anchor")
    rungs = elo.ladder(results, anchor)
    places = ("0" if rung.name == anchor else shown_elo(rung.elo, rung.low, rung.high) for rung in rungs)
    rows = [(rung.name, f"{rung.games:,}", place) for rung, place in zip(rungs, places, strict=True)]
    return markdown_table(("player", "games", "Elo"), rows)


def shown_elo(value: float | None, low: float | None, high: float | None) -> str:
    """Elo with its interval; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:+.0f} ({' to '.join('…' if end is None else f'{end:+.0f}' for end in (low, high))})"
