"""What ``prepare`` has done so far, kept on disk so that an interrupted run can go on.

    OUT.partial/
        train-00000.*      whole shards
        work/state.json    counts, and where in the input they were taken; written last, now and then
        work/...           games of the shards to come, hashes of all games

All that a run does follows from its input and its options, so one that goes on ends in the same dataset. It reads the
input again from its beginning, but only to skip what it knows, and makes sure that it is the same.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Container
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chesslm import files, hashes
from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.game import Dropped
from chesslm.game_rows import Row
from chesslm.pgn import Place
from chesslm.shards import write_meta
from chesslm.splitter import Splitter

WORK, STATE = "work", "state.json"
SAVE_SECONDS = 30.0
"""Between two savings, at least: each writes the games of the shards to come, which takes up to half a second."""


def begun(folder: Path) -> bool:
    """Whether there is something in a folder that a run can go on with."""
    return interrupted(folder) or (folder / "meta.json").is_file()


def interrupted(folder: Path) -> bool:
    """Whether a run that was stopped has left its state in a folder."""
    return (folder / WORK / STATE).is_file()


@dataclass
class Done:
    """What is done with the games read so far.

    Attributes:
        folder: of the dataset to be.
        splitter: has the games that were kept.
        seen: their hashes.
        asked: options that must be the same for another run to go on.
        read: games.
        dropped: games by the reason why.
        place: how far the input is read.
    """

    folder: Path
    splitter: Splitter
    seen: Seen
    asked: dict[str, Any]
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    place: Place = field(default_factory=Place)
    _saved: float = field(default_factory=time.monotonic)
    _shards: int = 0

    def take(self, row: Row | Dropped, banned: Container[bytes] = ()) -> None:
        """Count a game, and keep it unless it is dropped, excluded or a duplicate."""
        self.read += 1
        if isinstance(row, Dropped):
            self.dropped[row.reason] += 1
        elif row.opening in banned:
            self.dropped["excluded"] += 1
        elif not self.seen.add(row.key):
            self.dropped["duplicate"] += 1
        else:
            self.splitter.add(row)

    def save_now_and_then(self) -> None:
        """Save, between two chunks, once another shard is whole and some time has passed."""
        if self.splitter.shards > self._shards and time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()
            self._saved, self._shards = time.monotonic(), self.splitter.shards

    def _save(self) -> None:
        work = self.folder / WORK
        saved = self.splitter.save(work)
        rests = {writer["rest"] for writer in saved["writers"].values()}
        patterns = ("tokenizer/*", "*.keys", *(f"{stem}.*" for stem in rests if stem))
        used = [path for pattern in patterns for path in work.glob(pattern)]
        state = {
            "asked": self.asked,
            "read": self.read,
            "dropped": dict(self.dropped),
            "place": asdict(self.place),
            "splitter": saved,
            "files": {str(path.relative_to(work)): hashes.entry(path) for path in used},
        }
        with files.atomic(work / STATE) as path:
            path.write_text(json.dumps(hashes.with_own(state)))
        for old in work.glob("*-*.*"):
            if old not in used:
                old.unlink()

    def restore(self) -> None:
        """Go on from what an earlier run saved, if it did.

        Raises:
            InputError: it had other options, or what it saved is damaged.
        """
        work = self.folder / WORK
        if not (work / STATE).exists():
            return
        hint = f"remove {self.folder} and begin anew"
        state = files.read_json(work / STATE)
        if not hashes.has_own(state):
            raise InputError(f"{work / STATE}: changed since it was written; {hint}")
        self.check(state["asked"])
        for writer in self.splitter.writers:
            name = f"{writer.split}.keys"
            with (work / name).open("ab") as file:
                # What a run added that was killed before it said so.
                file.truncate(state["files"][name]["bytes"])
        hashes.check(work, state["files"], state["files"], hint)
        self.read, self.dropped, self.place = state["read"], Counter(state["dropped"]), Place(**state["place"])
        for key in self.splitter.restore(work, state["splitter"]):
            self.seen.add(key)
        self._shards = self.splitter.shards

    def check(self, asked: dict[str, Any]) -> None:
        """Make sure that an earlier run had the same options, as far as it says which.

        Raises:
            InputError: it had others.
        """
        for name, value in json.loads(json.dumps(self.asked)).items():
            if name in asked and asked[name] != value:
                raise InputError(f"{self.folder} was begun with {name} {asked[name]}, not {value}")

    def finish(self, about: dict[str, Any], keys: bool) -> dict[str, Any]:
        """Write ``meta.json``, by which the folder becomes a dataset, and leave nothing else in it.

        Args:
            about: for ``write_meta``.
            keys: whether the hashes of games stay beside the shards.
        """
        work = self.folder / WORK
        for writer in self.splitter.writers if keys else ():
            kept = self.folder / f"{writer.split}.keys"
            shutil.copyfile(writer.save_keys(work), kept)
            writer.listed[kept.name] = hashes.entry(kept)
        known = {name for writer in self.splitter.writers for name in writer.listed}
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in known:
                path.unlink()
        meta = write_meta(self.folder, self.splitter.writers, about)
        shutil.rmtree(work)
        return meta
