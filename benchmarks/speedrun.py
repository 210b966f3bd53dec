"""The speedrun: what does a model know of the rules after ten minutes on this machine? Our recipe beside the usual one.

    python benchmarks/speedrun.py MASTERS OURS --recipe recipes/speedrun.toml --out OUT

MASTERS is a dataset of human games in uci-move, which the usual recipe (usual.py) learns from, and on whose test games
both are measured, beside random legal ones. OURS is what the recipe learns from: the same games and others, prepared
with the same --seed, so that no test game is in it. Sides take turns, seed by seed. The control is the usual recipe,
once, on OURS. Then each side is given ``--within`` minutes once, and asked on validation games of what it learns from,
every few minutes, whether it has reached ``--to``.

A run is done when its JSON is in OUT: what was stopped goes on with the rest. Nothing else should run meanwhile.
Without datasets nothing is trained: the command prints what is in OUT.
"""

import argparse
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import evaluated, kept, processor, to_make
from usual import Usual, cosine

from chesslm import files
from chesslm.config import changed, read_recipe
from chesslm.learning import crossing
from chesslm.logs import read_log
from chesslm.provenance import revision
from chesslm.seeds import Floats, pooled
from chesslm.shards import Dataset, open_dataset
from chesslm.tables import markdown_table
from chesslm.tokenizer_files import save_tokenizer
from chesslm.train import train
from chesslm.validation import validate

SIDES = ("chesslm", "usual")
CONTROL = "usual-ours"
"""The usual recipe on OURS: what the games do without ours."""
FIGURES = {"legality": "legal, master games", "legality-random": "legal, random games"}
LOOKS = 30
"""In a run that is watched: at validation games."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        side: one of ``SIDES``, or ``CONTROL``.
        minutes: of training. What looking at validation games takes in between counts for chesslm's recipe, and not
            for the usual one; only runs that are watched look.
        seed: of weights and order.
    """

    side: str
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and file."""
        return f"{self.side}-{self.minutes:g}-{self.seed}"


def learned_from(cell: Cell, options: argparse.Namespace) -> Path:
    """The dataset that a side learns from."""
    return options.masters if cell.side == "usual" else options.ours


def run_chesslm(
    cell: Cell, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Train by the recipe; what it took, and legality on validation games by minutes."""
    recipe = read_recipe(options.recipe)
    settings = {"max_minutes": cell.minutes, "seed": cell.seed, "val_games": options.val_games}
    if cell.minutes != options.within:
        settings["val_every"] = 0
    for key, value in settings.items():
        recipe = changed(recipe, f"train.{key}", value)
    train(learned_from(cell, options), folder, recipe, device="cpu", quiet=True)
    rows = read_log(folder / "run" / "metrics.csv")
    looks = [(row["minutes"], row["val_legal_argmax"]) for row in rows if "val_legal_argmax" in row]
    return files.read_json(folder / "chesslm.json")["trained"], looks


