"""What made a result: versions, machine, seconds of each stage, memory, also of the programs that are called."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jssr._version import __version__
from jssr.errors import JssrError

EVERY = 0.05
"""Seconds between looks at a program's memory."""
_largest = 0.0
"""MiB that the largest program took since `forget_peak`; 0 on all systems but Linux."""


class Stopwatch:
    """Seconds of each named stage, in order.

    Args:
        on_stage: called with the name of each stage as it begins, for a progress display.
    """

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; blocks of one name add up."""
        if self._on_stage is not None:
            self._on_stage(name)
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def peak_memory_mib() -> float:
    """The most memory this process has held since `forget_peak`, or since it began, and with it the largest program
    of `run_program`, MiB."""
    own = _held_mib()
    if own is None:
        try:
            import resource
        except ModuleNotFoundError:  # Windows
            return _largest
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return own + _largest


def forget_peak() -> None:
    """Let `peak_memory_mib` begin anew with what is held now, where the system can do that (Linux).

    What the C library keeps of freed arrays (`jssr.cli.memory`) is given back first, or it would count as held.
    """
    global _largest
    _largest = 0.0
    give_back()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def give_back() -> None:
    """Give the system what the C library keeps of freed arrays (`jssr.cli.memory`): the next stage then does
    not come on top of it. It takes a tenth of a second or two."""
    with suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def provenance(device: str, deterministic: bool) -> dict[str, Any]:
    """Versions and machine, as plain data."""
    import torch

    from jssr.core.kernels import variant

    packages = ("torch", "numpy", "SimpleITK", "itk-elastix")
    installed = {name: package_version(name) or "not installed" for name in packages}
    return {
        "versions": {"jssr": __version__, "python": platform.python_version(), **installed, "loops": variant()},
        "device": device,
        "threads": torch.get_num_threads(),
        "deterministic": deterministic,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def processor() -> str:
    """The name of this machine's processor, as far as the system reports it."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.machine()


def package_version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run_program(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end.

    Its memory is read while it runs: `ru_maxrss` afterwards begins with the size of the process that called it.

    Raises:
        JssrError: it ended with an error; the message holds its last line.
    """
    global _largest
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while True:
            try:
                output, errors = run.communicate(timeout=EVERY)
                break
            except subprocess.TimeoutExpired:
                _largest = max(_largest, _held_mib(run.pid) or 0.0)
    if run.returncode:
        last = (errors or output).strip().splitlines()[-1:]
        raise JssrError(f"{command[0]} ended with {run.returncode}: {' '.join(last) or 'no message'}")


def _held_mib(process: int | str = "self") -> float | None:
    """The most MiB that a process has held since `forget_peak`; None on all systems but Linux."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return None
