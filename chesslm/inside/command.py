"""The command that looks inside a model: it imports what it needs inside, so that ``--help`` loads no torch."""

from pathlib import Path
from typing import Annotated

import typer

from chesslm.options import Cluster, Device, Model, NotationName, Quiet, Seed, Workers, who


def probe(
    games: Annotated[
        str, typer.Option(help="Games it was not trained on: a PGN, or a dataset folder for its test split.")
    ],
    model: Model = None,
    random: Annotated[int, typer.Option(help="Take so many games of random legal moves as well.")] = 0,
    limit: Annotated[int, typer.Option(help="Use at most so many games, a seeded sample.")] = 2000,
    edit: Annotated[bool, typer.Option("--edit", help="Change the board inside as well, and see the moves.")] = False,
    notation: NotationName = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a report page here.")] = None,
    seed: Seed = 1,
    workers: Workers = 0,
    executor: Cluster = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the board in a model's activations, layer by layer, and keep the probe beside it.

    Of every illegal move it says whether it would be legal on the board that the model believes in.
    """
    from chesslm.inside.run import probe

    probe(
        model, games, random=random, limit=limit, edit=edit, notation=notation, json_file=json_file,
        html_file=html_file, seed=seed, workers=who(workers, executor), device=device, quiet=quiet,
    )  # fmt: skip
