"""Tokens a second in the batches that training reads: made by one process, and by one of eight that share each batch.

    python benchmarks/batches.py DATASET [--seconds 3] [--rounds 3]

Of eight each makes an eighth of a batch and counts the rest, and all do so at once; so its pace is that of all eight.
In one process, turn about; the median counts. Run it on an idle machine.
"""

import argparse
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chesslm.chances import RandomMover
from chesslm.loader import GameBatches
from chesslm.shards import Dataset, open_dataset

BATCH_TOKENS = 32_768
STRAYS = 0.5
KINDS = {
    f"{who}{what}": (ranks, strays)
    for what, strays in (("", 0.0), (f", strays {STRAYS:g}", STRAYS))
    for who, ranks in (("one process", 1), ("each of eight", 8))
}
"""How many share a batch, and what share of games is left at any ply."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    dataset = open_dataset(options.dataset)
    paces: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind, (ranks, strays) in KINDS.items():
            paces[kind].append(pace(dataset, ranks, strays, options.seconds))
    table = Table(title=f"batches of {BATCH_TOKENS:,} tokens, {options.rounds} rounds")
    table.add_column("")
    table.add_column("tokens a second", justify="right")
    for kind, found in paces.items():
        table.add_row(kind, f"{statistics.median(found):,.0f}")
    Console().print(table)


def pace(dataset: Dataset, ranks: int, strays: float, seconds: float) -> float:
    """Tokens a second of whole batches."""
    mover = RandomMover(dataset.tokenizer, strays) if strays else None
    context = dataset.tokenizer.context
    batches = iter(GameBatches(dataset.splits["train"], BATCH_TOKENS, context, seed=1, ranks=ranks, mover=mover))
    next(batches)  # what is made once
    tokens, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        tokens += next(batches)["whole"]["tokens"]
    return tokens / took


if __name__ == "__main__":
    main()
