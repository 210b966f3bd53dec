"""A log in CSV that grows while a run goes, and is cut where a killed run goes on."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chesslm import files


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
            rows = [row for row in csv.DictReader(file) if (row["step"] or "").isdecimal() and int(row["step"]) <= step]
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
