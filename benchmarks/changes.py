"""What ideas.py tries: each one a change to a recipe, to the fresh model or to its optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch.optim import Muon
from transformers import GPT2LMHeadModel
from transformers.activations import ACT2FN

from chesslm.optim import Together


@dataclass(frozen=True)
class Idea:
    """One thing that is changed.

    Attributes:
        predicted: what was expected of it, before.
        settings: of the recipe.
        share: of the tokens that are of random games.
        openings: share of the tokens, at the beginning, that are of the first moves of games.
        repeats: how often each game is seen.
        model: done to the fresh model.
        optimizer: done to the fresh optimizer.
        kept: whether it is in the recipes since, or why not.
    """

    predicted: str
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 0.3
    openings: float = 0.0
    repeats: int = 1
    model: Callable[[GPT2LMHeadModel], None] = lambda model: None
    optimizer: Callable[[Together], None] = lambda optimizer: None
    kept: str = ""


def _activation(model: GPT2LMHeadModel, name: str) -> None:
    model.config.activation_function = name
    for block in model.transformer.h:
        cast(Any, block).mlp.act = ACT2FN[name]


def _zero_outputs(model: GPT2LMHeadModel) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            torch.nn.init.zeros_(parameter)


@torch.no_grad()
def _alike(model: GPT2LMHeadModel) -> None:
    """Each position first looks at those with similar tokens: keys begin as queries (after Trockman and Kolter 2023,
    "Mimetic initialization of self-attention layers")."""
    for block in model.transformer.h:
        weight = cast(Any, block).attn.c_attn.weight
        width = len(weight)
        weight[:, width : 2 * width] = weight[:, :width]


@torch.no_grad()
def _passed_on(model: GPT2LMHeadModel) -> None:
    """Attention first copies what it looks at: values and outputs undo each other."""
    for block in model.transformer.h:
        attention = cast(Any, block).attn
        width = len(attention.c_attn.weight)
        turn, _ = torch.linalg.qr(torch.randn(width, width))
        attention.c_attn.weight[:, 2 * width :] = 0.4 * turn
        attention.c_proj.weight.copy_(0.4 * turn.T)


def _muon(optimizer: Together, **settings: float) -> None:
    for group in optimizer.parts[0].param_groups:
        group.update(settings)


def _embedding_rate(optimizer: Together, times: float) -> None:
    optimizer.parts[1].param_groups[0]["peak"] *= times


class _Views:
    """Parts of a matrix as parameters of an optimizer, which share its memory."""

    def __init__(self, matrix: torch.nn.Parameter, parts: int) -> None:
        self.matrix = matrix
        self.views = [torch.nn.Parameter(part) for part in matrix.data.chunk(parts, 1)]

    def before_step(self) -> None:
        assert self.matrix.grad is not None
        for view, grad in zip(self.views, self.matrix.grad.chunk(len(self.views), 1), strict=True):
            view.grad = grad

    def after_step(self) -> None:
        """Nothing is left to do."""


def _apart(optimizer: Together) -> None:
    """Muon on queries, keys and values as three matrices, not as one."""
    (group,) = optimizer.parts[0].param_groups
    views = [
        _Views(matrix, 3 if matrix.shape[1] == 3 * matrix.shape[0] else 1)
        for matrix in cast(list[Any], group["params"])
    ]
    settings = {key: value for key, value in group.items() if key != "params"}
    optimizer.parts = [Muon([{**settings, "params": [v for each in views for v in each.views]}]), optimizer.parts[1]]
    optimizer.spelled = [*optimizer.spelled, *cast(list[Any], views)]
    optimizer.param_groups = [group for part in optimizer.parts for group in part.param_groups]


def _shape(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {"model.layers": layers, "model.width": width, "model.heads": heads}


IDEAS = {
    "the recipe": Idea(""),
    "seed 2": Idea("", {"train.seed": 2}),
    "seed 3": Idea("", {"train.seed": 3}),
    "tokens alone, without their squares": Idea(
        "worse: a move's two squares are most of its meaning", {"train.spelling": False}, kept="no"
    ),
    "positions at random": Idea("a little worse, late in games", {"model.sinusoids": False}, kept="no"),
    "AdamW alone": Idea("worse, as in a pilot", {"train.optimizer": "adamw"}, kept="no"),
    "Muon at 0.01": Idea("worse: too slow", {"train.muon_learning_rate": 0.01}, kept="no"),
    "Muon at 0.04": Idea("better in so few steps", {"train.muon_learning_rate": 0.04}, kept="no: level, for more bits"),
    "AdamW at 0.004": Idea("level", {"train.learning_rate": 4e-3}, kept="no: level, for more bits"),
    "embeddings three times as fast": Idea(
        "better: rare moves get few gradients", optimizer=partial(_embedding_rate, times=3), kept="no: more bits"
    ),
    "batches of 4,096 tokens": Idea(
        "worse: half the steps",
        {"train.batch_tokens": 4096},
        kept="where there are steps enough: the released models have 8,192",
    ),
    "batches of 1,024 tokens": Idea(
        "a little better a token, too slow a step",
        {"train.batch_tokens": 1024},
        kept="no: a step saves no more than it costs",
    ),
    "deep: 8 layers of 256": Idea("better: a board is built up in steps", _shape(8, 256, 4), kept="no"),
    "wide: 3 layers of 384": Idea("worse: too shallow", _shape(3, 384, 6), kept="in the speedrun"),
    "10 heads of 32": Idea("better: more pieces to look at", _shape(5, 320, 10), kept="no"),
    "squared ReLU": Idea("a little better, and cheaper", model=partial(_activation, name="relu2"), kept="no: level"),
    "outputs of blocks begin at zero": Idea("better in the first steps", model=_zero_outputs, kept="no"),
    "keys begin as queries": Idea("better: moves that share a square see each other", model=_alike, kept="no"),
    "values and outputs begin as copies": Idea("better: squares are passed on", model=_passed_on, kept="no"),
    "embeddings and head apart": Idea(
        "better: the square that a move leaves means another thing before and after it",
        {"model.tied": False},
        kept="yes",
    ),
    "queries, keys and values apart": Idea(
        "a little better: they have little in common",
        optimizer=_apart,
        kept="no: too little for an optimizer of our own",
    ),
    "three Newton-Schulz steps": Idea("level, and a tenth faster", optimizer=partial(_muon, ns_steps=3), kept="no"),
    "momentum 0.9": Idea("better in so few steps", optimizer=partial(_muon, momentum=0.9), kept="no: level"),
    "no weight decay": Idea(
        "level: far from overfitting",
        {"train.weight_decay": 0.0},
        kept="it is the default; the released models and the speedrun have 0.1",
    ),
    "fp32": Idea("level, at half the speed", {"train.precision": "fp32"}, kept="no"),
    "no warm-up": Idea("a little worse", {"train.warmup": 0.0}, kept="no: level"),
    "rate falls in the last fifth": Idea(
        "a little worse: short runs want long falls", {"train.decay": 0.2}, kept="no: level"
    ),
    "rate falls from the beginning": Idea("level", {"train.decay": 0.98}, kept="no"),
    "openings first": Idea("worse: late boards are the hard part", openings=0.3, kept="no"),
    "a tenth of the games, ten times": Idea("worse, but not by much", repeats=10, kept="no"),
    "no random games": Idea("better on human games, far worse on random ones", share=0.0, kept="no"),
    "half random games": Idea(
        "better on random games, worse on human ones", share=0.5, kept="no: the mixture has a third"
    ),
    "half of the games left at any ply": Idea(
        "far better on both: thirty legal moves are learned from, not one",
        {"train.strays": 0.5},
        kept="in chesslm-small, chesslm-small-square and the speedrun",
    ),
    "and a loss of what is not legal": Idea(
        "better still: of moves it is not sure of, the sure ones win",
        {"train.strays": 0.5, "train.legality": 4.0},
        kept="in chesslm-small, chesslm-small-square and the speedrun",
    ),
}
