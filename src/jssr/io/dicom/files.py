"""One DICOM file opened; whatever a damaged one makes a library raise becomes one line, and what libraries remark on
odd values is kept from the user."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid as uids
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from jssr.errors import ImageError, JssrError
from jssr.io.elements import check_elements

_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of one number of what DICOM stores as a stretch of numbers."""


def opened(path: str | os.PathLike[str], pixels: bool = True) -> Dataset:
    """The data set of one DICOM file.

    Raises:
        ImageError: no such file, or not readable as DICOM.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    if pixels:
        check_elements(path)
    with readable(path):
        found = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        if "DirectoryRecordSequence" in found:
            raise ImageError(f"{path}: is a DICOMDIR, a list of files; expected one of them: name their folder")
        _check_whole(found, path)
        if not found.get("SOPClassUID"):
            raise ImageError(f"{path}: expected a DICOM file with a SOP class, got none; export it again")
        if "TransferSyntaxUID" not in found.file_meta:  # a data set without the header of a file, as some archives send
            implicit = found.original_encoding[0] is not False
            found.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian
        if found.file_meta.TransferSyntaxUID == uids.ExplicitVRBigEndian:
            _swap(found)
            found.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
            return _written_again(found)
        return found
    raise AssertionError  # `readable` never passes an exception over


def _check_whole(found: Dataset, path: Path) -> None:
    """Refuse a file that ends within its last element: pydicom gives as much of it as there is, and a sequence that was
    cut between two of its items looks whole."""
    last = found.get_item(max(found.keys())) if len(found) else None
    value = last.value if isinstance(last, RawDataElement) else None
    if isinstance(last, RawDataElement) and isinstance(value, bytes) and len(value) < last.length < 0xFFFFFFFF:
        name = keyword_for_tag(last.tag) or str(last.tag)
        raise ImageError(
            f"{path}: is truncated, it holds {len(value)} of {last.length} bytes of its {name}; copy or export it again"
        )


def _swap(found: Dataset) -> None:
    """Turn the words of big endian elements round, in place (PS3.5 7.3): pydicom leaves bytes as they are."""
    for element in found:
        if element.VR == "SQ":
            for item in element.value:
                _swap(item)
        elif element.VR in _WORDS and element.value:
            size = _WORDS[element.VR]
            if element.keyword == "PixelData":
                size = max(size, int(found.get("BitsAllocated") or 0) // 8)
            element.value = np.frombuffer(element.value, f">u{size}").astype(f"<u{size}").tobytes()


def _written_again(found: Dataset) -> Dataset:
    """A data set as its file meta says: highdicom takes none that was read as big endian."""
    kept = BytesIO()
    pydicom.dcmwrite(kept, found, enforce_file_format=True)  # `save_as` refuses another order of bytes
    kept.seek(0)
    return pydicom.dcmread(kept, force=True)


@contextmanager
def readable(path: str | os.PathLike[str], what: str = "its DICOM data") -> Iterator[None]:
    """Turn whatever a damaged file makes a library raise into one line; what is refused in words stays as it is."""
    try:
        with quietly():
            yield
    except (JssrError, MemoryError):
        raise
    except Exception as error:
        said = in_words(error)
        raise ImageError(f"{path}: {what} cannot be read, truncated or damaged ({said}); export it again") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the remarks of pydicom and highdicom on names of one word, unknown escape sequences and the like: they
    name a library's lines, and no file."""
    logs = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [one.level for one in logs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            for one in logs:
                one.setLevel(logging.ERROR)
            yield
        finally:
            for one, level in zip(logs, levels, strict=True):
                one.setLevel(level)


def in_words(error: Exception) -> str:
    """What a library's error says of a file, without the words of Python; an attribute that is missing is named."""
    said = " ".join(str(error).split())
    if isinstance(error, AttributeError):
        name = re.search(r"(?:no attribute|attribute named) '?(\w+)", said)
        return f"{name[1]} is missing" if name and name[1][:1].isupper() else "an attribute is missing"
    if isinstance(error, KeyError):
        tag = re.search(r"\(?([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)?", said)
        name_ = keyword_for_tag(int(tag[1] + tag[2], 16)) if tag else ""
        return f"{name_ or (f'({tag[1]},{tag[2]})' if tag else 'an attribute')} is missing"
    if isinstance(error, TypeError | IndexError):
        return "an attribute has no value, or too few"
    if "convert" in said or "invalid literal" in said:
        return "an attribute holds text in place of a number"
    if "reshape" in said:
        return "its pixels do not fill its frames"
    return said.partition(" - ")[0][:160]


def class_name(found: Dataset) -> str:
    """The name of an object's SOP class, for a message."""
    return uid_name(str(found.SOPClassUID)).removesuffix(" Storage")


def uid_name(uid: str) -> str:
    """The name of a UID of DICOM's; one that is none stays as it is, without a remark of pydicom."""
    with quietly():
        return str(uids.UID(uid).name)
