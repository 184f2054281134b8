"""What the name of a scan may be besides a file's or a folder's."""

from __future__ import annotations

from pathlib import Path

__all__ = ["names_series"]


def names_series(path: Path) -> bool:
    """Whether a path that is no file means a DICOM series of its folder: `folder/SERIES_UID`, or the UID's start."""
    numbers = path.name.rstrip(".").split(".")
    uid = "." in path.name and all(number.isdigit() for number in numbers)
    return uid and not path.exists() and path.parent.is_dir()
