"""``chesslm evaluate``: models and games in, a table on stdout, results as JSON and as a report out.

The command line, the demo, tests and notebooks all call ``evaluate``.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chesslm import files, parallel
from chesslm.errors import InputError
from chesslm.eval.games import Games, from_chance, sample_games
from chesslm.eval.intervals import difference
from chesslm.eval.results import Result, results_object, write_figures, write_results
from chesslm.names import ON_RANDOM_GAMES
from chesslm.notation import TEXT
from chesslm.pairs import sample
from chesslm.progress import bars
from chesslm.shards import Dataset, open_dataset

if TYPE_CHECKING:
    from chesslm.eval.suites import Run, Subject

SUITES = ("legality", "squares", "selfplay", "rules", "mate-in-one", "puzzles", "sinks", "world-model", "translation")
MINING = ("rules", "mate-in-one", "puzzles")
"""Suites that look for positions in games, of which they take more than the others."""
MINED_GAMES = 5000


def evaluate(
    models: Sequence[str | None],
    *,
    games: str | None = None,
    random: int = 0,
    data: Path | None = None,
    suites: Sequence[str] = ("legality",),
    prompts: Path | None = None,
    pairs: Path | None = None,
    engine: str | None = None,
    limit: int = 500,
    plies: int = 5000,
    told: bool = True,
    notation: str | None = None,
    json_file: Path | None = None,
    html_file: Path | None = None,
    card: bool = False,
    seed: int = 1,
    workers: parallel.Workers = 0,
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
        prompts: JSON lines for the suite ``squares``; None: prompts are made from the games.
        pairs: JSON lines for the suite ``translation``.
        engine: UCI command that finds puzzles.
        limit: games taken at most, a seeded sample; positions are looked for in more (``MINED_GAMES``).
        plies: where a move takes several tokens, the legal moves are looked at on so many plies; 0: on all.
        told: whether models that take conditions are told what is known of each game, or nothing.
        notation: how the models write moves, where they do not say.
        json_file, html_file: where results and report go.
        card: also keep the figures beside each model and show them in its card.
        seed: of samples, random games and intervals.
        workers: who sees to the rules of chess.
        device, precision: of the models.
        quiet: no progress.

    Returns:
        The objects of the results JSON, models first, then baselines.

    Raises:
        InputError: bad usage or bad input; nothing is written then.
        FailureError: the disk is full, or a worker was killed.
    """
    _check(suites, games, random, limit, plies, prompts, pairs, engine, data, [json_file, html_file])
    dataset = _training_games(games, data)
    given = sample(pairs, limit, seed) if pairs else []
    with ExitStack() as stack:
        pool = stack.enter_context(parallel.pool(workers))
        shown = stack.enter_context(bars(quiet))
        shown.bar("reading the games", None)
        # Once, even for both samples: standard input cannot be read again.
        wanted = max(limit, MINED_GAMES) if set(suites) & set(MINING) else limit
        mined = None if games is None else sample_games(games, wanted, seed, pool)
        chosen = {"": mined.first(limit)} if mined else {}
        if random:
            chosen[ON_RANDOM_GAMES] = from_chance(random, seed, pool)
        shown.bar("loading torch and the models", None)
        from chesslm.eval.suites import Run, baselines, model_subject
        from chesslm.model import load_model

        # What writes no moves of its own accord can still write text.
        default = TEXT if "translation" in suites else None
        loaded = [load_model(name, notation, device, precision, default) for name in models]
        _check_cards([each.path for each in loaded] if card else [])
        _check_notations(suites, [each.tokenizer.notation.name for each in loaded])
        run = Run(chosen, mined, dataset, plies, told, prompts, given, engine, seed, pool, shown.bar)
        subjects = [model_subject(each, about_model(each, told)) for each in loaded]
        subjects += baselines(run) if "legality" in suites else []
        found = _measure(subjects, run, suites)
    about = about_data(chosen, prompts or pairs, seed)
    objects = [results_object(each.about, about, results) for each, results in zip(subjects, found, strict=True)]
    for each, results in list(zip(objects, found, strict=True))[1 : len(loaded)]:
        each["difference_to_first"] = _differences(results, found[0])
    from chesslm.eval.table import print_tables

    print_tables(objects)
    if json_file:
        write_results(objects, json_file)
        print(f"results: {json_file}")
    if card:
        for each, model in zip(objects, loaded, strict=False):
            write_figures(each, Path(model.path))
            print(f"card: {Path(model.path) / 'README.md'}")
    if html_file:
        from chesslm.report.page import write_report

        write_report(objects, html_file, run_folder=Path(loaded[0].path) / "run")
        print(f"report: {html_file}")
    return objects


