"""Training on two hosts with networks of their own: the loss curve of one process; and who is which."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SOAK
from networks import cable, hosts
from test_train import RECIPE, SETTINGS, curve, rows

from chesslm.errors import InputError
from chesslm.ranks import Ranks, find_ranks
from chesslm.train import train

FIRST, SECOND = "10.214.1.1", "10.214.1.2"
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "RANK": "5"}


@pytest.fixture
def two() -> Iterator[list[tuple[str, str]]]:
    """Two hosts, each with the end of the cable between them."""
    with hosts("first", "second") as names:
        ends = cable(names[0], FIRST, names[1], SECOND)
        yield list(zip(names, ends, strict=True))


@pytest.mark.parametrize("by", ["torchrun", *(["--nodes"] if SOAK else [])])
def test_two_hosts_learn_what_one_process_does(
    by: str, two: list[tuple[str, str]], tiny_dataset: Path, tmp_path: Path
) -> None:
    """The second one writes nothing: it has no folder for it."""
    options = [*SETTINGS, "--set", "model.dropout=0", "--set", "train.val_every=10", "--max-steps", "30"]
    running = []
    for number, (host, end) in enumerate(two):
        alone = ["ip", "netns", "exec", host]
        at = {"MASTER_ADDR": FIRST, "MASTER_PORT": "29500", "NODE_RANK": str(number)}
        launch = [sys.executable, "-m"]
        if by == "torchrun":
            launch += ["torch.distributed.run", "--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1"]
            launch += ["--master-addr", FIRST, "--master-port", "29500", "-m"]
            at = {}
        out = tmp_path / ("out" if number == 0 else "nowhere")
        command = [*alone, *launch, "chesslm", "train", "--data", tiny_dataset, "--out", out, *options]
        command += ["--nodes", "2"] if by == "--nodes" else []
        environment = {**os.environ, **at, "GLOO_SOCKET_IFNAME": end}
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    recipe = replace(RECIPE, train=replace(RECIPE.train, max_steps=30))
    train(tiny_dataset, tmp_path / "one", recipe, device="cpu", quiet=True)
    assert curve(tmp_path / "out") == pytest.approx(curve(tmp_path / "one"), rel=1e-4)
    assert [row["games"] for row in rows(tmp_path / "out")] == [row["games"] for row in rows(tmp_path / "one")]
    assert (tmp_path / "out" / "chesslm.json").is_file() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("devices", "nodes", "said", "found"),
    [
        (1, 1, {}, Ranks(1, 1, 0)),
        (2, 1, {"LOCAL_RANK": "1"}, Ranks(2, 1, 1)),
        (4, 2, {"NODE_RANK": "1", "LOCAL_RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, Ranks(4, 2, 6)),
        (1, 1, TORCHRUN, Ranks(4, 2, 5)),
        (4, 2, TORCHRUN, Ranks(4, 2, 5)),
    ],
)
def test_who_is_which(
    devices: int, nodes: int, said: dict[str, str], found: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert find_ranks(devices, nodes) == found
    assert (found.total, found.first) == (found.devices * found.nodes, found.rank == 0)


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--nodes: start the command by torchrun, or set NODE_RANK"):
        find_ranks(1, 2)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="torchrun started 2 nodes of 4 processes"):
        find_ranks(2, 2)
