"""The processes of one run: started here, by torchrun or by Slurm, agreed on what they train, and ended together.

Lightning Fabric joins them, with gloo on CPUs and NCCL on GPUs. An error in one ends all, and one of them tells it. A
signal to one (Ctrl-C, SIGTERM of a preempted machine) stops all after the same step.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from jssr._version import __version__
from jssr.core.hardware import choose_precision, cpu_has_bf16, device_type
from jssr.core.launched import Launched, launched
from jssr.errors import Interrupted, TrainingError, WorkerError
from jssr.recipes.config import Recipe
from jssr.training.shares import share_of

log = logging.getLogger(__name__)

LINGER = 3.0
"""Seconds that a process that failed stays, for the others to read that it has told why."""
TOLD = "jssr/told"
SAME_SIGNAL = 10.0
"""Seconds in which further signals to one of several processes are the same one: a starter passes on what its terminal
has sent already."""


@dataclass(frozen=True)
class RunOptions:
    """On what a training runs: nothing here changes what it yields, but for rounding.

    Attributes:
        resume: continue from `out/checkpoint`, or begin where there is none.
        devices: processes on this machine, one per device; above 1 the calling script is started again for each.
            Under torchrun or srun, which have started them, it is 1 or as many as they say.
        accelerator: their kind.
        deterministic: only algorithms that give the same bits each time. On a CPU all have one; on a GPU torch warns
            of those that have none.
        workers: threads that make batches ahead; None is 0 on a CPU, whose cores are busy anyway, and 4 elsewhere.
    """

    resume: bool = False
    devices: int = 1
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    deterministic: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them.

    Attributes:
        fabric: launched.
        precision: that they compute in.
        devices: how many are on this machine.
    """

    fabric: Fabric
    precision: str
    devices: int

    @property
    def first(self) -> bool:
        """Whether this is the one that logs, draws and saves."""
        return bool(self.fabric.is_global_zero)

    @property
    def world(self) -> int:
        """All of them."""
        return int(self.fabric.world_size)

    def any(self, here: bool) -> bool:
        """Whether it is so in one of them."""
        if self.world == 1:
            return here
        flag = torch.tensor(float(here), device=self.fabric.device)
        dist.all_reduce(flag)
        return bool(flag > 0)

    def agree(self, facts: Mapping[str, object]) -> None:
        """Make sure that all see the same.

        Raises:
            TrainingError: one does not.
        """
        if self.world == 1:
            return
        every: list[Any] = [None] * self.world
        dist.all_gather_object(every, {"version of jssr": __version__, "precision": self.precision, **facts})
        for rank, theirs in enumerate(every):
            for what, value in every[0].items():
                if theirs[what] != value:
                    raise TrainingError(
                        f"expected the same {what} in all processes, got {_short(value)} in the first and "
                        f"{_short(theirs[what])} in process {rank}: use one installation, one command, and folders "
                        "that all machines share"
                    )


