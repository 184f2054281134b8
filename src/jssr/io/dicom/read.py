"""A DICOM series in: its geometry checked with pydicom, its voxels read by GDCM through SimpleITK.

GDCM and ITK read a stack with a missing slice or a tilted gantry as if it were even and upright, so the geometry is
taken from each slice's own position (DICOM PS3.3 C.7.6.2) and anything that is no plain grid is refused in words.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from jssr.core.grid import Grid, GridError
from jssr.core.volume import Volume, volume_of
from jssr.errors import ImageError
from jssr.io.dicom.files import opened
from jssr.io.dicom.frames import read_frames
from jssr.io.dicom.series import SeriesInfo, find_series, listed
from jssr.io.files import names_series
from jssr.io.itk import DICOM_MODALITIES, quiet

UNEVEN = 0.01  # share of the slice distance
SKEW = 0.5  # pixels of sideways drift over the stack


def read_series(folder: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read one DICOM series as a float32 volume, slope and intercept applied (CT: Hounsfield units), with its modality.

    Args:
        folder: a folder with DICOM files.
        series: UID, or how it begins; needed where the folder holds several (scouts do not count).

    Raises:
        ImageError: no series, several and none chosen, colour, multi-frame files, slices that miss, repeat, differ in
            size or orientation or are unevenly spaced (more than 1 %), or a tilted gantry. Enhanced CT, MR and PET of
            one stack are the multi-frame files that are read.
    """
    folder = Path(folder)
    chosen = _choose(folder, series)
    where = f"{folder} (series {chosen.description or chosen.uid})"
    known = DICOM_MODALITIES.get(chosen.modality)
    if chosen.enhanced:
        return read_frames(opened(chosen.paths[0]), folder, where=where)
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
    return volume_of(array, grid, "image", str(folder)).known_as("header", modality=known)


def series_at(path: str | os.PathLike[str]) -> SeriesInfo | None:
    """The series that `path` names as an image, `folder` or `folder/SERIES_UID`; None where it is no DICOM."""
    path = Path(path)
    if path.is_dir():
        return _choose(path, None) if find_series(path, localizers=True) else None
    return _choose(path.parent, path.name) if names_series(path) else None


def _choose(folder: Path, series: str | None) -> SeriesInfo:
    found = find_series(folder, localizers=True)
    if not found:
        inside = "is empty" if not any(folder.iterdir()) else "holds no DICOM images"
        raise ImageError(f"{folder}: this folder {inside}; name an image file or a folder of one DICOM series")
    if series is not None:
        chosen = [s for s in found if s.uid == series] or [s for s in found if s.uid.startswith(series)]
        if len(chosen) != 1:
            raise ImageError(f"{folder}: {len(chosen) or 'no'} series begin with {series}; it holds {listed(found)}")
        return chosen[0]
    proper = [s for s in found if not s.localizer]
    if not proper:
        raise ImageError(f"{folder}: holds only scouts and single slices: {listed(found)}")
    if len(proper) > 1:
        how = f"pick one as {folder}/SERIES_UID or with series="
        raise ImageError(f"{folder}: holds {len(proper)} series; {how}: {listed(proper)}")
    return proper[0]


def _grid(series: SeriesInfo, where: str) -> Grid:
    """The grid of a stack, from each slice's own position."""
    first = series.slices[0]
    if any(s.frames > 1 for s in series.slices):
        raise ImageError(f"{where}: is a multi-frame file; convert it to NIfTI first, for example with dcm2niix")
    if any(s.samples != 1 for s in series.slices):
        raise ImageError(f"{where}: is in colour; expected one value per voxel")
    if len(series.slices) < 2:
        raise ImageError(f"{where}: is a single 2D slice; expected a 3D image")
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
        raise ImageError(f"{where}: {repeated} slices repeat a position (time points or copies?); split the series")
    # Positions are written with a few decimals: a hundredth of a millimetre is no unevenness.
    odd = np.flatnonzero(np.abs(gaps - usual) > max(UNEVEN * usual, 0.01))
    if odd.size:
        worst = int(odd[np.argmax(gaps[odd])])
        missing = gaps[worst] / usual - 1
        between = f"between {series.paths[worst].name} and {series.paths[worst + 1].name}"
        if missing > 0.5 and abs(missing - round(missing)) < 0.05:
            raise ImageError(f"{where}: {round(missing)} slice(s) are missing {between}; export the series again")
        apart = f"{gaps.min():.2f} to {gaps.max():.2f} mm apart"
        raise ImageError(f"{where}: its slices are unevenly spaced, {apart}: resample it first")
    return float((heights[-1] - heights[0]) / len(gaps))


def _check_tilt(
    positions: NDArray[np.float64], axes: NDArray[np.float64], pixel: tuple[float, ...], where: str
) -> None:
    drift = axes @ (positions[-1] - positions[0])
    if np.abs(drift).max() > SKEW * min(pixel):
        rise = np.cross(axes[0], axes[1]) @ (positions[-1] - positions[0])
        angle = np.degrees(np.arctan2(np.linalg.norm(drift), rise))
        raise ImageError(f"{where}: was taken with a tilted gantry ({angle:.1f} degrees); correct the tilt first")
