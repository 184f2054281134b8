"""One DICOM file opened; whatever a damaged one makes a library raise becomes one line, and what libraries remark on
odd values is kept from the user."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom import uid as uids
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from jssr.errors import ImageError, JssrError
from jssr.io.elements import check_elements


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
