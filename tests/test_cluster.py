"""A real Dask cluster of several processes: the same bytes as from one process, whoever is killed; and other hosts."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SOAK, Cli, without
from distributed import Client
from networks import cable, hosts
from random_games import random_game, write_pgn
from test_parallel import runs

from chesslm import cluster, parallel
from chesslm.boards import MoveCodes
from chesslm.errors import FailureError
from chesslm.generate import generate
from chesslm.pairs import generate_pairs
from chesslm.prepare import prepare

GAMES = 3000 if SOAK else 400


def until(found: Callable[[], Any], seconds: float = 900.0) -> Any:
    """What a function finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


@contextmanager
def dask(*arguments: object, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, gone at the end with its children; ``within`` is what its command is put behind."""
    command = [*within, sys.executable, "-m", "dask", *map(str, arguments), "--no-dashboard"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=null, stderr=null, process_group=0) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def running(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """A cluster on this machine: its address as ``--executor`` has it; the process groups of scheduler and workers."""
    file = folder / "scheduler.json"
    with dask("scheduler", "--host", "127.0.0.1", "--port", 0, "--scheduler-file", file) as scheduler:
        until(file.is_file)
        address = json.loads(until(file.read_text))["address"]
        options = ("--nworkers", workers, "--nthreads", 1, "--local-directory", folder, "--memory-limit", 0)
        with dask("worker", address, *options) as above:
            yield address.replace("tcp", "dask"), [scheduler.pid, above.pid]


@contextmanager
def client_of(address: str) -> Iterator[Any]:
    """To look on, and to find whom to kill."""
    with Client(address.replace("dask", "tcp"), set_as_default=False, timeout=900) as client:
        yield client


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of three workers; one that is killed is started again."""
    with running(tmp_path_factory.mktemp("cluster"), 3) as (address, _), client_of(address) as client:
        client.wait_for_workers(3, timeout=900)
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with client_of(address) as client:
        yield client


def kill_one_at_work(client: Any, over: Callable[[], bool]) -> None:
    """Kill a worker that has something to do."""

    def busy() -> list[str]:
        assert not over(), "it was over before a worker was killed"
        return [worker for worker, tasks in client.processing().items() if tasks]

    worker = until(busy)[0]
    pid = client.run(os.getpid, workers=[worker])[worker]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid))


def lasting(path: Path) -> Any:
    """What is in a file or a folder, but for when it was made and how long that took, and for logs."""
    if path.is_dir():
        return {each.name: lasting(each) for each in path.iterdir() if each.name not in ("run", "README.md")}
    return without(json.loads(path.read_text()), "created", "minutes") if path.suffix == ".json" else path.read_bytes()


# The same as from one process


@pytest.fixture
def makes(tiny_pgn: Path, tiny_dataset: Path, tiny_model: Path, tmp_path: Path) -> dict[str, Callable[..., object]]:
    """What makes a file or a folder, by the command that does."""
    from test_transfer import STUDY

    from chesslm.eval.run import evaluate
    from chesslm.inside.activations import capture
    from chesslm.inside.run import probe
    from chesslm.model import load_model
    from chesslm.transfer import transfer

    def prepared(out: Path, workers: parallel.Workers) -> None:
        prepare([str(tiny_pgn)] * 6, out, workers=workers, quiet=True)

    def measured(out: Path, workers: parallel.Workers) -> None:
        suites = ("legality", "mate-in-one", *(("rules", "world-model", "squares") if SOAK else ()))
        evaluate(
            [str(tiny_model)], games=str(tiny_pgn), random=GAMES // 4, suites=suites, limit=20, json_file=out,
            device="cpu", workers=workers, quiet=True,
        )  # fmt: skip

    def probed(out: Path, workers: parallel.Workers) -> None:
        # It is kept beside the model.
        model = shutil.copytree(tiny_model, tmp_path / "model", dirs_exist_ok=True)
        probe(
            str(model), str(tiny_pgn), random=GAMES // 8, limit=60, json_file=out, device="cpu", workers=workers,
            quiet=True,
        )  # fmt: skip

    def captured(out: Path, workers: parallel.Workers) -> None:
        loaded = load_model(str(tiny_model), device="cpu", precision="fp32")
        games = [random_game(number, plies=60) for number in range(GAMES)]
        with parallel.pool(workers) as executor, out.open("wb") as file:
            for each in capture(loaded, games, [0, 1, 2], elsewhere=executor if isinstance(workers, str) else None):
                file.write(np.int64(each.game).tobytes() + each.hidden.tobytes())

    def studied(out: Path, workers: parallel.Workers) -> None:
        study = tmp_path / "study.toml"
        study.write_text(STUDY.format(data=tiny_dataset, model=tiny_model))
        transfer(study, out, workers=workers, quiet=True)

    return {
        "prepare": prepared,
        "generate": partial(generate, games=GAMES, quiet=True),
        "pairs": partial(generate_pairs, kind="uci-san", games=GAMES, quiet=True),
        "evaluate": measured,
        "capture": captured,
        "probe": probed,
        "transfer": studied,
    }


