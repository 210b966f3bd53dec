"""Figures as tables show them: values as text, intervals, lengths of bars.

Metrics come as the plain mappings of the results JSON, perhaps someone else's: what is missing or not a number
becomes None.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chesslm.names import BESIDE, About, about_metric

PERCENT = "\u00a0%"


@dataclass(frozen=True)
class Cell:
    """A figure as shown.

    Attributes:
        text: its value.
        interval: its ends.
        share: the length of its bar, in [0, 1].
        whisker: the ends of the interval of its bar.
        beside: what the figure has to be read beside, in words.
        mark: where that stands on the bar.
        clear: of a difference, whether its interval leaves out 0.
    """

    text: str
    interval: str
    share: float | None = None
    whisker: tuple[float, float] | None = None
    beside: str = ""
    mark: float | None = None
    clear: bool = False


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


def row_of(key: str, metrics: Sequence[Mapping[str, Any]], label: str | None = None, meaning: str | None = None) -> Row:
    """A row of one metric with what it has to be read beside, from each model's metrics by their keys.

    Args:
        key: of the metric.
        metrics: of each model.
        label, meaning: in place of the metric's own.
    """
    about = about_metric(key)
    about = About(label or about.label, about.unit, about.meaning if meaning is None else meaning)
    plain = row(about.label, [each.get(key) for each in metrics], about)
    if key not in BESIDE:
        return plain
    other, words = BESIDE[key]
    cells = zip(plain.cells, (cell(each.get(other), about_metric(other)) for each in metrics), strict=True)
    return replace(
        plain,
        cells=tuple(
            replace(it, beside=f"{that.text} {words}", mark=that.share) if it and that else it for it, that in cells
        ),
    )


def difference(metric: Any, about: About) -> Cell | None:
    """A difference of two figures, those of rates in percentage points; None if it has no value."""
    metric = mapping(metric)
    value, low, high = (number(metric.get(name)) for name in ("value", "low", "high"))
    if value is None:
        return None
    scale = 100 if about.unit == "rate" else 1
    largest = scale * max(abs(figure) for figure in (value, low, high) if figure is not None)
    digits = 1 if about.unit in ("rate", "plies") and largest > 0.1 else 2

    def text(figure: float) -> str:
        return f"{scale * figure:+.{digits}f}".replace("-", "\u2212")

    if low is None or high is None:
        return Cell(text(value), "")
    return Cell(text(value), f"{text(low)} to {text(high)}", clear=low > 0 or high < 0)


def _clip(rate: float) -> float:
    return min(1.0, max(0.0, rate))


def _unit(unit: str, value: float) -> Callable[[float], str]:
    """How values of a unit are written; two digits behind the point for rates near 0 and 1."""
    if unit == "rate":
        return lambda x: percent(x, 2 if 0 < min(value, 1 - value) < 0.01 else 1)
    formats = {"plies": "{:.1f}", "bits": "{:.2f}", "count": "{:,.0f}"}
    return formats.get(unit, "{:.3g}").format


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """The lines of a table in Markdown, of which the first columns are words and the others figures."""
    ruler = "|---" * words + "|--:" * (len(titles) - words) + "|"
    return [_line(titles), ruler, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


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
