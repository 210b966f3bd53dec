"""The command ``probe``: what can be read out of a model, layer by layer, beside what could be without one."""

from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chesslm import parallel
from chesslm.checkpoint import find_model
from chesslm.errors import InputError
from chesslm.eval.games import Games, from_chance, sample_games
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.orders import make_pairs
from chesslm.eval.results import Result, results_object, write_results
from chesslm.eval.run import about_data, about_model, check_outputs
from chesslm.eval.table import print_tables
from chesslm.inside import controls, edits
from chesslm.inside import probe as probes
from chesslm.inside.editing import edit as edit_board
from chesslm.inside.heads import attention
from chesslm.inside.iterated import network
from chesslm.inside.layers import Fitted, LayerFigures, fit_layers, measure_layers
from chesslm.inside.linear import Part
from chesslm.inside.measure import Found, by_piece, by_ply, of_board
from chesslm.inside.origin import random_weights
from chesslm.inside.patching import patching
from chesslm.inside.samples import Sample
from chesslm.inside.tracking import tracking
from chesslm.inside.truths import BOARD, truths_of_games
from chesslm.model import LoadedModel, load_model
from chesslm.names import ON_RANDOM_GAMES
from chesslm.progress import Bars, bars

VALIDATION, TEST = 0.1, 0.2
"""Shares of the games by which layers and penalties are chosen, and on which probes are measured."""
LEAST = 20
"""Games that make three parts."""
LINEAR, NETWORK = "logistic regression", "network"
CONTROLS = {
    "random weights": "control_random_weights",
    "embeddings": "control_embeddings",
    "shuffled labels": "control_shuffled",
    "majority": "control_majority",
}
"""Controls by their group, and the keys of their piece_accuracy."""


@dataclass(frozen=True)
class Parts:
    """The games: to fit on and to choose by, all kinds together, and to measure on, by kind."""

    train: Part
    validation: Part
    test: dict[str, Part]


class Layers(NamedTuple):
    """What all layers of a model know: their probes, and their figures by kind of games and layer."""

    model: LoadedModel
    fitted: Fitted
    figures: dict[str, dict[int, LayerFigures]]


