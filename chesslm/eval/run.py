"""``chesslm evaluate``: models and games in, a table on stdout, results as JSON and as a report out.

The command line, the demo, tests and notebooks all call ``evaluate``.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chesslm import files, parallel
from chesslm.errors import InputError
from chesslm.eval.games import Games, from_chance, from_dataset, from_pgn
from chesslm.eval.results import Result, results_object, write_results
from chesslm.shards import Dataset, open_dataset
from chesslm.tokenizer import get_tokenizer

SUITES = ("legality",)
ON_RANDOM_GAMES = "-random"
"""What the name of a suite ends in when it was measured on random games."""
UNIFORM = {"path": "baseline:uniform-legal", "name": "uniform over legal moves"}
NGRAM = {"path": "baseline:ngram", "name": "move n-gram"}


def evaluate(
    models: Sequence[str | None],
    *,
    games: str | None = None,
    random: int = 0,
    data: Path | None = None,
    suites: Sequence[str] = SUITES,
    limit: int = 500,
    plies: int = 5000,
    notation: str | None = None,
    json_file: Path | None = None,
    html_file: Path | None = None,
    seed: int = 1,
    workers: int = 0,
    device: str = "auto",
    precision: str = "auto",
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Measure models beside the baselines on the same games.

    Args:
        models: folders or hub ids; None is the released model.
        games: a PGN (path, URL or -), or a dataset folder for its test split.
        random: also measure on so many games of random legal moves.
        data: dataset whose training games the n-gram is fitted on and novelty is judged by; by default the dataset
            that ``games`` names. Without one there is neither.
        suites: what to measure.
        limit: games taken at most, a seeded sample.
        plies: where a move takes several tokens, the legal moves are looked at on so many plies; 0: on all.
        notation: how the models write moves, where they do not say.
        json_file, html_file: where results and report go.
        seed: of samples, random games and intervals.
        workers: processes for the rules of chess; 0: one a core.
        device, precision: of the models.
        quiet: no progress.

    Returns:
        The objects of the results JSON, models first, then baselines.

    Raises:
        InputError: bad usage or bad input; nothing is written then.
        FailureError: the disk is full, or a worker was killed.
    """
    _check(suites, games, random, limit, plies, [json_file, html_file])
    dataset = _training_games(games, data)
    with ExitStack() as stack:
        pool = stack.enter_context(parallel.processes(workers))
        progress = stack.enter_context(_progress(quiet))
        progress.step("reading the games")
        chosen = {} if games is None else {"": _read(games, limit, seed, pool)}
        if random:
            chosen[ON_RANDOM_GAMES] = from_chance(random, seed, pool)
        progress.step("loading torch and the models")
        from chesslm.model import load_model

        loaded = [load_model(name, notation, device, precision) for name in models]
        found = _measure(loaded, chosen, dataset, plies, seed, pool, progress)
    about = _about_data(chosen, seed)
    objects = [results_object(model, about, results) for model, results in found]
    from chesslm.eval.table import print_tables

    print_tables(objects)
    if json_file:
        write_results(objects, json_file)
        print(f"results: {json_file}")
    if html_file:
        from chesslm.report import write_report

        write_report(objects, html_file, run_folder=Path(loaded[0].path) / "run")
        print(f"report: {html_file}")
    return objects


Found = list[tuple[dict[str, Any], dict[str, Result]]]
"""What each model or baseline is, and its results by suite."""


