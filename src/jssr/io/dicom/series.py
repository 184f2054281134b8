"""The DICOM series of a folder, from the headers of its files."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.errors import InvalidDicomError

from jssr.errors import ImageError

_TAGS = [
    "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "SeriesDescription", "ProtocolName",
    "SeriesNumber", "Modality", "PatientID", "PatientName", "PatientBirthDate", "ImageType", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime", "SeriesTime", "SeriesDate", "ContrastBolusAgent",
    "ContrastBolusStartTime", "ConvolutionKernel", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip
ENHANCED = (
    uids.EnhancedCTImageStorage, uids.EnhancedMRImageStorage, uids.EnhancedPETImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage, uids.LegacyConvertedEnhancedMRImageStorage,
    uids.LegacyConvertedEnhancedPETImageStorage,
)  # fmt: skip
MIN_SLICES = 3
_PATIENT = ("PatientID", "PatientBirthDate", "PatientName")
_2D = ("CR", "DX", "RG", "PX", "MG", "IO", "XA", "RF")
"""Modalities whose images are 2D."""


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


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, its slices sorted along the patient.

    Attributes:
        acquisition_time: of its earliest slice, `YYYYMMDD HHMMSS` or less.
        contrast: the agent's name, "" where there is none, None where the header lacks it.
        delay: seconds from the injection's start to the first slice; None where the header lacks it.
        image_type: its words, in capitals.
        enhanced: is one multi-frame file with a place for each frame (enhanced CT, MR or PET).
        study: UID of the examination.
        patient: identity, birth date and name, as far as the header has them: two patients differ in one of them.
    """

    uid: str
    description: str
    modality: str
    n_slices: int
    acquisition_time: str
    paths: tuple[Path, ...]
    localizer: bool = False
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    number: int | None = None
    protocol: str = ""
    contrast: str | None = None
    delay: float | None = None
    kernel: str = ""
    image_type: frozenset[str] = frozenset()
    enhanced: bool = False
    study: str = ""
    patient: tuple[str, ...] = ("", "", "")

    def __str__(self) -> str:
        number = "" if self.number is None else f"series {self.number}, "
        return f'{self.uid} ({number}{self.modality or "?"} "{self.description}", {self.n_slices} slices)'


def find_series(folder: str | os.PathLike[str], localizers: bool = False) -> list[SeriesInfo]:
    """List the image series in a folder and its subfolders, sorted by acquisition time.

    A file that is there twice (one SOP Instance UID) counts once.

    Args:
        folder: where to look; files that are not DICOM images are passed over.
        localizers: also list scouts and series of fewer than three slices.

    Raises:
        ImageError: no such folder, or a damaged header.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return [s for s in _found(folder, tuple((p, p.stat().st_mtime_ns) for p in files)) if localizers or not s.localizer]


@lru_cache(maxsize=4)
def _found(folder: Path, files: tuple[tuple[Path, int], ...]) -> list[SeriesInfo]:
    """The series of these files, changed at these times: a study is asked for once a scan, and has thousands."""
    groups: dict[str, dict[str, tuple[pydicom.Dataset, Path]]] = defaultdict(dict)
    for path, _ in files:
        header = _header(path)
        if header is not None:
            instance = str(header.get("SOPInstanceUID") or path)
            groups[str(header.SeriesInstanceUID)].setdefault(instance, (header, path))
    found = [_series(uid, list(members.values())) for uid, members in groups.items()]
    return sorted(found, key=lambda s: (s.acquisition_time, s.number or 0, s.uid))


def single_image(folder: str | os.PathLike[str], series: str | None = None) -> Path | None:
    """The file of a folder (or of one of its series) that holds one image and no more, as a radiograph does."""
    found = find_series(folder, localizers=True)
    chosen = [s for s in found if series is None or s.uid.startswith(series)]
    single = len(chosen) == 1 and chosen[0].modality in _2D and len(chosen[0].slices) == 1
    return chosen[0].paths[0] if single and chosen[0].slices[0].frames == 1 else None


def check_one_patient(found: Sequence[SeriesInfo]) -> None:
    """Refuse series of two patients, as far as their headers name one; capitals do not count."""
    for position, what in enumerate(_PATIENT):
        said = {" ".join(s.patient[position].casefold().replace("^", " ").split()): s.patient[position] for s in found}
        names = sorted(name for plain, name in said.items() if plain)
        if len(names) > 1:
            shown = ", ".join(names[:4])
            raise ImageError(f"scans of {len(names)} patients ({what} {shown}); expected scans of one patient")


def listed(found: Sequence[SeriesInfo]) -> str:
    """Series in a line, for a message."""
    shown = "; ".join(str(s) for s in found[:12])
    return shown + (f"; and {len(found) - 12} more" if len(found) > 12 else "")


def _header(path: Path) -> pydicom.Dataset | None:
    """The tags of an image file, None for anything else."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError):
        return None
    if not {"SeriesInstanceUID", "Rows", "Columns"} <= {e.keyword for e in _decoded(header, path)}:
        return None
    return header


