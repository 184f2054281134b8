"""DICOM series in: found and checked with pydicom, voxels read by GDCM through SimpleITK.

GDCM and ITK read a stack with a missing slice or a tilted gantry as if it were even and upright, so the geometry is
taken from each slice's own position (DICOM PS3.3 C.7.6.2) and anything that is no plain grid is refused in words.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from jssr.core.grid import Grid, GridError
from jssr.core.volume import Volume, volume_of
from jssr.errors import ImageError
from jssr.io.images import quiet

__all__ = ["SeriesInfo", "find_series", "read_series", "single_image"]

_TAGS = [
    "SeriesInstanceUID", "SeriesDescription", "Modality", "PatientID", "ImageType", "InstanceNumber",
    "AcquisitionDate", "AcquisitionTime", "SeriesTime", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
]  # fmt: skip
MIN_SLICES = 3
_FLAT = ("CR", "DX", "RG", "PX", "MG", "IO", "XA", "RF")
"""Modalities whose images are flat."""
UNEVEN = 0.01  # share of the slice distance
SKEW = 0.5  # pixels of sideways drift over the whole stack


@dataclass(frozen=True)
class _Slice:
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
    """One series of a folder, its slices sorted along the patient. `acquisition_time` is `YYYYMMDD HHMMSS` or less."""

    uid: str
    description: str
    modality: str
    n_slices: int
    acquisition_time: str
    paths: tuple[Path, ...]
    patient_id: str
    localizer: bool = False
    slices: tuple[_Slice, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f'{self.uid} ({self.modality or "?"} "{self.description}", {self.n_slices} slices)'


def find_series(folder: str | os.PathLike[str], localizers: bool = False) -> list[SeriesInfo]:
    """List the image series in a folder and its subfolders, sorted by acquisition time.

    Args:
        folder: where to look; files that are not DICOM images are passed over.
        localizers: also list scouts and series of fewer than three slices.

    Raises:
        ImageError: no such folder, or a damaged header.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    groups: dict[str, list[tuple[pydicom.Dataset, Path]]] = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        header = _header(path)
        if header is not None:
            groups[str(header.SeriesInstanceUID)].append((header, path))
    try:
        found = [_series(uid, members) for uid, members in groups.items()]
    except (TypeError, ValueError) as error:
        raise ImageError(f"{folder}: a DICOM header in it is damaged ({error})") from error
    found.sort(key=lambda s: (s.acquisition_time, s.uid))
    return [s for s in found if localizers or not s.localizer]


def single_image(folder: str | os.PathLike[str], series: str | None = None) -> Path | None:
    """The file of a folder (or of one of its series) that holds one image and no more, as a radiograph does."""
    found = find_series(folder, localizers=True)
    chosen = [s for s in found if series is None or s.uid.startswith(series)]
    flat = len(chosen) == 1 and chosen[0].modality in _FLAT and len(chosen[0].slices) == 1
    return chosen[0].paths[0] if flat and chosen[0].slices[0].frames == 1 else None


