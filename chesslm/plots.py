"""``chesslm plot``: figures for a paper from what commands wrote, as SVG.

OUT/study.json of chesslm transfer -> bits a move and legality against games, a line an arm
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.errors import InputError

PANELS = (
    ("bits_per_move", "bits a move, human games", 1),
    ("bits_per_move-random", "bits a move, random games", 1),
    ("legal_argmax", "greedy move legal (%), human games", 100),
    ("legal_argmax-random", "greedy move legal (%), random games", 100),
)


def plot(path: Path, out: Path) -> None:
    """Draw what is at a path.

    Raises:
        InputError: it is nothing that can be drawn, or ``out`` is no .svg.
    """
    if out.suffix != ".svg":
        raise InputError(f"{out}: figures are SVG; give a name that ends in .svg")
    study = path / "study.json" if path.is_dir() else path
    if not study.is_file():
        raise InputError(f"{path}: nothing to draw; give the folder of a study by chesslm transfer")
    found = files.read_json(study)
    with files.atomic(out) as temporary:
        temporary.write_text(study_svg(found))


def study_svg(found: Mapping[str, Any]) -> str:
    """A study's figures against games, both axes logarithmic for bits; bars are 95 % intervals over seeds."""
    import io

    import matplotlib

    matplotlib.use("svg")
    # The same study gives the same bytes.
    matplotlib.rcParams |= {"svg.hashsalt": "chesslm", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 7), sharex=True, layout="constrained")
    arms = list(dict.fromkeys(row["arm"] for row in found["rows"]))
    for axis, (key, title, times) in zip(axes.flat, PANELS, strict=True):
        for n, arm in enumerate(arms):
            mine = sorted((row for row in found["rows"] if row["arm"] == arm), key=lambda row: row["games"])
            shown = [
                (row["games"], *(_number(row[key][end]) * times for end in ("value", "low", "high"))) for row in mine
            ]
            games, values, lows, highs = map(list, zip(*shown, strict=True))
            bars = [[v - low for v, low in zip(values, lows, strict=True)],
                    [high - v for v, high in zip(values, highs, strict=True)]]  # fmt: skip
            style = {"marker": "osv^Dx+*"[n % 8], "ls": "-" if n < 5 else ":", "ms": 4, "lw": 1.2, "capsize": 2}
            axis.errorbar(games, values, yerr=bars, label=arm, color=f"C{n % 10}", **style)
        axis.set(title=title, xscale="log")
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("training games")
    axes[0, 0].legend(fontsize=8)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return drawn.getvalue()


def _number(value: float | None) -> float:
    return math.nan if value is None else value
