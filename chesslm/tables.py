"""Figures as tables show them: what a metric is called, its value as text, its interval, the length of its bar.

Metrics come as the plain mappings of the results JSON, perhaps someone else's: what is missing or not a number
becomes None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class About:
    """How a metric is shown.

    Attributes:
        label: what to call it.
        unit: rate, bits, plies or count.
        meaning: one line for a newcomer.
    """

    label: str
    unit: str
    meaning: str


PERCENT = "\u00a0%"

METRICS = {
    "legal_argmax": About("Legal moves", "rate", "positions in which the likeliest move is legal"),
    "fully_legal_games": About("Fully legal games", "rate", "games in which it is legal at every ply"),
    "first_illegal_ply": About("First illegal ply", "plies", "when the first illegal one comes, in games with one"),
    "legal_mass": About("Legal mass", "rate", "probability that it gives to all legal moves together"),
    "r_precision": About("R-precision", "rate", "legal moves among its k likeliest, where k moves are legal"),
    "top1": About("Top 1", "rate", "positions in which its likeliest move was the one played"),
    "top3": About("Top 3", "rate", "the same for its three likeliest"),
    "bits_per_move": About("Bits a move", "bits", "surprise at the move played; less is better"),
    "legality_bits": About("… of which legality", "bits", "lost to moves that are not legal"),
    "choice_bits": About("… of which choice", "bits", "lost among the legal moves"),
    "end_mass": About("End mass", "rate", "probability that the game ends where it went on; taken out above"),
    "end_actual_legal": About("End square legal", "rate", "legal end squares for the piece that was moved"),
    "end_actual_r_precision": About("… R-precision", "rate", "legal ones among the k likeliest"),
    "end_actual_exact": About("… exact", "rate", "the end square of the game"),
    "end_other_legal": About("Other end square legal", "rate", "the same for another piece that can move"),
    "end_other_r_precision": About("… other R-precision", "rate", "legal ones among the k likeliest"),
    "start_actual_legal": About("Start square legal", "rate", "start squares for the type of piece that was moved"),
    "start_actual_r_precision": About("… start R-precision", "rate", "legal ones among the k likeliest"),
    "start_actual_exact": About("… start exact", "rate", "the start square of the game"),
    "start_other_legal": About("Other start square legal", "rate", "the same for another type of piece"),
    "start_other_r_precision": About("… other start R-precision", "rate", "legal ones among the k likeliest"),
    "plies_to_illegal": About(
        "Plies to illegal move", "plies", "legal plies written alone, up to the first illegal one"
    ),
    "plies_to_illegal_median": About("… median", "plies", "plies after which half of the games had one"),
    "unique_at_ply_20": About("Different at ply 20", "rate", "sampled games that no other is like by then"),
    "exam_legal_argmax": About("Exam: legal moves", "rate", "likeliest move legal, the mean over the exam's items"),
    "exam_legal_mass": About("Exam: legal mass", "rate", "probability on legal moves, the mean over the items"),
    "refusal_p_forbidden": About("Exam: forbidden move", "rate", "probability given to the move that is forbidden"),
    "refusal_p_allowed": About("… where it is allowed", "rate", "probability given to the same move where it is legal"),
    "ended_eos_mass": About("Exam: the end seen", "rate", "probability of the end after mate and stalemate"),
    "solved_greedy": About("Solved", "rate", "its likeliest move is a solution"),
    "solved_legal_policy": About("Solved by the rules", "rate", "its likeliest legal move is a solution"),
    "solved_chance": About("… by chance", "rate", "legal moves that are solutions"),
    "mate_mass": About("Mate mass", "rate", "probability on moves that mate"),
    "solution_mass": About("Solution mass", "rate", "probability on the solutions"),
    "plies_beyond_context": About("Plies beyond context", "count", "too late for its memory; counted as missed"),
}
"""The metrics of the suites, in the order of the table; others follow under their own names."""
NOTES = {
    ("squares", "uci-move"): "whole-move tokens: only squares that some piece could reach can be answered, so these "
    "figures do not compare with those of square tokens; read them beside their chance level"
}
"""What has to be said of a suite's figures in a notation."""


def note(suite: str, notation: Any) -> str | None:
    """What has to be said of a result's figures, if anything."""
    return NOTES.get((suite.removesuffix("-random"), str(notation)))


@dataclass(frozen=True)
class Cell:
    """A figure as shown: ``share`` in [0, 1] is the length of its bar and ``whisker`` the ends of its interval's."""

    text: str
    interval: str
    share: float | None = None
    whisker: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table, a cell or None for each model."""

    label: str
    meaning: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A titled table."""

    title: str
    rows: tuple[Row, ...]


def about_metric(key: str) -> About:
    """How a metric is shown; one that is not known goes by its own name."""
    if "_chance_" in key:
        what, _, figure = key.partition("_chance_")
        return About(f"… {what.replace('_', ' ')} {figure.replace('_', ' ')} by chance", "rate", "any square alike")
    return METRICS.get(key) or About(key.replace("_", " "), "", "")


def place(key: str) -> tuple[int, str]:
    """Where a metric stands in a table, for sorting; a level of chance behind what it is the chance of."""
    known = key.replace("_chance_", "_")
    return (list(METRICS).index(known), "_chance_" * (known != key)) if known in METRICS else (len(METRICS), key)


def row(label: str, metrics: Sequence[Any], about: About) -> Row:
    """A row of one metric, from its mapping of each model."""
    return Row(label, about.meaning, tuple(cell(metric, about) for metric in metrics))


def cell(metric: Any, about: About) -> Cell | None:
    """A metric of the results JSON as shown; None if it has no value."""
    metric = mapping(metric)
    value, low, high = (number(metric.get(name)) for name in ("value", "low", "high"))
    if value is None:
        return None
    text = _unit(about.unit, value)
    ends = (low, high) if low is not None and high is not None else None
    interval = f"{text(ends[0]).removesuffix(PERCENT)} to {text(ends[1])}" if ends and about.unit != "count" else ""
    if about.unit != "rate":
        return Cell(text(value), interval)
    return Cell(text(value), interval, _clip(value), (_clip(ends[0]), _clip(ends[1])) if ends else None)


def _clip(rate: float) -> float:
    return min(1.0, max(0.0, rate))


def _unit(unit: str, value: float) -> Callable[[float], str]:
    """How values of a unit are written; two digits behind the point for rates near 0 and 1."""
    if unit == "rate":
        return lambda x: percent(x, 2 if 0 < min(value, 1 - value) < 0.01 else 1)
    formats = {"plies": "{:.1f}", "bits": "{:.2f}", "count": "{:,.0f}"}
    return formats.get(unit, "{:.3g}").format


def percent(rate: float, digits: int = 1) -> str:
    """0.874 as 87.4 %; nothing at all and everything go without digits."""
    return f"{100 * rate:.{0 if rate in (0, 1) else digits}f}{PERCENT}"


def count(value: Any) -> str:
    """A whole number with commas; nothing for anything else."""
    return f"{value:,}" if isinstance(value, int) else ""


def mapping(thing: Any) -> Mapping[str, Any]:
    """A mapping as it is, and an empty one for anything else."""
    return thing if isinstance(thing, Mapping) else {}


def number(thing: Any) -> float | None:
    """A number that a page can show, or None."""
    try:
        figure = float(thing)
    except (TypeError, ValueError, OverflowError):
        return None
    return figure if abs(figure) < 1e15 else None
