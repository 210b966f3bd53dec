"""Patching: what a model computed in one game is put into another, layer by layer, at the last token of a position.

Between two move orders to one position nothing should change; from a game in which one piece stands elsewhere, the
legal moves of that game should come along, from the layer on at which all that matters has come to the last token.
"""

from collections.abc import Sequence

import numpy as np

from chesslm.eval.asking import Answer, Question, ask
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.orders import NEAR, SWAPPED, Pair
from chesslm.eval.results import Metrics, Result
from chesslm.eval.scorers import ModelScorer, Scorer
from chesslm.eval.world_model import jensen_shannon, shares_of
from chesslm.inside.activations import capture
from chesslm.inside.edits import PushedScorer, Vector, key_of
from chesslm.inside.residual import n_layers
from chesslm.model import LoadedModel


def patching(loaded: LoadedModel, pairs: Sequence[Pair], layer: int, games: int, seed: int) -> Result:
    """Put the activations of each pair's second game into its first one.

    Args:
        loaded: the model.
        pairs: ``swapped`` and ``near`` ones (``orders``).
        layer: of the main figures.
        games: how many they were made from.
        seed: of the intervals.

    Returns:
        By ``layer`` of both kinds, ``none`` being without a patch and ``source`` the second game itself.
    """
    over, by = Bootstrap(games, seed), dict[str, dict[str, Metrics]]()
    metrics: Metrics = {}
    layers = range(n_layers(loaded) + 1)
    for kind in (SWAPPED, NEAR):
        some = _unlike([pair for pair in pairs if pair.kind == kind], loaded)
        if not some:
            continue
        sources = {each.game: each.hidden[:, -1] for each in capture(loaded, [pair.moves[1] for pair in some], layers)}
        keys = [key_of(loaded.tokenizer, pair.moves[0]) for pair in some]
        cases = dict(zip(keys, range(len(some)), strict=True))

        def swap(layer: int, hidden: Vector, case: int, sources: dict[int, np.ndarray] = sources) -> Vector:
            return sources[case][layer] - hidden

        plain = ModelScorer(loaded)
        own = _ask(plain, some, 1)
        arms = {"none": _ask(plain, some, 0)}
        for each in layers:
            arms[str(each)] = _ask(PushedScorer(plain, cases, [each], swap), some, 0)
        arms["source"] = own
        by[f"layer, {kind}"] = {name: _figures(some, answers, own, over) for name, answers in arms.items()}
        found = by[f"layer, {kind}"]
        for key in ("divergence",) if kind == SWAPPED else ("source_argmax", "source_mass"):
            metrics |= {f"patched_{key}": found[str(layer)][key], f"patched_{key}_unpatched": found["none"][key]}
    return Result(metrics, by)


def _unlike(pairs: Sequence[Pair], loaded: LoadedModel) -> list[Pair]:
    """Pairs within the context, no two of one game up to a position, the first ones."""
    found: dict[bytes, Pair] = {}
    for pair in pairs:
        tokens = [len(loaded.tokenizer.encode(codes)) for codes in pair.moves]
        if max(tokens) < loaded.context - 8:
            found.setdefault(key_of(loaded.tokenizer, pair.moves[0]), pair)
    return list(found.values())


def _ask(scorer: Scorer, pairs: Sequence[Pair], which: int) -> list[Answer]:
    games = [pair.moves[which] for pair in pairs]
    questions = [Question(i, len(codes), pair.either) for i, (codes, pair) in enumerate(zip(games, pairs, strict=True))]
    return ask(scorer, games, questions)


def _figures(pairs: Sequence[Pair], answers: Sequence[Answer], own: Sequence[Answer], over: Bootstrap) -> Metrics:
    """Legality on the boards of both games, and how far the moves are from those of the second."""
    game = np.array([pair.game for pair in pairs])
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for pair, answer, source in zip(pairs, answers, own, strict=True):
        shares = shares_of(answer)
        for name, moves in zip(("target", "source"), pair.legal, strict=True):
            found[f"{name}_argmax"].append(answer.greedy in moves)
            found[f"{name}_mass"].append(shares[:-1][np.isin(pair.either, list(moves))].sum())
        found["divergence"].append(jensen_shannon(shares, shares_of(source)))
    return {name: over.mean(game, np.array(each, np.float64), name != "divergence") for name, each in found.items()}


FIGURES = ("target_argmax", "target_mass", "source_argmax", "source_mass", "divergence")
