"""Progress on stderr: a line or a bar that is kept up to date in a terminal, and lines now and then in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, Task

LOG_SECONDS = 30.0
"""Between two lines about a bar, where none can be drawn."""


class Line:
    """A line that says how far something is.

    Args:
        quiet: say nothing.
        live: seconds between two states of it, in a terminal.
        log: seconds between two lines, elsewhere.
    """

    def __init__(self, quiet: bool, live: float = 0.5, log: float = 10.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._quiet, self._seconds = quiet, live if self._terminal else log
        self._shown, self._open = time.monotonic(), False

    def is_due(self) -> bool:
        """Whether it is time for a new state."""
        return not self._quiet and time.monotonic() - self._shown >= self._seconds

    def show(self, text: str) -> None:
        """A new state, unless all is to be quiet."""
        if self._quiet:
            return
        self._shown, self._open = time.monotonic(), self._terminal
        before, after = ("\r\033[K", "") if self._terminal else ("", "\n")
        print(f"{before}{text}", end=after, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last state where it stands."""
        if self._open:
            print(file=sys.stderr)
            self._open = False


@contextmanager
def counting(games: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """A line on games that are played one by one; what is given counts one."""
    line, start, done = Line(quiet), time.monotonic(), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if line.is_due():
            rate = done / (time.monotonic() - start)
            line.show(
                f"{done:,} of {games:,} games, {rate:.1f} a second, {(games - done) / rate / 60:.0f} minutes left"
            )

    try:
        yield advance
    finally:
        line.close()


@dataclass(frozen=True)
class Bars:
    """What is being done, step by step."""

    shown: Any

    def bar(self, what: str, total: int | None) -> Callable[[int], None]:
        """A new step; returns what to call with what is done of it."""
        for task in self.shown.task_ids:
            self.shown.remove_task(task)
        task = self.shown.add_task(what, total=total)
        return lambda done: self.shown.advance(task, done)


@contextmanager
def bars(quiet: bool) -> Iterator[Bars]:
    """Progress bars, which are gone at the end; lines where they cannot be drawn."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # Where no bar can be drawn, rich would still write an empty line in front of an error.
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as shown:
        if quiet or console.is_terminal:
            yield Bars(shown)
            return
        over = threading.Event()
        log = threading.Thread(target=_log, args=(shown, over), daemon=True)
        log.start()
        try:
            yield Bars(shown)
        finally:
            over.set()
            log.join()


def _log(shown: "Progress", over: threading.Event) -> None:
    while not over.wait(LOG_SECONDS):
        for task in shown.tasks:
            print(_state(task), file=sys.stderr, flush=True)


def _state(task: "Task") -> str:
    """A step in words: what, how much of it, and for how long still if that can be said."""
    if not task.total:
        return f"{task.description}, {task.elapsed or 0:.0f} s"
    left = task.time_remaining
    return (
        f"{task.description}: {task.completed:,.0f} of {task.total:,.0f}"
        f"{'' if left is None else f', {left // 60:.0f}:{left % 60:02.0f} left'}"
    )
