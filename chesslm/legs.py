"""Long training as a chain of legs, so that many hours fit into evenings and no hour is lost.

    OUT-leg-1/   a checkpoint like any other; its rate was held to the end, so that it can go on
    OUT-leg-2/   starts from the weights of leg 1, warms up anew, and goes on in the data where that one stopped
    OUT/         the last leg: its rate falls all the way

A leg needs no more than the checkpoint of the one before, in bf16, and the same dataset: it can be run on another day
or by somebody else.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.config import InitConfig, Recipe
from chesslm.errors import InputError
from chesslm.ranks import find_ranks
from chesslm.run import recipe_file
from chesslm.train import train


def train_recipe(
    data: Path,
    out: Path,
    recipe: Recipe,
    save_steps: str | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    **options: Any,
) -> Path:
    """Train a recipe, in one run or leg after leg.

    Args:
        data: the dataset folder, the same for all legs.
        out: the checkpoint folder to make.
        recipe: with ``train.legs`` or without.
        save_steps: as for ``train``.
        resume: go on from what is there: a run that was stopped, or legs that are finished.
        devices, nodes: processes that train together, as for ``train``.
        options: further arguments of ``train``.

    Returns:
        ``out``.

    Raises:
        InputError: as ``train`` does; without ``resume``, if any leg is there already; and if there is a budget beside
            the legs.
    """
    legs, options = recipe.train.legs, {**options, "devices": devices, "nodes": nodes}
    if not legs:
        return train(data, out, recipe, save_steps, resume, **options)
    if recipe.train.has_budget:
        raise InputError("train.legs stands in place of a budget; --max-minutes and its like replace it")
    folders = [*(out.with_name(f"{out.name}-leg-{number}") for number in range(1, len(legs))), out]
    # A process beside the first one is started when that has made its folder.
    if not resume and find_ranks(devices, nodes).first:
        for folder in folders:
            files.check_new(folder)
    done = max((number for number, folder in enumerate(folders, 1) if (folder / "chesslm.json").is_file()), default=0)
    if done == len(legs):
        raise InputError(f"{out}: all legs are finished; nothing to resume")
    for number in range(done, len(legs)):
        # Held in all legs but the last one, in which it falls all the way.
        settings = replace(recipe.train, max_minutes=legs[number], decay=float(number == len(legs) - 1))
        init = recipe.init
        if number:  # What was taken of the model that the first leg started from is in the weights of that leg.
            init = InitConfig(str(folders[number - 1]), freeze=init.freeze, goes_on=True)
        stopped = recipe_file(folders[number]).is_file()
        train(data, folders[number], replace(recipe, train=settings, init=init), save_steps, stopped, **options)
    return out
