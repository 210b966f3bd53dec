"""A log in CSV that grows while a run goes, and is cut where a killed run goes on."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.errors import InputError
from chesslm.tables import number


@dataclass(frozen=True)
class Log:
    """A CSV file with a row a step.

    Attributes:
        path: of the file; it need not exist yet.
        columns: its header; the first one is ``step``.
    """

    path: Path
    columns: tuple[str, ...]

    def cut(self, step: int) -> None:
        """Drop the rows after a step: a run that was killed goes on from the last state, before its last rows."""
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            # A full disk or a kill may have cut the last one short, and "1" may be the beginning of "1189".
            lines = [line for line in file if line.endswith("\n")]
        rows = [row for row in csv.DictReader(lines) if (row["step"] or "").isdecimal() and int(row["step"]) <= step]
        with files.atomic(self.path) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list[str](self.columns))
            writer.writeheader()
            writer.writerows(rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; what it leaves out stays empty."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list[str](self.columns))
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})


def read_log(path: Path) -> list[dict[str, float]]:
    """The numbers of each row of a log; a row that a kill cut short gives what it has.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    rows = csv.DictReader(text.replace("\0", "").splitlines())
    return [{key: known for key, value in row.items() if key and (known := number(value)) is not None} for row in rows]


def whole_rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, float]]:
    """The rows of a log of what was followed all along, without the last one if it was cut short.

    Raises:
        InputError: it cannot be read, has not what is needed, or has a gap.
    """
    rows = read_log(path)
    if not rows or not rows[0].keys() >= set(needed):
        raise InputError(f"{path}: no learning curve, which has {', '.join(needed)}")
    whole = [row for row in rows if row.keys() >= rows[0].keys()]
    if len(whole) < len(rows) and whole != rows[:-1]:
        raise InputError(f"{path}: a row has gaps, or something that is no number")
    return whole
