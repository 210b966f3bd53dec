"""``chesslm transfer``: what does it buy to start from other weights? Arms x game counts x seeds, measured alike.

    STUDY.toml (study) -> cells -> OUT/cells/NAME/ (a checkpoint folder each) + NAME.json -> OUT/study.json -> table

A cell is an ordinary training run, which ends when validation no longer improves. The learning rate is chosen for each
arm on validation, with its first seed, at one game count. A cell is done when its JSON is there: a study that was
stopped goes on with the rest when it is run again, if need be on another machine, which wants the JSON files alone.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from chesslm import files, parallel
from chesslm.config import differences, from_dict
from chesslm.errors import DivergedError, FailureError, InputError
from chesslm.run import recipe_file
from chesslm.shards import open_dataset
from chesslm.study import Arm, Cell, Study, read_study

Done = tuple[Cell, dict[str, Any]]


def transfer(
    path: Path, out: Path, workers: parallel.Workers = 0, device: str = "cpu", quiet: bool = False
) -> dict[str, Any]:
    """Run a study, or what is missing of it, and write ``OUT/study.json`` after every game count.

    Args:
        path: the study's TOML file.
        out: its folder, made if missing.
        workers: who trains cells; processes share the cores among them unless ``OMP_NUM_THREADS`` is set; on a cluster
            a cell has so many threads as it says there. The datasets, and models to start from, must be there under the
            same paths.
        device: to train and measure on; one graphics card has room for a worker or two.
        quiet: no progress.

    Returns:
        The content of ``study.json``: every cell with its figures, and what follows from them.

    Raises:
        InputError: a bad study, or a dataset or model that is not there.
        FailureError: a worker was killed, the disk is full, or a run diverged; at one rate of several that is a result.
    """
    study = read_study(path.absolute())
    _check(path, study)
    trials = [
        Cell(arm, study.rate_games, arm.seeds[0], rate)
        for arm in study.arms
        for rate in arm.rates
        if len(arm.rates) > 1
    ]
    threads = threads_of(workers)
    with files.alone_in(out), parallel.pool(workers) as pool:
        (out / "cells").mkdir(exist_ok=True)
        tried = list(_run(trials, study, out, pool, threads, device, quiet))
        best = {arm.name: _best_rate(arm, tried) for arm in study.arms}
        # Small ones of all arms first: a study that is stopped early has something to say.
        cells = [
            Cell(arm, games, seed, best[arm.name])
            for games in sorted({games for arm in study.arms for games in arm.games})
            for seed in dict.fromkeys(seed for arm in study.arms for seed in arm.seeds)
            for arm in study.arms
            if games in arm.games and seed in arm.seeds
        ]
        found: dict[str, Any] = {"study": path.stem, "rates": best, "trials": [_figures(*each) for each in tried]}
        done: list[Done] = []
        for cell, result in _run(cells, study, out, pool, threads, device, quiet):
            if "diverged" in result:
                raise FailureError(f"{cell.name} diverged: {result['diverged']}")
            done.append((cell, result))
            if cell is cells[-1] or cells[len(done)].games != cell.games:
                _write(found, done, out)
    return found


def _write(found: dict[str, Any], done: Sequence[Done], out: Path) -> None:
    """What the study has found by now."""
    from chesslm.transferred import summarize

    found["cells"] = [_figures(*each) for each in done]
    found["rows"] = summarize(found["cells"])
    with files.atomic(out / "study.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


def _check(path: Path, study: Study) -> None:
    """Find what is missing before the first cell, not after the last."""
    main = open_dataset(study.data)
    if main.is_text or not len(main.splits["test"]):
        raise InputError(f"{path}: {study.data} has no test games to measure on; a study takes a dataset of games")
    for arm in study.arms:
        meta = main.meta if arm.data == study.data else open_dataset(arm.data).meta
        alike = ("seed", "shares", "filters", "exclude")
        if any(meta.get(key) != main.meta.get(key) for key in alike) or _hashes(meta) != _hashes(main.meta):
            raise InputError(
                f"{path}: {arm.data} of [arms.{arm.name}] must hold the games of {study.data}, split alike: prepare it "
                "from the same files with the same --seed, --val and --test"
            )
        largest, held = max(*arm.games, study.rate_games), len(main.splits["train"])
        if largest > held:
            raise InputError(f"{path}: [arms.{arm.name}] wants {largest} games; {study.data} has {held} for training")


def _hashes(meta: dict[str, Any]) -> list[str]:
    return [source["sha256"] for source in meta["sources"]]


def _run(
    cells: Sequence[Cell], study: Study, out: Path, pool: Executor, threads: int | None, device: str, quiet: bool
) -> Iterator[Done]:
    """Every cell with its result, in order, as soon as it is there; those that are done already are read."""
    # Read first: what does not belong here is to be found before hours of training.
    results = {cell.name: _read(cell, study, out) for cell in cells if _result_file(out, cell).is_file()}
    missing = {cell.name: cell for cell in cells if cell.name not in results}
    folder = out.absolute() / "cells"
    calls = [(cell, (folder / cell.name, cell, study, threads, device)) for cell in missing.values()]
    running = enumerate(parallel.in_order(pool, run_cell, calls, ahead=len(calls) + 1), 1)
    for cell in cells:
        if cell.name not in results:
            n, (_, made) = next(running)
            if not _result_file(out, cell).is_file():
                # The worker has no folder in common with us, and the cell's model stays there.
                _keep(folder / cell.name, made)
            result = results[cell.name] = _read(cell, study, out)
            if not quiet:
                print(f"{n} of {len(calls)} cells, {cell.name}: {_in_words(result)}", file=sys.stderr, flush=True)
        yield cell, results[cell.name]


def _in_words(result: dict[str, Any]) -> str:
    if "diverged" in result:
        return "diverged"
    found, minutes = result["suites"]["legality"], result["trained"]["minutes"]
    bits, legal = found["bits_per_move"]["value"], found["legal_argmax"]["value"]
    return f"{bits:.3f} bits a move, {legal:.1%} legal, {minutes:.0f} min"


def _read(cell: Cell, study: Study, out: Path) -> dict[str, Any]:
    """A cell's result, if it is what the study would make now."""
    result = files.read_json(_result_file(out, cell))
    same = {
        "another recipe": _is_recipe(result["recipe"], cell, study),
        "other games to measure on": result["measured_on"] == _measured_on(study),
        "another dataset": result["dataset"] == open_dataset(cell.arm.data).sha256,
        "other initial weights": (result["init"] or {}).get("sha256") == _initial(cell.arm.recipe.init.model),
    }
    for what, is_same in same.items():
        if not is_same:
            raise InputError(f"{out}: {cell.name} was run with {what}; give the changed study an --out of its own")
    return result


