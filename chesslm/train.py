"""Training: batches in, a checkpoint folder out.

    OUT/                    the finished checkpoint: appears when the budget is spent
    OUT/run/recipe.json     recipe, dataset hash, save steps: what --resume goes on with
    OUT/run/metrics.csv     a row every few steps: loss, bits a move, tokens a second, validation
    OUT/run/last.ckpt       weights, optimizer, place in the data; replaced as a whole, whenever a kill comes
    OUT/run/sinks.csv       the loss by class of token at 0, 1, 2, 3, ..., 8, 10, 11, 13, ... steps (--track sinks), or
            target.csv      that of the targets of pairs (--track target); in the end a copy stands beside the weights
    OUT/run/step-0001024/   checkpoint folders kept on the way (--save-steps)

The loss and the schedule of a step stand in ``module``, what happens between two steps in ``recorder``.
"""

import logging
import os
import shutil
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers import PreTrainedModel

from chesslm import __version__, files
from chesslm.chances import random_mover
from chesslm.config import Recipe, check_init
from chesslm.errors import FailureError, InputError
from chesslm.kernels import fast_kernels
from chesslm.loader import GameBatches
from chesslm.model import (
    new_gpt2,
    quieten_transformers,
    resolve_device,
    resolve_precision,
    save_checkpoint,
    tune_memory,
)
from chesslm.module import ChessModule
from chesslm.provenance import before_this_leg, describe, revision
from chesslm.ranks import Ranks, find_ranks
from chesslm.recorder import Recorder, ended_by, track_of, writer_of
from chesslm.run import RunFolder
from chesslm.shards import open_dataset
from chesslm.spelling import pieces_of
from chesslm.text_tokenizer import TextTokenizer
from chesslm.tokenizer import GameTokenizer
from chesslm.validation import measure_of


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    save_steps: str | None = None,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    logger: str = "",
    quiet: bool = False,
) -> Path:
    """Train a model, on games, prose or pairs, and write its checkpoint folder.

    Args:
        data: a dataset folder.
        out: the checkpoint folder to make; with ``resume`` the one whose run goes on.
        recipe: shape or model to start from, optimizer, budget; with ``resume`` it is the run's own, and may be left
            at its defaults.
        save_steps: keep a checkpoint every N steps, or at powers of two ("log2").
        resume: go on from ``out/run``.
        device: auto, cpu, cuda or mps.
        devices: processes that share each batch, one a device; beside this one the command is started anew.
        nodes: hosts with so many devices each (``ranks``).
        logger: ``tensorboard``, which then has the log as well (``OUT/run/tensorboard``); empty: none.
        quiet: no progress.

    Returns:
        ``out``.

    Raises:
        InputError: no dataset, no budget, an output folder that exists, nothing to resume, or not with these settings.
        FailureError: the loss is no longer a number, or the disk is full.
    """
    dataset = open_dataset(data)
    # Now, while nothing is made yet: asking for a split checks its hashes.
    for split in ("train", "val"):
        if not len(dataset.splits[split]):
            raise InputError(f"{data}: nothing in its split {split}; join the shares of an input (prepare --merge)")
    where, ranks = resolve_device(device), find_ranks(devices, nodes)
    kept = RunFolder.reopen(out, dataset.sha256) if resume else None
    if kept:
        kept.check_settings(recipe, save_steps)
        recipe = kept.recipe
    check_init(recipe)
    if not recipe.train.has_budget:
        raise InputError("no budget: give --max-minutes, --max-tokens or --max-steps")
    precision = resolve_precision(recipe.train.precision, where)
    # It would say so itself at the first step, in a hundred lines.
    if recipe.train.compile and where.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise InputError("train.compile needs a C++ compiler: install g++, or name one in CXX")
    if where.type == "cuda" and ranks.devices > torch.cuda.device_count():
        raise InputError(f"--devices {ranks.devices}, but there are {torch.cuda.device_count()} here")
    mover, writer = random_mover(dataset, recipe.train), writer_of(logger)
    tokenizer = dataset.any_tokenizer
    if recipe.train.hints and not dataset.meta.get("hints"):
        raise InputError("train.hints is set, but the dataset has none; prepare it with --hints")
    if recipe.train.track == "sinks" and dataset.is_text:
        raise InputError(f"--track sinks is for games: in {dataset.notation} no board determines a token")
    if recipe.train.track == "target" and not dataset.is_pairs:
        raise InputError("--track target is for pairs; make a dataset of them with chesslm prepare --pairs")
    first = ranks.first
    quiet = quiet or not first
    pieces = pieces_of(tokenizer) if recipe.train.spelling else None
    model, recipe, started = _begin(recipe, tokenizer, pieces, quiet)
    if kept and kept.initial != started.get("sha256"):
        raise InputError(f"{out}: this run was begun from other weights of {recipe.init.model}; begin it anew")
    context = int(model.config.max_position_embeddings)
    if dataset.is_pairs and dataset.splits["val"].lengths.min() > context:
        raise InputError(f"no pair to validate on fits into a context of {context} tokens; take a longer model.context")
    before = before_this_leg(recipe, dataset)
    module = ChessModule(model, recipe.train, pieces)
    batches = GameBatches(
        dataset.splits["train"],
        recipe.train.batch_tokens,
        context,
        recipe.train.seed,
        recipe.train.hints,
        recipe.train.max_games,
        parts=recipe.train.accumulate,
        rank=ranks.rank,
        ranks=ranks.total,
        skip=before.steps,
        mover=mover,
    )
    run = kept or RunFolder(out / "run", recipe, save_steps, started.get("sha256"))
    if not kept and first:
        run.create(dataset.sha256)
    autocast = partial(torch.autocast, where.type, dtype=precision, enabled=precision != torch.float32)

    def keep(folder: Path, module: ChessModule, validation: dict[str, float]) -> None:
        about = {
            "chesslm": __version__,
            "revision": code,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **describe(module, shown, dataset, where, before, run.metrics.path),
            **({"init": started} if started else {}),
            "validation": validation,
        }
        save_checkpoint(module.model, tokenizer, folder, about)

    # A checkpoint may be published, and the folders of this machine mean nothing elsewhere.
    shown = replace(recipe, init=replace(recipe.init, model=started["model"])) if started else recipe
    code = revision()  # now: the files may change while the run goes on

    measures = (measure_of(dataset, recipe.train), track_of(dataset, recipe.train)) if first else (None, None)
    events = writer(run.folder / "tensorboard") if writer and first else None
    recorder = Recorder(run, dataset, *measures, autocast, keep, quiet, events)
    with files.alone_in(run.folder, out) if first else nullcontext():
        if not _already_done(module, run, recorder):
            _fit(module, run, recorder, batches, where, precision, ranks)
            recorder.raise_if_stopped(out, first, alone=ranks.total == 1 and not recipe.train.legs)
        if first and run.tracked:
            with files.atomic(out / run.tracked.path.name) as path:
                shutil.copyfile(run.tracked.path, path)
        if first:
            keep(out, module, recorder.validation)
    if torch.distributed.is_initialized():
        # Another leg begins with what the first process has just written.
        torch.distributed.barrier()
    return out


