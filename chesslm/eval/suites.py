"""The suites: what each one needs of a run, and how it measures one model.

A suite is prepared once (legal moves found, prompts made, positions mined) and then asked about each model:

    run  ->  measure(subject) -> {name of the result: Result}

Names of results end in ``-random`` where they were measured on random games.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from chesslm import boards
from chesslm.errors import InputError
from chesslm.eval.baselines import UniformLegal, fit_ngram
from chesslm.eval.exam import mine
from chesslm.eval.games import Games
from chesslm.eval.legality import HeldOut, legality, summarize
from chesslm.eval.moves import Progress, uniform_over_legal
from chesslm.eval.novel import first_novel_ply
from chesslm.eval.orders import make_pairs
from chesslm.eval.positions import find_positions
from chesslm.eval.prompts import make_prompts, read_prompts
from chesslm.eval.puzzles import mate_in_one, puzzles
from chesslm.eval.results import Result
from chesslm.eval.rules import rules
from chesslm.eval.scorers import ModelScorer, Scorer
from chesslm.eval.selfplay import selfplay, total_games
from chesslm.eval.sinks import sinks
from chesslm.eval.squares import NOTATIONS, squares
from chesslm.eval.steppers import ModelStepper
from chesslm.eval.tactics import engine_puzzles, mates_in_one
from chesslm.eval.translation import translation
from chesslm.eval.world_model import world_model
from chesslm.model import LoadedModel
from chesslm.pairs import Pair
from chesslm.shards import Dataset

Bar = Callable[[str, int | None], Progress]
"""What is being done and how much of it there is -> what to tell of the progress."""


@dataclass(frozen=True)
class Run:
    """What a run measures on.

    Attributes:
        chosen: games by the ending of their results' names.
        mined: games in which positions are looked for, more than those.
        dataset: with the training games, if there is one.
        plies: for several tokens a move, legal moves are looked at on so many plies; 0: on all.
        told: whether a model that takes conditions is told what is known of each game.
        prompts: file of square prompts; None: made from the games.
        pairs: for the suite ``translation``.
        engine: UCI command that finds puzzles.
        seed: of everything random.
        pool: processes for the rules of chess.
        bar: shows progress.
    """

    chosen: dict[str, Games]
    mined: Games | None
    dataset: Dataset | None
    plies: int
    told: bool
    prompts: Path | None
    pairs: list[Pair]
    engine: str | None
    seed: int
    pool: Executor
    bar: Bar

    @property
    def codes(self) -> list[boards.MoveCodes]:
        """The moves of all games: going through the training games for them is what takes the time."""
        return [game for games in self.chosen.values() for game in games.codes]

    @cached_property
    def held(self) -> dict[str, HeldOut]:
        """The games with all that is true of their positions."""
        self.bar("finding the legal moves", None)
        held = {
            name: HeldOut(games.games, find_positions(games.codes, self.pool)) for name, games in self.chosen.items()
        }
        if self.dataset:
            novel = first_novel_ply(self.codes, self.dataset.splits["train"], self.dataset.tokenizer)
            for name, games in held.items():
                held[name] = replace(games, first_novel=novel[: len(games.games)])
                novel = novel[len(games.games) :]
        return held


@dataclass(frozen=True)
class Subject:
    """What is measured: a model or a baseline.

    Attributes:
        about: what the results say of it.
        scorer: asks it.
        loaded: the model; None for a baseline.
    """

    about: dict[str, Any]
    scorer: Scorer
    loaded: LoadedModel | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.about["name"])


Measure = Callable[[Subject], dict[str, Result]]
UNIFORM = {"path": "baseline:uniform-legal", "name": "uniform over legal moves"}
NGRAM = {"path": "baseline:ngram", "name": "move n-gram"}


def model_subject(loaded: LoadedModel, about: dict[str, Any]) -> Subject:
    """A model to be measured."""
    return Subject(about, ModelScorer(loaded), loaded)


def baselines(run: Run) -> list[Subject]:
    """What every model stands beside: the moves' n-gram, if there are training games, and the rules alone."""
    found = [Subject(UNIFORM, UniformLegal())]
    if run.dataset:
        run.bar("counting the training games' moves", None)
        ngram = fit_ngram(run.dataset.splits["train"], run.dataset.tokenizer, run.codes)
        found.insert(0, Subject(NGRAM, ngram))
    return found


def of_legality(run: Run) -> Measure:
    """Suite ``legality``: also for the baselines."""
    held = run.held

    def measure(subject: Subject) -> dict[str, Result]:
        found = {}
        for name, games in held.items():
            advance = run.bar(subject.name, len(games.positions))
            if isinstance(subject.scorer, UniformLegal):
                result = summarize(uniform_over_legal(games.positions), games, {}, run.seed)
            else:
                closely = subject.loaded is not None
                result = legality(subject.scorer, games, run.pool, run.plies, run.seed, run.told, closely, advance)
            found[f"legality{name}"] = result
        return found

    return measure


