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
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
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
    context = get_context("spawn")
    parent_alive, our_end = context.Pipe(duplex=False)
    pool = _Pool(cores(workers), context, initializer=_start_worker, initargs=(parent_alive,))
    try:
        yield pool
    finally:
        # Ends them at once, even in the middle of something: nobody will ask for it any more.
        our_end.close()
        pool.shutdown(cancel_futures=True)
        parent_alive.close()


at_worker_end: list[Callable[[], object]] = []
"""What a worker process still has to do when it is ended early, such as to kill a child of its own."""


class _Pool(ProcessPoolExecutor):
    """Ctrl-C waits while a worker is started: a process started meanwhile never hears it, so only we clean up."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
            pending.append((label, executor.submit(function, *arguments)))
            while pending and (len(pending) >= ahead or pending[0][1].done()):
                label, future = pending.popleft()
                yield label, future.result()
        while pending:
            label, future = pending.popleft()
            yield label, future.result()
    except BrokenProcessPool as error:
        raise FailureError("a worker process was killed (out of memory?); try fewer --workers") from error


def _start_worker(parent_alive: Connection) -> None:
    """Let a worker end as soon as the parent closes its end of the pipe, or is killed.

    The pool alone would wait for ever: each worker holds the writing end of its own queue.
    """

    def end_with_parent() -> None:
        parent_alive.poll(None)
        for act in at_worker_end:
            with suppress(OSError):
                act()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