def _begin(
    recipe: Recipe, tokenizer: GameTokenizer | TextTokenizer, pieces: torch.Tensor | None, quiet: bool
) -> tuple[PreTrainedModel, Recipe, dict[str, Any]]:
    """The model to train, the recipe with its shape, and what it started from."""
    if not recipe.init.model:
        return new_gpt2(recipe.model, tokenizer, recipe.train.seed, pieces), recipe, {}
    from chesslm.transplant import start_from

    started = start_from(recipe.init, recipe.model, tokenizer, recipe.train.seed)
    if not quiet:
        print(", ".join(f"{name} {value}" for name, value in started.kept.items() if name != "sha256"), file=sys.stderr)
    return started.model, replace(recipe, model=started.shape), started.kept


def _already_done(module: ChessModule, run: RunFolder, recorder: Recorder) -> bool:
    """Whether the saved state is past the budget (killed between the last step and the checkpoint); then load it."""
    if not run.state.is_file():
        return False
    state = torch.load(run.state, map_location="cpu", weights_only=True)
    module.on_load_checkpoint(state)
    if module.progress() < 1.0:
        return False
    module.load_state_dict(state["state_dict"])
    recorder.load_state_dict(state["callbacks"][recorder.state_key])
    return True


def _fit(
    module: ChessModule,
    run: RunFolder,
    recorder: Recorder,
    batches: GameBatches,
    where: torch.device,
    precision: torch.dtype,
    ranks: Ranks,
) -> None:
    settings = module.settings
    tune_memory()
    quieten_transformers()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    module.model.train()
    if settings.compile:
        module.model.base_model.compile(dynamic=True)
    trainer = L.Trainer(
        accelerator="gpu" if where.type == "cuda" else where.type,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy="ddp" if ranks.total > 1 else "auto",
        accumulate_grad_batches=settings.accumulate,
        precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
        max_epochs=1,
        max_steps=settings.max_steps or -1,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.folder,
    )
    with warnings.catch_warnings(), fast_kernels(module.model, where, settings.compile):
        # It recommends worker processes and validation loops; our batches are views of mapped files.
        warnings.filterwarnings("ignore", module="lightning")
        # The cache of masks in kernels.py: that it is passed by does no harm.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
        try:
            trainer.fit(
                module,
                train_dataloaders=batches,
                ckpt_path=str(run.state) if run.state.is_file() else None,
                weights_only=True,
            )
        except RuntimeError as error:
            if ranks.total > 1 and ("gloo" in str(error) or "NCCL" in str(error)):
                raise FailureError(f"one of the {ranks.total} processes died; go on with --resume") from error
            raise
        except SystemExit:
            # Lightning's end of a run that is stopped twice.
            if recorder.asked_by is not None:
                raise ended_by(recorder.asked_by) from None
            raise