def read_series(folder: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read one DICOM series as a float32 volume, slope and intercept applied (CT: Hounsfield units).

    Args:
        folder: a folder with DICOM files.
        series: UID, or how it begins; needed where the folder holds several (scouts do not count).

    Raises:
        ImageError: no series, several and none chosen, colour, multi-frame files, slices that miss, repeat, differ in
            size or orientation or stand unevenly (more than 1 %), or a tilted gantry.
    """
    folder = Path(folder)
    chosen = _choose(folder, series)
    where = f"{folder} (series {chosen.description or chosen.uid})"
    grid = _grid(chosen, where)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(p) for p in chosen.paths])
    # Each slice may have its own slope (PET): whole numbers of the first one must not decide the type.
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet():
            array = sitk.GetArrayFromImage(reader.Execute()).T
    except RuntimeError as error:
        raise ImageError(f"{where}: its pixels cannot be read; a file is truncated or of an unknown coding") from error
    if array.shape != grid.shape:
        raise ImageError(f"{where}: its pixels do not fill its {grid.shape} grid; a file is damaged")
    return volume_of(array, grid, "image", str(folder))


def _header(path: Path) -> pydicom.Dataset | None:
    """The tags of an image file, None for anything else."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError):
        return None
    return header if "SeriesInstanceUID" in header and "Rows" in header and "Columns" in header else None


def _series(uid: str, members: list[tuple[pydicom.Dataset, Path]]) -> SeriesInfo:
    first = members[0][0]
    slices = [_slice(header, path) for header, path in members]
    start = slices[0]
    slices.sort(key=lambda s: (_along(s, start), s.path))
    n = sum(s.frames for s in slices)
    image_type = {str(t).upper() for t in (first.get("ImageType") or [])}
    date = str(first.get("AcquisitionDate") or "")
    time = str(first.get("AcquisitionTime") or first.get("SeriesTime") or "").partition(".")[0]
    return SeriesInfo(
        uid=uid,
        description=str(first.get("SeriesDescription") or ""),
        modality=str(first.get("Modality") or ""),
        n_slices=n,
        acquisition_time=f"{date} {time}".strip(),
        paths=tuple(s.path for s in slices),
        patient_id=str(first.get("PatientID") or ""),
        localizer=bool(image_type & {"LOCALIZER", "SCOUT"}) or n < MIN_SLICES,
        slices=tuple(slices),
    )


def _slice(header: pydicom.Dataset, path: Path) -> _Slice:
    position = _numbers(header.get("ImagePositionPatient"), 3)
    axes = _numbers(header.get("ImageOrientationPatient"), 6)
    pixel = _numbers(header.get("PixelSpacing"), 2)
    return _Slice(
        path=path,
        position=position,
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


def _along(one: _Slice, first: _Slice) -> float:
    if one.position is None or first.axes is None:
        return 0.0
    return float(np.cross(first.axes[0], first.axes[1]) @ one.position)


def _choose(folder: Path, series: str | None) -> SeriesInfo:
    found = find_series(folder, localizers=True)
    if not found:
        inside = "is empty" if not any(folder.iterdir()) else "holds no DICOM images"
        raise ImageError(f"{folder}: this folder {inside}; name an image file or a folder of one DICOM series")
    if series is not None:
        chosen = [s for s in found if s.uid == series] or [s for s in found if s.uid.startswith(series)]
        if len(chosen) != 1:
            raise ImageError(f"{folder}: {len(chosen) or 'no'} series begin with {series}; it holds {_listed(found)}")
        return chosen[0]
    proper = [s for s in found if not s.localizer]
    if not proper:
        raise ImageError(f"{folder}: holds only scouts and single slices: {_listed(found)}")
    if len(proper) > 1:
        raise ImageError(
            f"{folder}: holds {len(proper)} series; pick one as {folder}/SERIES_UID or with series=: {_listed(proper)}"
        )
    return proper[0]


def _listed(found: list[SeriesInfo]) -> str:
    shown = "; ".join(str(s) for s in found[:12])
    return shown + (f"; and {len(found) - 12} more" if len(found) > 12 else "")


def _grid(series: SeriesInfo, where: str) -> Grid:
    """The grid of a stack, from each slice's own position."""
    first = series.slices[0]
    if any(s.frames > 1 for s in series.slices):
        raise ImageError(f"{where}: is a multi-frame file; convert it to NIfTI first, for example with dcm2niix")
    if any(s.samples != 1 for s in series.slices):
        raise ImageError(f"{where}: is in colour; a scan of one value per voxel is due")
    if len(series.slices) < 2:
        raise ImageError(f"{where}: is a single 2D slice; a 3D image is due")
    if any(s.size != first.size or s.pixel != first.pixel for s in series.slices):
        raise ImageError(f"{where}: its slices differ in size or pixel spacing; split the series")
    if first.axes is None or len(first.pixel) != 2 or any(s.position is None for s in series.slices):
        raise ImageError(f"{where}: slices without position, orientation or pixel spacing; their place is not known")
    axes = first.axes
    if any(s.axes is None or not np.allclose(s.axes, axes, atol=1e-3) for s in series.slices):
        raise ImageError(f"{where}: its slices point in different directions (a scout, or several stacks); split it")
    normal = np.cross(axes[0], axes[1])
    positions = np.stack([s.position for s in series.slices if s.position is not None])
    step = _slice_step(positions @ normal, series, where)
    _check_tilt(positions, axes, first.pixel, where)
    row_step, column_step = first.pixel
    try:
        # The column index runs along the first axis, its step is the distance of columns: DICOM stores rows first.
        return Grid.of(
            (*first.size, len(positions)), (column_step, row_step, step), positions[0].tolist(), np.c_[axes.T, normal]
        )
    except GridError as error:
        raise ImageError(f"{where}: {error}") from error


def _slice_step(heights: NDArray[np.float64], series: SeriesInfo, where: str) -> float:
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    repeated = int((gaps < 1e-3).sum())
    if repeated:
        raise ImageError(
            f"{where}: {repeated} slices repeat a position (several time points or copies?); split the series"
        )
    # Positions are written with a few decimals: a hundredth of a millimetre is no unevenness.
    odd = np.flatnonzero(np.abs(gaps - usual) > max(UNEVEN * usual, 0.01))
    if odd.size:
        worst = int(odd[np.argmax(gaps[odd])])
        missing = gaps[worst] / usual - 1
        between = f"between {series.paths[worst].name} and {series.paths[worst + 1].name}"
        if missing > 0.5 and abs(missing - round(missing)) < 0.05:
            raise ImageError(f"{where}: {round(missing)} slice(s) are missing {between}; export the series again")
        raise ImageError(
            f"{where}: its slices stand unevenly, {gaps.min():.2f} to {gaps.max():.2f} mm apart; resample it first"
        )
    return float((heights[-1] - heights[0]) / len(gaps))


def _check_tilt(
    positions: NDArray[np.float64], axes: NDArray[np.float64], pixel: tuple[float, ...], where: str
) -> None:
    drift = axes @ (positions[-1] - positions[0])
    if np.abs(drift).max() > SKEW * min(pixel):
        rise = np.cross(axes[0], axes[1]) @ (positions[-1] - positions[0])
        angle = np.degrees(np.arctan2(np.linalg.norm(drift), rise))
        raise ImageError(f"{where}: was taken with a tilted gantry ({angle:.1f} degrees); correct the tilt first")
