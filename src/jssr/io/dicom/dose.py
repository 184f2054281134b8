"""A DICOM RT Dose in gray on its grid (PS3.3 C.8.8.3), read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from jssr.core.grid import Grid
from jssr.core.volume import Volume, checked_volume
from jssr.errors import ImageError
from jssr.io.dicom.files import readable

UNEVEN = 0.01
"""Share of the planes' distance that one plane may be off; at least 0.01 mm, as positions are written."""


@dataclass(frozen=True)
class Dose:
    """A dose read.

    Attributes:
        volume: an image in gray (or as `units` has it).
        units: "GY" or "RELATIVE".
        header: the data set without its pixels, which a carried dose takes over.
        warnings: what a reader of the numbers must know.
    """

    volume: Volume
    units: str
    header: Dataset
    warnings: tuple[str, ...] = ()


def dose_of(found: Dataset, path: Path) -> Dose:
    """The dose of an RT Dose: stored numbers times Dose Grid Scaling, planes where their offsets put them.

    Offsets that begin with 0 run along the cross product of the row's and the column's direction; of transverse planes
    they may also be z coordinates (C.8.8.3.2). They may decrease, and planes in any order are sorted.

    Raises:
        ImageError: no pixels, one plane, uneven or repeated planes, offsets of neither kind, no scaling, or damage.
    """
    with readable(path, "its dose"):
        if "PixelData" not in found:
            raise ImageError(f"{path}: holds no dose grid, only {_instead(found)}; export the dose as a grid")
        scaling = float(found.get("DoseGridScaling") or 0)
        if not (np.isfinite(scaling) and scaling > 0):
            raise ImageError(f"{path}: expected a Dose Grid Scaling above 0, got {found.get('DoseGridScaling')}")
        stored = found.pixel_array
        if stored.ndim != 3:
            raise ImageError(f"{path}: holds one plane of a dose; expected a grid of at least two: export all in one")
        grid, order = _grid(found, len(stored), path)
        values = stored[order].astype(np.float64) * scaling
    units = str(found.get("DoseUnits") or "").upper()
    kind = str(found.get("DoseType") or "").upper()
    warnings = []
    if units != "GY":
        warnings.append(f"{path}: its dose is {units.lower() or 'of an unknown unit'}, expected gray; the numbers stay")
    if kind == "ERROR":
        warnings.append(f"{path}: holds the difference of two doses, no dose")
    header = Dataset()
    header.update({e.tag: e for e in found if e.keyword != "PixelData"})
    volume = checked_volume(np.ascontiguousarray(values.transpose(2, 1, 0)), grid, "image", str(path))
    return Dose(volume, units, header, tuple(warnings))


def _instead(found: Dataset) -> str:
    return "histograms" if "DVHSequence" in found else "a header"


def _grid(found: Dataset, planes: int, path: Path) -> tuple[Grid, NDArray[np.intp]]:
    """The grid, and the order in which its planes are stored."""
    given = found.get("GridFrameOffsetVector")
    offsets = np.atleast_1d(np.array([] if given is None else given, dtype=np.float64))
    if len(offsets) != planes or not np.isfinite(offsets).all():
        raise ImageError(f"{path}: expected {planes} offsets of its planes, got {len(offsets)}; export the dose again")
    axes = np.array(found.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    first = np.array(found.ImagePositionPatient, dtype=np.float64)
    normal = np.cross(axes[0], axes[1])
    if abs(offsets[0]) > 1e-3:  # patient coordinates, which only transverse planes have
        if abs(abs(normal[2]) - 1) > 1e-4 or abs(offsets[0] - first[2]) > 0.01:
            raise ImageError(
                f"{path}: its planes' offsets begin with {offsets[0]:g}: expected 0, or z of the first plane "
                f"({first[2]:g}) of a transverse dose; export the dose again"
            )
        offsets = (offsets - offsets[0]) * np.sign(normal[2])
    order = np.argsort(offsets, kind="stable")
    steps = np.diff(offsets[order])
    usual = float(np.median(steps))
    if steps.min() < 1e-3:
        raise ImageError(f"{path}: planes of its dose repeat a position; export the dose again")
    even = np.linspace(offsets[order][0], offsets[order][-1], planes)
    if np.abs(offsets[order] - even).max() > max(UNEVEN * usual, 0.01):
        raise ImageError(
            f"{path}: the planes of its dose are unevenly spaced, {steps.min():.3g} to {steps.max():.3g} mm apart; "
            "export the dose on an even grid"
        )
    rows, columns = (float(v) for v in found.PixelSpacing)
    step = float(even[-1] - even[0]) / (planes - 1)
    shape = (int(found.Columns), int(found.Rows), planes)
    origin = first + offsets[order][0] * normal
    return Grid.of(shape, (columns, rows, step), origin.tolist(), np.c_[axes.T, normal]), order
