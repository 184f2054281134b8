"""Where the slices of a stack lie: on a straight line, at even distances, upright or sheared by a tilted gantry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jssr.core.grid import GridError
from jssr.core.stack import SKEW, Stack, Vector
from jssr.errors import ImageError
from jssr.io.dicom.slices import MARKS, Slice

UNEVEN = 0.01
"""Share of the slice distance by which a slice may lie beside the line."""
ROUNDED = 0.15
"""The same, at most, where positions are rounded: a missing slice is further off, if there are few slices."""
SAME = 1e-3
"""mm: nearer than this two slices lie at one place."""


def stack_of(slices: Sequence[Slice], where: str) -> Stack:
    """The stack that slices, sorted along the patient, make.

    Raises:
        ImageError: several frames in a file, colour, slices without a place, or that differ in size or direction, that
            repeat, miss, are uneven or shifted sideways.
    """
    first = slices[0]
    if any(s.frames > 1 for s in slices):
        raise ImageError(f"{where}: is a multi-frame file; convert it to NIfTI first, for example with dcm2niix")
    if any(s.samples != 1 for s in slices):
        raise ImageError(f"{where}: is in colour; expected one value per voxel")
    if any("MOSAIC" in s.marks.get("ImageType", "").upper() for s in slices):
        raise ImageError(f"{where}: holds mosaics, many slices in one picture; expected slices: convert with dcm2niix")
    if len(slices) < 2:
        raise ImageError(f"{where}: is a single 2D slice; expected a 3D image")
    if any(s.size != first.size or s.pixel != first.pixel for s in slices):
        raise ImageError(f"{where}: its slices differ in size or pixel spacing; split the series")
    if first.axes is None or len(first.pixel) != 2 or any(s.position is None for s in slices):
        raise ImageError(f"{where}: slices without position, orientation or pixel spacing; their place is not known")
    if any(s.axes is None or not np.allclose(s.axes, first.axes, atol=1e-3) for s in slices):
        raise ImageError(f"{where}: its slices point in different directions (a scout, or several stacks); split it")
    positions = np.stack([s.position for s in slices if s.position is not None])
    origin, step = line_through(positions)
    normal = np.cross(first.axes[0], first.axes[1])
    beside = positions - origin - np.arange(len(positions))[:, None] * step
    written = np.array([s.decimals for s in slices]).max(axis=0)
    along = abs(float(normal @ step))
    far = np.abs(beside @ normal)
    if far.max() > _tolerance(along, np.abs(normal), written) or (np.diff(positions @ normal) < SAME).any():
        raise ImageError(f"{where}: {_uneven(positions @ normal, slices)}")
    sideways = float(np.abs(beside @ first.axes.T).max())
    if sideways > max(SKEW * min(first.pixel), 1.5 * float(_rounding(np.abs(first.axes).max(axis=0), written))):
        raise ImageError(
            f"{where}: its slices are shifted sideways against each other, up to {sideways:.2f} mm; resample it first"
        )
    if np.abs(beside).max() <= max(UNEVEN * along, 0.01):  # no rounding to even out: as ITK has it
        origin, step = positions[0], (positions[-1] - positions[0]) / (len(positions) - 1)
    stack = Stack(origin, step, first.axes, first.pixel, (*first.size, len(slices)))
    try:
        stack.grid()
    except GridError as error:
        raise ImageError(f"{where}: {error}") from error
    return stack


def line_through(positions: Vector) -> tuple[Vector, Vector]:
    """The straight line nearest to all points (N, 3) in their order, by least squares: its point 0 and its step."""
    index = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = index @ positions / (index @ index)
    return positions.mean(axis=0) + index[0] * step, step


def is_even(heights: Vector, decimals: int = 6) -> bool:
    """Whether sorted heights lie at even distances, none twice."""
    if len(heights) < 2 or (np.diff(heights) < SAME).any():
        return len(heights) == 1
    origin, step = line_through(heights[:, None])
    beside = np.abs(heights - origin[0] - np.arange(len(heights)) * step[0])
    return float(beside.max()) <= _tolerance(float(step[0]), np.ones(1), np.array([decimals]))


def _rounding(weights: Vector, decimals: Vector) -> Vector:
    """How far a position may be off, once it is written with so many decimals."""
    return weights @ (0.5 * 10.0 ** -decimals.astype(np.float64))


def _tolerance(step: float, weights: Vector, decimals: Vector) -> float:
    # The line itself takes part in the error: half more than a position's own rounding.
    rounded = min(1.5 * float(_rounding(weights, decimals)), ROUNDED * step)
    return max(UNEVEN * step, 0.01, rounded)


def _uneven(heights: Vector, slices: Sequence[Slice]) -> str:
    """What is wrong with heights that are not even."""
    gaps = np.diff(heights)
    repeated = int((gaps < SAME).sum())
    if repeated:
        looked = ", ".join(MARKS)
        return (
            f"{repeated} slices repeat a position (time points or copies?), and nothing that was looked at tells the "
            f"acquisitions apart ({looked}); split the series"
        )
    usual = float(np.median(gaps))
    worst = int(np.argmax(gaps))
    missing = gaps[worst] / usual - 1
    if missing > 0.5 and abs(missing - round(missing)) < 0.1:
        between = f"between {slices[worst].path.name} and {slices[worst + 1].path.name}"
        return f"{round(missing)} slice(s) are missing {between}; export the series again"
    return f"its slices are unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm apart: resample it first"
