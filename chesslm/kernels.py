"""What training a GPT-2 on a CPU is faster with. The results are the same but for rounding.

Attention as two batched matrix products and a softmax between them: the fused kernel of torch saves memory that games
do not need, and its backward pass in bf16 is slow on a CPU: 55 ms forward and back for 40 games of 100 tokens (8 heads
of 32) on two cores of a Zen 4 server, where this takes 11 ms; a loop that trains ``small`` took 4,296 tokens a second
instead of 3,005.

The activation by ``exp``, not ``tanh``, where it is compiled: on one core of a Xeon with AVX-512, for 2,048 by 1,280 in
bf16, 2.7 ms forward and 3.9 back instead of 7.1 and 7.8. Uncompiled it is several passes over the memory, and slower.

Linear layers on whole blocks of rows: oneDNN, which multiplies in bf16, makes a kernel for each shape, and hardly two
batches of games have the same number of tokens. At 2,048 tokens a step, on two cores of a Xeon with AMX, it made 19
kernels in each step of a model of three layers of 384, on one core while the other waited, 130 ms of 680.
"""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.pytorch_utils import Conv1D

NAME = "chesslm_matmul"
TANH = ("gelu_new", "gelu_pytorch_tanh")
"""Names of that formula."""
ROWS = 256
"""What the rows of a linear layer are filled up to a multiple of: 6 % more of them in a batch of 2,048 tokens."""


@lru_cache(maxsize=8)
def _mask(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Minus infinity at later positions, shape (length, length); 8 MB at 2,048, shared by the layers of a step."""
    return torch.full((length, length), float("-inf"), dtype=dtype).triu(1)


def causal_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BHTD: torch.Tensor,
    value_BHTD: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    scaling: float = 1.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of whole games, each position to itself and those before it, as transformers asks for it.

    Returns:
        Shape (B, T, H, D), and no weights.
    """
    assert attention_mask is None and query_BHTD.shape == key_BHTD.shape, "whole games, padded on the right"
    batch, heads, length, width = query_BHTD.shape
    shape = (batch * heads, length, width)
    mask_TT = _mask(length, query_BHTD.dtype)
    scores_NTT = torch.baddbmm(mask_TT, (query_BHTD * scaling).reshape(shape), key_BHTD.reshape(shape).transpose(1, 2))
    weights_NTT = F.dropout(scores_NTT.softmax(-1), dropout)
    return (weights_NTT @ value_BHTD.reshape(shape)).view(batch, heads, length, width).transpose(1, 2), None


class GeluByExp(torch.nn.Module):
    """GPT-2's activation x/2 (1 + tanh z) as x sigmoid(2z), where z = sqrt(2/pi) (x + 0.044715 x^3)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise, of any shape."""
        return x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))


def in_whole_blocks(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A linear layer of rows, zeros behind them in bf16.

    Args:
        layer: what it does.
        x: shape (..., width).
    """
    if not torch.is_autocast_enabled("cpu"):
        return layer(x)
    rows = x.flatten(0, -2).to(torch.get_autocast_dtype("cpu"))
    return layer(F.pad(rows, (0, 0, 0, -len(rows) % ROWS)))[: len(rows)].unflatten(0, x.shape[:-1])


@contextmanager
def fast_kernels(model: PreTrainedModel, where: torch.device, compiled: bool = False) -> Generator[None, None, None]:
    """Train with the above where they are faster: a GPT-2 on a CPU.

    Args:
        model: any; others than GPT-2 stay as they are.
        where: it is trained.
        compiled: by torch.compile.
    """
    usual = model.config._attn_implementation or "sdpa"  # pyright: ignore[reportPrivateUsage]
    if model.config.model_type != "gpt2" or where.type != "cpu":
        yield
        return
    AttentionInterface.register(NAME, causal_attention)  # pyright: ignore[reportArgumentType]
    model.set_attn_implementation(NAME)
    swapped = compiled and model.config.activation_function in TANH
    usual_acts = [(block.mlp, block.mlp.act) for block in cast(Any, model.base_model).h] if swapped else []
    for mlp, _ in usual_acts:
        mlp.act = GeluByExp()
    linear = [layer for layer in model.modules() if isinstance(layer, Conv1D | torch.nn.Linear)]
    for layer in linear:
        cast(Any, layer).forward = partial(in_whole_blocks, layer.forward)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
        for layer in linear:
            del layer.forward
        for mlp, act in usual_acts:
            mlp.act = act