COMMANDS = ["prepare", "generate", "evaluate", "capture", "transfer", *(["pairs", "probe"] if SOAK else [])]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_loses_a_worker_makes_what_one_process_makes(
    command: str,
    makes: dict[str, Callable[..., object]],
    address: str,
    client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One thread a cell, as on the cluster.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    names = {"prepare": "data", "generate": "x.pgn", "pairs": "x.jsonl", "capture": "x.bin", "transfer": "study"}
    paths = [tmp_path / where / names.get(command, "found.json") for where in ("there", "here")]
    for path in paths:
        path.parent.mkdir()
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(makes[command], paths[0], workers=address)
        kill_one_at_work(client, run.done)
        run.result()
    makes[command](paths[1], workers=1)
    assert lasting(paths[0]) == lasting(paths[1])


# Other endings


def test_errors_arrive_as_what_they_are(address: str, cli: Cli, tmp_path: Path) -> None:
    ended = cli("generate", tmp_path / "x.pgn", "--games", 3, "--by", "uci:true", "--executor", address)
    assert (ended.code, ended.out) == (2, "") and re.fullmatch(r"chesslm: \S+true is no UCI engine.*\n", ended.err)
    with parallel.pool(address) as executor:
        assert isinstance(executor.submit(int, "x").exception(900), ValueError)
        assert parallel.width(executor) == 3
        assert list(executor.map(pow, range(10), range(10), chunksize=3)) == [n**n for n in range(10)]
    assert not list(tmp_path.iterdir())


def test_another_version_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "0.0")
    why = r"chesslm is \S+ on \S+ and 0\.0 here; install the same"
    with pytest.raises(FailureError, match=why), parallel.pool(address) as executor:
        executor.submit(abs, -1).result(900)


def test_a_call_that_kills_its_process_is_tried_again_and_then_fails(address: str) -> None:
    why = r"the cluster lost .*a process on \S+ was killed"
    with pytest.raises(FailureError, match=why), parallel.pool(address) as executor:
        list(executor.map(signal.raise_signal, [signal.SIGKILL]))


@pytest.mark.skipif(not SOAK, reason="a worker takes seconds to start, and it is four of them")
def test_a_call_that_kills_its_worker_is_tried_on_others_and_then_fails(address: str) -> None:
    fatal = "kill -9 $(ps -o ppid= -p $PPID)"
    why = "on 4 different workers, but all those workers died"
    with pytest.raises(FailureError, match=why), parallel.pool(address) as executor:
        executor.submit(subprocess.run, fatal, shell=True).result(900)


