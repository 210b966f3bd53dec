"""Independent work spread over processes, its results in the order of the input, a bounded amount of it in flight.

Anything with the interface of ``concurrent.futures.Executor`` can stand where ``processes`` does.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from chesslm.errors import FailureError, InputError

T = TypeVar("T")
R = TypeVar("R")


def cores(workers: int = 0) -> int:
    """How many processes ``--workers`` asks for; 0 is one for each core that we may use.

    Raises:
        InputError: less than 0.
    """
    if workers < 0:
        raise InputError("--workers takes a number of processes, or 0 for one a core")
    return workers or len(os.sched_getaffinity(0))


@contextmanager
def processes(workers: int = 0) -> Iterator[Executor]:
    """So many processes, gone at the end in whatever way it comes; one worker is this process itself."""
    if cores(workers) == 1:
        yield _Here()
        return
    pool = ProcessPoolExecutor(cores(workers), get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _Here(Executor):
    """Runs a call at once, in this process."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def in_order(
    executor: Executor, function: Callable[..., R], calls: Iterable[tuple[T, tuple[Any, ...]]], ahead: int
) -> Iterator[tuple[T, R]]:
    """Results of many calls, in their order.

    Args:
        executor: what runs them.
        function: importable by name, as are its arguments and result.
        calls: a label that stays here and the arguments; drawn from only as far as ``ahead`` allows.
        ahead: calls begun whose results nobody has taken yet.

    Raises:
        FailureError: a worker died.
    """
    pending: deque[tuple[T, Future[R]]] = deque()
    try:
        for label, arguments in calls:
            with _interrupts_held():
                pending.append((label, executor.submit(function, *arguments)))
            while pending and (len(pending) >= ahead or pending[0][1].done()):
                label, future = pending.popleft()
                yield label, future.result()
        while pending:
            label, future = pending.popleft()
            yield label, future.result()
    except BrokenProcessPool as error:
        raise FailureError("a worker process was killed (out of memory?); try fewer --workers") from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits a moment: a process started meanwhile never hears it, so only this one speaks and cleans up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Let a worker end with its parent even when that is killed; the pool alone would wait for ever."""
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
