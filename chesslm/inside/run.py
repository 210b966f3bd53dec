"""The command ``probe``: fit board probes on games, measure them, keep the best one beside its checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from chesslm import parallel
from chesslm.checkpoint import find_model
from chesslm.errors import InputError
from chesslm.eval.games import sample_games
from chesslm.generate import progress
from chesslm.inside import probe as probes
from chesslm.model import load_model
from chesslm.tables import about_metric, cell, markdown_table

VALIDATION, TEST = 0.1, 0.2
"""Shares of the games on which layer and penalty are chosen, and on which the probe is measured."""
LEAST = 20
"""Games that make three parts."""


def probe(
    model: str | None,
    games: str,
    limit: int = 2000,
    notation: str | None = None,
    seed: int = 1,
    device: str = "auto",
    quiet: bool = False,
) -> list[str]:
    """Fit a board probe, and write it into the folder of its model.

    Args:
        model: a checkpoint folder; None is the released model.
        games: a PGN, or a dataset folder for its test games: none that the model was trained on, or its memory of them
            is measured.
        limit: games at most, a seeded sample, cut into parts for fitting, validation and test.
        notation: how the model writes moves, if it does not say.
        seed: of the sample and its parts.
        device: auto, cpu, cuda or mps.
        quiet: no progress.

    Returns:
        A table of the figures on the test games.

    Raises:
        InputError: no such model or games, or too few.
    """
    path = find_model(model)
    if not Path(path).is_dir():
        raise InputError(f"{path}: the probe is written beside the checkpoint, so name a folder")
    with parallel.processes(0) as pool:
        found = sample_games(games, limit, seed, pool)
    codes = found.codes
    if len(codes) < LEAST:
        raise InputError(f"{games}: {len(codes)} games are too few for three parts; {LEAST} are the least")
    order = np.random.default_rng(seed).permutation(len(codes)).tolist()
    ends = [round(TEST * len(codes)), round((TEST + VALIDATION) * len(codes))]
    parts = (order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :])
    test, validation, train = ([codes[i] for i in part] for part in parts)
    loaded = load_model(path, notation, device, precision="fp32")
    with progress(len(codes) + len(validation), quiet) as advance:
        fitted = probes.fit(loaded, train, validation, advance)
        metrics = probes.measure(fitted, loaded, test, seed, advance)
    about: dict[str, Any] = {
        "games": {"sha256": found.sha256, "fitted": len(train), "validation": len(validation), "test": len(test)},
        "seed": seed,
        "metrics": {key: metric.as_dict() for key, metric in metrics.items()},
    }
    probes.save(fitted, Path(path), about)
    cells = [(key, cell(metric.as_dict(), about_metric(key))) for key, metric in metrics.items()]
    rows = [(about_metric(key).label, it.text, it.interval) for key, it in cells if it]
    return [f"Layer {fitted.layer}, {len(test)} test games:", "", *markdown_table(("", "", "95 % interval"), rows)]
