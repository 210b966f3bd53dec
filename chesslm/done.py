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

from chesslm import files
from chesslm.errors import InputError
from chesslm.filters import Seen
from chesslm.game import Dropped
from chesslm.game_rows import Row
from chesslm.pgn import Place
from chesslm.shards import write_meta
from chesslm.splitter import Splitter

WORK = "work"
SAVE_SECONDS = 30.0
"""Between two savings, at least: each writes the games of the shards to come, which takes up to half a second."""


def begun(folder: Path) -> bool:
    """Whether there is something in a folder that a run can go on with."""
    return (folder / WORK / "state.json").is_file() or (folder / "meta.json").is_file()


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
        counts = {"read": self.read, "dropped": dict(self.dropped), "place": asdict(self.place)}
        with files.atomic(work / "state.json") as path:
            path.write_text(json.dumps({"asked": self.asked, **counts, "splitter": saved}))
        used = {writer["rest"] for writer in saved["writers"].values()}
        for old in work.glob("*-*.*"):
            if old.name.partition(".")[0] not in used:
                old.unlink()

    def restore(self) -> None:
        """Go on from what an earlier run saved, if it did.

        Raises:
            InputError: it had other options, or what it saved cannot be read.
        """
        path = self.folder / WORK / "state.json"
        if not path.exists():
            return
        state = files.read_json(path)
        for name, value in json.loads(json.dumps(self.asked)).items():
            if state["asked"].get(name) != value:
                raise InputError(f"{self.folder} was begun with {name} {state['asked'].get(name)}, not {value}")
        self.read, self.dropped, self.place = state["read"], Counter(state["dropped"]), Place(**state["place"])
        for key in self.splitter.restore(self.folder / WORK, state["splitter"]):
            self.seen.add(key)
        self._shards = self.splitter.shards

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
            writer.written.append(kept)
        known = {path for writer in self.splitter.writers for path in writer.written}
        for path in self.folder.iterdir():
            if path.is_file() and path not in known:
                path.unlink()
        meta = write_meta(self.folder, self.splitter.writers, about)
        shutil.rmtree(work)
        return meta
