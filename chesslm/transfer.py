"""``chesslm transfer``: what does it buy to start from other weights? Arms x game counts x seeds, measured alike.

    STUDY.toml (study) -> cells -> OUT/cells/NAME/ (a checkpoint folder each) + NAME.json -> OUT/study.json -> table

A cell is an ordinary training run, which ends when validation no longer improves. The learning rate is chosen for each
arm on validation, with its first seed, at one game count. A cell is done when its JSON is there: a study that was
stopped goes on with the rest when it is run again.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from chesslm import files, parallel
from chesslm.errors import InputError
from chesslm.study import Arm, Cell, Study, read_study


def transfer(path: Path, out: Path, workers: int = 0, device: str = "cpu", quiet: bool = False) -> dict[str, Any]:
    """Run a study, or what is missing of it, and write ``OUT/study.json``.

    Args:
        path: the study's TOML file.
        out: its folder, made if missing.
        workers: cells trained at the same time, the cores shared among them; 0: one a core.
        device: to train and measure on; one graphics card has room for a worker or two.
        quiet: no progress.

    Returns:
        The content of ``study.json``: every cell with its figures, and what follows from them.

    Raises:
        InputError: a bad study, or a dataset or model that is not there.
        FailureError: a worker was killed, or the disk is full.
    """
    study = read_study(path)
    _check(path, study)
    (out / "cells").mkdir(parents=True, exist_ok=True)
    trials = [
        Cell(arm, study.rate_games, arm.seeds[0], rate)
        for arm in study.arms
        for rate in arm.rates
        if len(arm.rates) > 1
    ]
    with parallel.processes(workers) as pool:
        tried = list(_run(trials, study, out, pool, workers, device, quiet))
        best = {arm.name: _best_rate(arm, tried) for arm in study.arms}
        # Small ones of all arms first: a study that is stopped early has something to say.
        cells = [
            Cell(arm, games, seed, best[arm.name])
            for games in sorted({games for arm in study.arms for games in arm.games})
            for seed in dict.fromkeys(seed for arm in study.arms for seed in arm.seeds)
            for arm in study.arms
            if games in arm.games and seed in arm.seeds
        ]
        done = list(_run(cells, study, out, pool, workers, device, quiet))
    from chesslm.transferred import summarize

    found: dict[str, Any] = {
        "study": path.stem,
        "rates": best,
        "trials": [_figures(cell, result) for cell, result in tried],
        "cells": [_figures(cell, result) for cell, result in done],
    }
    found["rows"] = summarize(found["cells"])
    with files.atomic(out / "study.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _check(path: Path, study: Study) -> None:
    """Find what is missing before the first cell, not after the last."""
    from chesslm.shards import open_dataset

    main = open_dataset(study.data)
    for arm in study.arms:
        meta = main.meta if arm.data == study.data else open_dataset(arm.data).meta
        same = [meta[key] == main.meta[key] for key in ("seed", "shares")] + [_hashes(meta) == _hashes(main.meta)]
        if not all(same):
            raise InputError(
                f"{path}: {arm.data} of [arms.{arm.name}] must hold the games of {study.data}, split alike: prepare it "
                "from the same files with the same --seed, --val and --test"
            )
        largest, held = max(*arm.games, study.rate_games), len(main.splits["train"])
        if largest > held:
            raise InputError(f"{path}: [arms.{arm.name}] wants {largest} games; {study.data} has {held} for training")


def _hashes(meta: dict[str, Any]) -> list[str]:
    return [source["sha256"] for source in meta["sources"]]


Done = tuple[Cell, dict[str, Any]]


def _run(
    cells: Sequence[Cell], study: Study, out: Path, pool: Any, workers: int, device: str, quiet: bool
) -> Iterator[Done]:
    """Every cell with its result, in order; those that are done already are read."""
    todo = list({cell.name: cell for cell in cells if not _result_file(out, cell).is_file()}.values())
    threads = max(1, parallel.cores() // parallel.cores(workers))
    calls = [(cell, (out / "cells" / cell.name, cell, study, threads, device)) for cell in todo]
    for n, (cell, _) in enumerate(parallel.in_order(pool, run_cell, calls, ahead=len(calls) + 1), 1):
        if not quiet:
            print(f"{n} of {len(todo)} cells: {cell.name}", file=sys.stderr, flush=True)
    for cell in cells:
        result = files.read_json(_result_file(out, cell))
        if result["recipe"] != _recipe(cell, study) or result["measured_on"] != _measured_on(study):
            raise InputError(f"{out}: {cell.name} was run otherwise; give the changed study an --out of its own")
        yield cell, result


def _result_file(out: Path, cell: Cell) -> Path:
    return out / "cells" / f"{cell.name}.json"


def _recipe(cell: Cell, study: Study) -> dict[str, Any]:
    """A cell's recipe as it is kept, with the name of its model and not the folder's place."""
    recipe = cell.recipe(study.smallest).as_dict()
    return recipe | {"init": recipe["init"] | {"model": Path(recipe["init"]["model"]).name}}


def _measured_on(study: Study) -> dict[str, int]:
    return {"test_games": study.test_games, "random_games": study.random_games}


def run_cell(folder: Path, cell: Cell, study: Study, threads: int, device: str) -> None:
    """Train a cell, or go on with it, measure it, and write ``FOLDER.json``."""
    import torch

    from chesslm.train import train

    torch.set_num_threads(threads)
    if not (folder / "chesslm.json").is_file():
        begun = (folder / "run" / "recipe.json").is_file()
        if not begun and folder.exists():
            shutil.rmtree(folder)
        train(cell.arm.data, folder, cell.recipe(study.smallest), resume=begun, device=device, quiet=True)
    suites = _measure(folder, study, device)
    about = files.read_json(folder / "chesslm.json")
    result = {
        "recipe": _recipe(cell, study),
        "dataset": about["dataset"]["sha256"],
        "revision": about["revision"],
        "init": about.get("init"),
        "trained": about["trained"],
        "validation": about["validation"],
        "measured_on": _measured_on(study),
        "suites": suites,
    }
    with files.atomic(folder.with_name(f"{folder.name}.json")) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")


def _measure(folder: Path, study: Study, device: str) -> dict[str, Any]:
    """Legality on games of the test split and on random ones, the same for every cell."""
    from chesslm.eval.legality import legality
    from chesslm.eval.scorers import ModelScorer
    from chesslm.model import load_model

    scorer = ModelScorer(load_model(str(folder), device=device))
    with parallel.processes(1) as here:
        results = {
            name: legality(scorer, held, here, examples=False)
            for name, held in _held(study.data, study.test_games, study.random_games).items()
        }
    return {name: result.as_dict()["metrics"] for name, result in results.items()}


@cache
def _held(data: Path, test_games: int, random_games: int) -> dict[str, Any]:
    """The games to measure on with their positions: finding these takes longer than a cell's figures do."""
    from chesslm.eval.games import from_chance, from_dataset
    from chesslm.eval.legality import HeldOut
    from chesslm.eval.positions import find_positions
    from chesslm.shards import open_dataset

    with parallel.processes(1) as here:
        chosen = {
            "legality": from_dataset(open_dataset(data), test_games, seed=1),
            "legality-random": from_chance(random_games, seed=1, pool=here),
        }
        return {name: HeldOut(each.games, find_positions(each.codes, here)) for name, each in chosen.items()}


def _best_rate(arm: Arm, tried: Sequence[Done]) -> float:
    """The rate with the fewest bits on validation games."""
    mine = [(result["validation"]["val_bits_per_move"], cell.rate) for cell, result in tried if cell.arm == arm]
    return min(mine)[1] if mine else arm.rates[0]


def _figures(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    about = {"arm": cell.arm.name, "games": cell.games, "seed": cell.seed, "rate": cell.rate}
    return {**about, "differs": cell.arm.differs, **result}
