"""Ideas for a faster learner, each tried alone: the recipe with one thing changed, at equal tokens.

    python benchmarks/ideas.py MASTERS RANDOM --recipe recipes/ideas.toml --out OUT [--tokens N] [--only NAME ...]

MASTERS and RANDOM are datasets in uci-move, of human games and of random legal ones; a share of the tokens, 0.3 unless
the idea is another one, is of random games. Figures are of validation games: what is chosen here must not be chosen on
test games. An interval is that of the games' draw (blocks of them); that of the seed shows in the rows "seed 2, 3".

A run is done when its JSON is in OUT: what was stopped goes on with the rest, and several of these commands may share
OUT, one a core. Tokens a second mean something only where nothing else ran. Without datasets nothing is trained: the
command prints the table of what is in OUT.
"""

import argparse
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from changes import IDEAS, Idea
from kept import kept, to_make
from transformers import GPT2LMHeadModel

from chesslm import files
from chesslm.chances import random_mover
from chesslm.config import Recipe, changed, read_recipe
from chesslm.kernels import fast_kernels
from chesslm.loader import GameBatches
from chesslm.model import new_gpt2, resolve_precision
from chesslm.module import loss_sum
from chesslm.optim import Together, make_optimizer, rate, set_rates
from chesslm.provenance import revision
from chesslm.seeds import pooled
from chesslm.shards import Dataset, Split, open_dataset
from chesslm.spelling import pieces_of
from chesslm.tables import markdown_table
from chesslm.validation import validate

KINDS = ("masters", "random")
BLOCKS, BLOCK_GAMES = 20, 20
OPENING = 48
"""Tokens of a game, where only its beginning is learned from."""


def train_on(idea: Idea, recipe: Recipe, data: dict[str, Dataset], tokens: int) -> tuple[GPT2LMHeadModel, float, int]:
    """A model trained with an idea, seconds, and steps."""
    tokenizer = data["masters"].tokenizer
    pieces = pieces_of(tokenizer) if recipe.train.spelling else None
    model = new_gpt2(recipe.model, tokenizer, recipe.train.seed, pieces)
    idea.model(model)
    optimizer = make_optimizer(model.train(), recipe.train, pieces)
    idea.optimizer(cast(Together, optimizer))
    context, settings = tokenizer.context, recipe.train
    shares = {"masters": 1 - idea.share, "random": idea.share}

    def batches(kind: str, context: int) -> Iterator[dict[str, Any]]:
        split = data[kind].splits["train"]
        once = len(split) * shares[kind] * tokens / int(split.lengths.sum())
        games = round(once / idea.repeats) if idea.repeats > 1 else 0
        mover = random_mover(data[kind], settings)
        return iter(GameBatches(split, settings.batch_tokens, context, settings.seed, games=games, mover=mover))

    whole, openings = ({kind: batches(kind, length) for kind in KINDS} for length in (context, OPENING))
    cpu = torch.device("cpu")
    precision = resolve_precision(settings.precision, cpu)
    seen, steps, began = dict.fromkeys(KINDS, 0), 0, time.perf_counter()
    with fast_kernels(model, cpu):
        while (done := sum(seen.values())) < tokens:
            kind = "random" if seen["random"] < idea.share * (done + 1) else "masters"
            batch = next((openings if done < idea.openings * tokens else whole)[kind])
            set_rates(optimizer, rate(done / tokens, settings))
            model.zero_grad()
            with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
                loss = loss_sum(model, batch["ids"], batch["targets"], batch["expected"])
            (loss.weighed(settings.legality) / loss.tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            seen[kind] += loss.tokens
            steps += 1
    return model, time.perf_counter() - began, steps


def known(model: GPT2LMHeadModel, dataset: Dataset) -> dict[str, float]:
    """What a model knows of validation games: legality with a 95 % interval over blocks of games, bits a move."""

    @torch.inference_mode()
    def logits_of(ids_BT: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(ids_BT, use_cache=False).logits

    model.eval()
    found = [
        validate(logits_of, dataset.tokenizer, block, BLOCK_GAMES, dataset.tokenizer.context)
        for block in _blocks(dataset)
    ]
    plies = np.array([each["val_plies"] for each in found])
    shares, bits = (np.array([each[name] for each in found]) for name in ("val_legal_argmax", "val_bits_per_move"))
    legal = float((shares * plies).sum() / plies.sum())
    half = pooled([(shares - legal) * plies / plies.mean()]).half(len(found))
    return {
        "legal": legal,
        "low": legal - half,
        "high": legal + half,
        "plies": int(plies.sum()),
        "bits": float((bits * plies).sum() / plies.sum()),
    }


def _blocks(dataset: Dataset) -> Iterator[Split]:
    """The first validation games, a few at a time."""
    split = dataset.splits["val"]
    for block in range(min(BLOCKS, len(split) // BLOCK_GAMES)):
        # A list of games is all of a split that is asked for.
        yield cast(Split, [split[i] for i in range(block * BLOCK_GAMES, (block + 1) * BLOCK_GAMES)])


def tried(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Try an idea: what it was, and what came of it."""
    data = {"masters": open_dataset(options.masters), "random": open_dataset(options.random)}
    idea = IDEAS[name]
    recipe = read_recipe(options.recipe)
    for key, value in idea.settings.items():
        recipe = changed(recipe, key, value)
    model, seconds, steps = train_on(idea, recipe, data, options.tokens)
    result = {
        "name": name,
        "predicted": idea.predicted,
        "recipe": recipe.as_dict(),
        "share": idea.share,
        "tokens": options.tokens,
        "steps": steps,
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "data": {kind: dataset.sha256 for kind, dataset in data.items()},
        "revision": revision(),
        **{kind: known(model, dataset) for kind, dataset in data.items()},
    }
    print(
        f"{name}: {result['masters']['legal']:.1%} and {result['random']['legal']:.1%} in {seconds:.0f} s", flush=True
    )
    return result


def table(results: list[dict[str, Any]]) -> list[str]:
    """What was tried, predicted and measured, as Markdown."""

    def shown(of: dict[str, float]) -> tuple[str, str]:
        return f"{of['legal']:.1%} ({of['low']:.1%} to {of['high']:.1%})", f"{of['bits']:.2f}"

    rows = [
        (each["name"], each["predicted"], IDEAS[each["name"]].kept, *shown(each["masters"]), *shown(each["random"]))
        for each in results
    ]
    head = ("idea", "predicted", "kept", "legal, master games", "bits a move", "legal, random games", "bits a move")
    return markdown_table(head, rows, words=3)


def main() -> None:
    """Try them, or show what came of them."""
    parser = argparse.ArgumentParser(description="Ideas for a faster learner, at equal tokens.")
    parser.add_argument("masters", type=Path, nargs="?")
    parser.add_argument("random", type=Path, nargs="?")
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=800_000)
    parser.add_argument("--only", nargs="*", default=list(IDEAS), help="names of ideas; all by default")
    options = parser.parse_args()
    if to_make(options, parser, "random", "recipe", takes="to try ideas it takes two datasets and --recipe"):
        for name in options.only:
            kept(options.out / f"{re.sub('[^a-zA-Z0-9.]+', '-', name)}.json", partial(tried, name, options))
    found = {each["name"]: each for each in map(files.read_json, sorted(options.out.glob("*.json")))}
    print("\n" + "\n".join(table([found[name] for name in IDEAS if name in found])))


if __name__ == "__main__":
    main()
