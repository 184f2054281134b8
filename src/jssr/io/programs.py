"""Programs that are called, and the memory that they take."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from jssr.errors import JssrError

__all__ = ["forget_programs", "held_mib", "programs_peak_mib", "run_program"]

EVERY = 0.05
"""Seconds between looks at a program's memory."""
_largest = 0.0


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
                _largest = max(_largest, held_mib(run.pid) or 0.0)
    if run.returncode:
        last = (errors or output).strip().splitlines()[-1:]
        raise JssrError(f"{command[0]} ended with {run.returncode}: {' '.join(last) or 'no message'}")


def programs_peak_mib() -> float:
    """MiB that the largest program took since `forget_programs`; 0 on all systems but Linux."""
    return _largest


def forget_programs() -> None:
    """Let `programs_peak_mib` begin anew."""
    global _largest
    _largest = 0.0


def held_mib(process: int | str = "self") -> float | None:
    """The most MiB that a process has held since `forget_peak`; None on all systems but Linux."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return None
