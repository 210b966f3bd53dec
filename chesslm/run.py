"""The run folder: what a training run leaves behind while it goes, so that it can be watched, killed and resumed.

See chesslm/train.py for the files. The Recorder is the one callback of the training loop: it measures, logs, saves
and stops, and changes nothing that is learned.
"""

import json
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from chesslm import files
from chesslm.config import Recipe, from_dict
from chesslm.errors import DivergedError, InputError
from chesslm.logs import Log
from chesslm.shards import Dataset
from chesslm.validation import Logits

if TYPE_CHECKING:
    from chesslm.train import ChessModule

LOG_STEPS = 20
SAVE_SECONDS = 120
COLUMNS = (
    *("step", "tokens", "games", "minutes", "loss", "bits_per_move", "learning_rate", "tokens_per_second"),
    *("val_bits_per_move", "val_legal_argmax", "val_plies"),
    *("val_bits_per_byte", "val_bits_per_target", "val_bits_per_target_token", "val_exact"),
)

COUNTERS = ("step", "tokens", "games")
TRACKED: dict[str, tuple[str, ...]] = {
    "sinks": (
        *COUNTERS,
        *("bits_per_move", "token_bits", "board_bits", "syntax_bits", "free_bits", "free_legality_bits", "forced_bits"),
        *("board_loss", "syntax_loss", "free_loss", "forced_loss"),
    ),
    "target": (*COUNTERS, "bits_per_target", "bits_per_target_token", "exact"),
}
"""Columns of the log of what is followed all along (``train.track``); those of ``sinks`` are named as in the suite."""

Measure = Callable[[Logits, int], dict[str, float]]
"""Logits of a model and its context -> figures by name."""

SUMS = ("loss", "tokens", "moves", "seconds")
"""What is summed up from one row of the log to the next."""


@dataclass(frozen=True)
class RunFolder:
    """``OUT/run``: the settings of a run and its state on disk.

    Attributes:
        folder: of the run.
        recipe: that it was begun with.
        save_steps: when to keep checkpoints.
        initial: the hash of the weights that it started from, if it is known.
    """

    folder: Path
    recipe: Recipe
    save_steps: str | None
    initial: str | None = None

    @staticmethod
    def create(
        out: Path, recipe: Recipe, save_steps: str | None, dataset_sha256: str, initial: str | None = None
    ) -> "RunFolder":
        """Begin a run in a new folder.

        Raises:
            InputError: ``out`` exists, or save_steps is neither a number nor log2.
        """
        if save_steps is not None and save_steps != "log2" and not (save_steps.isdecimal() and int(save_steps)):
            raise InputError(f"--save-steps takes a number of steps or log2, not {save_steps!r}")
        files.new_folder(out)
        run = RunFolder(out / "run", recipe, save_steps, initial)
        files.new_folder(run.folder)
        kept = {"recipe": recipe.as_dict(), "save_steps": save_steps, "dataset_sha256": dataset_sha256}
        kept["initial_sha256"] = initial
        with files.atomic(run.folder / "recipe.json") as path:
            path.write_text(json.dumps(kept, indent=2) + "\n")
        return run

    @staticmethod
    def reopen(out: Path, dataset_sha256: str) -> "RunFolder":
        """Open the folder of a run that was stopped.

        Raises:
            InputError: there is none, it is finished, or it was trained on other data.
        """
        try:
            kept = json.loads((out / "run" / "recipe.json").read_text())
        except (OSError, ValueError):
            raise InputError(f"{out}: no run to resume there; leave --resume out to begin one") from None
        if (out / "chesslm.json").is_file():
            raise InputError(f"{out}: this run is finished; nothing to resume")
        if kept["dataset_sha256"] != dataset_sha256:
            raise InputError(f"{out}: this run was begun on other data; give the same --data")
        return RunFolder(out / "run", from_dict(kept["recipe"]), kept["save_steps"], kept.get("initial_sha256"))

    @property
    def state(self) -> Path:
        """The file with weights, optimizer and place in the data."""
        return self.folder / "last.ckpt"

    @property
    def metrics(self) -> Log:
        """The log of training and validation."""
        return Log(self.folder / "metrics.csv", COLUMNS)

    @property
    def tracked(self) -> Log | None:
        """The log of what is followed all along, if anything is."""
        what = self.recipe.train.track
        return Log(self.folder / f"{what}.csv", TRACKED[what]) if what else None

    def keeps(self, step: int) -> bool:
        """Whether a checkpoint is kept at this step."""
        if self.save_steps is None:
            return False
        return step & (step - 1) == 0 if self.save_steps == "log2" else step % int(self.save_steps) == 0

    def cut(self, step: int) -> None:
        """Drop what the logs say of later steps; at 0 nothing was learned yet, and a run begins anew."""
        for log in (self.metrics, self.tracked):
            if log:
                log.cut(step or -1)


