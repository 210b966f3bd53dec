"""Results as tables on the terminal: a row a metric, a column a model, the 95 % interval under each figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from chesslm.names import ON_RANDOM_GAMES, about_metric, note, place, suite_title
from chesslm.tables import cell

ON_GAMES = ("legality", "squares")
"""Suites whose title names the games."""


def print_tables(objects: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each suite, and one of the differences to the first model where there are several.

    Args:
        objects: of the results JSON.
    """
    from rich.console import Console

    console = Console(highlight=False)
    for suite in dict.fromkeys(suite for each in objects for suite in each["suites"]):
        shown = [each for each in objects if suite in each["suites"]]
        _print(console, _title(suite, shown[0]["data"]), shown, [each["suites"][suite]["metrics"] for each in shown])
        for line in dict.fromkeys(note(suite, each["model"].get("notation")) for each in shown):
            if line:
                console.print(f"{line}\n", style="dim")
        others = [each for each in shown if suite in each.get("difference_to_first", {})]
        if others:
            title = f"The same, less that of {objects[0]['model']['name']}, game by game"
            _print(console, title, others, [each["difference_to_first"][suite] for each in others])


def _title(suite: str, data: Mapping[str, Any]) -> str:
    plain, name = suite.removesuffix(ON_RANDOM_GAMES), suite_title(suite)
    on = data.get("random", data) if plain != suite else data
    return f"{name}: {on['games']:,} games ({on['path']})" if plain in ON_GAMES else name


def _print(console: Any, title: str, shown: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_lines=False)
    table.add_column("95 % intervals over games", style="dim")
    for each in shown:
        table.add_column(each["model"].get("name") or each["model"]["path"], justify="right", overflow="fold")
    for key in sorted({key for each in metrics for key in each}, key=place):
        about = about_metric(key)
        cells = [cell(each.get(key), about) for each in metrics]
        if any(cells):
            texts = [f"{c.text}\n[dim]{c.interval.replace(' to ', '–')}[/dim]" if c else "–" for c in cells]
            table.add_row(about.label, *texts)
    console.print(table)
