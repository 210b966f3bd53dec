"""Real commands, started quickly.

``python -m chesslm train`` spends seven seconds of processor time on imports before it does anything, and many tests
start such commands. Here one process makes the imports once and forks for each command, as Android starts its apps.
What comes out is a process as real as any, with a number, pipes, signals and an end of its own, and a child of the
tests; only its imports were made before it began.

``install`` makes ``subprocess`` do so for commands that need torch. Everything else is started as ever, and so are
these where CHESSLM_SOAK is set, where their environment differs in what an interpreter reads as it starts, and on other
systems than Linux.
"""

import ctypes
import gc
import importlib
import inspect
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

VERBS = {"train", "evaluate", "probe", "transfer", "play", "uci", "match", "serve", "demo"}
"""Commands that import torch."""
IMPORTS = (
    "chesslm.train", "chesslm.transfer", "chesslm.demo", "chesslm.eval.suites", "chesslm.eval.table",
    "chesslm.inside.run", "chesslm.play.engine", "chesslm.play.match", "chesslm.play.terminal", "chesslm.play.web",
    "chesslm.report.page",
)  # fmt: skip
READ_AT_START = ("PYTHON", "OMP_", "LD_", "HF_", "TORCH", "MKL_", "MALLOC_")
"""What begins the names of variables that an interpreter or a library reads when it is loaded."""
PLAIN = {"executable": None, "preexec_fn": None, "pass_fds": (), "shell": False, "gid": None, "uid": None, "umask": -1}
"""Arguments of Popen for which there is a way."""
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl
LARGEST = 1 << 18
_one_at_a_time = threading.Lock()

_usual = subprocess.Popen._execute_child  # pyright: ignore[reportAttributeAccessIssue]


def install() -> None:
    """Have ``subprocess`` fork the commands that need torch."""
    if sys.platform == "linux":
        subprocess.Popen._execute_child = _execute_child  # pyright: ignore[reportAttributeAccessIssue]


def _execute_child(self: "subprocess.Popen[Any]", *given: Any) -> None:
    """In the place of Popen's own, which forks this process and executes a file."""
    asked = inspect.signature(_usual).bind(self, *given).arguments
    command = asked["args"]
    begins = list(map(str, command[:4])) if isinstance(command, list) else []
    known = begins[:3] == [sys.executable, "-m", "chesslm"] and begins[-1] in VERBS
    quick = known and all(asked[key] == PLAIN[key] for key in PLAIN)
    environment = dict(os.environ if asked["env"] is None else asked["env"])
    if not quick or _read_at_start(environment) != _read_at_start(_at_start()):
        _usual(self, *given)
        return
    pipes = [asked[end] for end in ("p2cread", "c2pwrite", "errwrite")]
    what = {
        "arguments": list(map(str, command[3:])),
        "cwd": str(asked["cwd"] or Path.cwd()),
        "environment": environment,
        "session": asked["start_new_session"],
        "group": asked["process_group"],
    }
    with _one_at_a_time:
        # For no longer than that: what other processes leave behind is none of ours.
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
        try:
            fds = [n if pipe == -1 else pipe for n, pipe in enumerate(pipes)]
            socket.send_fds(_zygote(), [pickle.dumps(what)], fds)
            self.pid = int(_zygote().recv(32))
        finally:
            ctypes.CDLL(None).prctl(SUBREAPER, 0)
    self._child_created = True  # pyright: ignore[reportAttributeAccessIssue]
    ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    self._close_pipe_fds(*(asked[end] for end in ends))  # pyright: ignore[reportAttributeAccessIssue]


def _read_at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


@cache
def _at_start() -> dict[str, str]:
    """The environment that the zygote was started in."""
    return dict(os.environ)


_started: list["subprocess.Popen[bytes]"] = []
"""Zygotes: Popen warns of a process that is forgotten while it runs."""


@cache
def _zygote() -> socket.socket:
    """The way to this process's zygote, which ends when we do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    command = [sys.executable, __file__, str(theirs.fileno())]
    _started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=_at_start()))
    theirs.close()
    return ours


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request until there are no more.

    Returns:
        In a process that is to run a command, what was asked for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        message, fds, _, _ = socket.recv_fds(requests, LARGEST, 3)
        if not message:
            os._exit(0)
        ours, theirs = os.pipe()
        if between := os.fork():
            os.close(theirs)
            with os.fdopen(ours) as said:
                # Its end comes when the child has closed it too.
                child = said.read()
            os.waitpid(between, 0)
            # Told before its parent is gone, the tests would not yet find it among their children.
            requests.send(child.encode())
            for fd in fds:
                os.close(fd)
            continue
        if child := os.fork():
            os.write(theirs, str(child).encode())
            os._exit(0)
        what = pickle.loads(message)
        if what["session"]:
            os.setsid()
        elif what["group"] >= 0:
            os.setpgid(0, what["group"])
        for n, fd in enumerate(fds):
            os.dup2(fd, n)
        os.closerange(3, max(*fds, requests.fileno(), ours, theirs) + 1)
        return what


def _become(what: dict[str, Any]) -> None:
    """Run the command as ``python -m`` does."""
    os.environ.clear()
    os.environ.update(what["environment"])
    os.chdir(what["cwd"])
    sys.path[0] = what["cwd"]
    sys.argv = ["-m", *what["arguments"]]
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module("chesslm", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for module in IMPORTS:
        importlib.import_module(module)
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
