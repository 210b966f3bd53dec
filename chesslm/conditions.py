"""Conditions: tokens in front of a game that say who played it, how it ended and how fast.

    <bos> <white 1800> <black 2000> <result ?> <time blitz> e2e4 ...

What is not known has a token of its own, and so that a model learns it each condition of a training game is hidden
with probability ``HIDDEN``. Conditions are given to a model, never asked for: they carry no loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chesslm.errors import InputError

ELO_BUCKETS = (0, *range(1000, 2801, 200))
"""Where the buckets of a rating begin: below 1000, then steps of 200, 2800 and above."""
RESULTS = ("1-0", "0-1", "1/2-1/2")
TIMES = {"ultrabullet": 29, "bullet": 179, "blitz": 479, "rapid": 1499, "classical": 21599}
"""Up to how many seconds a side may take, by lichess's estimate of base + 40 increments; beyond: correspondence."""
KINDS = {"elo": ("white", "black"), "result": ("result",), "time": ("time",)}
"""The kinds of ``--condition``, and the tokens that each stands for."""
HIDDEN = 0.1
UNKNOWN = "?"


@dataclass(frozen=True)
class Headers:
    """What is known of a game apart from its moves; None: nothing.

    Attributes:
        white_elo, black_elo: ratings.
        result: as in PGN.
        time_control: as in PGN, e.g. ``300+3``.
    """

    white_elo: int | None = None
    black_elo: int | None = None
    result: str | None = None
    time_control: str | None = None


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Kinds in their order, each once.

    Raises:
        InputError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"unknown condition {kind!r}; conditions are {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in kinds)


def tokens_of_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Every token of some kinds, in the order of their ids."""
    elos = tuple(str(low) for low in ELO_BUCKETS)
    values = {"white": elos, "black": elos, "result": RESULTS, "time": (*TIMES, "correspondence")}
    return tuple(f"<{name} {value}>" for kind in kinds for name in KINDS[kind] for value in (UNKNOWN, *values[name]))


def kinds_of_tokens(tokens: Sequence[str]) -> tuple[str, ...]:
    """The kinds whose tokens are in a vocabulary."""
    known = frozenset(tokens)
    return tuple(kind for kind in KINDS if known.issuperset(tokens_of_kinds([kind])))


def condition_tokens(kinds: Sequence[str], headers: Headers) -> tuple[str, ...]:
    """The tokens in front of a game."""
    if not kinds:
        return ()
    values = {
        "white": elo_bucket(headers.white_elo),
        "black": elo_bucket(headers.black_elo),
        "result": headers.result if headers.result in RESULTS else UNKNOWN,
        "time": time_class(headers.time_control),
    }
    return tuple(f"<{name} {values[name]}>" for kind in kinds for name in KINDS[kind])


def hidden(headers: Headers, draw: Callable[[], float]) -> Headers:
    """Headers of which each is taken away with probability ``HIDDEN``; ``draw`` gives numbers in [0, 1)."""
    shown = {name: value if draw() >= HIDDEN else None for name, value in vars(headers).items()}
    return replace(headers, **shown)


def elo_bucket(elo: int | None) -> str:
    """Where the bucket of a rating begins."""
    return UNKNOWN if elo is None else str(max(low for low in ELO_BUCKETS if low <= max(elo, 0)))


def time_class(time_control: str | None) -> str:
    """lichess's name for a time control of PGN."""
    if time_control == "-":
        return "correspondence"
    # 40/7200:3600 has moves to a period; the first one says how slow it is.
    first = (time_control or "").partition(":")[0]
    base, _, increment = first.rpartition("/")[2].partition("+")
    if not base.isdecimal() or not (increment or "0").isdecimal():
        return UNKNOWN
    seconds = int(base) + 40 * int(increment or 0)
    return next((name for name, limit in TIMES.items() if seconds <= limit), "correspondence")
