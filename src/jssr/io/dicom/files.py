"""One DICOM file opened; whatever a damaged one makes a library raise becomes one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom import uid as uids
from pydicom.dataset import Dataset

from jssr.errors import ImageError, JssrError


def opened(path: str | os.PathLike[str], pixels: bool = True) -> Dataset:
    """The data set of one DICOM file.

    Raises:
        ImageError: no such file, or not readable as DICOM.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    with readable(path):
        found = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        if not found.get("SOPClassUID"):
            raise ImageError(f"{path}: expected a DICOM file with a SOP class, got none; export it again")
        if "TransferSyntaxUID" not in found.file_meta:  # a data set without the header of a file, as some archives send
            implicit = found.original_encoding[0] is not False
            found.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian
        return found
    raise AssertionError  # `readable` never passes an exception over


@contextmanager
def readable(path: str | os.PathLike[str], what: str = "its DICOM data") -> Iterator[None]:
    """Turn whatever a damaged file makes a library raise into one line; what is refused in words stays as it is."""
    try:
        yield
    except (JssrError, MemoryError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:160]
        raise ImageError(f"{path}: {what} cannot be read, truncated or damaged ({said}); export it again") from error


def class_name(found: Dataset) -> str:
    """The name of an object's SOP class, for a message."""
    return str(uids.UID(str(found.SOPClassUID)).name).removesuffix(" Storage")