def is_tracked(step: int) -> bool:
    """Whether what is followed is measured after so many steps: four times while they double."""
    return step < 2 or step == round(2 ** (round(4 * math.log2(step)) / 4))


class Recorder(L.Callback):
    """Measures, logs and saves during training, and stops it at the end of the budget or at a signal.

    Args:
        run: where to.
        dataset: what is trained on.
        measure: validation figures of a model.
        track: the figures that are followed all along, if any are.
        autocast: context of a forward pass.
        keep: writes a checkpoint folder (folder, validation figures).
        quiet: no progress on stderr.
    """

    def __init__(
        self,
        run: RunFolder,
        dataset: Dataset,
        measure: Measure,
        track: Measure | None,
        autocast: Any,
        keep: Any,
        quiet: bool,
    ) -> None:
        self.run, self.dataset, self.measure, self.track = run, dataset, measure, track
        self.autocast, self.keep, self.quiet = autocast, keep, quiet
        self.validation: dict[str, float] = {}
        self._best: dict[str, torch.Tensor] = {}
        self._worse = 0
        self.stopped_by: int | None = None
        self.diverged = False
        self._since_log: dict[str, float] = dict.fromkeys(SUMS, 0.0)
        self._last: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: "ChessModule") -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take over the signals, and the log where the run was stopped."""
        self.run.cut(trainer.global_step)
        self._handlers: dict[int, Any] = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        self._tick = self._saved = self._shown = time.monotonic()
        if trainer.global_step == 0:
            self._track(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to log the rows that the whole one would have."""
        patience = {"best": self._best, "worse": self._worse}
        return {"since_log": self._since_log, "validation": self.validation, **patience}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._since_log, self.validation = state_dict["since_log"], state_dict["validation"]
        self._best, self._worse = state_dict["best"], state_dict["worse"]

    def _stop(self, signum: int, frame: Any) -> None:
        if self.stopped_by is not None:
            raise KeyboardInterrupt  # asked twice: do not even finish the step
        self.stopped_by = signum

    def on_train_batch_end(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trainer: L.Trainer, pl_module: "ChessModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Everything that happens between two steps."""
        module, step = pl_module, pl_module.steps
        loss, tokens, moves = float(outputs["loss"]), module.last_tokens, module.last_moves
        if not math.isfinite(loss):
            self.diverged = True
            trainer.should_stop = True
            return
        since = self._since_log
        for name, value in (("loss", loss * tokens), ("tokens", tokens), ("moves", moves)):
            since[name] += float(value)
        self._count_time(module)
        row: dict[str, Any] = {}
        done = module.progress() >= 1.0
        val_every = module.settings.val_every
        if done or (val_every and step % val_every == 0):
            row = self._ask(module, self.measure)
            self._judge(module, row)
            done = module.progress() >= 1.0
        if done or row or step % LOG_STEPS == 0:
            self._log(module, step, row)
        if done or is_tracked(step):
            self._track(module)
        if self.run.keeps(step):
            self.keep(self.run.folder / f"step-{step:07d}", module, self.validation)
        now = time.monotonic()
        self._count_time(module, learning=False)
        if done or self.stopped_by is not None or self.run.keeps(step) or now - self._saved > SAVE_SECONDS:
            self.save(trainer)
            self._saved = now
        if done or self.stopped_by is not None:
            trainer.should_stop = True
        self._show(module, step, final=trainer.should_stop)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _count_time(self, module: "ChessModule", learning: bool = True) -> None:
        now = time.monotonic()
        module.minutes += (now - self._tick) / 60
        if learning:
            self._since_log["seconds"] += now - self._tick
        self._tick = now

    def _ask(self, module: "ChessModule", measure: Measure) -> dict[str, float]:
        model, device = module.model, module.device

        @torch.inference_mode()
        def logits_of(ids_BT: torch.Tensor) -> torch.Tensor:
            with self.autocast():
                return model(ids_BT.to(device), use_cache=False).logits.cpu()

        model.eval()
        try:
            return measure(logits_of, int(model.config.max_position_embeddings))
        finally:
            model.train()

    def _judge(self, module: "ChessModule", figures: dict[str, float]) -> None:
        """Keep the figures; with patience, keep the best weights, go back to them, and cut the rate, or end the run."""
        patience = module.settings.patience
        bits = next(iter(figures.values()))
        if not patience or not self.validation or bits < next(iter(self.validation.values())):
            self.validation, self._worse = figures, 0
            if patience:
                self._best = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            return
        self._worse += 1
        if self._worse >= patience or module.progress() >= 1.0:
            module.load_state_dict(self._best)
            module.cuts, self._worse = module.cuts + 1, 0

    def _log(self, module: "ChessModule", step: int, validation: dict[str, float]) -> None:
        since = self._since_log
        if since["tokens"]:
            self._last = {
                "loss": since["loss"] / since["tokens"],
                "tokens_per_second": since["tokens"] / max(since["seconds"], 1e-9),
            }
            if since["moves"]:
                self._last["bits_per_move"] = since["loss"] / math.log(2) / since["moves"]
        rates = [group["lr"] for group in module.trainer.optimizers[0].param_groups]
        counters = {"step": step, "tokens": module.tokens, "games": module.games, "minutes": module.minutes}
        self.run.metrics.add({**counters, **self._last, "learning_rate": rates[0], **validation})
        self._since_log = dict.fromkeys(SUMS, 0.0)

    def _track(self, module: "ChessModule") -> None:
        if self.track and (log := self.run.tracked):
            counters = {"step": module.steps, "tokens": module.tokens, "games": module.games}
            log.add({**counters, **self._ask(module, self.track)})

    def save(self, trainer: L.Trainer) -> None:
        """Write the state to resume from, replacing the last one as a whole."""
        with files.atomic(self.run.state) as path:
            trainer.save_checkpoint(path)

    def _show(self, module: "ChessModule", step: int, final: bool) -> None:
        now = time.monotonic()
        live = sys.stderr.isatty()
        if self.quiet or not (final or now - self._shown > (1 if live else 30)):
            return
        self._shown = now
        progress = module.progress()
        left = module.minutes * (1 - progress) / max(progress, 1e-9)
        parts = [f"step {step:,}", f"{module.tokens / 1e6:.2f} M tokens"]
        if last := self._last:
            parts.append(f"loss {last['loss']:.3f}")
            if "bits_per_move" in last:
                parts.append(f"{last['bits_per_move']:.2f} bits/move")
            parts.append(f"{last['tokens_per_second']:,.0f} tokens/s")
        if "val_bits_per_byte" in self.validation:
            parts.append(f"validation {self.validation['val_bits_per_byte']:.3f} bits/byte")
        elif "val_exact" in self.validation:
            parts.append(f"validation {self.validation['val_bits_per_target']:.2f} bits/target")
            parts.append(f"{self.validation['val_exact']:.1%} exact")
        elif self.validation:
            parts.append(f"validation {self.validation['val_bits_per_move']:.2f} bits/move")
            parts.append(f"{self.validation['val_legal_argmax']:.1%} legal")
        parts.append(f"{int(left)}:{int(left * 60) % 60:02d} left")
        line = " | ".join(parts)
        print(f"\r\033[K{line}" if live else line, end="\n" if final or not live else "", file=sys.stderr, flush=True)

    def raise_if_stopped(self, out: Path) -> None:
        """Turn a run that did not reach its end into the exception that says so.

        Raises:
            DivergedError: the loss is not a number any more.
            KeyboardInterrupt, SystemExit: a signal stopped it, after its state was saved.
        """
        if self.diverged:
            raise DivergedError(
                f"the loss is no longer a number; the last good state is in {self.run.folder}; "
                "try a lower train.learning_rate or train.muon_learning_rate"
            )
        if self.stopped_by is not None:
            print(
                f"saved; go on with: chesslm train --data {self.dataset.folder} --out {out} --resume", file=sys.stderr
            )
            if self.stopped_by == signal.SIGTERM:
                raise SystemExit(128 + signal.SIGTERM)
            raise KeyboardInterrupt
