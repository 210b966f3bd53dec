"""Hosts with networks of their own on this machine (Linux network namespaces), and cables between them; for root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

import pytest

_ends = count()


@contextmanager
def hosts(*names: str) -> Iterator[list[str]]:
    """Hosts without a cable, gone at the end; ``ip netns exec NAME COMMAND`` runs something there."""
    full = [f"chesslm-{name}-{os.getpid()}" for name in names]
    try:
        for name in full:
            ip(f"netns add {name}")
            ip(f"-n {name} link set lo up")
        yield full
    finally:
        for name in full:
            # The cables go with them.
            with suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def cable(one: str | None, address: str, other: str, other_address: str) -> list[str]:
    """Lay a cable between two hosts, None for this one; returns what its ends are called."""
    ends = [f"c{os.getpid()}-{next(_ends)}" for _ in range(2)]
    at = f"-n {one} " if one else ""
    ip(f"{at}link add {ends[0]} type veth peer name {ends[1]} netns {other}")
    ip(f"{at}addr add {address}/24 dev {ends[0]}")
    ip(f"-n {other} addr add {other_address}/24 dev {ends[1]}")
    ip(f"{at}link set {ends[0]} up")
    ip(f"-n {other} link set {ends[1]} up")
    return ends


def ip(command: str) -> None:
    """Do it, or skip the test where that is not allowed."""
    try:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no hosts to be had here: ip {command}: {getattr(error, 'stderr', error)}")
