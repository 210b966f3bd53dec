"""Which of the processes this is that train together: one a device, on one host or on several.

On one host Lightning starts the others, by the same command. On several ``torchrun`` starts them all; or the command is
given on each host, with NODE_RANK, MASTER_ADDR and MASTER_PORT set there. Of ranks other than the first nothing is
written. Needs no torch.
"""

import os
from dataclasses import dataclass

from chesslm.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """The processes that share each batch.

    Attributes:
        devices: of a host, a process on each.
        nodes: hosts.
        rank: which process of them all this is, from 0.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return self.devices * self.nodes

    @property
    def first(self) -> bool:
        """Whether this is the one that measures, writes and speaks."""
        return self.rank == 0


def find_ranks(devices: int, nodes: int) -> Ranks:
    """The processes as they are asked for, or as torchrun has started them.

    Args:
        devices: of a host; 1 if torchrun is to say.
        nodes: hosts; 1 if torchrun is to say.

    Raises:
        InputError: torchrun started others than are asked for; or there are several hosts, and nothing says which this
            is and where the first one is.
    """
    said = os.environ
    if "TORCHELASTIC_RUN_ID" in said:
        found = Ranks(int(said["LOCAL_WORLD_SIZE"]), int(said["GROUP_WORLD_SIZE"]), int(said["RANK"]))
        if (devices, nodes) not in ((1, 1), (found.devices, found.nodes)):
            started = f"{found.nodes} nodes of {found.devices} processes"
            raise InputError(f"torchrun started {started}; leave out --devices and --nodes, or give the same")
        return found
    if nodes > 1 and not {"NODE_RANK", "MASTER_ADDR", "MASTER_PORT"} <= said.keys():
        raise InputError("--nodes: start the command by torchrun, or set NODE_RANK, MASTER_ADDR and MASTER_PORT")
    rank = int(said.get("NODE_RANK", "0")) * devices + int(said.get("LOCAL_RANK", "0"))
    return Ranks(devices, nodes, rank if nodes * devices > 1 else 0)
