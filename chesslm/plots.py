"""``chesslm plot``: the figure, and the table beside it, of what commands left behind.

OUT/study.json of chesslm transfer              -> bits and legality against games, a line an arm
OUT/sinks.csv of train --track sinks, several   -> loss by class of token, and how sharply each fell
OUT/target.csv of train --track target, several -> targets, and the pairs needed for half and 90 % of what is to learn
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.errors import InputError
from chesslm.tables import markdown_table

SHARES = (0.5, 0.9)
FLOOR_SHARES = (1.0, 0.9)
"""Of the lowest loss seen, as floors of what has one: it is above what more training would reach."""


def plot(paths: Sequence[Path], out: Path) -> list[str]:
    """Draw what is at some paths.

    Args:
        paths: a study, or runs that were tracked alike; runs go by the names of their folders.
        out: the SVG to write.

    Returns:
        The lines of a Markdown table.

    Raises:
        InputError: nothing that can be drawn, two runs of one name, or ``out`` is no .svg.
    """
    from chesslm.report import figures

    if out.suffix != ".svg":
        raise InputError(f"{out}: figures are SVG; give a name that ends in .svg")
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise InputError("two runs of one name; the figure tells them apart by the names of their folders")
    runs = dict(zip(names, paths, strict=True))
    if (paths[0] / "study.json").is_file():
        if len(paths) > 1:
            raise InputError("one study a figure; give one folder")
        from chesslm.transferred import markdown

        rows = files.read_json(paths[0] / "study.json")["rows"]
        drawn, table = figures.study_svg(rows), markdown(rows)
    elif all((path / "target.csv").is_file() for path in paths):
        from chesslm.learning import read_curve

        curves = {name: read_curve(path / "target.csv") for name, path in runs.items()}
        drawn, table = figures.targets_svg(curves), targets_table(curves, {n: _kinds(p) for n, p in runs.items()})
    elif all((path / "sinks.csv").is_file() for path in paths):
        from chesslm.eval.falls import read_curves

        falling = {name: read_curves(path) for name, path in runs.items()}
        drawn, table = figures.sinks_svg(falling), sinks_table(falling)
    else:
        raise InputError(
            f"{paths[0]}: nothing to draw; give the folder of a study (chesslm transfer), or those of runs that were "
            "trained with one --track"
        )
    with files.atomic(out) as temporary:
        temporary.write_text(drawn)
    return table


def _kinds(run: Path) -> str:
    """The kinds of pairs that a run learned."""
    about = files.read_json(run / "chesslm.json") if (run / "chesslm.json").is_file() else {}
    return "+".join((about.get("dataset") or {}).get("kinds") or ["?"])


def targets_table(runs: Mapping[str, Sequence[Mapping[str, float]]], kinds: Mapping[str, str]) -> list[str]:
    """Pairs seen until half and 90 % of the reducible bits a target were gone.

    Runs of one kind are held to one start, the lowest loss that any of them began with, and one floor: 0 where the
    target follows from the source, and the lowest loss of these runs where it does not (``uci``, ``san``), which is
    varied: 0.9 of it stands in brackets.
    """
    from chesslm.learning import examples_needed
    from chesslm.pairs import ONE_SIDED

    def line(name: str, rows: Sequence[Mapping[str, float]]) -> Sequence[str]:
        alike = [runs[other] for other in runs if kinds[other] == kinds[name]]
        start = min(each[0]["bits_per_target"] for each in alike)
        free = set(kinds[name].split("+")) & set(ONE_SIDED)
        lowest = min(row["bits_per_target"] for each in alike for row in each) if free else 0.0
        floors = [share * lowest for share in FLOOR_SHARES] if free else [0.0]
        seen, bits = [row["games"] for row in rows], [row["bits_per_target"] for row in rows]
        needed = ([examples_needed(seen, bits, share, floor, start) for floor in floors] for share in SHARES)
        figures = (f"{seen[-1]:,.0f}", f"{bits[0]:.1f}", f"{min(bits):.2f}", f"{rows[-1]['exact']:.1%}")
        return (name, kinds[name], *figures, *(" ".join(map(_count, each, range(len(each)))) for each in needed))

    after = (f"{share:.0%} of it after" for share in SHARES)
    titles = ("run", "kind", "pairs seen", "first bits", "last bits", "exact", *after)
    return markdown_table(titles, (line(name, rows) for name, rows in runs.items()), words=2)


def _count(value: float | None, place: int) -> str:
    shown = "not reached" if value is None else f"{value:,.0f}"
    return f"({shown})" if place else shown


def sinks_table(runs: Mapping[str, Any]) -> list[str]:
    """Doublings of the steps from 75 % to 25 % of each class's reducible loss, by the floor taken for what has one."""
    from chesslm.eval.falls import FLOORS, falls, floors

    classes = list(dict.fromkeys(name for run in runs.values() for name in run.bits))
    lowest = {share: floors(runs, share) for share in FLOORS}

    def line(name: str, share: float) -> Sequence[str]:
        found = falls(runs[name], lowest[share])
        doublings = (found[each].doublings if each in found else None for each in classes)
        shown = ("not reached" if value is None else f"{value:.1f}" for value in doublings)
        return (name, f"{share:g} of the lowest", *shown)

    titles = ("run", "floor of free tokens", *classes)
    return markdown_table(titles, (line(name, share) for name in runs for share in FLOORS))