def of_squares(run: Run) -> Measure:
    """Suite ``squares``."""
    if run.prompts:
        prompts = {"": read_prompts(run.prompts)}
    else:
        prompts = {
            name: make_prompts(games.codes, run.seed, run.held[name].first_novel if run.dataset else None)
            for name, games in run.chosen.items()
        }

    def measure(subject: Subject) -> dict[str, Result]:
        if subject.scorer.tokenizer.notation.name not in NOTATIONS or not subject.loaded:
            return {}
        hinted = bool(subject.loaded.about.get("recipe", {}).get("train", {}).get("hints"))
        found = {}
        for name, given in prompts.items():
            advance = run.bar(f"{subject.name}: squares", len(given))
            found[f"squares{name}"] = squares(subject.scorer, given, run.seed, hinted, advance)
        return found

    return measure


def of_selfplay(run: Run) -> Measure:
    """Suite ``selfplay``: needs no games."""

    def result(loaded: LoadedModel, scorer: Scorer, advance: Progress) -> Result:
        return selfplay(ModelStepper(loaded), run.seed, advance=advance)

    return _of_models("selfplay", run, total_games(), result)


def of_rules(run: Run) -> Measure:
    """Suite ``rules``."""
    run.bar("setting the exam", None)
    exam = mine(run.mined.codes if run.mined else [], run.pool, seed=run.seed)
    return _of_models("rules", run, exam.positions, lambda _, scorer, advance: rules(scorer, exam, run.seed, advance))


def of_mates(run: Run) -> Measure:
    """Suite ``mate-in-one``."""
    run.bar("looking for mates", None)
    given = mates_in_one(_mined(run), run.pool, seed=run.seed)
    return _of_models(
        "mate-in-one", run, len(given.rows), lambda _, scorer, advance: mate_in_one(scorer, given, run.seed, advance)
    )


def of_puzzles(run: Run) -> Measure:
    """Suite ``puzzles``: needs an engine."""
    if not run.engine:
        raise InputError("the suite puzzles needs an engine to find them: --engine stockfish")
    run.bar("looking for puzzles", None)
    given = engine_puzzles(_mined(run), run.engine, run.pool, seed=run.seed)
    return _of_models(
        "puzzles", run, len(given.rows), lambda _, scorer, advance: puzzles(scorer, given, run.seed, advance)
    )


def of_sinks(run: Run) -> Measure:
    """Suite ``sinks``."""
    held = run.held

    def measure(subject: Subject) -> dict[str, Result]:
        if not subject.loaded:
            return {}
        found = {}
        for name, games in held.items():
            advance = run.bar(f"{subject.name}: sinks", len(games.games))
            found[f"sinks{name}"] = sinks(
                subject.scorer, games.games, games.positions, run.pool, run.seed, run.told, advance
            )
        return found

    return measure


def of_world_model(run: Run) -> Measure:
    """Suite ``world-model``."""
    run.bar("looking for other move orders", None)
    pairs = {name: make_pairs(games.codes, run.seed, run.pool) for name, games in run.chosen.items()}

    def measure(subject: Subject) -> dict[str, Result]:
        if not subject.loaded:
            return {}
        found = {}
        for name, given in pairs.items():
            advance = run.bar(f"{subject.name}: world model", 2 * len(given))
            games = len(run.chosen[name].games)
            found[f"world-model{name}"] = world_model(subject.scorer, given, games, run.seed, advance)
        return found

    return measure


def of_translation(run: Run) -> Measure:
    """Suite ``translation``: needs pairs, and models of text."""

    def result(loaded: LoadedModel, scorer: Scorer, advance: Progress) -> Result:
        return translation(scorer, ModelStepper(loaded), run.pairs, run.seed, advance)

    return _of_models("translation", run, len(run.pairs), result)


def _of_models(suite: str, run: Run, total: int, result: Callable[[LoadedModel, Scorer, Progress], Result]) -> Measure:
    """A suite that says nothing of the baselines; ``total`` is what its progress comes to."""

    def measure(subject: Subject) -> dict[str, Result]:
        if not subject.loaded:
            return {}
        return {suite: result(subject.loaded, subject.scorer, run.bar(f"{subject.name}: {suite}", total))}

    return measure


def _mined(run: Run) -> list[boards.MoveCodes]:
    if run.mined is None:
        raise InputError("mates and puzzles are looked for in games; give --games a PGN or a dataset folder")
    return run.mined.codes


SUITES: dict[str, Callable[[Run], Measure]] = {
    "legality": of_legality,
    "squares": of_squares,
    "selfplay": of_selfplay,
    "rules": of_rules,
    "mate-in-one": of_mates,
    "puzzles": of_puzzles,
    "sinks": of_sinks,
    "world-model": of_world_model,
    "translation": of_translation,
}
