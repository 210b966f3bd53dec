"""The run folder: what a training run leaves behind while it goes, so that it can be watched, killed and resumed.

See chesslm/train.py for the files, chesslm/recorder.py for what writes them.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from chesslm import files, hashes
from chesslm.config import Recipe, differences, from_dict
from chesslm.errors import InputError
from chesslm.logs import Log

COLUMNS = (
    *("step", "tokens", "games", "minutes", "loss", "bits_per_move", "learning_rate", "tokens_per_second"),
    *("val_bits_per_move", "val_legal_argmax", "val_plies"),
    *("val_bits_per_byte", "val_bits_per_target", "val_bits_per_target_token", "val_exact"),
)

RECIPE = "recipe.json"
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


def recipe_file(out: Path) -> Path:
    """What is there as soon as a run was begun in a checkpoint folder."""
    return out / "run" / RECIPE


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

    def create(self, dataset_sha256: str) -> None:
        """Begin the run in a new folder.

        Raises:
            InputError: ``OUT`` exists, or save_steps is neither a number nor log2.
        """
        every = self.save_steps
        if every is not None and every != "log2" and not (every.isdecimal() and int(every)):
            raise InputError(f"--save-steps takes a number of steps or log2, not {every!r}")
        kept = {"recipe": self.recipe.as_dict(), "save_steps": self.save_steps, "dataset_sha256": dataset_sha256}
        kept["initial_sha256"] = self.initial
        files.check_new(self.folder.parent)
        # In one go: a folder without its recipe could neither be gone on with nor begun anew.
        with files.atomic_folder(self.folder) as made:
            (made / RECIPE).write_text(json.dumps(hashes.with_own(kept), indent=2) + "\n")

    @staticmethod
    def reopen(out: Path, dataset_sha256: str) -> "RunFolder":
        """Open the folder of a run that was stopped.

        Raises:
            InputError: there is none, it is finished, it was trained on other data, or its state is damaged.
        """
        path = recipe_file(out)
        if not path.is_file():
            raise InputError(f"{out}: no run to resume there; leave --resume out to begin one")
        kept = files.read_json(path)
        if not hashes.has_own(kept):
            raise InputError(f"{path}: changed since it was written; begin the run anew")
        if (out / "chesslm.json").is_file():
            raise InputError(f"{out}: this run is finished; nothing to resume")
        if kept["dataset_sha256"] != dataset_sha256:
            raise InputError(f"{out}: this run was begun on other data; give the same --data")
        run = RunFolder(out / "run", from_dict(kept["recipe"]), kept["save_steps"], kept.get("initial_sha256"))
        if run.state.is_file() and not _is_whole(run.state):
            raise InputError(f"{run.state}: damaged, by its checksums; copy it again, or begin the run anew")
        return run

    def check_settings(self, asked: Recipe, save_steps: str | None) -> None:
        """Refuse to go on with other settings than the run's own; what is left at its default asks for nothing.

        Raises:
            InputError: a setting differs.
        """
        if save_steps not in (None, self.save_steps):
            raise InputError(
                f"{self.folder.parent}: this run was begun with --save-steps {self.save_steps}; leave it out"
            )
        named = {key for key, *_ in differences(Recipe(), asked)}
        for key, had, value in differences(self.recipe, asked):
            # Later legs are plans, which may change.
            if key in named and key != "train.legs":
                raise InputError(
                    f"{self.folder.parent}: this run was begun with {key} = {had}, not {value}; "
                    "leave it out to go on, or begin another run"
                )

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


def _is_whole(state: Path) -> bool:
    """Whether what torch saved is what it reads, by the checksum of each part of the archive: 2 GB/s."""
    try:
        with zipfile.ZipFile(state) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        return False
