"""How the process gets memory from the system, and gives it back."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h of the GNU C library
_MOST = 2**31 - 1
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let the C library reuse the memory of freed arrays instead of handing each back to the system.

    By default every array above some megabytes is mapped afresh, and the system clears its pages on first touch: that
    took a third of a training step (docs/notebook). For the whole process and the workers it starts, so a program's
    decision and not a library's: the command line calls it, `import jssr` does not.

    Returns:
        Whether it took effect; only the GNU C library has these settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    # Worker processes are new programs: the library reads its settings from the environment there.
    os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(_MOST))
    os.environ.setdefault("MALLOC_TOP_PAD_", str(_TOP_PAD_BYTES))
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MOST, _TOP_PAD: _TOP_PAD_BYTES}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def collect_rarely() -> None:
    """Look for unused objects at every 50,000th new one, not at every 700th, and not at the end: a search that finds
    nothing took 0.3 s of the imports and 0.7 s of the exit. Also a program's decision."""
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
