"""What compiled libraries write to the terminal while they read a file: kept off it, and believed where they complain.

HDF5, MINC, MetaIO, libpng and libjpeg write to the process's own streams, and some then go on with what they have.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jssr.io.hdf5 import hush_the_end

_COMPLAINS = re.compile(rb"error|fail|corrupt|premature|truncat|invalid|unable|cannot|can't|not defined", re.I)
_lock = threading.RLock()


@contextmanager
def listening() -> Iterator[None]:
    """Keep what compiled code writes to stdout and stderr off the terminal.

    Raises:
        RuntimeError: the block ended well, and yet something was written that complains.
    """
    with _lock, tempfile.TemporaryFile() as file:
        kept = _turned(file.fileno())
        try:
            yield
        finally:
            _restored(kept)
            file.seek(0)
            said = file.read(1 << 16)
            if b"HDF5" in said:
                hush_the_end()
    if _COMPLAINS.search(said):
        raise RuntimeError(" ".join(said.decode("utf-8", "replace").split())[:200])


def _turned(to: int) -> dict[int, int]:
    """Turn both streams to a file; gives copies of what they were, of those that are open."""
    kept = {}
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        with suppress(OSError, ValueError, AttributeError):  # a process may have none
            stream.flush()
        with suppress(OSError):
            kept[number] = os.dup(number)
            os.dup2(to, number)
    return kept


def _restored(kept: dict[int, int]) -> None:
    for number, copy in kept.items():
        os.dup2(copy, number)
        os.close(copy)
