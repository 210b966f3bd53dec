"""Figures for a paper: charts side by side over one legend, as an SVG that stands alone.

Learning curves and the rows of a study in; a panel a figure, a line a run or an arm out. Axes across are logarithmic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chesslm.learning import Curve, mean_curve
from chesslm.report.charts import HEIGHT, WIDTH, Chart, Series, line_chart

SINKS = {
    "board_bits": "Determined by the board, bits a token",
    "free_bits": "Free, bits a token",
    "free_legality_bits": "Free, lost to illegal moves, bits a token",
    "forced_bits": "Positions with one legal move, bits a token",
}
STUDY = {
    "bits_per_move": "Bits a move, human games",
    "bits_per_move-random": "Bits a move, random games",
    "legal_argmax": "Greedy move legal, human games",
    "legal_argmax-random": "Greedy move legal, random games",
}


def sinks_svg(runs: Mapping[str, Sequence[Curve]]) -> str:
    """Bits a token against steps, a panel a class; means over seeds.

    Args:
        runs: the curves of its seeds by the name in the legend; what a run has no tokens of is left out.
    """
    panels = []
    means = {run: mean_curve(seeds) for run, seeds in runs.items()}
    for name, title in SINKS.items():
        # The first step stands where the state before it would; that has no place on this axis.
        lines = [
            Series(run, slot, np.log2(curve["step"][1:]).tolist(), curve[name][1:].tolist())
            for slot, (run, curve) in enumerate(means.items())
            if name in curve and len(curve["step"]) > 1
        ]
        if lines:
            panels.append((title, _chart(title, lines, "steps")))
    return _svg("Bits a token while training", panels, list(runs))


def targets_svg(runs: Mapping[str, Sequence[Curve]]) -> str:
    """Bits a target and pairs that are exact against pairs seen; means over seeds.

    Args:
        runs: the curves of its seeds by the name in the legend.
    """
    panels = []
    means = {run: mean_curve(seeds) for run, seeds in runs.items()}
    for column, title in (("bits_per_target_token", "Bits a token of the target"), ("exact", "Exact targets")):
        lines = []
        for slot, (run, curve) in enumerate(means.items()):
            seen = curve["games"] > 0
            if seen.any():
                lines.append(Series(run, slot, np.log2(curve["games"][seen]).tolist(), curve[column][seen].tolist()))
        panels.append((title, _chart(title, lines, "pairs seen", rate=column == "exact")))
    return _svg("Targets while training", panels, list(runs))


def study_svg(rows: Sequence[Mapping[str, Any]]) -> str:
    """A study's figures against games with their 95 % intervals over seeds.

    Args:
        rows: of ``study.json``.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    panels = []
    for key, title in STUDY.items():
        lines = []
        for slot, arm in enumerate(arms):
            mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["games"])
            ends = ([row[key][end] for row in mine] for end in ("value", "low", "high"))
            lines.append(Series(arm, slot, [float(np.log2(row["games"])) for row in mine], *ends))
        rate = key.startswith("legal")
        # Bits from 0 would leave the differences no room.
        panels.append((title, _chart(title, lines, "training games", rate=rate, from_zero=rate)))
    return _svg("What other starting weights are worth", panels, arms)


def _chart(title: str, lines: Sequence[Series], x_label: str, rate: bool = False, from_zero: bool = True) -> Chart:
    """A chart whose lines have their place across as log2."""
    first = min(x for line in lines for x in line.x)
    return line_chart(
        title,
        lines,
        x_label,
        "{:.0%}".format if rate else "{:.3g}".format,
        lambda x: f"{round(2**x, 1):,g}",
        y_limits=(0, 1) if rate else (0, np.inf),
        holds=[(first, 0)] if from_zero else (),
        x_from=np.floor(first),
    )


def _svg(title: str, panels: Sequence[tuple[str, Chart]], names: Sequence[str]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("chesslm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("figure.svg").render(
        title=title, panels=panels, runs=names, width=WIDTH, height=HEIGHT, columns=min(2, max(1, len(panels)))
    )
