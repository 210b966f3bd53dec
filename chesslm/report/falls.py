"""The loss of each class of token while models learn, as an SVG that stands alone: a panel a class, a line a run."""

from collections.abc import Mapping

import numpy as np

from chesslm.eval.falls import Curves
from chesslm.report.charts import HEIGHT, WIDTH, Series, line_chart

PANELS = {
    "board": "Determined by the board",
    "free": "Free",
    "free_legality": "Free, lost to illegal moves",
    "forced": "Positions with one legal move",
}


def sinks_svg(runs: Mapping[str, Curves]) -> str:
    """Bits a token against steps on a logarithmic axis, as the text of an SVG.

    Args:
        runs: by the name in the legend; what a run has no tokens of is left out.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    panels = []
    for name, title in PANELS.items():
        # The first step stands where the state before it would; that has no place on this axis.
        lines = [
            Series(run, slot, np.log2(curves.steps[1:]).tolist(), curves.bits[name][1:].tolist())
            for slot, (run, curves) in enumerate(runs.items())
            if name in curves.bits and len(curves.steps) > 1
        ]
        if lines:
            chart = line_chart(
                title,
                lines,
                "steps",
                "{:.3g}".format,
                lambda x: f"{round(2**x, 1):,g}",
                y_limits=(0, np.inf),
                holds=[(0, 0)],
            )
            panels.append((title, chart))
    environment = Environment(
        loader=PackageLoader("chesslm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("falls.svg").render(
        panels=panels, runs=list(runs), width=WIDTH, height=HEIGHT, columns=min(2, max(1, len(panels)))
    )
