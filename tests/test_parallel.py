"""Work spread over processes: order, bounds, and every way in which it may end."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from chesslm import parallel
from chesslm.errors import FailureError, InputError
from chesslm.generate import generate


def echo(value: object, seconds: float = 0.0) -> object:
    time.sleep(seconds)
    return value


def fail(value: str) -> None:
    raise InputError(value)


class TwoPartError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


class HeldError(Exception):
    def __init__(self) -> None:
        super().__init__("holds something")
        self.held = threading.Lock()


def fail_oddly(which: int) -> None:
    raise HeldError() if which else TwoPartError("one", "other")


def unpicklable() -> object:
    return threading.Lock()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def large(size: int) -> bytes:
    return bytes(size)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_calls_are_drawn_as_needed(workers: int) -> None:
    drawn = []

    def calls():
        for number in range(40):
            drawn.append(number)
            yield f"label {number}", (number, 0.02 * (number % 3))

    with parallel.pool(workers) as executor:
        for taken, (label, result) in enumerate(parallel.in_order(executor, echo, calls(), ahead=5)):
            assert (label, result) == (f"label {taken}", taken)
            assert len(drawn) <= taken + 1 + 5


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_a_call_are_raised_where_its_result_is_taken(workers: int) -> None:
    with parallel.pool(workers) as executor:
        results = parallel.in_order(executor, fail, [("x", ("what is wrong",))], ahead=3)
        with pytest.raises(InputError, match="what is wrong"):
            next(results)
        # The process is none the worse for it.
        assert executor.submit(echo, 5).result() == 5


def test_what_cannot_be_pickled_is_an_error_too() -> None:
    with parallel.pool(2) as executor:
        for future in (executor.submit(unpicklable), executor.submit(echo, threading.Lock())):
            with pytest.raises(TypeError, match="pickle"):
                future.result(timeout=60)
        for which, said in enumerate(("TwoPartError: one other", "HeldError: holds something")):
            with pytest.raises(RuntimeError, match=f"^{said}"):
                executor.submit(fail_oddly, which).result(timeout=60)
        assert executor.submit(echo, 5).result() == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_map_in_chunks(workers: int) -> None:
    with parallel.pool(workers) as executor:
        assert list(executor.map(pow, range(10), range(10), chunksize=3)) == [n**n for n in range(10)]
        assert list(executor.map(echo, [])) == []


def test_a_worker_that_dies_is_a_failure_and_nothing_waits() -> None:
    others = []
    with pytest.raises(FailureError, match="worker process was killed"), parallel.pool(2) as executor:
        others += [executor.submit(echo, large(1 << 20), 0.01) for _ in range(20)]
        list(parallel.in_order(executor, die, [("", ())] * 4, ahead=2))
    for future in others:
        assert future.exception(timeout=60) is None or isinstance(future.exception(), BrokenExecutor)


def test_an_executor_of_ones_own_stays_open_and_makes_the_same(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as own:
        for name, workers in (("own", own), ("here", 1)):
            generate(tmp_path / name, games=20, workers=workers, quiet=True)
        assert own.submit(echo, 5).result() == 5
        with pytest.raises(FailureError, match="terminated abruptly"), parallel.pool(own) as executor:
            executor.submit(die).result()
    assert (tmp_path / "own").read_bytes() == (tmp_path / "here").read_bytes()


def test_the_end_comes_at_once_even_in_the_middle_of_a_result() -> None:
    for delay in (0.0, 0.005, 0.03):
        with parallel.pool(2) as executor:
            executor.submit(echo, 1).result()
            for _ in range(4):
                executor.submit(large, 1 << 25)
            executor.submit(echo, 1, 3600)
            time.sleep(delay)


def test_a_number_of_workers_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="--workers"), parallel.pool(-1):
        pass


PROGRAM = """
import os, sys, time
from chesslm import parallel

def pid(seconds):
    time.sleep(seconds)
    return os.getpid()

if __name__ == "__main__":
    with parallel.pool(2) as executor:
        print(*{future.result() for future in [executor.submit(pid, 0.3) for _ in range(2)]}, flush=True)
        executor.submit(pid, 600)
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(number)
        parent.communicate(timeout=60)
    assert workers
    deadline = time.monotonic() + 30
    while any(runs(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
