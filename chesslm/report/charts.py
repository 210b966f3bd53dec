"""Line charts as geometry: numbers in, coordinates and tick labels of an SVG out; the report's template draws them.

Drawn by hand rather than by a plotting library so that lines take the page's colours, light or dark, and text its
font. A chart is 440 by 280 units: legible at the width of a phone, two beside each other on a screen.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 12, 44


@dataclass(frozen=True)
class Series:
    """A line with an interval.

    Attributes:
        name: for the legend.
        slot: which of the page's colours and dash patterns it has.
        x, y: its points, of one length.
        low, high: ends of the interval at each point; None where there is none.
    """

    name: str
    slot: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class Dot:
    """A point of a line, with the words that a pointer over it shows."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Line:
    """A drawn line: ``points`` and ``band`` are SVG coordinate lists; an empty band is none. ``words`` say it."""

    name: str
    slot: int
    words: str
    points: str
    band: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Chart:
    """A drawn chart; ticks are (coordinate, label)."""

    title: str
    x_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    diagonal: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_text: Callable[[float], str],
    x_text: Callable[[float], str] = "{:g}".format,
    y_limits: tuple[float, float] = (-math.inf, math.inf),
    holds: Sequence[tuple[float, float]] = (),
    diagonal: bool = False,
    x_from: float = 0.0,
) -> Chart:
    """Lay out a chart.

    Args:
        title: for those who cannot see it.
        series: at least one, each of at least one point.
        x_label: of the horizontal axis.
        y_text, x_text: a tick's value to its label.
        y_limits: values that the vertical axis never passes, such as 0 and 1 for rates.
        holds: points that the frame has room for as well, so that charts beside each other have one scale.
        diagonal: whether to draw y = x.
        x_from: where the horizontal axis begins, unless there are points before.
    """
    xs = [*(x for line in series for x in line.x), *(x for x, _ in holds)]
    ys = [*(y for line in series for y in (*line.y, *line.low, *line.high) if y is not None), *(y for _, y in holds)]
    first, last = min(x_from, *xs), max(xs)
    x_ticks, y_ticks = ticks(first, last, 6), ticks(min(ys), max(ys), 5)
    bottom, top = max(y_ticks[0], y_limits[0]), min(y_ticks[-1], y_limits[1])
    if diagonal:
        bottom, top, first, last = 0.0, 1.0, 0.0, 1.0
        x_ticks = y_ticks = ticks(0, 1, 5)

    def across(x: float) -> float:
        return round(LEFT + (x - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - bottom) / ((top - bottom) or 1) * (HEIGHT - TOP - BOTTOM), 1)

    def draw(line: Series) -> Line:
        dots = tuple(
            Dot(across(x), down(y), f"{line.name}: {y_text(y)} at {x_label} {x_text(x)}")
            for x, y in zip(line.x, line.y, strict=True)
        )
        bounds = [
            (x, low, high)
            for x, low, high in zip(line.x, line.low, line.high, strict=False)
            if low is not None and high is not None
        ]
        upper = [(across(x), down(high)) for x, _, high in bounds]
        lower = [(across(x), down(low)) for x, low, _ in reversed(bounds)]
        words = f"{line.name} goes from {y_text(line.y[0])} to {y_text(line.y[-1])}"
        points = _points([(dot.x, dot.y) for dot in dots])
        return Line(line.name, line.slot, words, points, _points(upper + lower), dots)

    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=tuple((across(x), x_text(x)) for x in x_ticks if first <= x <= last),
        y_ticks=tuple((down(y), y_text(y)) for y in y_ticks if bottom <= y <= top),
        lines=tuple(draw(line) for line in series),
        diagonal=_points([(across(0), down(0)), (across(1), down(1))]) if diagonal else "",
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from just below ``low`` to just above ``high``."""
    span = high - low
    if span < max(1e-12, 1e-9 * max(abs(low), abs(high))):
        span = abs(high) if abs(high) > 1e-12 else 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first + 1) + 1)]


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in pairs)
