"""``chesslm plot``: the figure, and the table beside it, of what commands left behind.

OUT/study.json of chesslm transfer              -> bits and legality against games, a line an arm
OUT/sinks.csv of train --track sinks, several   -> loss by class of token, where it is lost, and how sharply each fell
OUT/target.csv of train --track target, several -> targets, and the pairs needed for half and 90 % of what is to learn

Runs that differ in their seed alone are one line: the mean of their curves, and of their figures with an interval.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from chesslm import files
from chesslm.errors import InputError
from chesslm.learning import Curve, examples_needed, read_curve
from chesslm.seeds import Floats, about, by_recipe, half_of_difference, permuted, spreads
from chesslm.tables import markdown_table

BITS = "bits_per_target"

SHARES = (0.5, 0.9)
MOMENTS = (1 / 16, 1 / 4, 1)
"""Parts of a run's steps, after which it is asked where the bits of a move are lost."""
LOWER_FLOOR = 0.5
"""Of the lowest loss seen, as another floor of what has one: more training goes far below it. ``tiny`` ends at 7 bits a
move of UCI in the tokens of text, after 18,574 games; ``chesslm-small-plain`` takes 3.4."""


def plot(paths: Sequence[Path], out: Path) -> list[str]:
    """Draw what is at some paths.

    Args:
        paths: a study, or runs that were tracked alike; they go by the names of their folders, and those that differ in
            their seed alone by what these begin with.
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
    if (paths[0] / "study.json").is_file():
        if len(paths) > 1:
            raise InputError("one study a figure; give one folder")
        from chesslm.transferred import markdown

        rows = files.read_json(paths[0] / "study.json")["rows"]
        drawn, table = figures.study_svg(rows), markdown(rows)
    elif all((path / "target.csv").is_file() for path in paths):
        runs = by_recipe(paths)
        curves = {name: [read_curve(each / "target.csv") for each in group] for name, group in runs.items()}
        kinds = {name: _kinds(group[0]) for name, group in runs.items()}
        drawn, table = figures.targets_svg(curves), targets_table(curves, kinds, _apart(runs))
    elif all((path / "sinks.csv").is_file() for path in paths):
        runs = by_recipe(paths)
        if len({_data(path).get("sha256") for path in paths}) > 1:
            raise InputError(
                "runs on different data: tokens of one notation, and their floors, say nothing of another's"
            )
        shares = ("bits_per_move", "free_loss")
        curves = {name: [read_curve(each / "sinks.csv", shares) for each in group] for name, group in runs.items()}
        drawn, table = figures.sinks_svg(curves), [*parts_table(curves, _apart(runs)), ""]
        table += sinks_table(curves, _apart(runs))
    else:
        raise InputError(
            f"{paths[0]}: nothing to draw; give the folder of a study (chesslm transfer), or those of runs that were "
            "trained with one --track"
        )
    with files.atomic(out) as temporary:
        temporary.write_text(drawn)
    return table


def _apart(runs: Mapping[str, Sequence[Path]]) -> frozenset[str]:
    """The names of what started from permuted weights, whose seeds spread otherwise."""
    return frozenset(name for name, (run, *_) in runs.items() if permuted(run))


def _kinds(run: Path) -> str:
    """The kinds of pairs that a run learned."""
    return "+".join(_data(run).get("kinds") or ["?"])


def _data(run: Path) -> dict[str, Any]:
    """What is known of a run's dataset."""
    return about(run).get("dataset") or {}


def targets_table(
    runs: Mapping[str, Sequence[Curve]], kinds: Mapping[str, str], apart: frozenset[str] = frozenset()
) -> list[str]:
    """Pairs seen until half and 90 % of the reducible bits a target were gone.

    Runs of one kind are held to one start, the lowest loss that any of them began with, and one floor: 0 where the
    target follows from the source, and the lowest loss of these runs where it does not (``uci``, ``san``), which is
    varied: with half of it in brackets. Both follow from all that is in the table, and are said below it. Means over
    seeds are geometric, with 95 % intervals from the spread of the logarithm, pooled over the runs.

    Args:
        runs: the curves of its seeds by the name of what was run.
        kinds: of the pairs, by that name.
        apart: the names of those whose seeds have a spread of their own.
    """
    from chesslm.pairs import ONE_SIDED

    start, floor, varied = dict[str, float](), dict[str, float](), set[str]()
    for kind in kinds.values():
        alike = [curve for name, seeds in runs.items() if kinds[name] == kind for curve in seeds]
        start[kind], floor[kind] = min(float(curve[BITS][0]) for curve in alike), 0.0
        if set(kind.split("+")) & set(ONE_SIDED):
            floor[kind] = min(float(curve[BITS].min()) for curve in alike)
            varied.add(kind)

    def needed(share: float, part: float) -> dict[str, str]:
        """By run, with a part of the floor that was seen."""
        asked = {name: kind for name, kind in kinds.items() if part == 1 or kind in varied}
        return _over_seeds(
            {
                name: [
                    examples_needed(curve["games"], curve[BITS], share, part * floor[kind], start[kind])
                    for curve in runs[name]
                ]
                for name, kind in asked.items()
            },
            apart,
        )

    shown = {share: (needed(share, 1.0), needed(share, LOWER_FLOOR)) for share in SHARES}

    def line(name: str, seeds: Sequence[Curve]) -> Sequence[str]:
        first, last = fmean(curve[BITS][0] for curve in seeds), fmean(curve[BITS].min() for curve in seeds)
        exact = fmean(curve["exact"][-1] for curve in seeds)
        seen = min(curve["games"][-1] for curve in seeds)
        figures = (f"{seen:,.0f}", f"{first:.1f}", f"{last:.2f}", f"{exact:.1%}")
        after = (whole[name] + (f" ({lower[name]})" if name in lower else "") for whole, lower in shown.values())
        return (name, kinds[name], str(len(seeds)), *figures, *after)

    after = (f"{share:.0%} of it after" for share in SHARES)
    titles = ("run", "kind", "seeds", "pairs seen", "first bits", "lowest bits", "exact", *after)
    table = markdown_table(titles, (line(name, seeds) for name, seeds in runs.items()), words=2)
    return [*table, "", *(f"{kind}: from {start[kind]:.1f} bits to a floor of {floor[kind]:.2f}." for kind in start)]


