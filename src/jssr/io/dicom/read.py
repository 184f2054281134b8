"""A DICOM series in: its geometry checked with pydicom, its voxels read by GDCM through SimpleITK.

GDCM and ITK read a stack with a missing slice or a tilted gantry as if it were even and upright, so the geometry is
taken from each slice's own position (DICOM PS3.3 C.7.6.2). What is no plain grid is refused in words, but for a tilted
gantry: its slices are moved upright, each in its own plane.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.volume import Volume, volume_of
from jssr.errors import ImageError
from jssr.io.dicom.files import opened
from jssr.io.dicom.frames import read_frames
from jssr.io.dicom.geometry import stack_of
from jssr.io.dicom.padding import AIR, without_padding
from jssr.io.dicom.series import SeriesInfo, find_series, listed, matching
from jssr.io.dicom.slices import Slice
from jssr.io.elements import check_elements
from jssr.io.files import names_series
from jssr.io.itk import DICOM_MODALITIES, quiet

OBJECTS = ("RTDOSE", "RTSTRUCT", "RTPLAN", "SEG", "REG", "PR", "KO", "SR")
"""Modalities of what refers to a scan: an export for radiotherapy holds them beside it."""


def read_series(folder: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read one DICOM series as a float32 volume, slope and intercept applied (CT: Hounsfield units), with its modality.

    Padding becomes air. The slices of a tilted gantry are moved upright, and the user is told.

    Args:
        folder: a folder with DICOM files.
        series: UID, or how it begins; needed where the folder holds several (scouts do not count). `UID:2` is the
            second acquisition of a series that holds several.

    Raises:
        ImageError: no series, several and none chosen, colour, multi-frame files, slices that miss, repeat, differ in
            size or orientation or are unevenly spaced (off the line by more than 1 % or their rounding). Enhanced CT,
            MR and PET of one stack are the multi-frame files that are read.
    """
    folder = Path(folder)
    chosen = _choose(folder, series)
    where = f"{folder} (series {chosen.description or chosen.uid})"
    known = DICOM_MODALITIES.get(chosen.modality)
    if chosen.enhanced:
        return read_frames(opened(chosen.paths[0]), folder, where=where)
    array, grid = read_stack(chosen, where)
    tell(*(f"{where}: {note}." for note in chosen.notes))
    return volume_of(array, grid, "image", str(folder)).known_as("header", modality=known)


def read_stack(series: SeriesInfo, where: str, every: int = 1) -> tuple[NDArray[np.float32], Grid]:
    """Voxels (columns, rows, slices) and grid of a series of single slices.

    Args:
        every: reads so many slices once, for a look at the scan.

    Raises:
        ImageError: as `read_series`.
    """
    stack = stack_of(series.slices, where)
    slices = series.slices[::every]
    if every > 1:
        stack = stack_of(slices, where)
    for one in slices:
        check_elements(one.path)
    reader = sitk.ImageSeriesReader()
    # Each slice may have its own slope (PET): whole numbers of the first one must not decide the type.
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet(), TemporaryDirectory() as folder:
            reader.SetFileNames([str(_with_preamble(s.path, Path(folder) / str(k))) for k, s in enumerate(slices)])
            array = sitk.GetArrayFromImage(reader.Execute()).T
    except RuntimeError as error:
        raise ImageError(
            f"{where}: the pixels of {_unreadable(slices)} cannot be read, truncated or of an unknown coding; export "
            "again"
        ) from error
    if array.shape != stack.size:
        raise ImageError(f"{where}: its pixels do not fill its {stack.size} grid; a file is damaged")
    without_padding(array, slices, series.modality, where)
    if stack.drift.any():
        lowest = float(array.min())
        array = stack.upright(array, fill=float(np.clip(lowest, *AIR)) if series.modality == "CT" else lowest)
        tell(stack.words(where))
    return array, stack.grid()


