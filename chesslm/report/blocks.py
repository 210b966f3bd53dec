"""Breakdowns in, tables under a heading out.

A row is a group and a cell a model. Bars may be stretched, so that small rates can be compared.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chesslm.names import BESIDE, place
from chesslm.report.results import Objects, groups_of, metrics_of
from chesslm.tables import Cell, Row, Table, mapping, number, row_of


@dataclass(frozen=True)
class Block:
    """Tables under one heading, with words on how to read them; ``folded``: to be opened by who wants it."""

    title: str
    words: str
    parts: tuple[Table, ...]
    folded: bool = False


def table(title: str, rows: Iterable[Row]) -> Table:
    """A table of the rows in which some model has a figure."""
    return Table(title, tuple(each for each in rows if any(each.cells)))


def all_rows(metrics: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """A row a metric; what stands beside another one has none of its own."""
    keys = sorted({key for each in metrics for key in each}, key=place)
    beside = {BESIDE[key][0] for key in keys if key in BESIDE}
    return (row_of(key, metrics) for key in keys if key not in beside)


def by_group(name: str, title: str, by: Objects, key: str, counted: tuple[str, str]) -> Table:
    """One metric by the groups of a breakdown; ``counted`` in what, one and several."""
    rows = []
    for group in groups_of(name, by):
        metrics = [metrics_of(each, name, group) for each in by]
        rows.append(row_of(key, metrics, str(group), _counted([mapping(each.get(key)) for each in metrics], counted)))
    return table(title, rows)


def _counted(metrics: Objects, words: tuple[str, str]) -> str:
    """On how many rows a figure was measured: from the fewest to the most of all models."""
    n = sorted({int(number(metric.get("n")) or 0) for metric in metrics} - {0})
    return " to ".join(f"{each:,}" for each in dict.fromkeys([*n[:1], *n[-1:]])) + f" {words[n != [1]]}" if n else ""


def block(title: str, words: str, parts: Iterable[Table], scaled: bool = False, folded: bool = False) -> Block:
    """Tables that have rows; ``scaled``: the greatest of all rates has the whole length of a bar."""
    every = tuple(parts)
    every = _scaled(every) if scaled else every
    return Block(title, words, tuple(part for part in every if part.rows), folded)


def _scaled(parts: Sequence[Table]) -> tuple[Table, ...]:
    """The bars of some tables stretched; rows in which nobody has more than 0 are left out."""
    cells = [it for part in parts for each in part.rows for it in each.cells if it]
    most = max((max(it.share or 0, it.mark or 0) for it in cells), default=0) or 1

    def stretched(it: Cell | None) -> Cell | None:
        if it is None:
            return None
        ends = (it.whisker[0] / most, min(1, it.whisker[1] / most)) if it.whisker else None
        mark = None if it.mark is None else it.mark / most
        return replace(it, share=(it.share or 0) / most, whisker=ends, mark=mark)

    return tuple(
        table(
            part.title,
            [
                replace(each, cells=tuple(map(stretched, each.cells)))
                for each in part.rows
                if any(it.share or it.mark for it in each.cells if it)
            ],
        )
        for part in parts
    )
