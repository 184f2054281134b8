"""HDF5 files that ITK reads: what breaks off is found before.

HDF5 checks no numbers. A file whose structure is whole is read, whatever its bytes became.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

_MAGIC = b"\x89HDF\r\n\x1a\n"


def missing_bytes(path: Path) -> tuple[int, int] | None:
    """Bytes of an HDF5 file and how many its first block promises; None where it has as many, or is no HDF5."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start.startswith(_MAGIC) or len(start) < 64:
        return None
    version, width = start[8], start[9 if start[8] > 1 else 13]
    at = (12 if version > 1 else 24 if version == 0 else 28) + 2 * width
    end = int.from_bytes(start[at : at + width], "little")
    size = path.stat().st_size
    return (size, end) if width <= 8 and size < end else None


def _hush() -> None:
    with suppress(OSError, ValueError):
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)


@cache
def hush_the_end() -> None:
    """After a damaged file the library complains once more, as the process ends ("infinite loop closing library")."""
    atexit.register(_hush)
