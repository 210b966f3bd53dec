"""Which games are kept: filters by what a game's tags and length say, and a set of games already seen."""

import hashlib
import mmap
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chesslm.errors import InputError
from chesslm.game import Game
from chesslm.tokenizer import KNOWN_RESULTS


@dataclass(frozen=True)
class Filters:
    """Filters of ``chesslm prepare``; a game whose tags do not say what is asked for is dropped.

    Attributes:
        min_elo, max_elo: bounds for both players.
        result: results wanted, by commas; * counts as one.
        min_plies, max_plies: bounds for the length.
        since, until: first and last day, YYYY, YYYY.MM or YYYY.MM.DD. A game whose month or day is unknown passes
            where it might be within.
        eco: openings wanted, by commas: a letter (B), a beginning (B2), a code (C42) or a range (C60-C99).

    Raises:
        InputError: on making one, where a value is malformed.
    """

    min_elo: int | None = None
    max_elo: int | None = None
    result: str | None = None
    min_plies: int = 1
    max_plies: int | None = None
    since: str | None = None
    until: str | None = None
    eco: str | None = None

    def __post_init__(self) -> None:
        for low, high, name in ((self.min_elo, self.max_elo, "elo"), (self.min_plies, self.max_plies, "plies")):
            if low is not None and high is not None and low > high:
                raise InputError(f"--min-{name} {low} is above --max-{name} {high}: no game can pass")
        since, until = self._since or (), self._until or ()
        if since[: len(until)] > until[: len(since)]:
            raise InputError(f"--since {self.since} is after --until {self.until}: no game can pass")
        for first, last in self._openings or ():
            if first > last:
                raise InputError(f"--eco {first}-{last}: no code is in that range")
        for result in self._results or ():
            if result not in (*KNOWN_RESULTS, "*"):
                raise InputError(f"--result takes {', '.join(KNOWN_RESULTS)} or *, several by commas, not {result!r}")

    @cached_property
    def _results(self) -> tuple[str, ...] | None:
        return None if self.result is None else tuple(part.strip() for part in self.result.split(","))

    @cached_property
    def _since(self) -> tuple[int, ...] | None:
        return None if self.since is None else _day(self.since, "--since")

    @cached_property
    def _until(self) -> tuple[int, ...] | None:
        return None if self.until is None else _day(self.until, "--until")

    @cached_property
    def _openings(self) -> tuple[tuple[str, str], ...] | None:
        """First and last code of each range asked for."""
        if self.eco is None:
            return None
        ranges = []
        for part in self.eco.upper().replace(" ", "").split(","):
            match = re.fullmatch(r"([A-E]\d{0,2})(?:-([A-E]\d{0,2}))?", part)
            if match is None:
                raise InputError(f"--eco takes codes such as B, C42 or C60-C99, several by commas, not {part!r}")
            first, last = match[1], match[2] or match[1]
            ranges.append((first.ljust(3, "0"), last.ljust(3, "9")))
        return tuple(ranges)

    def reason(self, game: Game) -> str:
        """Which filter drops a game: elo, result, plies, date or eco; empty if it passes."""
        if self.min_elo is not None or self.max_elo is not None:
            low, high = self.min_elo or 0, self.max_elo or 10_000
            if not all(elo is not None and low <= elo <= high for elo in (game.white_elo, game.black_elo)):
                return "elo"
        if self._results is not None and game.result not in self._results:
            return "result"
        plies = len(game.codes)
        if plies < self.min_plies or (self.max_plies is not None and plies > self.max_plies):
            return "plies"
        if (self._since or self._until) and not self._in_time(game.date):
            return "date"
        if self._openings is not None:
            code = (game.eco or "")[:3].upper()
            if not any(first <= code <= last for first, last in self._openings):
                return "eco"
        return ""

    def _in_time(self, date: str | None) -> bool:
        known = tuple(int(part) for part in re.match(_KNOWN, date or "")[0].replace("-", ".").split(".") if part)  # pyright: ignore[reportOptionalSubscript]
        since, until = self._since or (), self._until or ()
        return bool(known) and known[: len(since)] >= since[: len(known)] and known[: len(until)] <= until[: len(known)]


_KNOWN = r"(?:\d{4}(?:[.-]\d{1,2}(?:[.-]\d{1,2})?)?)?"
"""The part of a PGN date that is known."""


def _day(text: str, option: str) -> tuple[int, ...]:
    match = re.fullmatch(r"(\d{4})(?:[.-](\d{1,2})(?:[.-](\d{1,2}))?)?", text)
    parts = tuple(int(part) for part in match.groups() if part) if match else ()
    if not parts or not all(
        low <= part <= high for part, (low, high) in zip(parts[1:], ((1, 12), (1, 31)), strict=False)
    ):
        raise InputError(f"{option} takes a day such as 2023.01.31, a month or a year, not {text!r}")
    return parts


class Seen:
    """A set of 64-bit numbers in a table on disk, memory-mapped: 16 to 32 bytes a game, which the system may page out,
    so that the games of a whole year take no memory that anything else needs.

    Args:
        folder: where the table's file is made; it has no name there.
    """

    def __init__(self, folder: Path, slots: int = 1 << 16) -> None:
        self._folder, self._count = folder, 0
        self._allocate(slots)

    def _allocate(self, slots: int) -> None:
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # All of it now: a full disk shows here as an error, not as a crash at some later write.
            os.posix_fallocate(file.fileno(), 0, 8 * slots)
            self._table = memoryview(mmap.mmap(file.fileno(), 8 * slots)).cast("Q")
        self._mask = slots - 1

    def add_content(self, content: bytes) -> bool:
        """Add a game or a text by its hash; whether it is new."""
        return self.add(self.key(content))

    @staticmethod
    def key(content: bytes) -> int:
        """The number that stands for a game or a text."""
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")

    def add(self, key: int) -> bool:
        """Add a number, uniformly distributed; whether it is new."""
        key = key or 1
        at = key & self._mask
        while held := self._table[at]:
            if held == key:
                return False
            at = (at + 1) & self._mask
        self._table[at] = key
        self._count += 1
        if 2 * self._count > self._mask:
            old = self._table
            self._allocate(2 * len(old))
            self._count = 0
            for held in old:
                if held:
                    self.add(held)
        return True
