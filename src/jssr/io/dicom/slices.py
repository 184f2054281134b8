"""One file of a DICOM series: its place, and what in its header may tell acquisitions apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from jssr.errors import ImageError
from jssr.io.dicom.files import in_words, quietly, uid_name

MARKS = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionDateTime",
    "AcquisitionTime", "TriggerTime", "FrameReferenceTime", "EchoNumbers", "EchoTime", "DiffusionBValue",
    "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "KVP", "ConvolutionKernel", "ImageType",
    "ComplexImageComponent", "ContentTime",
)  # fmt: skip
"""Attributes that may tell acquisitions of one series apart, in the order in which they are tried."""
LAST = "InstanceNumber"
"""The same, where nothing else does and two stacks share the slice at which they meet."""
_B_VALUES = ((0x0019, 0x100C), (0x2001, 0x1003), (0x0043, 0x1039))
"""Private elements with the b-value: Siemens, Philips, GE."""
_TAGS: list[Any] = [
    "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "SeriesDescription", "ProtocolName",
    "SeriesNumber", "InstanceNumber", "Modality", "PatientID", "PatientName", "PatientBirthDate", "AcquisitionDate",
    "SeriesTime", "SeriesDate", "StudyDate", "ContrastBolusAgent", "ContrastBolusRoute", "ContrastBolusVolume",
    "ContrastBolusStartTime", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "FrameOfReferenceUID",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "PixelPaddingValue", "PixelRepresentation",
    *MARKS, *_B_VALUES,
]  # fmt: skip
_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""Group 2 or 8, little or big endian: how a data set without a preamble begins."""


@dataclass(frozen=True)
class Slice:
    """One file of a series, as its header has it."""

    path: Path
    position: NDArray[np.float64] | None
    axes: NDArray[np.float64] | None
    """(2, 3) direction of the columns' and of the rows' index."""
    pixel: tuple[float, ...]
    """Distance of neighbouring rows, of neighbouring columns (mm)."""
    size: tuple[int, int]
    samples: int
    frames: int
    decimals: tuple[int, ...] = (6, 6, 6)
    """Of the position, as they are written."""
    padded: bool = False
    """Names a padding value."""
    marks: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its values of `MARKS` and `LAST`, as far as it has them."""


def read_header(path: Path) -> tuple[pydicom.Dataset | None, str]:
    """The header of an image's file, and "" ; of anything else None, and what it is, in words.

    Files without the preamble of DICOM part 10 are read where they begin as a data set.

    Raises:
        ImageError: an image whose header is damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
        if start[128:] != b"DICM" and start[:2] not in _STARTS:
            return None, "no DICOM"
        with quietly():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
    except Exception:  # whatever a damaged file makes pydicom raise
        return None, "not readable"
    has = {e.keyword for e in _decoded(header, path)}
    if {"SeriesInstanceUID", "Rows", "Columns"} <= has:
        return header, ""
    if "SOPClassUID" not in has:
        return None, "DICOMDIR" if path.name.upper() == "DICOMDIR" else "no DICOM"
    if not {"Rows", "Columns"} & has:
        return None, f"no image ({uid_name(str(header.SOPClassUID)).removesuffix(' Storage')})"
    return None, "without " + ", ".join(sorted({"SeriesInstanceUID", "Rows", "Columns"} - has))


def _decoded(header: pydicom.Dataset, path: Path) -> list[pydicom.DataElement]:
    """The elements of a header, each decoded now: pydicom does that, and raises, at the first use."""
    try:
        with quietly():
            elements = list(header)
            int(header.get("Rows") or 0), int(header.get("Columns") or 0), int(header.get("SamplesPerPixel") or 1)
            int(header.get("NumberOfFrames") or 1)
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise ImageError(
            f"{path}: its DICOM header is damaged ({in_words(error)}); export it again or take it out"
        ) from error
    return elements


def slice_of(header: pydicom.Dataset, path: Path) -> Slice:
    """What of a header places a slice and tells it from others."""
    axes = numbers(header.get("ImageOrientationPatient"), 6)
    pixel = numbers(header.get("PixelSpacing"), 2)
    place = header.get("ImagePositionPatient")
    position = numbers(place, 3)
    return Slice(
        path=path,
        position=position,
        axes=None if axes is None else axes.reshape(2, 3),
        pixel=() if pixel is None else tuple(pixel.tolist()),
        size=(int(header.Columns), int(header.Rows)),
        samples=int(header.get("SamplesPerPixel") or 1),
        frames=int(header.get("NumberOfFrames") or 1),
        decimals=(6, 6, 6) if position is None else tuple(_decimals(str(value)) for value in place),
        padded="PixelPaddingValue" in header,
        marks=_marks(header),
    )


def _decimals(text: str) -> int:
    """How many decimals a number is written with; zeros at the end do not count."""
    number, _, exponent = text.strip().lower().partition("e")
    after = number.partition(".")[2].rstrip("0")
    return max(0, len(after) - int(exponent or 0))


def _marks(header: pydicom.Dataset) -> dict[str, str]:
    found = {
        name: "\\".join(words(header.get(name))).strip() for name in (*MARKS, LAST) if header.get(name) is not None
    }
    date = str(header.get("AcquisitionDate") or "")
    if found.get("AcquisitionTime") and date:
        found["AcquisitionTime"] = f"{date} {found['AcquisitionTime']}"  # past midnight
    if "DiffusionBValue" not in found:
        value = next((_b_value(header[tag].value) for tag in _B_VALUES if tag in header), None)
        if value is not None:
            found["DiffusionBValue"] = value
    return {name: value for name, value in found.items() if value}


def _b_value(value: Any) -> str | None:
    """The b-value of a maker's own element; GE adds 10^9 to it."""
    try:
        if isinstance(value, bytes):
            text = value.strip(b"\0 ")
            value = np.frombuffer(value, "<f4")[0] if len(value) == 4 and not text.isdigit() else text.decode("ascii")
        first = str(words(value)[0]).partition("\\")[0]
        return f"{float(first) % 1e9:g}"
    except (IndexError, TypeError, ValueError):
        return None


def words(value: Any) -> list[str]:
    """The values of an element as texts."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    try:
        return [str(word) for word in value]
    except TypeError:
        return [str(value)]


def numbers(value: Any, count: int) -> NDArray[np.float64] | None:
    """So many finite numbers, or None."""
    try:
        if value is None or len(value) != count:
            return None
        found = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None
