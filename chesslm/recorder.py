"""What happens between two steps of training: measuring, logging, saving, stopping.

The Recorder is the one callback of the training loop. It changes nothing that is learned, but for patience, which goes
back to the best weights. Of several processes the first one measures and writes, and tells the others.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch

from chesslm import files
from chesslm.config import TrainConfig
from chesslm.errors import DivergedError, InputError
from chesslm.progress import Line
from chesslm.run import RunFolder
from chesslm.shards import Dataset
from chesslm.validation import Measure, score_targets, some_pairs

if TYPE_CHECKING:
    from chesslm.module import ChessModule

LOG_STEPS = 20
SAVE_SECONDS = 120
HIGH_NATS, HIGH_ROWS = 2.0, 5
"""A run has diverged when so many rows of its log in turn lie so far above the lowest one."""

SUMS = ("loss", "tokens", "moves", "seconds")
"""What is summed up from one row of the log to the next."""


def track_of(dataset: Dataset, settings: TrainConfig) -> Measure | None:
    """What is followed all along."""
    if not settings.track:
        return None
    if settings.track == "target":
        split, pairs = dataset.splits["val"], settings.val_games
        return lambda logits_of, context: score_targets(logits_of, some_pairs(split, pairs, context)).figures()
    from chesslm.eval.tracking import track_sinks

    return track_sinks(dataset)


def is_finite(module: torch.nn.Module) -> bool:
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(weights).all()) for weights in module.parameters())


def writer_of(logger: str) -> Callable[[Path], Any] | None:
    """What else takes the rows of the log, given a folder to write to.

    Raises:
        InputError: an unknown logger, or one that is not installed.
    """
    if not logger:
        return None
    if logger != "tensorboard":
        raise InputError(f"--logger is tensorboard, not {logger!r}")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--logger tensorboard needs TensorBoard: pip install tensorboard") from None
    return SummaryWriter


def is_tracked(step: int) -> bool:
    """Whether what is followed is measured after so many steps: four times while they double."""
    return step < 2 or step == round(2 ** (round(4 * math.log2(step)) / 4))


def ended_by(signum: int) -> BaseException:
    """What a command ends with that a signal stopped."""
    return SystemExit(128 + signum) if signum == signal.SIGTERM else KeyboardInterrupt()


class Recorder(L.Callback):
    """Measures, logs and saves during training, and stops it at the end of the budget or at a signal.

    Args:
        run: where to.
        dataset: what is trained on.
        measure: validation figures of a model, in the first process.
        track: the figures that are followed all along, if any are.
        autocast: context of a forward pass.
        keep: writes a checkpoint folder (folder, validation figures).
        quiet: no progress on stderr.
        events: takes the rows of the log as well (TensorBoard).
    """

    def __init__(
        self,
        run: RunFolder,
        dataset: Dataset,
        measure: Measure | None,
        track: Measure | None,
        autocast: Any,
        keep: Any,
        quiet: bool,
        events: Any = None,
    ) -> None:
        self.run, self.dataset, self.measure, self.track = run, dataset, measure, track
        self.autocast, self.keep, self.quiet, self.events = autocast, keep, quiet, events
        self.validation: dict[str, float] = {}
        self._best: dict[str, torch.Tensor] = {}
        self._worse = 0
        self.asked_by: int | None = None
        self.stopped_by: int | None = None
        self.trouble = ""
        self._since_log: dict[str, float] = dict.fromkeys(SUMS, 0.0)
        self._last: dict[str, float] = {}
        self._lowest, self._high = math.inf, 0
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: "ChessModule") -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take over the signals, and the log where the run was stopped."""
        self._handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        self._tick = self._began = self._saved = time.monotonic()
        self._line = Line(self.quiet, live=1, log=30)
        self._has_good = trainer.global_step > 0
        if trainer.is_global_zero:
            self.run.cut(trainer.global_step)
            if trainer.global_step == 0:
                self._track(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to log the rows that the whole one would have."""
        own = {"best": self._best, "worse": self._worse, "lowest": self._lowest, "high": self._high}
        return {"since_log": self._since_log, "validation": self.validation, **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._since_log, self.validation = state_dict["since_log"], state_dict["validation"]
        self._best, self._worse = state_dict["best"], state_dict["worse"]
        self._lowest, self._high = state_dict["lowest"], state_dict["high"]

    def _stop(self, signum: int, frame: Any) -> None:
        if self.asked_by is not None:
            raise KeyboardInterrupt  # asked twice: do not even finish the step
        self.asked_by = signum

    def on_train_batch_end(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trainer: L.Trainer, pl_module: "ChessModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Everything that happens between two steps."""
        if not batch["last"]:
            return
        module, step, whole = pl_module, pl_module.steps, batch["whole"]
        loss, save_due = self._agree(trainer, module)
        since = self._since_log
        for name, value in (("loss", loss), ("tokens", whole["tokens"]), ("moves", whole["moves"])):
            since[name] += float(value)
        if not math.isfinite(loss):
            self._give_up(trainer, "the loss is no longer a number")
            return
        row: dict[str, Any] = {}
        done = module.progress() >= 1.0
        val_every = module.settings.val_every
        if done or (val_every and step % val_every == 0):
            row = trainer.strategy.broadcast(self._ask(module, self.measure) if self.measure else {})
            self._judge(module, row)
            done = module.progress() >= 1.0
        if done or row or step % LOG_STEPS == 0:
            self._log(module, step, row)
            if self._high >= HIGH_ROWS:
                risen = f"from {self._lowest:.2f} to {self._last['loss']:.2f}"
                self._give_up(trainer, f"the loss has risen {risen} and does not fall")
                return
        ends, kept = done or self.stopped_by is not None, self.run.keeps(step)
        if (ends or kept or save_due) and not is_finite(module):
            self._give_up(trainer, "the weights are no longer numbers")
            return
        if done or is_tracked(step):
            self._track(module)
        if trainer.is_global_zero and kept:
            self.keep(self.run.folder / f"step-{step:07d}", module, self.validation)
        # What looks as if it diverged does not replace the last good state.
        if (not self._high and (ends or kept or save_due)) or (ends and not self._has_good):
            self.save(trainer)
        trainer.should_stop |= ends
        self._show(module, step, final=trainer.should_stop)
        self._began = time.monotonic()

    def _give_up(self, trainer: L.Trainer, why: str) -> None:
        self.trouble, trainer.should_stop = why, True

    def _agree(self, trainer: L.Trainer, module: "ChessModule") -> tuple[float, bool]:
        """The nats of the step over all processes, and whether it is time to save; the first one's clock counts."""
        now = time.monotonic()
        self._since_log["seconds"] += now - self._began
        due = now - self._saved > SAVE_SECONDS
        figures = [module.nats, (now - self._tick) / 60, float(self.asked_by or 0), float(due)]
        self._tick = now
        if trainer.world_size > 1:
            if not trainer.is_global_zero:
                figures[1:] = [0.0] * 3
            shared = trainer.strategy.reduce(torch.tensor(figures, device=module.device), reduce_op="sum")
            figures = cast(torch.Tensor, shared).tolist()
        module.minutes += figures[1]
        self.stopped_by = int(figures[2]) or None
        return figures[0], bool(figures[3])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back, and be left the time to say what happened: Lightning kills this process without a word
        when its observer, which looks every five seconds, finds another one dead."""
        self._restore()
        for thread in threading.enumerate():
            if thread.name == "child-process-observer":
                cast(Any, thread)._child_processes = []

    def _restore(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

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
            self._lowest = min(self._lowest, self._last["loss"])
            self._high = self._high + 1 if self._last["loss"] > self._lowest + HIGH_NATS else 0
        self._since_log = dict.fromkeys(SUMS, 0.0)
        if not module.trainer.is_global_zero:
            return
        rates = [group["lr"] for group in module.trainer.optimizers[0].param_groups]
        counters = {"step": step, "tokens": module.tokens, "games": module.games, "minutes": module.minutes}
        row = {**counters, **self._last, "learning_rate": rates[0], **validation}
        self.run.metrics.add(row)
        if self.events:
            for name, value in row.items():
                self.events.add_scalar(name, value, step)
            self.events.flush()

    def _track(self, module: "ChessModule") -> None:
        if self.track and (log := self.run.tracked):
            counters = {"step": module.steps, "tokens": module.tokens, "games": module.games}
            log.add({**counters, **self._ask(module, self.track)})

    def save(self, trainer: L.Trainer) -> None:
        """Write the state to resume from, replacing the last one as a whole; all processes have to come here."""
        if trainer.is_global_zero:
            with files.atomic(self.run.state) as path:
                trainer.save_checkpoint(path)
        else:
            trainer.save_checkpoint(self.run.state)  # writes nothing
        self._saved, self._has_good = time.monotonic(), True

    def _show(self, module: "ChessModule", step: int, final: bool) -> None:
        if not module.trainer.is_global_zero or not (final or self._line.is_due()):
            return
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
        self._line.show(" | ".join(parts))
        if final:
            self._line.close()

    def raise_if_stopped(self, out: Path, first: bool, alone: bool) -> None:
        """Turn a run that did not reach its end into the exception that says so.

        Args:
            out: the checkpoint folder.
            first: whether this is the first process.
            alone: whether it is the only one, and this the only leg; then the command to go on with is known.

        Raises:
            DivergedError: the loss is not a number any more, or rises.
            KeyboardInterrupt, SystemExit: a signal stopped it, after its state was saved. Processes beside the first
                one end without a word, and not as if they had failed: what started them would end the first one too.
        """
        if not first and (self.trouble or self.stopped_by is not None):
            raise SystemExit(0)
        if self.trouble:
            kept = f"the last good state is in {self.run.folder}; " if self.run.state.is_file() else ""
            raise DivergedError(
                f"{self.trouble}; {kept}begin anew with a lower train.learning_rate or train.muon_learning_rate"
            )
        if self.stopped_by is not None:
            command = f"chesslm train --data {self.dataset.folder} --out {out}" if alone else "the same command and"
            state = "the loss has risen; a state from before is kept" if self._high else "saved"
            print(f"{state}; go on with: {command} --resume", file=sys.stderr)
            raise ended_by(self.stopped_by)