def run_usual(
    cell: Cell, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Train by the usual recipe; what it took, and legality on validation games by minutes."""
    dataset = open_dataset(learned_from(cell, options))
    usual = Usual(dataset.tokenizer, dataset.splits["train"], dataset.tokenizer.context, options.usual_rate, cell.seed)
    looks, steps, tokens, seconds = list[tuple[float, float]](), 0, 0, 0.0
    budget = 60 * cell.minutes
    while seconds < budget:
        began = time.perf_counter()
        tokens += usual.step(cosine(seconds / budget))
        steps += 1
        seconds += time.perf_counter() - began
        if cell.minutes == options.within and seconds > budget * (1 + len(looks)) / LOOKS:
            looks.append((seconds / 60, _looked(usual, dataset, options.val_games)))
    usual.model.save_pretrained(folder)
    save_tokenizer(dataset.tokenizer, folder)
    took = {"steps": steps, "tokens": tokens, "minutes": seconds / 60, "threads": torch.get_num_threads()}
    return {**took, "learning_rate": options.usual_rate}, looks


def _looked(usual: Usual, dataset: Dataset, games: int) -> float:
    """The share of greedy moves that are legal on validation games."""
    usual.model.eval()
    with torch.inference_mode():
        found = validate(
            lambda ids: usual.model(input_ids=ids, use_cache=False).logits,
            dataset.tokenizer,
            dataset.splits["val"],
            games,
            dataset.tokenizer.context,
        )
    usual.model.train()
    return found["val_legal_argmax"]


def run(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    """Train a cell's model; what that took, and the suite legality on test games of MASTERS and on random ones."""
    folder = options.out / cell.name
    shutil.rmtree(folder, ignore_errors=True)
    trained, looks = (run_chesslm if cell.side == "chesslm" else run_usual)(cell, options, folder)
    sample = f"--notation uci-move --limit {options.test_games} --random {options.random_games}"
    suites = evaluated(folder, options.masters, *sample.split())
    result = {
        **vars(cell),
        "revision": revision(),
        "processor": processor(),
        "dataset": open_dataset(learned_from(cell, options)).sha256,
        "measured_on": open_dataset(options.masters).sha256,
        "trained": trained,
        "looks": looks,
        "suites": {name: suites[name] for name in FIGURES},
    }
    shown = ", ".join(f"{suites[suite]['legal_argmax']['value']:.1%} {what}" for suite, what in FIGURES.items())
    print(f"{cell.name}: {trained['tokens']:,} tokens, {shown}", flush=True)
    return result


def legality_table(results: list[dict[str, Any]]) -> list[str]:
    """Means over seeds with 95 % intervals, a line for each side and number of minutes.

    Intervals are from the spread over seeds, which is a side's own (one that is legal half of the time varies more than
    one that nearly always is), pooled over its minutes; of one seed that of the games' draw.
    """
    runs: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for each in results:
        runs.setdefault((each["minutes"], each["side"]), []).append(each)
    lines = []
    for minutes, side in sorted(runs, key=lambda run: (run[0], (*SIDES, CONTROL).index(run[1]))):
        mine = runs[minutes, side]
        row = [side, f"{minutes:g}", str(len(mine)), f"{np.mean([each['trained']['tokens'] for each in mine]):,.0f}"]
        for suite in FIGURES:
            spread = pooled(_legal(of, suite) for (_, who), of in runs.items() if who == side)
            mean, half = _legal(mine, suite).mean(), spread.half(len(mine))
            first = mine[0]["suites"][suite]["legal_argmax"]
            low, high = (mean - half, mean + half) if len(mine) > 1 else (first["low"], first["high"])
            row.append(f"{mean:.1%} ({low:.1%} to {high:.1%})")
        lines.append(tuple(row))
    return markdown_table(("recipe", "minutes", "seeds", "tokens", *FIGURES.values()), lines)


def _legal(runs: list[dict[str, Any]], suite: str) -> Floats:
    """The share of legal moves in each of some runs."""
    return np.array([each["suites"][suite]["legal_argmax"]["value"] for each in runs])


def minutes_to(result: dict[str, Any], level: float) -> str:
    """When a level was first reached on validation games, or that it was not."""
    minutes, legal = zip(*((0.0, 0.0), *result["looks"]), strict=True)
    reached = crossing(minutes, [-each for each in legal], -level)
    return f"> {result['minutes']:g}" if reached is None else f"{reached:.1f}"


def main() -> None:
    """Run the comparison, or show what came of it."""
    parser = argparse.ArgumentParser(description="Our recipe beside the usual one, at equal minutes.")
    parser.add_argument("masters", type=Path, nargs="?")
    parser.add_argument("ours", type=Path, nargs="?")
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="*", default=[10, 20])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--to", type=float, default=0.9)
    parser.add_argument("--within", type=float, default=60, help="minutes of the runs that are watched; 0: none")
    parser.add_argument("--usual-rate", type=float, default=1e-3, help="peak learning rate of the usual recipe")
    parser.add_argument("--test-games", type=int, default=500)
    parser.add_argument("--random-games", type=int, default=200)
    parser.add_argument("--val-games", type=int, default=100)
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    cells = [Cell(side, minutes, seed) for seed in seeds for minutes in options.minutes for side in SIDES]
    cells += [Cell(CONTROL, minutes, 1) for minutes in options.minutes[:1]]
    watched = [Cell(side, options.within, 1) for side in SIDES] if options.within else []
    places = {cell: options.out / f"{cell.name}.json" for cell in cells + watched}
    if to_make(options, parser, "ours", "recipe", takes="to train it takes two datasets and --recipe"):
        for cell, path in places.items():
            kept(path, partial(run, cell, options))
    found = {cell: files.read_json(path) for cell, path in places.items() if path.is_file()}
    print("\n" + "\n".join(legality_table(list(found.values()))))
    for cell in watched:
        if cell in found:
            print(f"{cell.side}: {minutes_to(found[cell], options.to)} minutes to {options.to:.0%} on validation games")


if __name__ == "__main__":
    main()
