"""From metrics and a run's log to charts: legality by ply, calibration, survival, learning.

Breakdowns of several models in, one chart with a line a model out; None, or no chart, where there is nothing to draw.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chesslm.logs import read_log
from chesslm.report.charts import Chart, Series, line_chart
from chesslm.report.results import Column, Objects, groups_of, metric_of
from chesslm.tables import PERCENT, number

MAIN = "legal_argmax"
PLY, CALIBRATION, SURVIVAL = "ply", "calibration", "survival"


@dataclass(frozen=True)
class Figure:
    """A chart under its heading, with words on what it shows."""

    title: str
    words: str
    chart: Chart


def of_legality(columns: Sequence[Column], by: Objects) -> Iterator[Figure]:
    """Legality by ply, and calibration."""
    if chart := _by_ply(columns, by):
        yield Figure(
            "Legal moves by ply",
            "The longer the game, the more there is to keep track of. Bands are 95 % intervals; late plies that few "
            "games reach are left out.",
            chart,
        )
    if chart := _calibration(columns, by):
        yield Figure(
            "Calibration",
            "How often the likeliest move was the one played, by the probability given to it. On the dotted line the "
            "two agree.",
            chart,
        )


def _series(column: Column, points: Iterable[tuple[float | None, Mapping[str, Any]]]) -> Series | None:
    """A line through metrics, each at its place across; None if there is none."""
    shown = [
        (x, y, number(metric.get("low")), number(metric.get("high")))
        for x, metric in points
        if x is not None and (y := number(metric.get("value"))) is not None
    ]
    shown.sort(key=lambda point: point[0])
    return Series(column.name, column.slot, *zip(*shown, strict=True)) if shown else None


def _by_ply(columns: Sequence[Column], by: Objects) -> Chart | None:
    """Legality against the ply: a group is a range of plies, drawn at its middle.

    Late ranges that hardly any game reaches are left out, and so are scorers that are legal by their making.
    """
    drawn = []
    for column, each in zip(columns, by, strict=True):
        metrics = {group: metric_of(each, PLY, group, MAIN) for group in groups_of(PLY, [each])}
        plies = {group: number(metric.get("n")) or 0 for group, metric in metrics.items()}
        few = sum(plies.values()) / 500
        drawn.append(_series(column, [(_middle(group), metrics[group]) for group in metrics if plies[group] >= few]))
    lines = [line for line in drawn if line]
    lines = [line for line in lines if set(line.y) != {1.0}] or lines
    return line_chart("Legal moves by ply", lines, "ply", _tick, y_limits=(0, 1)) if lines else None


def _tick(rate: float) -> str:
    return f"{100 * rate:.4g}{PERCENT}"


def _middle(group: str) -> float | None:
    """The middle of a range of plies such as 20-39, or 20 itself; None if the name is no range."""
    ends = [number(part) for part in str(group).replace("–", "-").rstrip("+").split("-")]
    figures = [end for end in ends if end is not None]
    return sum(figures) / len(figures) if figures and len(figures) == len(ends) else None


def _calibration(columns: Sequence[Column], by: Objects) -> Chart | None:
    """How often the likeliest move was the one played, against the probability that it was given."""
    drawn = []
    for column, each in zip(columns, by, strict=True):
        bins = groups_of(CALIBRATION, [each])
        said = [number(metric_of(each, CALIBRATION, name, "confidence").get("value")) for name in bins]
        drawn.append(
            _series(column, zip(said, [metric_of(each, CALIBRATION, name, "top1") for name in bins], strict=True))
        )
    lines = [line for line in drawn if line]
    return line_chart("Calibration", lines, "probability given", _tick, _tick, diagonal=True) if lines else None


def of_selfplay(columns: Sequence[Column], by: Objects) -> Iterator[Figure]:
    """Share of games still legal, one chart a setting, all on the same scale."""
    names = dict.fromkeys(name for each in by for name in each if name.startswith(f"{SURVIVAL} "))
    lines: dict[str, list[Series]] = {}
    for name in names:
        setting = name.removeprefix(f"{SURVIVAL} ")
        for column, each in zip(columns, by, strict=True):
            points = [(_middle(ply), metric_of(each, name, ply, "legal")) for ply in groups_of(name, [each])]
            if points and (line := _series(column, [(0.0, {"value": 1, "low": 1, "high": 1}), *points])):
                lines.setdefault(setting, []).append(line)
    longest = max((x for of_setting in lines.values() for line in of_setting for x in line.x), default=0)
    for setting, of_setting in lines.items():
        title = f"{setting[:1].upper()}{setting[1:]}"
        words = f"Games still legal: {setting}"
        chart = line_chart(words, of_setting, "plies written", _tick, y_limits=(0, 1), holds=[(longest, 0.0)])
        yield Figure(title, "", chart)


def of_probe(columns: Sequence[Column], by: Objects) -> Iterator[Figure]:
    """Squares found by layer, beside random weights, and by ply."""
    for key, title in (("piece_accuracy", "Squares found"), ("piece_accuracy_nonempty", "Pieces found")):
        fresh = _lines(columns, by, "layer, random weights", key)
        fresh = [replace(it, name=f"{it.name}, random weights", slot=it.slot + len(columns)) for it in fresh]
        if lines := [*_lines(columns, by, "layer", key), *fresh]:
            yield Figure(f"{title}, by layer", "", line_chart(title, lines, "layer", _tick))
    if lines := _lines(columns, by, PLY, "piece_accuracy_nonempty", _middle):
        title = "Pieces found, by ply"
        yield Figure(title, "", line_chart(title, lines, "ply", _tick, y_limits=(0, 1)))
    for column, each in zip(columns, by, strict=True):
        names = [name for name in each if name.startswith(f"{PLY}, layer ")]
        found = [_lines([column], [each], name, "piece_accuracy_nonempty", _middle) for name in names]
        lines = [
            replace(line, name=name.removeprefix(f"{PLY}, "), slot=slot)
            for slot, (name, drawn) in enumerate(zip(names, found, strict=True))
            for line in drawn
        ]
        if lines:
            title = f"Pieces found by each layer of {column.name}, by ply"
            yield Figure(title, "", line_chart(title, lines, "ply", _tick, y_limits=(0, 1)))


def of_edits(columns: Sequence[Column], by: Objects) -> Iterator[Figure]:
    """Legality as edited and as played by the dose of an edit."""
    for key, title in (("edited_argmax", "Legal on the edited board"), ("true_argmax", "Legal on the board as it is")):
        if lines := _lines(columns, by, "dose", key):
            yield Figure(f"{title}, by dose", "", line_chart(title, lines, "dose", _tick, y_limits=(0, 1)))


def _lines(
    columns: Sequence[Column],
    by: Objects,
    name: str,
    key: str,
    place: Callable[[str], float | None] = number,
) -> list[Series]:
    """A line a model through one metric of a breakdown's groups, each at its place across."""
    drawn = (
        _series(column, [(place(group), metric_of(each, name, group, key)) for group in groups_of(name, [each])])
        for column, each in zip(columns, by, strict=True)
    )
    return [line for line in drawn if line]


def of_learning(run_folder: Path | None) -> Iterator[Figure]:
    """Bits a move and legality against tokens."""
    log = run_folder / "metrics.csv" if run_folder else None
    rows = read_log(log) if log and log.is_file() else []

    def line(name: str, slot: int, key: str) -> list[Series]:
        points = [(each["tokens"] / 1e6, each[key]) for each in rows if "tokens" in each and key in each]
        return [Series(name, slot, *zip(*points, strict=True))] if len(points) > 1 else []

    if bits := [*line("validation", 0, "val_bits_per_move"), *line("training", 1, "bits_per_move")]:
        chart = line_chart("Bits a move while training", bits, "million tokens", "{:.4g}".format)
        yield Figure(chart.title, "How surprised it is by the moves played, in bits.", chart)
    if legal := line("validation", 0, "val_legal_argmax"):
        chart = line_chart("Legal moves while training", legal, "million tokens", _tick, y_limits=(0, 1))
        yield Figure(chart.title, "How often its likeliest move is legal, on validation games.", chart)
