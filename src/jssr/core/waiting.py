"""How the threads of OpenMP wait for one another: asleep, where the user has not said otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping

_SAID = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What settles it: of OpenMP, of GNU's library (in torch's wheels for Linux) and of LLVM's (macOS, Windows)."""


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process, before it loads torch.

    By default a thread that is done first spins until the others are: for some milliseconds in GNU's library. Where
    another program wants the core, it keeps that one and the slower thread off it, at the end of every small operation.
    """
    return {} if any(name in environment for name in _SAID) else {"OMP_WAIT_POLICY": "passive"}


def wait_asleep() -> None:
    """Set it for this process and those that it starts. A program's decision, not a library's: the command line calls
    it, `import jssr` does not."""
    os.environ.update(waiting(os.environ))
