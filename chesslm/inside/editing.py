"""Edits measured: positions are chosen in games, pushed as if their boards were others, and asked for a move.

Which piece: that of the move the model finds likeliest, so that a model that goes by the edit has to change its mind.
Layers and dose are those with which most moves on validation games are legal on the edited board.
"""

from collections.abc import Mapping, Sequence

import chess
import numpy as np

from chesslm import boards
from chesslm.eval.asking import Question, ask
from chesslm.eval.intervals import Bootstrap
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import ModelScorer
from chesslm.inside.cases import KINDS, PLIES, Case, make_case
from chesslm.inside.edits import Directions, Editor, Outcome, Push, outcomes, pushes
from chesslm.inside.linear import Part
from chesslm.model import LoadedModel
from chesslm.progress import Bars

CASES, CHOOSING = 700, 150
"""Positions to measure on and to choose by, of each kind of change; three kinds of them."""
CURVE = 350
"""Of them, those for the curve of the dose."""
DOSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
BESIDE = {"unedited": "unedited", "another square": "other", "random direction": "random"}
"""What stands beside the edit, by its group, and what its keys end in."""
SHOWN = "edited_argmax"
"""The figure that is more than a breakdown."""


def make_cases(loaded: LoadedModel, games: Sequence[boards.MoveCodes], most: int, seed: int) -> dict[str, list[Case]]:
    """Positions of games, no two alike, with changes of each kind.

    Args:
        loaded: the model, whose likeliest move says which piece.
        games: their moves.
        most: positions of each kind at most.
        seed: of plies, of pieces where that move is none of a piece, and of changes.
    """
    random = np.random.default_rng(seed)
    places: list[tuple[int, int]] = []
    for game in random.permutation(len(games)).tolist():
        plies = random.permutation(PLIES[: max(len(games[game]) - PLIES.start, 0)]).tolist()
        places += [(game, ply) for ply in plies[: -(-most // len(games)) + 1]]
    places = [places[i] for i in random.permutation(len(places))]
    asked = [Question(game, ply, np.zeros(0, np.uint16)) for game, ply in places]
    answers = ask(ModelScorer(loaded), games, asked)
    cases: dict[str, list[Case]] = {kind: [] for kind in KINDS}
    seen = set[bytes]()
    for (game, ply), answer in zip(places, answers, strict=True):
        codes = games[game][:ply]
        if not answer.within or codes.tobytes() in seen:
            continue
        seen.add(codes.tobytes())
        board = boards.board_after(codes)
        square = _square(board, answer.greedy, random)
        for kind in KINDS:
            case = make_case(game, codes, board, kind, square, random) if len(cases[kind]) < most else None
            if case:
                cases[kind].append(case)
    return cases


def _square(board: chess.Board, greedy: int, random: np.random.Generator) -> int:
    """Where the piece stands that the model would move; of any other if that is none of its own, or the king."""
    own = [square for square in board.piece_map() if board.color_at(square) == board.turn]
    own = sorted(square for square in own if square != board.king(board.turn))
    wanted = greedy & 63
    if greedy and wanted in own:
        return wanted
    return int(random.choice(own)) if own else wanted


def choose(
    loaded: LoadedModel,
    layers: Mapping[int, Directions],
    cases: Mapping[str, Sequence[Case]],
    seed: int,
) -> tuple[list[int], float]:
    """The layers and the dose with which most moves are legal on the edited board.

    Tried are, with a dose of 1, each layer alone, and each with all layers behind it; then, there, all doses.

    Args:
        loaded: the model.
        layers: what the probes say, at each layer behind the embeddings.
        cases: of validation games.
        seed: as for ``pushes``.
    """

    def right(where: Sequence[int], dose: float) -> int:
        push = pushes(layers, dose, seed)["edit"]
        return sum(each.edited_greedy for some in cases.values() for each in outcomes(loaded, some, where, push))

    some = [*([layer] for layer in layers), *(list(layers)[i:] for i in range(len(layers) - 1))]
    best = max(some, key=lambda where: right(where, 1.0))
    return best, max(DOSES, key=lambda dose: right(best, dose))


def measure(
    loaded: LoadedModel,
    layers: Mapping[int, Directions],
    where: Sequence[int],
    dose: float,
    cases: Mapping[str, Sequence[Case]],
    over: Bootstrap,
    seed: int,
) -> Result:
    """What edits and their controls do, and the curve of the dose.

    Args:
        loaded: the model.
        layers: what the probes say.
        where: layers that are pushed.
        dose: how much.
        cases: of test games.
        over: resamples of those games.
        seed: as for ``pushes``.
    """

    def figures(cases: Sequence[Case], push: Push | None) -> Metrics:
        return _figures(cases, outcomes(loaded, cases, where, push), over)

    metrics: Metrics = {}
    by: dict[str, dict[str, Metrics]] = {}
    for kind, of_kind in cases.items():
        if not of_kind:
            continue
        arms: dict[str, Push | None] = {"unedited": None, **pushes(layers, dose, seed)}
        found = {name: figures(of_kind, push) for name, push in arms.items()}
        by[kind] = found
        metrics[f"{kind}_{SHOWN}"] = found["edit"][SHOWN]
        metrics |= {f"{kind}_{SHOWN}_{ending}": found[name][SHOWN] for name, ending in BESIDE.items()}
        if kind == KINDS[0]:
            some = of_kind[:CURVE]
            doses = {f"{each:g}": pushes(layers, each, seed)["edit"] for each in DOSES}
            by["dose"] = {name: figures(some, push) for name, push in {"0": None, **doses}.items()}
    return Result(metrics, by)


def edit(
    loaded: LoadedModel,
    layers: Mapping[int, Directions],
    validation: Part,
    test: Mapping[str, Part],
    seed: int,
    shown: Bars,
) -> tuple[dict[str, Result], Editor]:
    """Choose layers and dose, and measure them.

    Args:
        loaded: the model.
        layers: what the probes say, at each layer behind the embeddings.
        validation: games to choose by.
        test: games to measure on, by kind.
        seed: of everything random.
        shown: progress.

    Returns:
        Results by kind of games, and what was chosen.
    """
    shown.bar("choosing the layers to edit", None)
    choosing = make_cases(loaded, validation.codes, CHOOSING, seed)
    where, dose = choose(loaded, layers, choosing, seed)
    n = sum(map(len, choosing.values()))
    chosen = {"edit_dose": dose, "edit_first_layer": where[0], "edit_last_layer": where[-1]}
    results = {}
    for kind, part in test.items():
        shown.bar("editing the board", None)
        cases = make_cases(loaded, part.codes, CASES, seed)
        found = measure(loaded, layers, where, dose, cases, Bootstrap(len(part.codes), seed), seed)
        if found.metrics:
            found.metrics.update({key: Metric(value, None, None, n) for key, value in chosen.items()})
        results[kind] = found
    return results, Editor({layer: layers[layer] for layer in where}, dose)


def _figures(cases: Sequence[Case], found: Sequence[Outcome], over: Bootstrap) -> Metrics:
    """Legality on the edited board and on the true one."""
    game = np.array([case.game for case in cases])
    names = {
        "edited_argmax": "edited_greedy",
        "edited_mass": "edited",
        "true_argmax": "true_greedy",
        "true_mass": "true",
    }
    return {
        key: over.mean(game, np.array([getattr(each, name) for each in found], np.float64))
        for key, name in names.items()
    }