def test_what_is_given_up_is_not_worked_on(address: str, client: Any) -> None:
    """Dask cannot end what a thread is at."""
    client.wait_for_workers(3, timeout=900)
    with pytest.raises(KeyboardInterrupt), parallel.pool(address) as executor:
        for _ in range(10):
            executor.submit(time.sleep, 3600)
        until(lambda: all(client.processing().values()))
        raise KeyboardInterrupt
    with parallel.pool(address) as executor:
        assert list(executor.map(abs, range(-9, 0))) == list(range(9, 0, -1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL] if SOAK else [signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing(
    address: str, client: Any, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "chesslm", "generate", tmp_path / "x.pgn", "--games", "1000000", "--quiet"]
    with subprocess.Popen([*command, "--executor", address], stderr=subprocess.PIPE, text=True) as process:
        until(lambda: process.poll() is not None or any(client.processing().values()))
        process.send_signal(number)
        _, err = process.communicate(timeout=900)
    assert (process.returncode, err) == ((130, "chesslm: stopped\n") if number == signal.SIGINT else (-9, ""))
    until(lambda: not any(client.processing().values()))
    assert number == signal.SIGKILL or not list(tmp_path.iterdir())


@pytest.mark.parametrize("lost", [0, 1], ids=["scheduler", "workers"])
def test_a_cluster_that_is_lost_is_one_line(
    lost: int, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ALONE_SECONDS", 1.0)
    with running(tmp_path, 1) as (address, groups), client_of(address) as client:
        client.wait_for_workers(1, timeout=900)
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(cli, "generate", tmp_path / "x.pgn", "--games", 1000000, "--executor", address)
            until(lambda: any(client.processing().values()))
            os.killpg(groups[lost], signal.SIGKILL)
            ended = run.result(900)
    why = "it has no worker" if lost else ".*"
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(f"chesslm: the cluster lost what it was given: {why}\n", ended.err)
    assert not (tmp_path / "x.pgn").exists()


@pytest.mark.parametrize("address", ["spark://x:1", "dask://", "dask://x", "dask://x:y", "dask://u@x:1", "x:1", "dask"])
def test_an_address_that_is_none_is_refused(address: str, cli: Cli, tmp_path: Path) -> None:
    ended = cli("generate", tmp_path / "x.pgn", "--games", 3, "--executor", address)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(rf"chesslm: --executor {address}: give dask://HOST:PORT, .*\n", ended.err)


def test_processes_here_and_a_cluster_are_too_much(cli: Cli, tmp_path: Path) -> None:
    ended = cli("generate", tmp_path / "x.pgn", "--games", 3, "--executor", "dask://x:1", "--workers", 2)
    assert ended.code == 2 and "leave it out with --executor" in ended.err


def greet(server: socket.socket, says: bytes) -> None:
    with server.accept()[0] as connection:
        connection.sendall(says)


@pytest.mark.parametrize("says", [None, b"", b"SSH-2.0-OpenSSH_9.2"], ids=["nobody", "silence", "something else"])
def test_a_scheduler_that_does_not_answer_is_one_line(
    says: bytes | None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if says is None:
            server.close()
        elif says:
            thread.submit(greet, server, says)
        ended = cli("generate", tmp_path / "x.pgn", "--games", 3, "--executor", f"dask://{address}")
    assert (ended.code, ended.out) == (1, "")
    why = {None: "Connection refused", b"": "timed out"}.get(says, "something else listens there")
    assert re.fullmatch(rf"chesslm: no Dask scheduler answers at {address}: .*{why}\n", ended.err)
    assert not list(tmp_path.iterdir())


# On other hosts


OURS, NEAR, FAR, THEIRS = "10.213.1.1", "10.213.1.2", "10.213.2.1", "10.213.2.2"
"""Addresses: ours, the scheduler's two, and the workers'."""


@pytest.fixture
def two() -> Iterator[list[str]]:
    """Two hosts in a row: we reach the scheduler's, and only that the workers'."""
    with hosts("scheduler", "workers") as names:
        cable(None, OURS, names[0], NEAR)
        cable(names[0], FAR, names[1], THEIRS)
        yield names


def test_workers_on_another_host_need_none_of_our_files(
    two: list[str], tmp_path: Path, tiny_games: list[MoveCodes]
) -> None:
    """They see nothing of the folder that we read from and write to, nor does the scheduler."""
    hidden = f'mount -t tmpfs none "{tmp_path}" && exec "$@"'
    on = [["ip", "netns", "exec", name, "sh", "-c", hidden, "sh"] for name in two]
    pgn = write_pgn(tmp_path / "x.pgn", tiny_games)
    with (
        dask("scheduler", "--host", "0.0.0.0", "--port", 8786, within=on[0]),
        dask("worker", f"tcp://{FAR}:8786", "--host", THEIRS, "--nworkers", 2, "--nthreads", 1, within=on[1]),
        client_of(f"dask://{NEAR}:8786") as client,
    ):
        client.wait_for_workers(2, timeout=900)
        assert {each.partition("//")[2].partition(":")[0] for each in client.nthreads()} == {THEIRS}
        for name, workers in (("there", f"dask://{NEAR}:8786"), ("here", 1)):
            prepare([str(pgn)], tmp_path / name, workers=workers, quiet=True)
    assert lasting(tmp_path / "there") == lasting(tmp_path / "here")