@contextmanager
def processes(recipe: Recipe, options: RunOptions) -> Iterator[Processes]:
    """Start or join the processes of a run; an error within the block ends all of them.

    The error gets an attribute `told`, true where another process tells it.

    Raises:
        TrainingError: the accelerator is not there, does not compute in the recipe's precision, or the processes
            cannot share the recipe's steps.
        WorkerError: another process ended without a word.
    """
    theirs = launched()
    precision = _precision(recipe, options.accelerator)
    devices = _devices(options, theirs)
    world = devices if theirs is None else theirs.world
    if theirs is None:
        share_of(recipe.training, 0, world)  # refused before others are started
    try:
        fabric = Fabric(
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=world // devices,
            strategy="ddp" if world > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
            plugins=[_environment(theirs)],
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        where = f"accelerator {options.accelerator!r} with {devices} devices in {precision}"
        raise TrainingError(f"{where}: {error}") from error
    fabric.launch()
    found = Processes(fabric, precision, devices)
    if found.world == 1:
        yield found
        return
    try:
        share_of(recipe.training, fabric.global_rank, found.world)
        yield found
    except BaseException as error:
        told = _ended(error, fabric.global_rank, found.world)
        if told is error:
            raise
        raise told from error


@contextmanager
def stoppable(alone: bool) -> Iterator[Callable[[], bool]]:
    """Within the block an interrupt (Ctrl-C, SIGTERM) is only noted, so that the step is finished and the state saved;
    a second one acts at once. Gives a function that says whether there was one.

    Args:
        alone: this is the only process. Otherwise it may get the same signal twice, of its terminal and of its starter,
            and a second one acts after `SAME_SIGNAL` seconds only.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    since = time.monotonic()

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal since
        again = asked.is_set()
        asked.set()
        if again and time.monotonic() - since < SAME_SIGNAL:
            return
        since = time.monotonic()
        if alone or again:
            for each, handler in before.items():
                signal.signal(each, handler)
        if again:
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def digest_of(recipe: Recipe) -> str:
    """A short name of what a recipe holds."""
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:12]


def _precision(recipe: Recipe, accelerator: str) -> str:
    """The precision that is computed in."""
    device, wanted = device_type(accelerator), recipe.training.precision
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"accelerator {accelerator!r}: torch sees no GPU here; train on 'cpu'")
    if device == "cpu" and wanted == "16-mixed":  # Fabric would compute in bfloat16 and warn
        raise TrainingError(
            "expected a GPU for training.precision 16-mixed, got the accelerator 'cpu', which computes no float16: "
            "--set training.precision=bf16-mixed, 32-true or auto"
        )
    emulated = not (cpu_has_bf16() if device == "cpu" else device != "cuda" or torch.cuda.is_bf16_supported(False))
    if wanted == "bf16-mixed" and emulated:
        log.warning("training.precision bf16-mixed: this %s has no bfloat16 and emulates it slowly; try auto", device)
    return choose_precision(wanted, accelerator)


def _devices(options: RunOptions, theirs: Launched | None) -> int:
    """Processes on this machine."""
    there = None if theirs is None else theirs.devices
    if theirs is None or there is None:
        return options.devices
    if options.devices not in (1, there):
        raise TrainingError(
            f"expected as many devices as {theirs.by} has started processes on this machine ({there}), got "
            f"{options.devices}: leave --devices out"
        )
    return there


def _environment(theirs: Launched | None) -> ClusterEnvironment:
    """What tells Fabric who is who. It is not left to look itself: it takes a script of sbatch for srun."""
    if theirs is None or theirs.by == "fabric":
        return LightningEnvironment()
    if theirs.by == "torchrun":
        return TorchElasticEnvironment()
    # Fabric compares these with its own numbers, and asks for the first, which srun sets only where it was an option.
    os.environ["SLURM_NTASKS_PER_NODE"] = str(theirs.devices)
    os.environ["SLURM_NNODES"], os.environ["SLURM_NTASKS"] = str(theirs.nodes), str(theirs.world)
    return SLURMEnvironment(auto_requeue=False)


def _ended(error: BaseException, rank: int, world: int) -> BaseException:
    """The error of one of several processes, with its attribute `told`; the others are let know."""
    if isinstance(error, Interrupted):  # all of them are, after the same step
        error.told = rank != 0  # type: ignore[attr-defined]
        return error
    lost = isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error))
    first = _first_to_tell(rank)
    if lost:
        error = WorkerError(
            f"one of the {world} processes ended before its work was done: check whether it was killed or memory is "
            "short; --resume continues from the last checkpoint"
        )
    error.told = not first  # type: ignore[attr-defined]
    if not lost:
        # Whoever waits for this process wakes now, and asks the store, which may be this process's.
        store = _store()
        with suppress(Exception):
            dist.destroy_process_group()
        end = time.monotonic() + LINGER
        while store is not None and time.monotonic() < end and not _all_seen(store, world):
            time.sleep(0.05)
    return error


def _store() -> Any:
    """What the processes have in common besides their collectives."""
    with suppress(Exception):
        return dist.distributed_c10d._get_default_store()
    return None


def _first_to_tell(rank: int) -> bool:
    """Whether no other process has told why the run ends. Without the store it is unknown, and told once more."""
    store = _store()
    try:
        first = store.compare_set(TOLD, "", str(rank)).decode() == str(rank)
        store.add(f"{TOLD}/seen", 1)
    except Exception:  # the store went with its process
        return True
    return first


def _all_seen(store: Any, world: int) -> bool:
    with suppress(Exception):
        return int(store.add(f"{TOLD}/seen", 0)) >= world
    return True


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
