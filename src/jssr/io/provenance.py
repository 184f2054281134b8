"""What made a result: versions, machine, seconds of each stage, memory."""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jssr._version import __version__
from jssr.io.programs import forget_programs, held_mib, programs_peak_mib

__all__ = ["Stopwatch", "forget_peak", "package_version", "peak_memory_mib", "processor", "provenance"]


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
    own = held_mib()
    if own is None:
        try:
            import resource
        except ModuleNotFoundError:  # Windows
            return programs_peak_mib()
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return own + programs_peak_mib()


def forget_peak() -> None:
    """Let `peak_memory_mib` begin anew with what is held now, where the system can do that (Linux).

    What the C library keeps of freed arrays (`jssr.cli.memory`) is given back first, or it would count as held.
    """
    forget_programs()
    with suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def provenance(device: str, deterministic: bool) -> dict[str, Any]:
    """Versions and machine, as plain data."""
    import torch

    return {
        "versions": {
            "jssr": __version__,
            "python": platform.python_version(),
            **{
                name: package_version(name) or "not installed"
                for name in ("torch", "numpy", "SimpleITK", "itk-elastix")
            },
        },
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