def _measure(subjects: Sequence["Subject"], run: "Run", suites: Sequence[str]) -> list[dict[str, Result]]:
    """The results of each subject, by name."""
    from chesslm.eval.suites import SUITES

    measures = [SUITES[suite](run) for suite in suites]
    return [{name: result for measure in measures for name, result in measure(each).items()} for each in subjects]


def _differences(results: dict[str, Result], first: dict[str, Result]) -> dict[str, Any]:
    """How much the figures of a model lie above those of the first one, by suite, as plain JSON."""
    found: dict[str, Any] = {}
    for suite, result in results.items():
        theirs = first[suite].metrics if suite in first else {}
        paired = {key: difference(metric, theirs[key]) for key, metric in result.metrics.items() if key in theirs}
        found[suite] = {key: metric.as_dict() for key, metric in paired.items() if metric}
    return {suite: metrics for suite, metrics in found.items() if metrics}


def _check(
    suites: Sequence[str],
    games: str | None,
    random: int,
    limit: int,
    plies: int,
    prompts: Path | None,
    pairs: Path | None,
    engine: str | None,
    data: Path | None,
    outputs: Sequence[Path | None],
) -> None:
    for suite in suites:
        if suite not in SUITES:
            raise InputError(f"unknown suite {suite!r}; suites are {', '.join(SUITES)}")
    if limit < 1 or random < 0 or plies < 0:
        raise InputError("--limit takes a number of games of 1 or more, --random and --plies one of 0 or more")
    if prompts and "squares" not in suites:
        raise InputError("--prompts is for the suite squares: add --suite squares")
    if bool(pairs) != ("translation" in suites):
        raise InputError(
            "the suite translation takes --pairs FILE, of chesslm generate --pairs, and no other suite does"
        )
    for given, option, of in (
        (engine, "--engine", {"puzzles"}),
        (random, "--random", {"legality", "squares", "sinks", "world-model"}),
        (data, "--data", {"legality", "squares"}),
    ):
        if given and not of & set(suites):
            raise InputError(f"{option} is for {', '.join(sorted(of))}: leave it out, or name such a --suite")
    needs_none = {"selfplay", "rules", "translation", *(("squares",) if prompts else ())}
    if games is None and not random and not needs_none.issuperset(suites):
        raise InputError("no games to measure on; give --games a PGN or a dataset folder, or --random a number")
    check_outputs(outputs)


def check_outputs(paths: Sequence[Path | None]) -> None:
    """See that results can be written there, so that no measuring is done in vain.

    Raises:
        InputError: one is there twice, is no file, or in a folder that is not there or cannot be written to.
    """
    given = [path for path in paths if path]
    if len({path.absolute() for path in given}) < len(given):
        raise InputError(f"{given[0]} cannot be both results and report; give each a name")
    for path in given:
        files.check_file(path)
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise files.explain(OSError(error.errno, error.strerror), path) from error


def _check_cards(folders: Sequence[str]) -> None:
    for folder in folders:
        if not (Path(folder) / "chesslm.json").is_file():
            raise InputError(f"--card is for checkpoints of chesslm train; {folder} has no chesslm.json")


def _check_notations(suites: Sequence[str], notations: Sequence[str]) -> None:
    """Square prompts alone for models that cannot be asked them would leave nothing to show."""
    if tuple(suites) == ("squares",) and not {"uci-move", "uci-square"} & set(notations):
        raise InputError(f"the suite squares is defined for uci-move and uci-square, not for {', '.join(notations)}")


def _training_games(games: str | None, data: Path | None) -> Dataset | None:
    if data:
        return open_dataset(data)
    return open_dataset(Path(games)) if games and Path(games).is_dir() else None


def about_data(chosen: dict[str, Games], file: Path | None, seed: int) -> dict[str, Any]:
    """The games, the random ones beside the others if there are both."""
    if not chosen:
        path, digest = (str(file), files.sha256(file)) if file else ("none", None)
        return {"path": path, "sha256": digest, "games": 0, "seed": seed}
    about = {
        name: {"path": games.path, "sha256": games.sha256, "games": len(games.games), "seed": seed}
        for name, games in chosen.items()
    }
    first = about.pop(next(iter(about)))
    return {**first, "random": about[ON_RANDOM_GAMES]} if about else first


def about_model(loaded: Any, told: bool) -> dict[str, Any]:
    """A loaded model for the results JSON, and whether it is told what it was conditioned on."""
    from chesslm.model import parameters

    kinds = loaded.tokenizer.conditions
    return {
        "path": loaded.path,
        "name": loaded.name,
        "sha256": loaded.sha256,
        "parameters": parameters(loaded.model),
        "notation": loaded.tokenizer.notation.name,
        "precision": str(loaded.precision).removeprefix("torch."),
        **({"told": list(kinds) if told else []} if kinds else {}),
    }