def parts_table(runs: Mapping[str, Sequence[Curve]], apart: frozenset[str] = frozenset()) -> list[str]:
    """Where the bits of a move are lost, early and late, and how much less a run loses there than those before it.

    Means over seeds with 95 % intervals, from the spread over seeds pooled over the runs.

    Args:
        runs: the curves of its seeds by the name of what was run.
        apart: the names of those whose seeds have a spread of their own.
    """
    from chesslm.eval.falls import parts

    def at(curve: Curve, moment: float) -> Floats:
        """Games seen and the bits of a move, whole and by part, at the measurement nearest to a part of the steps."""
        i = 1 + np.abs(np.log2(curve["step"][1:] / curve["step"][-1]) - np.log2(moment)).argmin()
        return np.array([values[i] for values in (curve["games"], curve["bits_per_move"], *parts(curve).values())])

    lines: list[Sequence[str]] = []
    for moment in MOMENTS:
        then = {name: np.stack([at(curve, moment) for curve in seeds]) for name, seeds in runs.items()}
        columns = range(1, next(iter(then.values())).shape[1])
        spread = [spreads({name: values[:, i] for name, values in then.items()}, apart) for i in columns]
        mean, n = {name: values.mean(0) for name, values in then.items()}, {name: len(runs[name]) for name in runs}
        for name in runs:
            halves = (each[name].half(n[name]) for each in spread)
            bits = (_interval("{:.3f}", *each) for each in zip(mean[name][1:], halves, strict=True))
            lines.append((name, f"{mean[name][0]:,.0f}", str(n[name]), *bits))
        for one, other in combinations(runs, 2):
            halves = (half_of_difference((each[one], n[one]), (each[other], n[other])) for each in spread)
            less = (_interval("{:+.3f}", *each) for each in zip((mean[other] - mean[one])[1:], halves, strict=True))
            lines.append((f"{other} less {one}", f"{mean[other][0]:,.0f}", "", *less))
    kinds = ("the board's tokens", "the notation's", "free: legality", "free: choice")
    return markdown_table(("run", "games", "seeds", "bits a move", *kinds), lines)


def _interval(form: str, value: float, half: float) -> str:
    """A value with its 95 % interval, if that is known."""
    ends = f" ({form.format(value - half)} to {form.format(value + half)})"
    return form.format(value) + (ends if np.isfinite(half) else "")


def sinks_table(runs: Mapping[str, Sequence[Curve]], apart: frozenset[str] = frozenset()) -> list[str]:
    """Doublings of the steps from 75 % to 25 % of each class's reducible loss, by the floor taken for what has one.

    Args:
        runs: the curves of its seeds by the name of what was run.
        apart: the names of those whose seeds have a spread of their own.
    """
    from chesslm.eval.falls import FLOORS, falls, floors, losses

    every = [curve for seeds in runs.values() for curve in seeds]
    classes = list(dict.fromkeys(name for curve in every for name in losses(curve)))

    def doublings(share: float) -> dict[str, dict[str, str]]:
        """By class, then by run."""
        lowest = floors(every, share)
        fell = {name: [falls(curve, lowest) for curve in seeds] for name, seeds in runs.items()}
        return {
            each: _over_seeds(
                {name: [one[each].doublings if each in one else None for one in seeds] for name, seeds in fell.items()},
                apart,
                "{:.1f}",
                logarithmic=False,
            )
            for each in classes
        }

    shown = {share: doublings(share) for share in FLOORS}
    lines = (
        (name, f"{share:g} of the lowest", *(of_class[name] for of_class in shown[share].values()))
        for name in runs
        for share in FLOORS
    )
    return markdown_table(("run", "floor of free tokens", *classes), lines)


def _over_seeds(
    values: Mapping[str, Sequence[float | None]],
    apart: frozenset[str],
    form: str = "{:,.0f}",
    logarithmic: bool = True,
) -> dict[str, str]:
    """The mean of each run over seeds with a 95 % interval, if there are several; how many seeds have none, if any."""
    there, back = (np.log, np.exp) if logarithmic else (np.asarray, float)
    known = {name: there([each for each in seeds if each is not None]) for name, seeds in values.items()}
    spread = spreads(known, apart)

    def show(name: str) -> str:
        of, mine = len(values[name]), known[name]
        if len(mine) < of:
            return "not reached" if of == 1 or not len(mine) else f"not reached by {of - len(mine)} of {of}"
        ends = (mine.mean() + side * spread[name].half(of) for side in (-1, 1)) if of > 1 else ()
        low_high = " to ".join(form.format(float(back(end))) for end in ends)
        return form.format(float(back(mine.mean()))) + (f" ({low_high})" if low_high else "")

    return {name: show(name) for name in values}
