"""A Dask cluster as an executor: calls go out to its workers, answers come back.

    Cluster (here) -> Dask's scheduler -> a thread of a Dask worker -> a process of that thread, which makes the call

Calls and answers travel as bytes that only the two ends unpickle: Dask looks into arguments for tasks of its own, and
its scheduler would have to import whatever they are made of. A call is made in a process beside the Dask worker, not in
a thread of it: a thread cannot be ended, and a study's cell may take hours that nobody waits for any more; and calls
that share a process share torch's random numbers. The process ends with its worker (if that is killed, too), when its
call is given up, or after some idle time.

A call whose worker or process is lost is made again, elsewhere if need be: ours have the same result every time.
"""

import asyncio
import logging
import pickle
import re
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from chesslm import __version__, parallel
from chesslm.errors import FailureError, InputError, first_line

R = TypeVar("R")

CONNECT_SECONDS = 10
ALONE_SECONDS = 60.0
"""How long calls wait on a cluster that has no worker: so long may one take to come, or to come back."""
WATCH_SECONDS = 2.0
RETRIES = 3
"""How often a call is made anew whose process was killed; Dask's own number for one whose worker was."""
IDLE_SECONDS = 60.0
"""A process that has had no call for so long ends: its client is gone, or has had enough."""
CANCELLED_SECONDS = 1.0
"""How often it is looked whether anyone still waits for a call."""


@contextmanager
def connected(address: str) -> Iterator["Cluster"]:
    """The cluster whose scheduler is at ``dask://HOST:PORT``; what it is still at is given up at the end.

    Raises:
        InputError: no such address, or Dask is not installed.
        FailureError: no scheduler answers.
    """
    parts = re.fullmatch(r"dask://((?:\[[^]@/]+\]|[^]:@/[]+)):(\d+)/?", address)
    if not parts:
        raise InputError(f"--executor {address}: give dask://HOST:PORT, where the scheduler of a Dask cluster listens")
    host, port = parts[1], int(parts[2])
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--executor needs the extra cluster: pip install 'chesslm-testbed[cluster]'") from None
    # It says at length what becomes an error of one line here.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _hear(host.strip("[]"), port)
        with warnings.catch_warnings(record=True, action="always") as warned:
            client = Client(f"tcp://{host}:{port}", timeout=CONNECT_SECONDS, set_as_default=False, name="chesslm")
    except (OSError, OverflowError, ValueError) as error:
        raise FailureError(f"no Dask scheduler answers at {host}:{port}: {first_line(error)}") from error
    # A table of packages, a row each.
    if unlike := re.findall(r"^\| (?!Package)(\S+)", "\n".join(str(each.message) for each in warned), re.MULTILINE):
        print(f"chesslm: the cluster at {host}:{port} has other versions of {', '.join(unlike)}", file=sys.stderr)
    with client:
        cluster = Cluster(client)
        try:
            yield cluster
        finally:
            cluster.shutdown(cancel_futures=True)


def _hear(host: str, port: int) -> None:
    """Hear a scheduler's greeting, which begins with its length; Dask would wait for ever for one that never comes."""
    with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
        if not 0 < int.from_bytes(connection.recv(8), sys.byteorder) < 1 << 20:
            raise OSError("something else listens there")