def _initial(model: str) -> str | None:
    """The hash of the weights that an arm starts from."""
    from chesslm.transplant import sha256_of

    return sha256_of(model) if model else None


def _result_file(out: Path, cell: Cell) -> Path:
    return out / "cells" / f"{cell.name}.json"


def _is_recipe(kept: dict[str, Any], cell: Cell, study: Study) -> bool:
    """Whether a run's recipe is that of a cell."""
    return not any(differences(from_dict(kept), cell.recipe(study.smallest)))


def _measured_on(study: Study) -> dict[str, int]:
    return {"test_games": study.test_games, "random_games": study.random_games}


def threads_of(workers: parallel.Workers) -> int | None:
    """Of each worker; None where that is said, or for others to say."""
    if not isinstance(workers, int) or "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, parallel.cores() // parallel.cores(workers))


def run_cell(folder: Path, cell: Cell, study: Study, threads: int | None, device: str) -> dict[str, Any]:
    """Train a cell, or go on with it, measure it, and write ``FOLDER.json``; returns what is in there."""
    import torch

    from chesslm.train import train

    if threads:
        torch.set_num_threads(threads)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not (folder / "chesslm.json").is_file():
        kept = recipe_file(folder)
        begun = kept.is_file()
        if begun and not _is_recipe(files.read_json(kept)["recipe"], cell, study):
            raise InputError(f"{folder} was begun with another recipe; give the changed study an --out of its own")
        if not begun and folder.exists():
            shutil.rmtree(folder)
        try:
            train(cell.arm.data, folder, cell.recipe(study.smallest), resume=begun, device=device, quiet=True)
        except DivergedError as error:
            return _keep(folder, _diverged(cell, study, error))
    suites = _measure(folder, study, device)
    about = files.read_json(folder / "chesslm.json")
    result = {
        "recipe": about["recipe"],
        "dataset": about["dataset"]["sha256"],
        "revision": about["revision"],
        "init": about.get("init"),
        "trained": about["trained"],
        "validation": about["validation"],
        "measured_on": _measured_on(study),
        "suites": suites,
    }
    return _keep(folder, result)


def _diverged(cell: Cell, study: Study, error: Exception) -> dict[str, Any]:
    """The result of a run that came to nothing."""
    recipe = cell.recipe(study.smallest)
    return {
        "recipe": replace(recipe, init=replace(recipe.init, model=Path(recipe.init.model).name)).as_dict(),
        "dataset": open_dataset(cell.arm.data).sha256,
        "init": {"sha256": _initial(cell.arm.recipe.init.model)},
        "measured_on": _measured_on(study),
        "diverged": str(error),
    }


def _keep(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write a cell's JSON, which says that it is done, and give it back."""
    with files.atomic(folder.with_name(f"{folder.name}.json")) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _measure(folder: Path, study: Study, device: str) -> dict[str, Any]:
    """Legality on games of the test split and on random ones, the same for every cell."""
    from chesslm.eval.legality import legality
    from chesslm.eval.scorers import ModelScorer
    from chesslm.model import load_model

    scorer = ModelScorer(load_model(str(folder), device=device))
    with parallel.pool(1) as here:
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

    with parallel.pool(1) as here:
        chosen = {
            "legality": from_dataset(open_dataset(data), test_games, seed=1),
            "legality-random": from_chance(random_games, seed=1, pool=here),
        }
        return {name: HeldOut(each.games, find_positions(each.codes, here)) for name, each in chosen.items()}


def _best_rate(arm: Arm, tried: Sequence[Done]) -> float:
    """The rate with the fewest bits on validation games."""
    mine = {cell.rate: result for cell, result in tried if cell.arm == arm}
    bits = [
        (result["validation"]["val_bits_per_move"], rate) for rate, result in mine.items() if "diverged" not in result
    ]
    if mine and not bits:
        raise FailureError(f"every rate that was tried for {arm.name} diverged; give it lower rates")
    return min(bits)[1] if bits else arm.rates[0]


def _figures(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    about = {"arm": cell.arm.name, "games": cell.games, "seed": cell.seed, "rate": cell.rate}
    return {**about, "differs": cell.arm.differs, **result}
