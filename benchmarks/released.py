"""What README.md and docs/findings.md show of the released models: tables of results that are kept without games.

    chesslm evaluate MODEL --games DATASET --random 200 --suite ... --json evaluate.json
    chesslm probe MODEL --games DATASET --random 1000 --json probe.json
    chesslm probe MODEL --games DATASET --random 1000 --edit --json edits.json
    python benchmarks/released.py studies/chesslm-small --keep evaluate.json probe.json edits.json
    python benchmarks/released.py studies/chesslm-small
    python benchmarks/released.py studies/chesslm-small --beside studies/chesslm-small-plain

Examples of illegal moves and a followed game are left out where results are kept: they are moves of the games.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.names import ON_RANDOM_GAMES, about_metric, suite_title
from chesslm.tables import cell, markdown_table

LEFT_OUT = ("examples", "belief")

Suites = Mapping[str, Any]
"""What one model has in each suite."""

LEGALITY = ("legal_argmax", "legal_mass", "r_precision", "top1", "bits_per_move", "legality_bits")
SQUARES = ("end_actual_legal", "end_actual_r_precision", "end_actual_exact", "end_other_legal", "end_other_r_precision")
SQUARES += ("start_actual_legal", "start_actual_r_precision", "start_actual_exact")
SQUARES += ("start_other_legal", "start_other_r_precision")
WORLD = ("compression", "compression_overlap", "distinction_precision", "distinction_recall", "divergence_swapped")
WORLD += ("divergence_mined", "divergence_near", "divergence_unrelated")
SINKS = ("bits_per_move", "token_bits", "board_tokens", "board_loss", "board_bits", "board_top1")
SINKS += ("free_tokens", "free_bits", "free_legality_bits", "forced_tokens", "forced_bits", "forced_top1")
BOARD = ("piece_accuracy", "piece_accuracy_nonempty", "board_exact")
TRACKING = ("allowed_believed", "allowed_moved", "allowed_scattered", "allowed_legal")
ATTENTION = ("attention_lift", "attention_lift_random_weights")
EDITS = tuple(
    f"{kind}_edited_argmax{arm}" for kind in ("erase", "move", "swap") for arm in ("", "_unedited", "_other", "_random")
)
PATCHING = ("patched_source_argmax", "patched_source_argmax_unpatched")
PATCHING += ("patched_divergence", "patched_divergence_unpatched")
SOLVED = ("solved_greedy", "solved_legal_policy", "solved_chance")
NGRAM = "baseline:ngram"
MASTERS = "masters.pgn.zst"
OF_MASTERS = ("legality", "by", "source", MASTERS)
BESIDE = {
    "Legal moves, master games": (*OF_MASTERS, "legal_argmax"),
    "… random legal games": ("legality-random", "metrics", "legal_argmax"),
    "… in check, test games": ("legality", "by", "check", "in check", "legal_argmax"),
    "… in check, random games": ("legality-random", "by", "check", "in check", "legal_argmax"),
    "Actual end square legal": ("squares", "metrics", "end_actual_legal"),
    "… exact": ("squares", "metrics", "end_actual_exact"),
    "Other end square legal": ("squares", "metrics", "end_other_legal"),
    "Fully legal self-play games": ("selfplay", "by", "setting", "greedy, 10 random plies", "fully_legal_games"),
    "Plies to illegal move": ("selfplay", "by", "setting", "greedy, 10 random plies", "plies_to_illegal"),
    "Rules exam": ("rules", "metrics", "exam_legal_argmax"),
    "Squares found by a probe": ("probe", "by", "probe", "logistic regression", "piece_accuracy"),
    "R-precision, master games": (*OF_MASTERS, "r_precision"),
    "Top 1, master games": (*OF_MASTERS, "top1"),
    "Bits a move, master games": (*OF_MASTERS, "bits_per_move"),
}
"""What models are compared by: where the figure is in the suites of one."""


def keep(paths: Sequence[Path], folder: Path) -> None:
    """Copy results into a folder, without what is of the games themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        objects = _objects(path)
        for each in objects:
            each["model"]["path"] = Path(each["model"]["path"]).name
            each["data"]["path"] = Path(each["data"]["path"]).name
            for suite in each["suites"].values():
                for name in LEFT_OUT:
                    suite.pop(name, None)
        with files.atomic(folder / path.name) as temporary:
            temporary.write_text(json.dumps(objects) + "\n")  # some 20,000 lines otherwise


@dataclass(frozen=True)
class Measured:
    """A model's results.

    Attributes:
        notation: of the model.
        suites: its own.
        ngram: those of the n-gram beside it.
    """

    notation: str
    suites: Suites
    ngram: Suites


def read(folder: Path) -> Measured:
    """All results in a folder."""
    own: dict[str, Any] = {}
    ngram: dict[str, Any] = {}
    notation = ""
    for path in sorted(folder.glob("*.json")):
        for each in _objects(path):
            if each["model"]["path"] == NGRAM:
                ngram.update(each["suites"])
            elif "sha256" in each["model"]:
                own.update(each["suites"])
                notation = each["model"]["notation"]
    return Measured(notation, own, ngram)


def _objects(path: Path) -> list[dict[str, Any]]:
    """The results in a file, of one model or several."""
    found = json.loads(path.read_text())
    return found if isinstance(found, list) else [found]


