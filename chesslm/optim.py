"""The optimizer: Muon on the matrices of the blocks, AdamW on all else, as one object.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") steps along the nearest
orthogonal matrix to the momentum. Embeddings, norms and biases are no matrices between hidden spaces and stay with
AdamW.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from chesslm.config import TrainConfig
from chesslm.muon import Muon
from chesslm.spelling import Spelled

CUT = 0.25
"""What is left of the rates when patience ends for the first time; a second cut won 0.01 bits in 50 % more time."""


class Together(Optimizer):
    """Several optimizers stepped as one, so that clipping, schedules and resume see one.

    Args:
        parts: Muon and AdamW, or AdamW alone.
        spelled: embeddings whose tokens share what is learned of their pieces.
    """

    def __init__(self, parts: Sequence[Optimizer], spelled: Sequence[Spelled]) -> None:
        self.parts, self.spelled = parts, spelled
        # The very dicts of the parts: a rate that is set here is theirs.
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of all."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.spelled:
            each.before_step()
        for part in self.parts:
            part.step()
        for each in self.spelled:
            each.after_step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of all."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the states of all."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def make_optimizer(model: torch.nn.Module, train: TrainConfig, pieces: torch.Tensor | None = None) -> Optimizer:
    """The optimizer of a recipe; each group keeps its peak rate under ``peak``.

    Args:
        model: whose parameters are trained.
        train: rates and decay.
        pieces: of the tokens (``spelling.pieces_of``), to share what is learned of them; None: each learns alone.
    """
    matrices, vectors, embeddings = [], [], []
    spelled: list[Spelled] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif any(part in name for part in ("wte", "wpe", "lm_head", "embed")):
            embeddings.append(parameter)
            if pieces is not None and "wpe" not in name and len(parameter) == len(pieces):
                spelled.append(Spelled(parameter, pieces))
        else:
            matrices.append(parameter)
    adamw = {"lr": train.learning_rate, "peak": train.learning_rate}
    decayed = {**adamw, "weight_decay": train.weight_decay}
    groups = [
        {**decayed, "params": embeddings},
        {**adamw, "params": [*vectors, *(each.vectors for each in spelled)], "weight_decay": 0.0},
    ]
    # With a frozen body there is nothing for Muon, which refuses to have no parameters.
    if train.optimizer == "adamw" or not matrices:
        parts = [AdamW([{**decayed, "params": matrices}, *groups], betas=(0.9, 0.95), fused=True)]
        return Together(parts, spelled) if spelled else parts[0]
    rate = train.muon_learning_rate
    muon = Muon([{"lr": rate, "peak": rate, "weight_decay": train.weight_decay, "params": matrices}])
    return Together([muon, AdamW(groups, betas=(0.9, 0.95), fused=True)], spelled)


def rate(progress: float, train: TrainConfig) -> float:
    """The share of the peak learning rate at a point of the budget in [0, 1]: rise, hold, fall, all linear."""
    if progress < train.warmup:
        # The first step is not lost on a rate of 0.
        return max(progress / train.warmup, 1e-3)
    left = 1.0 - progress
    if left < train.decay:
        return train.final + (1.0 - train.final) * max(left, 0.0) / train.decay
    return 1.0


def set_rates(optimizer: Optimizer, share: float) -> None:
    """Give each group a share of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
