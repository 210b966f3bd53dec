"""Which games teach the board, and in which notation? The same minutes on human games alone, on random legal ones, on
an engine's, and on all of them, written in one way or another.

    python benchmarks/mixture.py MASTERS RANDOM ENGINE ALL [ALL ...] --recipe recipes/mixture.toml --out OUT

Datasets in uci-move of games of one kind each, one of all of them, and more of all of them in other notations, prepared
with the same --seed, so that no test game is in any of them to learn from. Each model is measured on the test games of
every kind, in the suite legality, and those that write whole moves in the suite squares.

First the arms take turns at a short training each, which says how many tokens of theirs the recipe's minutes are: so
many they learn from, however busy the machine is from then on. Nothing else should run until OUT/pace.json is there.
An arm is done when its JSON is in OUT; one that was stopped goes on. Without datasets nothing is trained: the command
prints the table of what is in OUT.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kept import evaluated, kept, to_make

from chesslm import files
from chesslm.config import Recipe, read_recipe
from chesslm.logs import read_log
from chesslm.names import about_metric
from chesslm.shards import open_dataset
from chesslm.tables import cell, markdown_table
from chesslm.train import train

KINDS = ("masters", "random", "engine")
WHOLE = "uci-move"
PACE_TURNS, PACE_MINUTES = 2, 1.0
SHOWN = (
    ("legality", "legal_argmax"),
    ("legality", "legal_mass"),
    ("legality", "bits_per_move"),
    ("squares", "end_other_legal"),
)


def find_arms(options: argparse.Namespace) -> dict[str, Path]:
    """The dataset of each arm."""
    arms = {kind: getattr(options, kind) for kind in KINDS}
    for path in options.all:
        notation = open_dataset(path).meta["notation"]
        arms["all" if notation == WHOLE else f"all-{notation}"] = path
    return arms


def pace(arms: dict[str, Path], recipe: Recipe) -> dict[str, float]:
    """Tokens a minute that each arm learns from, its validation apart, by its turns together.

    The first steps are left out, a sixth slower than the rest: each new shape of a batch has its kernels made.
    """
    tokens, minutes = dict.fromkeys(arms, 0.0), dict.fromkeys(arms, 0.0)
    settings = replace(recipe.train, max_minutes=PACE_MINUTES, val_every=0, val_games=1)
    for _ in range(PACE_TURNS):
        for arm, data in arms.items():
            with tempfile.TemporaryDirectory() as folder:
                train(data, Path(folder) / arm, replace(recipe, train=settings), quiet=True)
                first, *_, last = read_log(Path(folder) / arm / "run" / "metrics.csv")
            tokens[arm] += last["tokens"] - first["tokens"]
            minutes[arm] += last["minutes"] - first["minutes"]
    return {arm: tokens[arm] / minutes[arm] for arm in arms}


def run(arm: str, data: Path, recipe: Recipe, tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train an arm's model on so many tokens; how that went, and its metrics on each kind of games."""
    folder = options.out / arm
    if not (folder / "chesslm.json").is_file():
        settings = replace(recipe.train, max_minutes=0.0, max_tokens=tokens)
        train(data, folder, replace(recipe, train=settings), resume=(folder / "run").is_dir())
    about = files.read_json(folder / "chesslm.json")
    # Where a piece goes is another question in whole moves than it is in squares or characters.
    suites = "legality,squares" if about["notation"] == WHOLE else "legality"
    sample = f"--suite {suites} --limit {options.test_games}".split()
    return {"arm": arm, **about, "suites": {kind: evaluated(folder, getattr(options, kind), *sample) for kind in KINDS}}


def make(options: argparse.Namespace) -> None:
    """Train and measure the arms that are not in OUT."""
    arms, recipe = find_arms(options), read_recipe(options.recipe)
    paces = kept(options.out / "pace.json", partial(pace, arms, recipe))
    if paces is None:
        raise SystemExit("another process takes the pace of the arms: wait for pace.json")
    for arm, data in arms.items():
        tokens = round(paces[arm] * recipe.train.max_minutes)
        kept(options.out / f"{arm}.json", partial(run, arm, data, recipe, tokens, options))


def table(results: list[dict[str, Any]]) -> list[str]:
    """A line for each arm and kind of test games, intervals over games."""
    rows = []
    for result in results:
        passes = result["trained"]["tokens"] / result["dataset"]["splits"]["train"]["tokens"]
        for kind, suites in result["suites"].items():
            cells = [cell(suites.get(suite, {}).get(key), about_metric(key)) for suite, key in SHOWN]
            texts = (f"{it.text} ({it.interval})" if it else "" for it in cells)
            rows.append((result["arm"], kind, f"{passes:.2f}", *texts))
    head = ("learned from", "asked about", "passes", *(about_metric(key).label for _, key in SHOWN))
    return markdown_table(head, rows, words=2)


def main() -> None:
    """Train and measure the arms, or show what came of them."""
    parser = argparse.ArgumentParser(description="What a model learns from each kind of games, at equal minutes.")
    for kind in KINDS:
        parser.add_argument(kind, type=Path, nargs="?")
    parser.add_argument("all", type=Path, nargs="*", help="one for each notation")
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test-games", type=int, default=500)
    options = parser.parse_args()
    if to_make(options, parser, "all", "recipe", takes="to train it takes four datasets or more, and --recipe"):
        make(options)
    names = [*KINDS, *sorted(path.stem for path in options.out.glob("all*.json"))]
    done = [path for name in names if (path := options.out / f"{name}.json").is_file()]
    print("\n" + "\n".join(table([files.read_json(path) for path in done])))


if __name__ == "__main__":
    main()
