"""A suite's results in, a section of the report out: what is asked, the figures of all models, what to break them by.

Results are the plain objects of the results JSON, perhaps someone else's: what is missing or no number is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chesslm import names, tables
from chesslm.names import About, about_metric, place
from chesslm.report.beliefs import Belief, beliefs_of
from chesslm.report.blocks import Block, all_rows, table
from chesslm.report.curves import CALIBRATION, MAIN, Figure
from chesslm.report.examples import Example, examples_of
from chesslm.report.results import Column, Objects, metric_of
from chesslm.report.suites import RANDOM, SUITES
from chesslm.tables import Cell, Row, Table, cell, mapping, row

_ERROR = About("Calibration error", "rate", "gap between how probable its likeliest moves were and how often they came")


@dataclass(frozen=True)
class Differences:
    """What the figures of some models lie above those of the first."""

    first: str
    columns: tuple[Column, ...]
    table: Table


@dataclass(frozen=True)
class Section:
    """One suite on one set of games.

    Attributes:
        title: the suite in words.
        data: what it was measured on.
        words: what is asked.
        notes: what has to be said of some models' figures.
        columns: the models.
        glance: the main figure of each, where there is one.
        summary: all figures.
        differences: None where there is one model.
        figures: charts, and the words for all of them.
        blocks: breakdowns.
        examples: of each model that has some.
        beliefs: a game followed on the believed board, likewise.
    """

    title: str
    data: str
    words: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    glance: tuple[tuple[Column, Cell], ...]
    summary: Table
    differences: Differences | None
    figures: tuple[Figure, ...]
    figures_words: str
    blocks: tuple[Block, ...]
    examples: tuple[tuple[Column, tuple[Example, ...]], ...]
    beliefs: tuple[tuple[Column, tuple[Belief, ...]], ...]


def section(
    suite: str, data: str, columns: tuple[Column, ...], results: Objects, differences: Objects, first: str
) -> Section:
    """A suite's section.

    Args:
        suite: its name.
        data: what it was measured on, in words.
        columns: the models.
        results: of each of them.
        differences: of each of them to the first model, empty where there are none.
        first: the name of that model.
    """
    shown = SUITES.get(suite.removesuffix(names.ON_RANDOM_GAMES), SUITES["legality"])
    metrics = [mapping(result.get("metrics")) for result in results]
    by = [mapping(result.get("by")) for result in results]
    main = [cell(each.get(MAIN), about_metric(MAIN)) for each in metrics]
    notes = [names.note(suite, column.model.get("notation")) for column in columns]
    examples = [(column, examples_of(result)) for column, result in zip(columns, results, strict=True)]
    beliefs = [(column, beliefs_of(result)) for column, result in zip(columns, results, strict=True)]
    return Section(
        title=names.suite_title(suite),
        data=data,
        words=RANDOM if suite == f"legality{names.ON_RANDOM_GAMES}" else shown.words,
        notes=tuple(dict.fromkeys(f"{note[:1].upper()}{note[1:]}." for note in notes if note)),
        columns=columns,
        glance=tuple((column, it) for column, it in zip(columns, main, strict=True) if it),
        summary=table("All figures", [*all_rows(metrics), _error(by)]),
        differences=_differences(columns, differences, first),
        figures=tuple(shown.figures(columns, by)),
        figures_words=shown.figures_words,
        blocks=tuple(block for block in shown.blocks(by) if block.parts),
        examples=tuple((column, found) for column, found in examples if found),
        beliefs=tuple((column, found) for column, found in beliefs if found),
    )


def _error(by: Objects) -> Row:
    return row(_ERROR.label, [metric_of(each, CALIBRATION, "all", "error") for each in by], _ERROR)


def _differences(columns: Sequence[Column], given: Objects, first: str) -> Differences | None:
    compared = [(column, each) for column, each in zip(columns, given, strict=True) if each]
    rows = []
    for key in sorted({key for _, each in compared for key in each}, key=place):
        about = about_metric(key)
        cells = tuple(tables.difference(each.get(key), about) for _, each in compared)
        # Chance has no differences.
        if "_chance" not in key and any(cells):
            rows.append(Row(about.label, about.meaning, cells))
    return Differences(first, tuple(column for column, _ in compared), table("", rows)) if rows else None
