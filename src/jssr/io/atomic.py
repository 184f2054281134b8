"""Complete files or none: outputs are written beside their place and moved there when complete."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jssr.errors import OutputError

__all__ = ["atomic_path", "make_folder"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; when the block ends well, move it to `path`.

    The temporary name is hidden and keeps the full ending (`.nii.gz`), by which libraries choose the format. If the
    block raises, the temporary file is removed and whatever was at `path` stays. Missing folders are made.

    Raises:
        OutputError: the folder cannot be made or written, the disk is full, or nothing was written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written, a folder of that name exists; choose another name")
    make_folder(path.parent)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder, with its parents, and return it.

    Raises:
        OutputError: it cannot be made or is not writable.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: this folder cannot be made ({_reason(error)})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: this folder is not writable; choose another output folder")
    return folder


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
