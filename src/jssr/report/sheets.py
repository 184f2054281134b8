"""Volumes read on a sheet, linearly: axis by axis where the axes of both are parallel, as they mostly are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.late import array_of
from jssr.core.resampling import resample
from jssr.core.volume import Volume

PARALLEL = 1e-3
"""Voxels that a line along an axis of the sheet may drift across the volume's axes and still be parallel to one."""
Values = NDArray[np.float32]
Inside = NDArray[np.bool_]


def read(volume: Volume, sheet: Grid) -> tuple[Values, Inside]:
    """All channels of a volume on a sheet, as `resample` reads an image.

    Args:
        volume: 2D or 3D; labels are read like an image.
        sheet: (width, height[, 1]).

    Returns:
        (C, width, height) values, beyond the volume's border those of the border; (width, height), whether a pixel lies
        on a voxel of the volume, edges included.
    """
    step = np.linalg.inv(volume.grid.affine) @ sheet.affine
    along = _parallel(step, sheet.shape)
    return _oblique(volume, sheet) if along is None else _straight(volume, sheet, step, along)


def _parallel(step: NDArray[np.float64], shape: tuple[int, ...]) -> list[int | None] | None:
    """For each axis of the volume the axis of the sheet that runs along it, None where the sheet stays in one place;
    None where width and height do not run along one axis each.

    Args:
        step: (n + 1, n + 1) voxel index of the sheet to that of the volume.
        shape: of the sheet.
    """
    moved = np.abs(step[:-1, :-1]) * (np.array(shape) - 1) > PARALLEL
    if moved.sum(axis=0).tolist() != [1, 1, 0][: len(shape)] or (moved.sum(axis=1) > 1).any():
        return None
    return [int(row.argmax()) if row.any() else None for row in moved]


def _straight(volume: Volume, sheet: Grid, step: NDArray[np.float64], along: list[int | None]) -> tuple[Values, Inside]:
    """`read`, where one axis of the volume after the other can be read: some slices of it, then rows, then columns."""
    out, inside = array_of(volume, "data"), np.ones(sheet.shape[:2], dtype=bool)
    middle = (np.array(sheet.shape) - 1) / 2
    # Axes along which the sheet stays come first: one or two slices are left of the volume.
    for axis in sorted(range(len(along)), key=lambda axis: along[axis] is not None):
        line, size = along[axis], volume.grid.shape[axis]
        index = np.tile(middle, (1 if line is None else sheet.shape[line], 1))
        if line is not None:
            index[:, line] = np.arange(len(index))
        at = index @ step[axis, :-1] + step[axis, -1]
        held = (at >= -0.5) & (at <= size - 0.5)
        inside &= held[:, None] if line == 0 else held
        out = _line(out, axis + 1, at.clip(0, size - 1))
    order = [0, along.index(0) + 1, along.index(1) + 1]
    rest = [axis for axis in range(1, out.ndim) if axis not in order]
    return out.transpose(*order, *rest).reshape(len(out), *sheet.shape[:2]), inside


def _line(values: NDArray[np.generic], axis: int, at: NDArray[np.float64]) -> Values:
    """Values at fractional places along one axis, none beyond its ends."""
    low = np.floor(at).astype(np.intp)
    part = (at - low).astype(np.float32).reshape(-1, *[1] * (values.ndim - axis - 1))
    first = _taken(values, axis, low)
    if not part.any():
        return first
    return first + (_taken(values, axis, np.minimum(low + 1, values.shape[axis] - 1)) - first) * part


def _taken(values: NDArray[np.generic], axis: int, at: NDArray[np.intp]) -> Values:
    """Entries along one axis; a single one of a large array is a view, which `take` would copy the whole for."""
    if len(at) == 1:
        values = values[(slice(None),) * axis + (slice(at[0], at[0] + 1),)]
    else:
        values = values.take(at, axis)
    return values.astype(np.float32, copy=False)


def _oblique(volume: Volume, sheet: Grid) -> tuple[Values, Inside]:
    """`read`, whatever the axes."""
    part = slab(volume, sheet)
    image = Volume(part.data.float(), part.grid)
    at = volume.grid.index(sheet.world(np.stack(np.meshgrid(*map(np.arange, sheet.shape), indexing="ij"), axis=-1)))
    held = ((at >= -0.5) & (at <= np.array(volume.grid.shape) - 0.5)).all(axis=-1)
    values = resample(image, sheet, fill=0.0).data.numpy().reshape(-1, *sheet.shape[:2])
    return values, np.asarray(held).reshape(sheet.shape[:2])


def slab(volume: Volume, sheet: Grid, more: int = 0) -> Volume:
    """The part of a volume that a sheet runs through, to read a few slices instead of all; all where it passes beside.

    Args:
        more: so many voxels more at every side.
    """
    at = volume.grid.index(sheet.corners())
    most = np.array(volume.grid.shape) - 1
    low, high = at.min(axis=0), at.max(axis=0)
    if (high < -0.5).any() or (low > most + 0.5).any():
        return volume
    first = np.clip(np.floor(low) - more, 0, most).astype(int)
    last = np.clip(np.ceil(high) + more, 0, most).astype(int)
    part = (slice(None), *[slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)])
    return volume.with_data(volume.data[part], volume.grid.cropped(first, last - first + 1))
