"""The main job, end to end: the bundled games -> OUT/data -> OUT/model -> OUT/results.json and OUT/report.html.

A few minutes of training are enough to see a model learn the rules; the table sets it beside the released one, which
learned for hours, and the baselines. On two cores: half a minute to prepare, ``minutes`` to train, one to evaluate.
"""

import shutil
import sys
from pathlib import Path

from chesslm import config, files
from chesslm.bundled import bundled
from chesslm.errors import InputError

SIZE = "tiny"
"""In so few minutes a small model that sees many games learns more than a large one that sees few."""
LIMIT = 200
"""Held-out games that the models are measured on."""
RANDOM_GAMES = 100
"""Games of random legal moves beside them."""


def demo(out: Path, minutes: float, seed: int, device: str) -> None:
    """Prepare, train, evaluate, report, and say how to go on.

    Args:
        out: a folder to make.
        minutes: of training.
        seed: of everything random.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: ``out`` exists, no bundled games, no such device.
        FailureError: the disk is full.
    """
    if minutes <= 0:
        raise InputError("--minutes must be above 0")
    files.check_new(out)
    games = [str(path) for path in bundled("bundle-*.pgn.zst")]
    from chesslm.checkpoint import find_model
    from chesslm.eval.run import evaluate
    from chesslm.model import resolve_device
    from chesslm.prepare import prepare
    from chesslm.train import train

    resolve_device(device)
    files.new_folder(out)
    data, model, results, report = out / "data", out / "model", out / "results.json", out / "report.html"

    _step(1, f"Games to tokens: {', '.join(games)}")
    prepare(games, data, seed=seed)

    _step(2, f"Training a model from scratch for {minutes:g} minutes")
    recipe = config.with_size(config.Recipe(), SIZE)
    for key, value in {"max_minutes": minutes, "seed": seed, "val_every": 50, "val_games": 50}.items():
        recipe = config.changed(recipe, f"train.{key}", value)
    train(data, model, recipe, device=device)

    _step(3, "How often are its moves legal?")
    models: list[str | None] = [str(model)]
    try:
        models.append(find_model(None))
    except InputError:
        print("(no released model here to set beside it)")
    evaluate(
        models,
        games=str(data),
        random=RANDOM_GAMES,
        limit=LIMIT,
        json_file=results,
        html_file=report,
        seed=seed,
        device=device,
    )
    chesslm = _command()
    print(f"""
Open {report}: the table with curves. Now you can
  play your model          {chesslm} play {model}
  play the released one    {chesslm} play
  measure on other games   {chesslm} evaluate {model} --games GAMES.pgn --html report.html
  train a better one       {chesslm} train --data {data} --out checkpoints/mine --max-minutes 60""")


def _step(number: int, what: str) -> None:
    print(f"\n== {number} of 3. {what}", flush=True)


def _command() -> str:
    """What to type for ``chesslm``: its name where the shell finds it, else how it was called this time."""
    called = Path(sys.argv[0])
    if called.name != "chesslm":
        return "python -m chesslm"
    found = shutil.which("chesslm")
    return "chesslm" if found and Path(found).resolve() == called.resolve() else str(called)
