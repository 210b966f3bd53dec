"""The command line: one verb a function, each importing what it needs inside, so that ``--help`` loads no torch.

Exit codes: 0; 1 it failed; 2 bad usage or bad input; 130 after Ctrl-C; 143 after SIGTERM. Errors are one line on
stderr.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from chesslm import __version__, data_commands
from chesslm.endings import exit_code, terminated
from chesslm.inside import command as inside
from chesslm.options import Cluster, Device, NotationName, Precision, Quiet, Seed, Workers, who
from chesslm.play import commands

app = typer.Typer(
    name="chesslm",
    help="Train chess-move language models on PGN, measure what they know, play them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"chesslm {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the games' shards, the model and the report.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 3.0,
    seed: Seed = 1,
    device: Device = "auto",
) -> None:
    """The main job, end to end, on the bundled games: prepare, train, evaluate, report."""
    from chesslm.demo import demo

    demo(out, minutes=minutes, seed=seed, device=device)


for command in (data_commands.prepare, data_commands.generate):
    app.command()(command)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="A dataset folder from chesslm prepare.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make; run/ in it holds log and resume state.")],
    recipe: Annotated[Path | None, typer.Option(help="TOML with [model], [train] and [init]: docs/recipes.md.")] = None,
    size: Annotated[str | None, typer.Option(help="tiny, small, base or gpt2.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from this model: a folder, hub id or GGUF file, of chess or of text.")
    ] = None,
    keep_layers: Annotated[int | None, typer.Option(help="Of that model keep the first so many layers.")] = None,
    freeze: Annotated[str | None, typer.Option(help="Do not train: body, embeddings or none.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after so many tokens.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.")] = None,
    save_steps: Annotated[
        str | None, typer.Option(help="Also keep a checkpoint every N steps, or at powers of 2: log2.")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(help="Log at log-spaced steps: sinks, the loss by class of token; target, that of pairs."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. train.seed=2.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order.")] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes that share each batch, one a device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Hosts with so many devices each; torchrun says it itself.")] = 1,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    logger: Annotated[str, typer.Option(help="Write the log for tensorboard as well.")] = "",
    quiet: Quiet = False,
) -> None:
    """Train a GPT-2 on a dataset, from scratch or starting from another model."""
    from chesslm import config

    budget = {"max_steps": max_steps, "max_tokens": max_tokens, "max_minutes": max_minutes}
    chosen = config.read_recipe(recipe) if recipe else config.Recipe()
    chosen = chosen if size is None else config.with_size(chosen, size)
    legs = () if any(budget.values()) else None  # a budget that is given replaces those of the recipe
    plain = {**budget, "legs": legs, "seed": seed, "precision": precision, "track": track}
    given = {f"train.{name}": value for name, value in plain.items()}
    given |= {"init.model": init, "init.keep_layers": keep_layers, "init.freeze": freeze}
    for key, value in given.items():
        if value is not None:
            chosen = config.changed(chosen, key, value)
    chosen = config.with_settings(chosen, settings or [])
    from chesslm.legs import train_recipe

    train_recipe(data, out, chosen, save_steps, resume, devices, nodes, device=device, logger=logger, quiet=quiet)


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(help="Folders or hub ids.  [default: checkpoints/chesslm-small]")
    ] = None,
    games: Annotated[
        str | None, typer.Option(help="Held-out games: a PGN, or a dataset folder for its test split.")
    ] = None,
    random: Annotated[int, typer.Option(help="Also measure on so many games of random legal moves.")] = 0,
    suite: Annotated[
        str,
        typer.Option(
            help="What to measure, by commas: legality, squares, selfplay, rules, mate-in-one, puzzles, sinks, "
            "world-model, translation."
        ),
    ] = "legality",
    prompts: Annotated[Path | None, typer.Option(help="Square prompts as JSON lines, for squares.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Pairs as JSON lines, for translation.")] = None,
    engine: Annotated[str | None, typer.Option(help="UCI engine that finds puzzles, e.g. stockfish.")] = None,
    limit: Annotated[
        int,
        typer.Option(
            help="Use at most so many games, a seeded sample; rules, mate-in-one and puzzles look in up to 5,000."
        ),
    ] = 500,
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder of the training games, for baselines.  [default: --games]")
    ] = None,
    plies: Annotated[
        int, typer.Option(help="If a move takes several tokens, look for legal ones at so many plies; 0: all.")
    ] = 5000,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Tell a model that takes conditions nothing of the games.")
    ] = False,
    notation: NotationName = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a report page here.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Keep the figures beside each model and in its card.")] = False,
    seed: Seed = 1,
    workers: Workers = 0,
    executor: Cluster = None,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure how well models know the rules, on held-out games."""
    from chesslm.eval.run import evaluate

    evaluate(
        models or [None], games=games, random=random, suites=suite.split(","), prompts=prompts, pairs=pairs,
        engine=engine, limit=limit, data=data, plies=plies, told=not unknown, notation=notation, json_file=json_file,
        html_file=html_file, card=card, seed=seed, workers=who(workers, executor), device=device,
        precision=precision, quiet=quiet,
    )  # fmt: skip


app.command()(inside.probe)


@app.command()
def transfer(
    study: Annotated[Path, typer.Argument(help="TOML with [study] and [arms.NAME]: docs/recipes.md.")],
    out: Annotated[Path, typer.Option(help="Folder for cells and study.json; a study that was stopped goes on.")],
    workers: Annotated[int, typer.Option(help="Cells trained at a time; 0: one a core.")] = 0,
    executor: Cluster = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure what it buys to start from other weights: arms x game counts x seeds."""
    from chesslm.transfer import transfer
    from chesslm.transferred import markdown

    found = transfer(study, out, workers=who(workers, executor), device=device, quiet=quiet)
    print("\n".join(markdown(found["rows"])))


@app.command()
def plot(
    paths: Annotated[list[Path], typer.Argument(help="The folder of a study, or of runs trained with one --track.")],
    out: Annotated[Path, typer.Option(help="The .svg to write.")],
) -> None:
    """Draw the figure of a study, or learning curves of runs, and print the table beside it."""
    from chesslm.plots import plot

    print("\n".join(plot(paths, out)))


for command in (commands.play, commands.serve, commands.uci, commands.match, commands.ladder):
    app.command()(command)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A checkpoint or a dataset folder.")],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare its files with their hashes instead; exit code 1 if one differs."),
    ] = False,
) -> None:
    """Say what a checkpoint or a dataset is: notation, size, data, hash, figures; or whether it is still as written."""
    from chesslm import info

    (info.verify if verify else info.info)(path)


def main() -> None:
    """Run the command line and turn every ending into its exit code."""
    signal.signal(signal.SIGTERM, terminated)
    code = run(sys.argv[1:])
    # After a Ctrl-C in an exec, which makes every dataclass, python -m would end by SIGINT whatever code it is given.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    return exit_code(lambda: app(arguments or ["--help"], prog_name="chesslm", standalone_mode=False))