def _measure(
    models: Sequence[Any],
    chosen: dict[str, Games],
    dataset: Dataset | None,
    plies: int,
    seed: int,
    pool: Executor,
    progress: "_Progress",
) -> Found:
    from chesslm.eval.baselines import fit_ngram
    from chesslm.eval.legality import HeldOut, legality, summarize
    from chesslm.eval.moves import uniform_over_legal
    from chesslm.eval.novel import first_novel_ply
    from chesslm.eval.positions import find_positions
    from chesslm.eval.scorers import ModelScorer

    progress.step("finding the legal moves")
    held = {
        name: HeldOut(games.codes, find_positions(games.codes, pool), games.sources) for name, games in chosen.items()
    }
    ngram = None
    if dataset:
        progress.step("counting the training games' moves")
        # The games of all suites at once: the training games are gone through once, and that is what takes the time.
        codes = [game for games in held.values() for game in games.codes]
        train, tokenizer = dataset.splits["train"], get_tokenizer(dataset.notation)
        novel = first_novel_ply(codes, train, tokenizer)
        ngram = fit_ngram(train, tokenizer, codes)
        for name, games in held.items():
            held[name] = replace(games, first_novel=novel[: len(games.codes)])
            novel = novel[len(games.codes) :]

    def result(what: str, scorer: Any, name: str) -> Result:
        advance = progress.bar(what, len(held[name].positions))
        return legality(scorer, held[name], pool, plies, seed, advance)

    found: Found = []
    for loaded in models:
        scorer = ModelScorer(loaded)
        found.append((_about_model(loaded), {f"legality{name}": result(loaded.name, scorer, name) for name in held}))
    if ngram:
        found.append((NGRAM, {f"legality{name}": result(NGRAM["name"], ngram, name) for name in held}))
    uniform = {
        f"legality{name}": summarize(uniform_over_legal(games.positions), games, pool, seed)
        for name, games in held.items()
    }
    return [*found, (UNIFORM, uniform)]


def _check(
    suites: Sequence[str], games: str | None, random: int, limit: int, plies: int, outputs: Sequence[Path | None]
) -> None:
    for suite in suites:
        if suite not in SUITES:
            raise InputError(f"unknown suite {suite!r}; suites are {', '.join(SUITES)}")
    if limit < 1 or random < 0 or plies < 0:
        raise InputError("--limit takes a number of games of 1 or more, --random and --plies one of 0 or more")
    if games is None and not random:
        raise InputError("no games to measure on; give --games a PGN or a dataset folder, or --random a number")
    for path in outputs:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file")
        try:
            # So that no measuring is done in vain.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise files.explain(OSError(error.errno, error.strerror), path) from error


def _training_games(games: str | None, data: Path | None) -> Dataset | None:
    if data:
        return open_dataset(data)
    return open_dataset(Path(games)) if games and Path(games).is_dir() else None


def _read(games: str, limit: int, seed: int, pool: Executor) -> Games:
    if Path(games).is_dir():
        return from_dataset(open_dataset(Path(games)), limit, seed)
    return from_pgn(games, limit, seed, pool)


def _about_data(chosen: dict[str, Games], seed: int) -> dict[str, Any]:
    """The games, the random ones beside the others if there are both."""
    about = {
        name: {"path": games.path, "sha256": games.sha256, "games": len(games.codes), "seed": seed}
        for name, games in chosen.items()
    }
    first = about.pop(next(iter(about)))
    return {**first, "random": about[ON_RANDOM_GAMES]} if about else first


def _about_model(loaded: Any) -> dict[str, Any]:
    from chesslm.model import parameters

    weights = sorted(Path(loaded.path).glob("*.safetensors"))
    return {
        "path": loaded.path,
        "name": loaded.name,
        "sha256": files.sha256(weights[0]) if len(weights) == 1 else None,
        "parameters": parameters(loaded.model),
        "notation": loaded.tokenizer.notation.name,
        "precision": str(loaded.precision).removeprefix("torch."),
    }


@dataclass(frozen=True)
class _Progress:
    """What is being done, on stderr if that is a terminal."""

    shown: Any

    def step(self, what: str) -> None:
        """A new step of unknown length."""
        self.bar(what, None)

    def bar(self, what: str, total: int | None) -> Any:
        """A new step; returns what to call with the plies done."""
        for task in self.shown.task_ids:
            self.shown.remove_task(task)
        task = self.shown.add_task(what, total=total)
        return lambda done: self.shown.advance(task, done)


@contextmanager
def _progress(quiet: bool) -> Iterator[_Progress]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # Where no bar can be drawn, rich would still write an empty line in front of an error.
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as shown:
        yield _Progress(shown)