def _decoded(header: pydicom.Dataset, path: Path) -> list[pydicom.DataElement]:
    """The elements of a header, each decoded now: pydicom does that, and raises, at the first use."""
    try:
        elements = list(header)
        int(header.get("Rows") or 0), int(header.get("Columns") or 0), int(header.get("SamplesPerPixel") or 1)
        int(header.get("NumberOfFrames") or 1)
    except Exception as error:  # whatever a damaged file makes pydicom raise
        raise ImageError(f"{path}: its DICOM header is damaged ({error}); export it again or take it out") from error
    return elements


def _series(uid: str, members: list[tuple[pydicom.Dataset, Path]]) -> SeriesInfo:
    first = members[0][0]

    def text(name: str) -> str:
        return str(first.get(name) or "")

    slices = [_slice(header, path) for header, path in members]
    start = slices[0]
    slices.sort(key=lambda s: (_along(s, start), s.path))
    n = sum(s.frames for s in slices)
    image_type = frozenset(word.upper() for word in _words(first.get("ImageType")))
    # A slice each has its own time; the first in space is not the first in time.
    began = min(_moment(header) for header, _ in members)
    return SeriesInfo(
        uid=uid,
        description=text("SeriesDescription"),
        modality=text("Modality"),
        n_slices=n,
        acquisition_time=began.partition(".")[0],
        paths=tuple(s.path for s in slices),
        localizer=bool(image_type & {"LOCALIZER", "SCOUT"}) or n < MIN_SLICES,
        slices=tuple(slices),
        number=_integer(first.get("SeriesNumber")),
        protocol=text("ProtocolName"),
        contrast=str(first.ContrastBolusAgent or "") if "ContrastBolusAgent" in first else None,
        delay=_seconds_between(text("ContrastBolusStartTime"), began.partition(" ")[2]),
        kernel=" ".join(_words(first.get("ConvolutionKernel"))),
        image_type=image_type,
        study=text("StudyInstanceUID"),
        enhanced=len(members) == 1 and first.get("SOPClassUID") in ENHANCED,
        patient=tuple(text(name).strip() for name in _PATIENT),
    )


def _moment(header: pydicom.Dataset) -> str:
    """When a slice was taken: `YYYYMMDD HHMMSS.FFF` or as much of it as is known."""
    moment = str(header.get("AcquisitionDateTime") or "")
    date = str(header.get("AcquisitionDate") or moment[:8] or header.get("SeriesDate") or "")
    time = str(header.get("AcquisitionTime") or moment[8:].partition("+")[0] or header.get("SeriesTime") or "")
    return f"{date} {time}".strip()


def _seconds_between(start: str, end: str) -> float | None:
    """From one DICOM time of day (`HHMMSS.FFF`) to another; None where one is not known or they are out of order."""
    digits = [text.partition(".")[0].replace(":", "").strip() for text in (start, end)]
    try:  # seconds, then minutes may be left out
        began, ended = (datetime.strptime(text.ljust(6, "0"), "%H%M%S") for text in digits)
    except ValueError:
        return None
    return (ended - began).total_seconds() if ended >= began else None


def _integer(value: Any) -> int | None:
    try:
        return None if value is None or str(value).strip() == "" else int(value)
    except (OverflowError, TypeError, ValueError):
        return None


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else [str(word) for word in value or ()]


def _slice(header: pydicom.Dataset, path: Path) -> Slice:
    axes = _numbers(header.get("ImageOrientationPatient"), 6)
    pixel = _numbers(header.get("PixelSpacing"), 2)
    return Slice(
        path=path,
        position=_numbers(header.get("ImagePositionPatient"), 3),
        axes=None if axes is None else axes.reshape(2, 3),
        pixel=() if pixel is None else tuple(pixel.tolist()),
        size=(int(header.Columns), int(header.Rows)),
        samples=int(header.get("SamplesPerPixel") or 1),
        frames=int(header.get("NumberOfFrames") or 1),
    )


def _numbers(value: Any, count: int) -> NDArray[np.float64] | None:
    if value is None or len(value) != count:
        return None
    numbers = np.array([float(v) for v in value], dtype=np.float64)
    return numbers if np.isfinite(numbers).all() else None


def _along(one: Slice, first: Slice) -> float:
    if one.position is None or first.axes is None:
        return 0.0
    return float(np.cross(first.axes[0], first.axes[1]) @ one.position)