class Cluster(parallel.InChunks):
    """An executor that has a Dask cluster work."""

    def __init__(self, client: Any) -> None:
        """Use a cluster.

        Args:
            client: a ``distributed.Client``, which stays the caller's to close.
        """
        self._client, self._ended = client, False
        self._waiting: dict[Future[Any], Any] = {}
        client.loop.add_callback(self._watch)

    @property
    def _max_workers(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except Exception as error:
            raise _lost(first_line(error)) from error

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        """As of every executor; BrokenExecutor if there is no cluster any more."""
        call = pickle.dumps((fn, args, kwargs))
        future: Future[R] = Future()
        try:
            there = self._client.submit(have_made, __version__, call, pure=False, retries=RETRIES)
        except Exception as error:
            raise _lost(first_line(error)) from error
        self._waiting[future] = there
        future.add_done_callback(self._give_up)
        self._client.loop.add_callback(self._receive, future, there)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End: after the calls already made, or at once where those are cancelled, begun or not."""
        for future in list(self._waiting):
            if cancel_futures:
                future.cancel()
            elif wait:
                future.exception()
        self._ended = True

    def _give_up(self, future: "Future[Any]") -> None:
        # Dask stops at what nobody holds any more.
        there = self._waiting.pop(future, None)
        if there is not None:
            there.release()

    async def _receive(self, future: "Future[Any]", there: Any) -> None:
        try:
            succeeded, answer = pickle.loads(await self._client.gather(there, asynchronous=True))
        except (Exception, asyncio.CancelledError) as error:
            succeeded, answer = False, _lost(first_line(error))
        self._settle(future, succeeded, answer)

    def _settle(self, future: "Future[Any]", succeeded: bool, answer: Any) -> None:
        """Say what became of a call, unless it has been given up or settled."""
        if future in self._waiting and future.set_running_or_notify_cancel():
            (future.set_result if succeeded else future.set_exception)(answer)

    async def _watch(self) -> None:
        """Fail what is waited for when there is no worker to make it: Dask would wait for ever."""
        seen = time.monotonic()
        while not self._ended:
            try:
                if not self._waiting or await self._client.nthreads():
                    seen = time.monotonic()
                why = "it has no worker"
            except Exception as error:
                why = first_line(error)
            if time.monotonic() - seen > ALONE_SECONDS:
                for future in list(self._waiting):
                    self._settle(future, False, _lost(why))
            await asyncio.sleep(WATCH_SECONDS)


def _lost(why: str) -> BrokenExecutor:
    return BrokenExecutor(f"the cluster lost what it was given: {why}")


# In a thread of a Dask worker


def have_made(version: str, call: bytes) -> bytes:
    """Have a process make a call.

    Args:
        version: of chesslm where the call comes from.
        call: as ``parallel.work`` takes it.

    Returns:
        The answer that it gives; ours may not be what was asked for where versions differ, which is an error too.

    Raises:
        RuntimeError: the process was killed, or nobody waits for the answer any more.
    """
    if version != __version__:
        why = f"chesslm is {__version__} on {socket.gethostname()} and {version} here; install the same on all machines"
        return pickle.dumps((False, FailureError(why)))
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    while True:
        try:
            process = _idle.pop()
        except IndexError:
            process = _Process()
        answer = process.ask(call, wanted)
        if answer is not None:
            _idle.append(process)
            return answer


class _Process:
    """A process that makes one call at a time."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        parent_alive, self._our_end = Pipe(duplex=False)
        numbers = theirs.fileno(), parent_alive.fileno()
        program = f"from chesslm.cluster import serve; serve{numbers}"
        # A group of its own: a Ctrl-C in the worker's terminal is the worker's to handle.
        self._process = subprocess.Popen([sys.executable, "-P", "-c", program], pass_fds=numbers, process_group=0)
        theirs.close()
        parent_alive.close()

    def ask(self, call: bytes, wanted: Callable[[], bool]) -> bytes | None:
        """The answer to a call; None if the process ended because it was idle.

        Raises:
            RuntimeError: it was killed, or ended since the answer is not wanted any more.
        """
        try:
            self._connection.send_bytes(call)
            while wanted():
                if self._connection.poll(CANCELLED_SECONDS):
                    return self._connection.recv_bytes()
            self._our_end.close()
        except (EOFError, OSError):
            pass
        code = self._process.wait()
        self._connection.close()
        self._our_end.close()
        if code == 0:
            return None
        raise RuntimeError(f"a process on {socket.gethostname()} was killed (out of memory?)")


_idle: list[_Process] = []
"""Processes that wait for a call; threads take from it and give back."""


# In such a process


def serve(connection: int, parent_alive: int) -> None:
    """Make calls that come through the one pipe, until the other one is closed."""
    parallel.work(Connection(connection, writable=True), Connection(parent_alive, writable=False), IDLE_SECONDS)
