"""Independent work spread over processes, its results in the order of the input, a bounded amount of it in flight.

Everything goes through the interface of ``concurrent.futures.Executor``: processes of this machine, a Dask cluster
(``cluster``), or whatever else has it. What comes out never depends on which.
"""

import itertools
import os
import pickle
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from chesslm.errors import FailureError, InputError, first_line

T = TypeVar("T")
R = TypeVar("R")

Workers = int | str | Executor
"""Who works: so many processes (0: one a core; 1: this process), the cluster at ``dask://HOST:PORT``, or an executor
that the caller opens and shuts down, of processes rather than threads."""
KILLED = "a worker process was killed (out of memory?); try fewer --workers"


def cores(workers: int = 0) -> int:
    """How many processes ``--workers`` asks for; 0 is one for each core that we may use.

    Raises:
        InputError: less than 0.
    """
    if workers < 0:
        raise InputError("--workers takes a number of processes, or 0 for one a core")
    return workers or len(os.sched_getaffinity(0))


@contextmanager
def pool(workers: Workers = 0) -> Iterator[Executor]:
    """Workers for a while: processes are gone and a cluster is left at the end, in whatever way it comes.

    Raises:
        InputError: there can be no such workers.
        FailureError: no cluster answers, or within it a worker died.
    """
    try:
        if isinstance(workers, Executor):
            yield workers
        elif isinstance(workers, str):
            from chesslm.cluster import connected

            with connected(workers) as executor:
                yield executor
        else:
            executor = _Here() if cores(workers) == 1 else _Processes(cores(workers))
            try:
                yield executor
            finally:
                executor.shutdown(cancel_futures=True)
    except BrokenExecutor as error:
        raise FailureError(first_line(error)) from error


def width(executor: Executor) -> int:
    """How many calls it makes at once, where it says so as Python's own do; else one a core."""
    return getattr(executor, "_max_workers", 0) or cores()


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
        BrokenExecutor: a worker died; ``pool`` makes it a ``FailureError``.
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
    finally:
        for _, future in pending:
            future.cancel()


class InChunks(Executor):
    """Hands over as many calls at once as ``map`` is told to."""

    def map(
        self, fn: Callable[..., R], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[R]:
        """As of every executor."""
        calls = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        return itertools.chain.from_iterable(super().map(partial(_each, fn), chunks, timeout=timeout))


class _Here(Executor):
    """Runs a call at once, in this process."""

    _max_workers = 1

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Processes(InChunks):
    """A thread for each process hands it one call at a time over a pipe of its own.

    Nothing is shared between the processes, so one can end at any moment, even in the middle of sending a result.
    ``ProcessPoolExecutor`` waits for ever then: in trials one interrupted run in twenty.
    """

    def __init__(self, count: int) -> None:
        self._max_workers, self._threads, self._broken = count, list[threading.Thread](), False
        self._calls: queue.SimpleQueue[tuple[Future[Any], tuple[Any, ...]] | None] = queue.SimpleQueue()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        if not self._threads:
            self._start()
        future: Future[R] = Future()
        self._calls.put((future, (fn, args, kwargs)))
        if self._broken:
            self._refuse()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after the calls already made, or at once where those are cancelled."""
        if not self._threads:
            return
        if cancel_futures:
            self._our_end.close()
            self._refuse()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        context = get_context("spawn")
        parent_alive, self._our_end = context.Pipe(duplex=False)
        # Else the first process would start it, and it unblocks Ctrl-C as it starts.
        resource_tracker.ensure_running()
        with _signals_held():
            for _ in range(self._max_workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(theirs, parent_alive), daemon=True)
                process.start()
                theirs.close()
                self._threads.append(threading.Thread(target=self._serve, args=(process, ours), daemon=True))
                self._threads[-1].start()
        parent_alive.close()

    def _serve(self, process: Any, connection: Connection) -> None:
        while task := self._calls.get():
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                connection.send_bytes(pickle.dumps(call))
                succeeded, answer = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError):
                self._broken = True
                future.set_exception(BrokenExecutor(KILLED))
                self._refuse()
                break
            except Exception as error:
                # The call or its result cannot be pickled.
                succeeded, answer = False, error
            (future.set_result if succeeded else future.set_exception)(answer)
            del future, call, task, answer
        connection.close()
        process.join()

    def _refuse(self) -> None:
        """Fail every call that no process has begun."""
        with suppress(queue.Empty):
            while task := self._calls.get_nowait():
                if task[0].set_running_or_notify_cancel():
                    task[0].set_exception(BrokenExecutor(KILLED))
            # That was meant for a thread.
            self._calls.put(None)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of it, so that no process is left half-started.

    A process started meanwhile never hears Ctrl-C: only this one speaks and cleans up.
    """
    heard: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    handlers = [signal.signal(number, lambda number, frame: heard.append(number)) for number in numbers]
    # A handler alone is not inherited, and a mask alone does not stop a signal that another thread receives.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        for number in heard:
            signal.raise_signal(number)


def _each(fn: Callable[..., R], calls: list[tuple[Any, ...]]) -> list[R]:
    return [fn(*arguments) for arguments in calls]


# In a worker process

at_worker_end: list[Callable[[], object]] = []
"""What a worker process still has to do when it is ended early, such as to kill a child of its own."""


def work(connection: Connection, parent_alive: Connection, idle_seconds: float | None = None) -> None:
    """Make calls as they come, until there have been none for so long or the other end is closed.

    Args:
        connection: takes calls, pickled (function, arguments, keyword arguments), one at a time, and gives their
            answers, pickled (whether it succeeded, result or exception).
        parent_alive: readable when the parent has closed its end or is gone; whatever is being done is ended then.
        idle_seconds: None waits for ever.
    """
    threading.Thread(target=_end_with_parent, args=(parent_alive,), daemon=True).start()
    with suppress(EOFError, OSError):
        while connection.poll(idle_seconds):
            call = connection.recv_bytes()
            try:
                fn, args, kwargs = pickle.loads(call)
                answer = pickle.dumps((True, fn(*args, **kwargs)))
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = _pickled(error)
            connection.send_bytes(answer)


def _pickled(error: Exception) -> bytes:
    """An answer that is an exception; in its place what it says, where it is one that cannot be made anew."""
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:
        said = RuntimeError(f"{type(error).__name__}: {error}")
        said.__notes__ = error.__notes__
        return pickle.dumps((False, said))
    return answer


def _end_with_parent(parent_alive: Connection) -> None:
    """End as soon as the parent closes its end of the pipe, or is killed, whatever is being done."""
    parent_alive.poll(None)
    for act in at_worker_end:
        with suppress(OSError):
            act()
    os._exit(1)
