"""Which of several processes of one run this is, as torchrun, srun or Lightning Fabric note it in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jssr.errors import TrainingError

Starter = Literal["torchrun", "srun", "fabric"]


@dataclass(frozen=True)
class Launched:
    """One of several processes that work together.

    Attributes:
        by: what started it; "fabric" is Lightning Fabric, or whoever sets LOCAL_RANK and WORLD_SIZE as it does.
        rank: of `world` processes on all machines.
        devices: processes on each machine; None where the starter does not note it.
    """

    by: Starter
    rank: int
    world: int
    devices: int | None = None

    @property
    def nodes(self) -> int:
        """Machines."""
        return 1 if self.devices is None else self.world // self.devices


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Which process this is; None where it is alone.

    torchrun counts before srun, which may have started it. A script of sbatch is no process of srun, though it sees the
    number of tasks: a program in it runs once.

    Raises:
        TrainingError: the environment names a starter and lacks what that sets, or machines have unequal numbers.
    """

    def number(*names: str) -> int:
        for name in names:
            value = environment.get(name, "")
            if value.isdecimal():
                return int(value)
        said = " or ".join(names)
        raise TrainingError(f"expected a number in the variable {said}, as {by} sets it, got none: start it by {by}")

    by: Starter
    if "TORCHELASTIC_RUN_ID" in environment:
        by = "torchrun"
        found = Launched(by, number("RANK"), number("WORLD_SIZE"), number("LOCAL_WORLD_SIZE"))
    elif "SLURM_STEP_ID" in environment:
        by = "srun"
        world = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
        nodes = number("SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
        found = Launched(by, number("SLURM_PROCID"), world, max(1, world // max(nodes, 1)))
    elif "LOCAL_RANK" in environment and "WORLD_SIZE" in environment:
        by = "fabric"
        found = Launched(by, number("RANK", "LOCAL_RANK"), number("WORLD_SIZE"))
    else:
        return None
    if found.world == 1:
        return None
    if found.devices is not None and found.world % found.devices:
        raise TrainingError(
            f"expected the same number of processes on every machine, got {found.world} with {found.devices} on this "
            f"one: start as many on each (torchrun --nproc-per-node, srun --ntasks-per-node)"
        )
    return found
