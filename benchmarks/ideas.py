"""Ideas for a faster learner, each tried alone: the recipe with one thing changed, at equal tokens.

    python benchmarks/ideas.py MASTERS RANDOM --recipe recipes/speedrun.toml --out OUT [--tokens N] [--only NAME ...]

MASTERS and RANDOM are datasets in uci-move, of human games and of random legal ones; a share of the tokens, 0.3 unless
the idea is another one, is of random games. Figures are of validation games: what is chosen here must not be chosen on
test games. An interval is that of the games' draw (blocks of them); that of the seed shows in the rows "seed 2, 3".

A run is done when its JSON is in OUT: what was stopped goes on with the rest, and several of these commands may share
OUT, one a core. Tokens a second mean something only where nothing else ran.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import GPT2LMHeadModel
from transformers.activations import ACT2FN

from chesslm import files
from chesslm.attention import attention_for_training
from chesslm.config import Recipe, changed, read_recipe
from chesslm.loader import GameBatches
from chesslm.model import keep_freed_memory, new_gpt2, quieten_transformers
from chesslm.optim import Together, make_optimizer, rate, set_rates
from chesslm.provenance import revision
from chesslm.seeds import pooled
from chesslm.shards import Dataset, Split, open_dataset
from chesslm.spelling import pieces_of
from chesslm.tables import markdown_table
from chesslm.train import loss_sum
from chesslm.validation import validate

KINDS = ("masters", "random")
BLOCKS, BLOCK_GAMES = 20, 20


@dataclass(frozen=True)
class Idea:
    """One thing that is changed.

    Attributes:
        predicted: what was expected of it, before.
        settings: of the recipe.
        share: of the tokens that are of random games.
        model: done to the fresh model.
        optimizer: done to the fresh optimizer.
    """

    predicted: str
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 0.3
    model: Callable[[GPT2LMHeadModel], None] = lambda model: None
    optimizer: Callable[[Together], None] = lambda optimizer: None


def _activation(name: str) -> Callable[[GPT2LMHeadModel], None]:
    def change(model: GPT2LMHeadModel) -> None:
        model.config.activation_function = name
        for block in model.transformer.h:
            cast(Any, block).mlp.act = ACT2FN[name]

    return change


def _zero_outputs(model: GPT2LMHeadModel) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            torch.nn.init.zeros_(parameter)


def _muon(**settings: float) -> Callable[[Together], None]:
    def change(optimizer: Together) -> None:
        for group in optimizer.parts[0].param_groups:
            group.update(settings)

    return change


def _embedding_rate(times: float) -> Callable[[Together], None]:
    def change(optimizer: Together) -> None:
        group = optimizer.parts[1].param_groups[0]
        group["peak"] *= times

    return change


def _shape(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {"model.layers": layers, "model.width": width, "model.heads": heads}


IDEAS = {
    "the recipe": Idea(""),
    "seed 2": Idea("", {"train.seed": 2}),
    "seed 3": Idea("", {"train.seed": 3}),
    "tokens alone, without their squares": Idea(
        "worse: a move's two squares are most of its meaning", {"train.spelling": False}
    ),
    "positions at random": Idea("a little worse, late in games", {"model.sinusoids": False}),
    "AdamW alone": Idea("worse, as in a pilot", {"train.optimizer": "adamw"}),
    "Muon at 0.01": Idea("worse: too slow", {"train.muon_learning_rate": 0.01}),
    "Muon at 0.04": Idea("better in so few steps", {"train.muon_learning_rate": 0.04}),
    "AdamW at 0.004": Idea("level", {"train.learning_rate": 4e-3}),
    "embeddings three times as fast": Idea("better: rare moves get few gradients", optimizer=_embedding_rate(3)),
    "batches of 4,096 tokens": Idea("worse: half the steps", {"train.batch_tokens": 4096}),
    "batches of 1,024 tokens": Idea("a little better a token, too slow a step", {"train.batch_tokens": 1024}),
    "deep: 8 layers of 256": Idea("better: a board is built up in steps", _shape(8, 256, 4)),
    "wide: 3 layers of 384": Idea("worse: too shallow", _shape(3, 384, 6)),
    "10 heads of 32": Idea("better: more pieces to look at", _shape(5, 320, 10)),
    "squared ReLU": Idea("a little better, and cheaper", model=_activation("relu2")),
    "outputs of blocks begin at zero": Idea("better in the first steps", model=_zero_outputs),
    "three Newton-Schulz steps": Idea("level, and a tenth faster", optimizer=_muon(ns_steps=3)),
    "momentum 0.9": Idea("better in so few steps", optimizer=_muon(momentum=0.9)),
    "no weight decay": Idea("level: far from overfitting", {"train.weight_decay": 0.0}),
    "no random games": Idea("better on human games, far worse on random ones", share=0.0),
    "half random games": Idea("better on random games, worse on human ones", share=0.5),
}


def train_on(idea: Idea, recipe: Recipe, data: dict[str, Dataset], tokens: int) -> tuple[GPT2LMHeadModel, float, int]:
    """A model trained with an idea, seconds, and steps."""
    tokenizer = data["masters"].tokenizer
    pieces = pieces_of(tokenizer) if recipe.train.spelling else None
    model = new_gpt2(recipe.model, tokenizer, recipe.train.seed, pieces)
    idea.model(model)
    optimizer = make_optimizer(model.train(), recipe.train, pieces)
    idea.optimizer(cast(Together, optimizer))
    context, settings = tokenizer.context, recipe.train
    batches = {
        kind: iter(GameBatches(dataset.splits["train"], settings.batch_tokens, context, settings.seed))
        for kind, dataset in data.items()
    }
    seen, steps, began = dict.fromkeys(KINDS, 0), 0, time.perf_counter()
    with attention_for_training(model, torch.device("cpu")):
        while (done := sum(seen.values())) < tokens:
            kind = "random" if seen["random"] < idea.share * (done + 1) else "masters"
            batch = next(batches[kind])
            set_rates(optimizer, rate(done / tokens, settings))
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                total, count = loss_sum(model, batch["ids"], batch["targets"])
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            seen[kind] += count
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


def run(name: str, options: argparse.Namespace, data: dict[str, Dataset]) -> None:
    """Try an idea, unless it was tried or somebody else is at it."""
    idea, kept = IDEAS[name], options.out / f"{name.replace(' ', '-').replace(':', '').replace(',', '')}.json"
    busy = kept.with_suffix(".busy").open("w")
    try:
        fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if kept.exists():
        return
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
    with files.atomic(kept) as path:
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"{name}: {result['masters']['legal']:.1%} and {result['random']['legal']:.1%} in {seconds:.0f} s", flush=True
    )


def table(results: list[dict[str, Any]]) -> list[str]:
    """What was tried, predicted and measured, as Markdown."""

    def shown(of: dict[str, float]) -> tuple[str, str]:
        return f"{of['legal']:.1%} ({of['low']:.1%} to {of['high']:.1%})", f"{of['bits']:.2f}"

    rows = [(each["name"], each["predicted"], *shown(each["masters"]), *shown(each["random"])) for each in results]
    return markdown_table(
        ("idea", "predicted", "legal, master games", "bits a move", "legal, random games", "bits a move"), rows
    )


def main() -> None:
    """Try them."""
    parser = argparse.ArgumentParser(description="Ideas for a faster learner, at equal tokens.")
    parser.add_argument("masters", type=Path)
    parser.add_argument("random", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=800_000)
    parser.add_argument("--only", nargs="*", default=list(IDEAS), help="names of ideas; all by default")
    options = parser.parse_args()
    keep_freed_memory()
    quieten_transformers()
    options.out.mkdir(parents=True, exist_ok=True)
    data = {"masters": open_dataset(options.masters), "random": open_dataset(options.random)}
    for name in options.only:
        run(name, options, data)
    found = {each["name"]: each for each in map(files.read_json, sorted(options.out.glob("*.json")))}
    print("\n" + "\n".join(table([found[name] for name in IDEAS if name in found])))


if __name__ == "__main__":
    main()
