"""How the process gets memory from the system."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h of the GNU C library
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library reuse the memory of freed arrays instead of handing each back to the system.

    By default every array above some megabytes is mapped afresh, and the system clears its pages on first touch: that
    took a third of a training step (docs/results.md). For the whole process, so a program's decision and not a
    library's: the command line calls it, `import jssr` does not.

    Returns:
        Whether it took effect; only the GNU C library has these settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MOST, _TOP_PAD: 64 * 2**20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
