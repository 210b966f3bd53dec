"""For notebooks: a model's activations, its believed board and its moves, from games as one would type them.

model = load_model("checkpoints/chesslm-small")
hidden = activations(model, "e4 e5 Nf3 Nc6", layer=3)
print(believed(model, "e4 e5 Nf3 Nc6"))
probe = fit_probe(model, games, layer=3)
moves(model, "e4 e5 Nf3", patch={3: hidden[-1]})
erase(model, "e4 e5 Nf3", "e5")
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import chess
import numpy as np

from chesslm import boards
from chesslm.errors import InputError
from chesslm.eval.asking import Question, ask
from chesslm.eval.results import Idea
from chesslm.eval.scorers import ModelScorer
from chesslm.inside import edits
from chesslm.inside import probe as probes
from chesslm.inside.activations import Floats, at_end, capture
from chesslm.inside.edits import PushedScorer, Vector, key_of
from chesslm.inside.linear import part_of
from chesslm.inside.probe import BoardProbe
from chesslm.inside.samples import sample
from chesslm.inside.truths import put
from chesslm.model import LoadedModel, load_model

__all__ = ["activations", "believed", "erase", "fit_probe", "game", "load_model", "moves"]

Game = str | boards.MoveCodes
"""Moves as text (``game``) or as codes."""
VALIDATION = 8
"""One game in so many is not fitted on but says when to stop."""
_NUMBER = re.compile(r"\d+\.+")
_UCI = re.compile("[a-h][1-8][a-h][1-8][nbrq]?")


def game(moves: Game) -> boards.MoveCodes:
    """Moves in SAN or UCI, with or without their numbers, from the standard start, as codes.

    Raises:
        InputError: a move that is not legal.
    """
    if not isinstance(moves, str):
        return moves
    board = chess.Board()
    for word in _NUMBER.sub(" ", moves).split():
        try:
            board.push(board.parse_uci(word) if _UCI.fullmatch(word) else board.parse_san(word))
        except ValueError as error:
            raise InputError(f"{word} at ply {board.ply()} is no legal move there") from error
    return boards.to_codes(board.move_stack)


def activations(model: LoadedModel, moves: Game, layer: int) -> Floats:
    """The residual stream after each move in the context at a layer (0: the embeddings), (plies, width)."""
    (positions,) = capture(model, [game(moves)], [layer])
    return positions.hidden[0]


def fit_probe(model: LoadedModel, games: Sequence[Game], layer: int) -> BoardProbe:
    """A board probe at a layer, from games; one in eight of them says when to stop fitting."""
    codes = [game(each) for each in games]
    validation = codes[::VALIDATION]
    train = [each for number, each in enumerate(codes) if number % VALIDATION]
    return probes.fit(*(sample(model, part_of(some), layer) for some in (train, validation)))


def believed(model: LoadedModel, moves: Game, probe: BoardProbe | None = None) -> chess.BaseBoard:
    """The board that a model believes in after the last of some moves.

    Args:
        model: that reads them.
        moves: at least one.
        probe: by default the one that lies beside the model.

    Raises:
        InputError: there is none, or more moves than the model can look back at.
    """
    probe, codes = probe or _probe(model), game(moves)
    pieces, _ = probe.believed(at_end(model, codes, probe.layer), np.array([len(codes) % 2 == 0]))
    board = chess.BaseBoard(None)
    put(board, pieces[0])
    return board


def moves(model: LoadedModel, moves: Game, n: int = 5, patch: Mapping[int, Floats] | None = None) -> tuple[Idea, ...]:
    """The moves that a model finds likeliest after some others, the greedy one first.

    Args:
        model: that is asked.
        moves: before.
        n: how many.
        patch: activations, (width,), by the layer where they take the place of its own after the last move.
    """
    codes = game(moves)
    scorer = ModelScorer(model)

    def put(layer: int, hidden: Vector, patched: Mapping[int, Floats]) -> Vector:
        return patched[layer] - hidden

    asked = PushedScorer(scorer, {key_of(model.tokenizer, codes): patch}, list(patch), put) if patch else scorer
    (answer,) = ask(asked, [codes], [Question(0, len(codes), np.zeros(0, np.uint16), n)])
    return answer.ideas[:n]


def erase(model: LoadedModel, moves: Game, square: str, n: int = 5) -> tuple[Idea, ...]:
    """The moves that a model finds likeliest once the piece on a square is gone from the board that it believes in.

    Args:
        model: with what ``chesslm probe --edit`` found beside it.
        moves: at least one.
        square: such as e4; of either side, where it believes a piece other than a king to stand.
        n: how many moves, the greedy one first; whether they are legal is told of the board as it is.

    Raises:
        InputError: nothing that it takes lies beside the model, or no such piece.
    """
    probe, editor = _probe(model), edits.load(Path(model.path))
    if editor is None:
        raise InputError(f"{model.path} cannot be edited; chesslm probe --edit finds out how")
    return edits.erased(model, probe, editor, game(moves), chess.parse_square(square), n)


def _probe(model: LoadedModel) -> BoardProbe:
    probe = probes.load(Path(model.path))
    if probe is None:
        raise InputError(f"{model.path} has no probe; make one with chesslm probe, or give one of fit_probe")
    return probe
