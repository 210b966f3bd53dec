"""Training speed, side by side: real (non-padding) tokens a second at ``small``.

    python benchmarks/train.py DATASET [--rounds 5]

DATASET is a dataset folder in uci-move. Three sides take turns, and medians and ratios are printed:

- ``chesslm``: ``chesslm train`` as it is, its own figure from run/metrics.csv (validation and saving apart);
- ``usual``: the usual recipe (usual.py);
- ``bare``: a loop in the manner of nanoGPT with a model of its own: same shape, optimizer and allocator settings,
  bf16 autocast, games packed end to end in rows of 256 tokens (so they see each other), head in chunks.
"""

import argparse
import csv
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from usual import ROWS, SHAPE, Usual

from chesslm.config import Recipe, TrainConfig
from chesslm.model import tune_memory
from chesslm.optim import make_optimizer
from chesslm.shards import Split, open_dataset
from chesslm.tokenizer import get_tokenizer
from chesslm.train import train

WARM_STEPS, STEPS = 3, 20
ROW = 256


def chesslm_speed(data: Path) -> float:
    """Tokens a second of ``chesslm train`` over its steps 41 to 60."""
    folder = Path(tempfile.mkdtemp())
    try:
        settings = TrainConfig(max_steps=60, val_every=0, val_games=1)
        train(data, folder / "out", Recipe(SHAPE, settings), device="cpu", quiet=True)
        with (folder / "out" / "run" / "metrics.csv").open() as file:
            return float(list(csv.DictReader(file))[-1]["tokens_per_second"])
    finally:
        shutil.rmtree(folder)


def timed(step: Callable[[], int]) -> float:
    """Tokens a second of a step that returns how many it took."""
    for _ in range(WARM_STEPS):
        step()
    start = time.perf_counter()
    tokens = sum(step() for _ in range(STEPS))
    return tokens / (time.perf_counter() - start)


def usual_speed(split: Split) -> float:
    """The usual recipe."""
    return timed(Usual(get_tokenizer("uci-move"), split, ROW).step)


class Block(nn.Module):
    """A transformer block before-norm, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """One block."""
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.qkv(self.ln_1(x_BTD)).split(D, dim=2)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D)
        x_BTD = x_BTD + self.proj(seen)
        return x_BTD + self.out(F.gelu(self.fc(self.ln_2(x_BTD)), approximate="tanh"))


class Bare(nn.Module):
    """The smallest GPT-2 of the same shape."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, SHAPE.width), nn.Embedding(512, SHAPE.width)
        self.blocks = nn.Sequential(*(Block(SHAPE.width, SHAPE.heads) for _ in range(SHAPE.layers)))
        self.ln_f = nn.LayerNorm(SHAPE.width)

    def loss(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy, the head in chunks of 1,024 positions."""
        x_BTD = self.wte(ids_BT) + self.wpe.weight[: ids_BT.shape[1]]
        hidden_ND = self.ln_f(self.blocks(x_BTD)).flatten(0, 1)
        total = torch.zeros(())
        for hidden_CD, targets_C in zip(hidden_ND.split(1024), targets_BT.flatten().split(1024), strict=True):
            logits_CV = F.linear(hidden_CD, self.wte.weight)
            total = total + F.cross_entropy(logits_CV.float(), targets_C, reduction="sum")
        return total / targets_BT.numel()


def bare_speed(split: Split) -> float:
    """The bare loop."""
    model = Bare(len(get_tokenizer("uci-move")))
    optimizer = make_optimizer(model, TrainConfig())
    stream = _stream(split)

    def step() -> int:
        block = torch.from_numpy(next(stream))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(block[:, :-1], block[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return block[:, 1:].numel()

    return timed(step)


def _stream(split: Split) -> Iterator[np.ndarray]:
    """Blocks of 16 rows of 257 tokens, games end to end."""
    order = np.random.default_rng(0).permutation(len(split))
    held = np.zeros(0, np.int64)
    for game in order:
        held = np.concatenate([held, split.game_ids(int(game)).astype(np.int64)])
        if len(held) >= ROWS * (ROW + 1):
            yield held[: ROWS * (ROW + 1)].reshape(ROWS, ROW + 1)
            held = held[ROWS * (ROW + 1) :]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="Training speed, side by side.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    tune_memory()
    split = open_dataset(options.dataset).splits["train"]
    sides: dict[str, Callable[[], float]] = {
        "chesslm": lambda: chesslm_speed(options.dataset),
        "usual": lambda: usual_speed(split),
        "bare": lambda: bare_speed(split),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name, side in sides.items():
            speeds[name].append(side())
        print(f"round {turn + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items()))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"\nreal tokens a second, median of {options.rounds}, {torch.get_num_threads()} threads")
    for name, speed in medians.items():
        print(f"  {name:8} {speed:8,.0f}")
    print(f"chesslm / usual {medians['chesslm'] / medians['usual']:.2f}")
    print(f"chesslm / bare  {medians['chesslm'] / medians['bare']:.2f}")


if __name__ == "__main__":
    main()
