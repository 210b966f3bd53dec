"""Options that several commands have."""

from typing import Annotated

import typer

from chesslm.errors import InputError

Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only results and errors.")]
Workers = Annotated[int, typer.Option(help="Processes; 0: one a core.")]
Cluster = Annotated[str | None, typer.Option("--executor", help="Work on a Dask cluster instead: dask://HOST:PORT.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto: bf16 where the processor has it.")]
Model = Annotated[str | None, typer.Argument(help="Folder or hub id.  [default: checkpoints/chesslm-small]")]
NotationName = Annotated[str | None, typer.Option("--notation", help="How MODEL writes moves, if it does not say.")]


def who(workers: int, executor: str | None) -> int | str:
    """Who works, of the two options that say it, as ``parallel.Workers``."""
    if workers and executor:
        raise InputError("--workers are processes here; leave it out with --executor")
    return executor or workers