def _unreadable(slices: Sequence[Slice]) -> str:
    """Which files of a series cannot be read alone, in words."""
    bad = []
    for one in slices:
        try:
            with quiet(), TemporaryDirectory() as folder:
                sitk.ReadImage(str(_with_preamble(one.path, Path(folder) / "one")))
        except RuntimeError:
            bad.append(one.path.name)
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return ", ".join(bad[:3]) + more if bad else "its slices together"


def _with_preamble(path: Path, copy: Path) -> Path:
    """A file that GDCM reads: it wants the preamble where there is a group 2."""
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM" or start[:2] != b"\x02\x00":
        return path
    copy.write_bytes(bytes(128) + b"DICM" + path.read_bytes())
    return copy


def series_at(path: str | os.PathLike[str]) -> SeriesInfo | None:
    """The series that `path` names as an image, `folder` or `folder/SERIES_UID`; None where it is no DICOM."""
    path = Path(path)
    if path.is_dir():
        return _choose(path, None) if find_series(path, localizers=True) else None
    return _choose(path.parent, path.name) if names_series(path) else None


def frame_at(image: object) -> str:
    """The UID of the frame of reference of a DICOM series, file or structure set; "" of anything else."""
    if not isinstance(image, (str, os.PathLike)):
        return ""
    try:
        if not Path(image).is_file():
            series = series_at(image)
            return "" if series is None else series.frame
        header = opened(image, pixels=False)
    except ImageError:
        return ""
    named = header.get("ReferencedFrameOfReferenceSequence") or [header]  # contours lie in what a set refers to
    return str(named[0].get("FrameOfReferenceUID") or "")


def _choose(folder: Path, series: str | None) -> SeriesInfo:
    found = find_series(folder, localizers=True)
    if not found:
        inside = "is empty" if not any(folder.iterdir()) else "holds no DICOM images"
        raise ImageError(f"{folder}: this folder {inside}; name an image file or a folder of one DICOM series")
    proper = [s for s in found if not s.localizer]
    if series is not None:
        chosen = matching(found, series, numbers=False)
        if len({s.uid for s in chosen}) == 1 and len(chosen) > 1:
            chosen = [s for s in chosen if not s.localizer] or chosen
            if len(chosen) > 1:
                how = f"pick one as {folder}/{chosen[0].uid}:{chosen[0].part}"
                raise ImageError(f"{folder}: this series holds {len(chosen)} acquisitions; {how}: {listed(chosen)}")
        if len(chosen) != 1:
            raise ImageError(f"{folder}: {len(chosen) or 'no'} series begin with {series}; it holds {listed(found)}")
        if ":" not in series:
            _tell_parts(folder, chosen[0], found)
        return chosen[0]
    scans = [s for s in proper if s.modality not in OBJECTS]
    if len(scans) == 1 and len(proper) > 1:
        beside = ", ".join(sorted({s.modality for s in proper} - {scans[0].modality}))
        tell(f"{folder}: its {scans[0].modality} series is read; beside it lies {beside}.")
        return scans[0]
    if not proper:
        raise ImageError(f"{folder}: holds only scouts and single slices: {listed(found)}")
    if len(proper) > 1:
        name = "SERIES_UID:PART" if any(s.part for s in proper) else "SERIES_UID"
        several = "acquisitions in one series" if len({s.uid for s in proper}) == 1 else "series"
        how = f"pick one as {folder}/{name} or with series="
        raise ImageError(f"{folder}: holds {len(proper)} {several}; {how}: {listed(proper)}")
    _tell_parts(folder, proper[0], found)
    return proper[0]


def _tell_parts(folder: Path, chosen: SeriesInfo, found: Sequence[SeriesInfo]) -> None:
    """Tell which part of a series is read, where the user named none and the others are single slices."""
    others = [s for s in found if s.uid == chosen.uid and s is not chosen]
    if others:
        tell(f"{folder}: the series was split, and its part {chosen} is read; beside it: {listed(others)}.")
