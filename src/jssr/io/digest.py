"""Whether a file is the one it was: by its content, not its time, which a copy changes."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

__all__ = ["digest"]

ENDS = 2**16
HEADERS = (".mhd", ".hdr", ".nhdr")


def digest(path: Path) -> str:
    """A short digest of a file, or of the files of a folder (a DICOM series).

    Of a `.gz` the ends are read: the last bytes hold checksum and size of what was packed. A header apart
    from its voxels (`.mhd`, `.hdr`, `.nhdr`) counts together with the files of its name. Hidden files do not count.

    Raises:
        OSError: it is not there or unreadable.
    """
    found = hashlib.blake2b(digest_size=12)
    if path.is_dir():
        for inner in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            found.update(f"{inner.relative_to(path)} {digest(inner)}\n".encode())
        return found.hexdigest()
    if path.suffix.lower() in HEADERS:
        for other in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")):
            if other != path and other.suffix.lower() not in HEADERS:
                found.update(f"{other.name} {digest(other)}\n".encode())
    with path.open("rb") as file:
        size = path.stat().st_size
        if path.suffix == ".gz" and size > 2 * ENDS:
            found.update(file.read(ENDS))
            file.seek(size - ENDS)
        while part := file.read(2**20):
            found.update(part)
        found.update(str(size).encode())
    return found.hexdigest()