def probe(
    model: str | None,
    games: str,
    *,
    random: int = 0,
    limit: int = 2000,
    edit: bool = False,
    notation: str | None = None,
    json_file: Path | None = None,
    html_file: Path | None = None,
    seed: int = 1,
    workers: parallel.Workers = 0,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Find the board in a model, and keep the probe beside it if it is a folder.

    Args:
        model: a checkpoint folder or hub id; None is the released model.
        games: a PGN, or a dataset folder for its test games: none that the model was trained on, or its memory of them
            is measured.
        random: so many games of random legal moves beside them: probes are fitted on both kinds together and measured
            on each.
        limit: games at most, a seeded sample; both kinds are cut into parts for fitting, validation and test.
        edit: change the board in its activations as well, and see what it plays then.
        notation: how the model writes moves, if it does not say.
        json_file, html_file: where results and report go.
        seed: of samples, parts, controls and intervals.
        workers: who sees to the rules of chess, and, unless it is a number, also has the model read the games.
        device: auto, cpu, cuda or mps.
        quiet: no progress.

    Returns:
        The object of the results JSON, with the suites ``probe``, ``attention`` and ``tracking``, with ``edit`` also
        ``edits`` and ``patching``; if there are random games, each of them once more with ``-random``. A suite that has
        nothing to ask about is left out.

    Raises:
        InputError: no such model or games, or too few.
    """
    path = find_model(model)
    if random and random < LEAST:
        raise InputError(f"--random {random}: too few games for three parts; {LEAST} are the least")
    check_outputs([json_file, html_file])
    with ExitStack() as stack:
        pool = stack.enter_context(parallel.pool(workers))
        # Processes of this machine would share its cores with torch's threads, which use them already: the default
        # model reads 400 games in 5.2 s by one and in 2.8 s by two.
        elsewhere = None if isinstance(workers, int) else pool
        shown = stack.enter_context(bars(quiet))
        shown.bar("reading the games", None)
        chosen = {"": sample_games(games, limit, seed, pool)}
        if random:
            chosen[ON_RANDOM_GAMES] = from_chance(random, seed, pool)
        parts = _parts(chosen, seed, pool)
        loaded = load_model(path, notation, device, precision="fp32")
        over = {kind: Bootstrap(len(part.codes), seed) for kind, part in parts.test.items()}
        fresh = random_weights(loaded, seed)
        layers, layers_fresh = (_layers(each, parts, over, seed, shown, elsewhere) for each in (loaded, fresh))
        fitted, results = _measure(layers, layers_fresh, parts, over, seed, shown, elsewhere)
        shown.bar("following pieces", None)
        tests = {kind: part.codes for kind, part in parts.test.items()}
        followed = attention(loaded, fresh, parts.validation.codes, tests, seed)
        by_layer = [probes.BoardProbe(each.layer, each.weights[BOARD.name]) for each in layers.fitted.probes]
        for kind, part in parts.test.items():
            results[f"attention{kind}"] = followed[kind]
            advance = shown.bar("looking at illegal moves", sum(map(len, part.codes)))
            results[f"tracking{kind}"] = tracking(loaded, fitted, part, seed, pool, advance, by_layer, elsewhere)
        editor = None
        if edit:
            edited, editor = _edit(layers, parts, seed, pool, shown)
            results |= edited
    results = {suite: result for suite, result in results.items() if result.metrics}
    found = results_object(about_model(loaded, told=False), about_data(chosen, None, seed), results)
    print_tables([found])
    if json_file:
        write_results([found], json_file)
        print(f"results: {json_file}")
    if html_file:
        from chesslm.report.page import write_report

        write_report([found], html_file)
        print(f"report: {html_file}")
    if Path(path).is_dir():  # last: a folder that cannot be written to costs no results
        sizes = {"fitted": len(parts.train.codes), "validation": len(parts.validation.codes)}
        metrics = {suite: result["metrics"] for suite, result in found["suites"].items()}
        probes.save(fitted, Path(path), {**sizes, "seed": seed, "data": _nameless(found["data"]), "suites": metrics})
        if editor:
            edits.save(editor, Path(path))
    return found


def _nameless(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the games without their path on this machine: the hash says which they are."""
    plain = {key: value for key, value in data.items() if key not in ("path", "random")}
    return plain | ({"random": _nameless(data["random"])} if "random" in data else {})


def _parts(chosen: Mapping[str, Games], seed: int, pool: Executor) -> Parts:
    """The games of each kind cut apart by a seeded shuffle; of games that are alike one is taken."""
    trains, validations, tests = [], [], {}
    for kind, games in chosen.items():
        unlike = sorted({codes.tobytes(): i for i, codes in enumerate(games.codes)}.values())
        if len(unlike) < LEAST:
            what = f"{games.path}: {len(unlike)} different games are too few for three parts"
            raise InputError(f"{what}; {LEAST} are the least")
        order = np.random.default_rng(seed).permutation(unlike)
        truths = truths_of_games(games.codes, pool)
        elo = np.array([(game.white_elo or np.nan, game.black_elo or np.nan) for game in games.games], np.float32)
        ends = [round(TEST * len(order)), round((TEST + VALIDATION) * len(order))]
        test, validation, train = (
            Part([games.codes[i] for i in part], [truths[i] for i in part], elo[part]) for part in np.split(order, ends)
        )
        trains.append(train)
        validations.append(validation)
        tests[kind] = test
    return Parts(sum(trains[1:], trains[0]), sum(validations[1:], validations[0]), tests)


def _measure(
    layers: Layers,
    layers_fresh: Layers,
    parts: Parts,
    over: Mapping[str, Bootstrap],
    seed: int,
    shown: Bars,
    elsewhere: Executor | None,
) -> tuple[probes.BoardProbe, dict[str, Result]]:
    """The board probe at the best layer, and the suites ``probe``."""
    loaded, fresh = layers.model, layers_fresh.model
    best, best_fresh = layers.fitted.best, layers_fresh.fitted.best

    def samples(of: Layers, layer: int) -> tuple[Sample, Sample]:
        return of.fitted.train.at(layer), of.fitted.validation.at(layer)

    shown.bar(f"fitting the board at layer {best}", None)
    train, validation = samples(layers, best)
    linear = probes.fit(train, validation)
    asked: dict[str, tuple[LoadedModel, probes.Answering]] = {LINEAR: (loaded, linear)}
    shown.bar(f"fitting a network at layer {best}", None)
    asked[NETWORK] = loaded, network(train, validation, BOARD.answers, linear.weight, seed)
    shown.bar("fitting the controls", None)
    asked["shuffled labels"] = loaded, probes.fit(controls.shuffled(train, seed), validation)
    asked["embeddings"] = loaded, probes.fit(*samples(layers, 0))
    asked["random weights"] = fresh, probes.fit(*samples(layers_fresh, best_fresh))
    results = {}
    for kind, test in parts.test.items():
        found: dict[str, Found] = {}
        for model in (loaded, fresh):
            names = [name for name, (of, _) in asked.items() if of is model]
            found |= zip(names, probes.ask(model, test, [asked[name][1] for name in names], elsewhere), strict=True)
        found["majority"] = controls.majority(parts.train, found[LINEAR])
        of = {name: of_board(each, over[kind]) for name, each in found.items()}
        by_layer, by_layer_fresh = layers.figures[kind], layers_fresh.figures[kind]
        facts = {key: metric for key, metric in by_layer[best].metrics.items() if key not in of[LINEAR]}
        results[f"probe{kind}"] = Result(
            {**of[LINEAR], **{CONTROLS[name]: of[name]["piece_accuracy"] for name in CONTROLS}, **facts},
            {
                "probe": of,
                "layer": {str(layer): each.metrics for layer, each in by_layer.items()},
                "layer, random weights": {str(layer): each.metrics for layer, each in by_layer_fresh.items()},
                **{f"ply, layer {layer}": each.by_ply for layer, each in by_layer.items()},
                "ply": by_ply(found[LINEAR], over[kind]),
                "piece": by_piece(found[LINEAR], over[kind]),
            },
            belief=probes.follow(loaded, test.codes[0], linear),
        )
    return linear, results


def _layers(
    loaded: LoadedModel,
    parts: Parts,
    over: Mapping[str, Bootstrap],
    seed: int,
    shown: Bars,
    elsewhere: Executor | None,
) -> Layers:
    total = sum(len(part.codes) for part in (parts.train, parts.validation, *parts.test.values()))
    advance = shown.bar(f"reading the layers of {loaded.name}", total)
    fitted = fit_layers(loaded, parts.train, parts.validation, seed, advance, elsewhere)
    figures = {
        kind: measure_layers(loaded, fitted.probes, test, over[kind], advance, elsewhere)
        for kind, test in parts.test.items()
    }
    return Layers(loaded, fitted, figures)


def _edit(
    layers: Layers, parts: Parts, seed: int, pool: Executor, shown: Bars
) -> tuple[dict[str, Result], edits.Editor]:
    """The suites ``edits`` and ``patching``, and how to edit."""
    loaded = layers.model
    # An edit of the embeddings would be one of the last move, which stands there for all to read.
    probes_of, moments = layers.fitted.probes, layers.fitted.moments
    ways = {each.layer: edits.directions(moments, each.layer, each.weights[BOARD.name]) for each in probes_of[1:]}
    edited, editor = edit_board(loaded, ways, parts.validation, parts.test, seed, shown)
    results = {f"edits{kind}": result for kind, result in edited.items()}
    for kind, part in parts.test.items():
        shown.bar("patching", None)
        pairs = make_pairs(part.codes, seed, pool)
        results[f"patching{kind}"] = patching(loaded, pairs, layers.fitted.best, len(part.codes), seed)
    return results, editor
