"""Results as tables on the terminal: a row a metric, a column a model, the 95 % interval under each figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from chesslm.tables import METRICS, cell

TITLES = {"legality": "Legality", "legality-random": "Legality on random games"}


def print_tables(objects: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each suite.

    Args:
        objects: of the results JSON.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for suite in dict.fromkeys(suite for each in objects for suite in each["suites"]):
        shown = [each for each in objects if suite in each["suites"]]
        data = shown[0]["data"]
        data = data.get("random", data) if suite.endswith("-random") else data
        title = f"{TITLES.get(suite, suite)}: {data['games']:,} games ({data['path']})"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_lines=False)
        table.add_column("95 % intervals over games", style="dim")
        for each in shown:
            table.add_column(each["model"].get("name") or each["model"]["path"], justify="right", overflow="fold")
        metrics = [each["suites"][suite]["metrics"] for each in shown]
        for key, about in METRICS.items():
            cells = [cell(each.get(key), about) for each in metrics]
            if any(cells):
                texts = [f"{c.text}\n[dim]{c.interval.replace(' to ', '–')}[/dim]" if c else "–" for c in cells]
                table.add_row(about.label, *texts)
        console.print(table)
