"""The residual stream of a decoder, read or changed on its way from block to block.

Layer 0 is what goes into the first block (the embeddings), layer n what comes out of block n, before any last layer
norm. Blocks are found by what they are, a list as long as config.json says, whatever a family calls them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from chesslm.errors import InputError
from chesslm.model import LoadedModel

Change = Callable[[torch.Tensor], torch.Tensor | None]
"""What goes by, (B, T, width), to what goes on instead; None lets it go on as it is."""


def n_layers(loaded: LoadedModel) -> int:
    """Number of the last layer: that of the blocks."""
    return int(loaded.model.config.num_hidden_layers)


def blocks(loaded: LoadedModel) -> torch.nn.ModuleList:
    """The blocks of a model.

    Raises:
        InputError: it has no list of that length.
    """
    for module in loaded.model.base_model.children():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers(loaded):
            return module
    raise InputError(f"{loaded.path}: where its blocks are cannot be seen, so nothing can be read between them")


@contextmanager
def hooked(loaded: LoadedModel, changes: Mapping[int, Change]) -> Iterator[None]:
    """Every forward pass meanwhile lets ``changes`` see the residual stream at their layers, and change it."""
    stack = blocks(loaded)
    handles: list[Any] = []
    try:
        for layer, change in changes.items():
            handles.append(_hook(stack, layer, change))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(stack: torch.nn.ModuleList, layer: int, change: Change) -> Any:
    def before(module: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = change(given[0])
        return None if changed is None else (changed, *given[1:])

    def after(module: torch.nn.Module, given: Any, out: Any) -> Any:
        # In transformers 5 a block gives out its hidden states, in older ones a tuple that they are the first of.
        changed = change(out[0] if isinstance(out, tuple) else out)
        if changed is None:
            return None
        return (changed, *out[1:]) if isinstance(out, tuple) else changed

    if layer == 0:
        return stack[0].register_forward_pre_hook(before)
    return stack[layer - 1].register_forward_hook(after)
