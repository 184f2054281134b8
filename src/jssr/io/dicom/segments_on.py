"""The frames of a DICOM Segmentation put onto the grid of a scan, slices that it leaves out empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.volume import Volume
from jssr.io.dicom.files import readable
from jssr.io.dicom.segments import combined, is_fractional, labels_in, names_of

TOLERANCE = 0.05
"""Voxels that a frame's corner may lie beside that of a voxel of the scan, as for every label map."""
COARSE = 1.5
"""Times the scan's slice distance: frames of thicker slices that lie further apart are a coarser grid of their own."""
Place = NDArray[np.int64]
"""(3, 3) index in the grid of a frame's first pixel, and the steps along its columns' and its rows' index."""


def segments_on(found: Dataset, path: Path, grid: Grid) -> Volume | None:
    """The label map of a segmentation on a grid, whose slices may lie in any order, be flipped or left out; None where
    a frame does not lie on the grid's voxels to `TOLERANCE`, or a segment reaches beyond it.

    Args:
        found: the segmentation with its pixels.
        path: its file.
        grid: of the scan.

    Raises:
        ImageError: no segments, two of one number, or a damaged file.
    """
    with readable(path, "its segments"):
        names = names_of(found, path)
        if "PerFrameFunctionalGroupsSequence" not in found:
            return None
        places = _places(found, grid)
        if places is None:
            return None
        seg = hd.seg.Segmentation.from_dataset(found, copy=False)
        shares = _shares(found, seg, places, grid)
        if shares is None:
            return None
        array, told = combined(shares or {0: np.zeros(grid.shape, np.float32)}, names, is_fractional(seg), path)
    tell(*told)
    return labels_in(array, grid, path)


def _places(found: Dataset, grid: Grid) -> list[Place] | None:
    """Where each frame lies in a grid; None where one lies beside its voxels, or the slices are of a coarser one."""
    places: list[Place] = []
    thick = 0.0
    for group in found.PerFrameFunctionalGroupsSequence:
        measures = _part(found, group, "PixelMeasuresSequence")
        place = _place(found, group, [float(v) for v in measures.PixelSpacing], grid)
        if place is None:
            return None
        places.append(place)
        thick = max(thick, float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0))
    through = int(np.argmin(np.abs(places[0][1:]).sum(axis=0)))
    levels = np.unique([int(place[0, through]) for place in places])
    apart = len(levels) > 1 and np.diff(levels).min() > 1
    return None if apart and not 0 < thick <= COARSE * grid.spacing[through] else places


def _place(found: Dataset, group: Dataset, pixel: Sequence[float], grid: Grid) -> Place | None:
    axes = np.array(_part(found, group, "PlaneOrientationSequence").ImageOrientationPatient, float).reshape(2, 3)
    first = np.array(_part(found, group, "PlanePositionSequence").ImagePositionPatient, float)
    steps = axes * np.array([[pixel[1]], [pixel[0]]])  # the distance of columns lies along the rows
    at = grid.index(np.array([first, first + steps[0], first + steps[1]]))
    exact = np.stack([at[0], at[1] - at[0], at[2] - at[0]])
    whole = np.rint(exact).astype(np.int64)
    reach = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]]) * [1, int(found.Columns) - 1, int(found.Rows) - 1]
    if np.abs(reach @ (exact - whole)).max() > TOLERANCE:
        return None
    once = (np.abs(whole[1:]).sum(axis=1) == 1).all() and not whole[1] @ whole[2]
    return whole if once else None


def _part(found: Dataset, group: Dataset, name: str) -> Dataset:
    """The one item of a functional group, of a frame or shared by all."""
    held = group if name in group else found.SharedFunctionalGroupsSequence[0]
    item: Dataset = held[name].value[0]
    return item


def _shares(
    found: Dataset, seg: hd.seg.Segmentation, places: Sequence[Place], grid: Grid
) -> dict[int, NDArray[np.float32]] | None:
    """The share of each segment in every voxel of the grid; None where one reaches beyond it."""
    frames = np.asarray(seg.get_stored_frames()).reshape(len(places), int(found.Rows), int(found.Columns))
    whole = seg.segmentation_type == hd.seg.SegmentationTypeValues.LABELMAP
    most = float(found.MaximumFractionalValue) if is_fractional(seg) else 1.0
    out: dict[int, NDArray[np.float32]] = {}
    for group, frame, place in zip(found.PerFrameFunctionalGroupsSequence, frames, places, strict=True):
        row, column = np.nonzero(frame)
        at = np.c_[np.ones(len(row), np.int64), column, row] @ place
        if ((at < 0) | (at >= np.array(grid.shape))).any():
            return None
        values = frame[row, column]
        if not whole:
            number = int(_part(found, group, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            _of(out, number, grid)[tuple(at.T)] = values / most
            continue
        for number in np.unique(values).tolist():
            _of(out, int(number), grid)[tuple(at[values == number].T)] = 1.0
    return out


def _of(shares: dict[int, NDArray[np.float32]], number: int, grid: Grid) -> NDArray[np.float32]:
    if number not in shares:
        shares[number] = np.zeros(grid.shape, np.float32)
    return shares[number]
