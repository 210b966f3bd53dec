"""A game of a PGN as data, or why it is none."""

from dataclasses import dataclass

from chesslm import boards
from chesslm.conditions import Headers


@dataclass(frozen=True)
class Game:
    """A game from the standard start, all its moves legal.

    Attributes:
        codes: the moves, uint16 (plies,), see ``boards``.
        result: 1-0, 0-1, 1/2-1/2, or * where neither the tag nor the end of the moves says.
        white_elo, black_elo: None where not given.
        eco: code of the opening, as given.
        date: as in PGN, e.g. 1954.??.??.
        event: name of the tournament.
        time_control: as in PGN, e.g. 300+3.
        source: name of the file that it came from.
        words: the moves in SAN, where they were asked for.
    """

    codes: boards.MoveCodes
    result: str = "*"
    white_elo: int | None = None
    black_elo: int | None = None
    eco: str | None = None
    date: str | None = None
    event: str | None = None
    time_control: str | None = None
    source: str = ""
    words: tuple[str, ...] | None = None

    @property
    def headers(self) -> Headers:
        """What a model may be told of it."""
        return Headers(self.white_elo, self.black_elo, self.result, self.time_control)


@dataclass(frozen=True)
class Dropped:
    """A game that cannot be used.

    Attributes:
        reason: ``FEN start``, ``variant``, ``illegal move`` (in the game or a variation; also ambiguous ones),
            ``null move``, ``no moves``, ``not a game`` (text between games), ``unclosed comment``, ``truncated``,
            ``too long`` (more moves than a game can have, or variations and comments that take minutes to read).
    """

    reason: str