def shown(metrics: Mapping[str, Any], key: str) -> str:
    """A figure with its interval; nothing if it is not there."""
    it = cell(metrics.get(key), about_metric(key))
    return "" if it is None else f"{it.text} ({it.interval})" if it.interval else it.text


def by_metric(keys: Sequence[str], columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each metric that some column has, a column for each that has them."""
    known = [key for key in keys if any(key in metrics for metrics in columns.values())]
    rows = [(about_metric(key).label, *(shown(metrics, key) for metrics in columns.values())) for key in known]
    return markdown_table(("", *columns), rows)


def by_group(groups: Mapping[str, Mapping[str, Any]], keys: Sequence[str], name: str = "") -> list[str]:
    """A line for each group, a column for each metric."""
    rows = [(group, *(shown(metrics, key) for key in keys)) for group, metrics in groups.items()]
    return markdown_table((name, *(about_metric(key).label for key in keys)), rows)


def both(suites: Suites, suite: str, keys: Sequence[str]) -> list[str]:
    """A suite on the test games and on random ones."""
    columns = {"test games": suite, "random legal games": suite + ON_RANDOM_GAMES}
    return by_metric(keys, {title: suites[name]["metrics"] for title, name in columns.items()})


def tables(measured: Measured) -> dict[str, list[str]]:
    """All tables of the suites that there are, by their titles."""
    suites, ngram = measured.suites, measured.ngram

    def legality() -> list[str]:
        sources = suites["legality"]["by"]["source"]
        columns = {
            "master games": sources[MASTERS],
            "engine games": sources["bundle-engine.pgn.zst"],
            "random legal games": suites["legality-random"]["metrics"],
            "n-gram, master games": ngram["legality"]["by"]["source"][MASTERS],
            "n-gram, random games": ngram["legality-random"]["metrics"],
        }
        return by_metric(LEGALITY, columns)

    def solved() -> list[str]:
        columns = {"mates in one": suites["mate-in-one"]["metrics"], "puzzles": suites["puzzles"]["metrics"]}
        return by_metric(SOLVED, columns)

    def exam() -> list[str]:
        items = {name: each for name, each in suites["rules"]["by"]["item"].items() if "p_forbidden" in each}
        return by_group(items, ("p_forbidden", "p_allowed", "legal_argmax"), "forbidden")

    def of(suite: str, group: str, keys: Sequence[str], name: str) -> list[str]:
        return by_group(suites[suite]["by"][group], keys, name)

    played, dose = ("fully_legal_games", "plies_to_illegal"), ("edited_argmax", "edited_mass", "true_argmax")
    made: dict[str, Callable[[], list[str]]] = {
        "legality": legality,
        "squares": lambda: both(suites, "squares", SQUARES),
        "squares, prefix": lambda: by_metric(SQUARES, suites["squares"]["by"]["prefix"]),
        "selfplay": lambda: of("selfplay", "setting", played, "setting"),
        "rules": exam,
        "mate-in-one": solved,
        "sinks": lambda: both(suites, "sinks", SINKS),
        "world-model": lambda: both(suites, "world-model", WORLD),
        "probe": lambda: of("probe", "probe", BOARD, "test games"),
        "probe-random": lambda: of("probe-random", "probe", BOARD, "random games"),
        "probe, layer": lambda: of("probe", "layer", BOARD, "layer, test games"),
        "attention": lambda: both(suites, "attention", ATTENTION),
        "tracking": lambda: both(suites, "tracking", TRACKING),
        "tracking, layer": lambda: of("tracking", "layer", TRACKING[::2], "layer, test games"),
        "tracking-random, layer": lambda: of("tracking-random", "layer", TRACKING[::2], "random games"),
        "edits": lambda: both(suites, "edits", EDITS),
        "edits, dose": lambda: of("edits", "dose", dose, "dose"),
        "patching": lambda: both(suites, "patching", PATCHING),
    }
    return {title: make() for title, make in made.items() if title.partition(",")[0] in suites}


def beside(models: Mapping[str, Measured]) -> list[str]:
    """A line for each figure that all of them have and that compares, a column for each model."""
    rows: list[tuple[str, ...]] = []
    alike = len({each.notation for each in models.values()}) == 1
    for title, (*where, key) in BESIDE.items():
        found = [reduce(lambda at, name: at.get(name, {}), where, each.suites) for each in models.values()]
        # Where a piece goes is an easier question in whole moves than in squares.
        if all(key in metrics for metrics in found) and (alike or where[0] != "squares"):
            counts = dict.fromkeys(f"{metrics[key]['n']:,}" for metrics in found)
            rows.append((title, *(shown(metrics, key) for metrics in found), " / ".join(counts)))
    return markdown_table(("", *models, "n"), rows)


def main() -> None:
    """Keep results, show them, or set them beside those of another model."""
    parser = argparse.ArgumentParser(description="Tables of a released model's results.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, nargs="+", default=[])
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    if options.keep:
        keep(options.keep, options.folder)
        return
    if options.beside:
        print("\n".join(beside({each.name: read(each) for each in (options.folder, options.beside)})))
        return
    for title, lines in tables(read(options.folder)).items():
        print(f"{suite_title(title)}\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
