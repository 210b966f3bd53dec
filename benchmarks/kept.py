"""What the longer benchmarks share: results that a command which was stopped need not make again, and the suites."""

import argparse
import fcntl
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chesslm import files
from chesslm.model import quieten_transformers, tune_memory


def to_make(options: argparse.Namespace, parser: argparse.ArgumentParser, *needed: str, takes: str) -> bool:
    """Whether datasets are given to learn from; then this process and OUT are made ready. Else what is kept is shown.

    Args:
        options: with ``masters`` and ``out``.
        parser: ends the command where something else is missing.
        needed: names of what must be given beside ``masters``.
        takes: what to say then.
    """
    if not options.masters:
        return False
    if not all(getattr(options, name) for name in needed):
        parser.error(takes)
    tune_memory()
    quieten_transformers()
    options.out.mkdir(parents=True, exist_ok=True)
    return True


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What the JSON at a path holds: made first, where nobody has; None where somebody else is making it."""
    if not path.is_file():
        busy = path.with_suffix(".busy")
        with busy.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if not path.is_file():
                result = make()
                with files.atomic(path) as temporary:
                    temporary.write_text(json.dumps(result, indent=1) + "\n")
            busy.unlink()
    return files.read_json(path)


def processor() -> str:
    """This machine's, as Linux names it, or as Python does elsewhere: a figure that minutes went into depends on it."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return named[1] if named else platform.processor()


def evaluated(model: Path, games: Path, *options: str) -> dict[str, Any]:
    """The metrics of each suite that ``chesslm evaluate`` is asked for, in a process of its own.

    Args:
        model: a checkpoint folder.
        games: a dataset folder, whose test games are taken.
        options: of the command.
    """
    found = model.with_name(f"{model.name}-suites.json")
    command = [sys.executable, "-m", "chesslm", "evaluate", str(model), "--games", str(games), *options, "--quiet"]
    subprocess.run([*command, "--json", str(found)], check=True, stdout=subprocess.DEVNULL)
    # The first is the model's; the baselines follow.
    suites = json.loads(found.read_text())[0]["suites"]
    found.unlink()
    return {name: suite["metrics"] for name, suite in suites.items()}
