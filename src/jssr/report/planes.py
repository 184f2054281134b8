"""Axial, coronal and sagittal pictures of a volume of any orientation, sides as radiologists expect them.

A picture is a grid of its own: a sheet one voxel thick, its axes along the patient's, its pixels square in millimetres.
Cutting is resampling onto that sheet (`jssr.report.sheets`), so spacing and obliquity need no special case, and all
volumes cut with the same `Planes` fit on one another pixel by pixel.

Sides: the patient's right is on the left of axial and coronal pictures, anterior is on top of axial ones and on the
left of sagittal ones, the head is up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.preprocessing.modality import modality_of
from jssr.report import sheets

Plane = Literal["axial", "coronal", "sagittal", "image"]
Pixels = NDArray[np.float32]

CT_WINDOW = (-160.0, 240.0)
"""The abdominal soft-tissue window: level 40, width 400 HU."""

_ENOUGH = 128
"""Voxels along an axis that tell where a body lies."""

LETTERS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
    "image": ("", "", "", ""),
}
"""What lies on the left, right, top and bottom of each plane's picture."""

# Columns: what one step to the right, one step down and one step away from the reader is in LPS.
_AXES: dict[Plane, NDArray[np.float64]] = {
    "axial": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64),
    "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float64),
    "sagittal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], dtype=np.float64),
    "image": np.eye(2),
}


@dataclass(frozen=True, eq=False)
class Planes:
    """The standard planes of a grid through one point, all at one scale.

    Args:
        grid: what the pictures must show in full (the fixed image's).
        at: the point that the planes run through, LPS millimetres; None is the middle. It is moved to the nearest voxel
            centre, so that axis-aligned slices are shown as they are and not as a mean of two.
        width: pixels along the longest side of the box round the grid.
    """

    grid: Grid
    at: tuple[float, ...] | None = None
    width: int = 420

    @property
    def names(self) -> tuple[Plane, ...]:
        """The planes there are: three, or "image" of a 2D grid, shown as it is stored."""
        return ("axial", "coronal", "sagittal") if self.grid.ndim == 3 else ("image",)

    @cached_property
    def point(self) -> NDArray[np.float64]:
        """The voxel centre that the planes run through, LPS millimetres."""
        at = self.grid.centre if self.at is None else np.asarray(self.at, dtype=np.float64)
        index = np.clip(np.round(self.grid.index(at)), 0, np.array(self.grid.shape) - 1)
        return self.grid.world(index)

    @cached_property
    def pixel(self) -> float:
        """Millimetres a pixel."""
        low, high = self._box
        return float((high - low).max() / self.width)

    @property
    def lines(self) -> float:
        """Millimetres between the lines of a deformation grid: 15; of a 2D grid, whose millimetres may be pixels, the
        round number that gives some 20 to 50 lines."""
        low, high = self._box
        if self.grid.ndim == 3:
            return 15.0
        most = (high - low).max() / 20
        ten = 10.0 ** math.floor(math.log10(most))
        return ten * max(step for step in (1, 2, 5) if step * ten <= most)

    def sheet(self, plane: Plane) -> Grid:
        """Return the grid of a picture: (width, height[, 1]) pixels, first axis to the right, second downwards."""
        if plane not in self._sheets:
            self._sheets[plane] = self._sheet(plane)
        return self._sheets[plane]

    @cached_property
    def _sheets(self) -> dict[Plane, Grid]:
        return {}

    def _sheet(self, plane: Plane) -> Grid:
        low, high = self._box
        axes, pixel, n = _AXES[plane], self.pixel, self.grid.ndim
        size = np.abs(axes.T @ (high - low))[:2]
        shape = tuple(int(s) for s in np.maximum(1, np.round(size / pixel)))
        # Centre the sheet in its plane, and set it on the point across the plane.
        middle = self.point if n == 3 else (low + high) / 2
        middle = middle + axes[:, :2] @ (axes[:, :2].T @ ((low + high) / 2 - middle))
        first = middle - axes[:, :2] @ ((np.array(shape) - 1) / 2 * pixel)
        return Grid.of((*shape, 1)[:n], pixel, tuple(first), axes)

    def cut(self, volume: Volume, plane: Plane, outside: float | None = None) -> NDArray[Any]:
        """Read a volume in a plane: (height, width), float32 for images and the labels' own type for labels.

        Beyond the volume it is `outside`, by default its minimum; labels are 0 there.
        """
        sheet = self.sheet(plane)
        if volume.kind == "image":
            values, inside = sheets.read(volume, sheet)
            if not inside.all():
                values = np.where(inside, values, float(volume.data.min()) if outside is None else outside)
            return np.asarray(values[0].T, dtype=np.float32)
        # As `resample` does it, but all labels at once: few pass through a sheet. 0 first, so that it wins outside.
        part = sheets.slab(volume, sheet)
        near = part.array
        values = np.array([0, *(v for v in np.unique(near) if v)], dtype=near.dtype)
        shares = torch.from_numpy(np.stack([near == v for v in values]).astype(np.float32))
        weights, inside = sheets.read(Volume(shares, part.grid), sheet)
        best, out = weights[0], np.zeros(weights.shape[1:], dtype=values.dtype)
        for value, weight in zip(values[1:], weights[1:], strict=True):  # some times faster than argmax over the labels
            out = np.where(weight > best, value, out)
            best = np.maximum(weight, best)
        return np.where(inside, out, values[0]).T

    def covered(self, moving: Grid, plane: Plane, displacement: Displacement | None = None) -> NDArray[np.bool_]:
        """Where a moving scan on that grid has data in a plane, read through a map where there is one."""
        ends = self._points(plane) if displacement is None else self._moved(displacement, plane)[0]
        at = moving.index(ends)
        return np.asarray(((at >= -0.5) & (at <= np.array(moving.shape) - 0.5)).all(axis=-1).T)

    def mapped(self, displacement: Displacement, plane: Plane) -> NDArray[np.float64]:
        """Where the map takes each pixel, (height, width, 2) millimetres to the right and down in the plane."""
        ends, inside = self._moved(displacement, plane)
        points = np.where(inside[..., None], ends, self._points(plane))
        return np.swapaxes(points @ _AXES[plane][:, :2], 0, 1)

    def log_jacobian(self, displacement: Displacement, plane: Plane) -> tuple[Pixels, NDArray[np.bool_]]:
        """The log Jacobian of the map in a plane and where it folds, (height, width); 0 beyond the field."""
        # Cells lie between voxels: one more at every side has those on both sides of the sheet.
        near = sheets.slab(Volume(displacement.u, displacement.grid), self.sheet(plane), more=1)
        log_det, folds = jacobian_volumes(Displacement(near.data, near.grid))
        return self.cut(log_det, plane, outside=0.0), self.cut(folds, plane) > 0

    def _points(self, plane: Plane) -> NDArray[np.float64]:
        """Each pixel of a plane, (width, height, n) LPS millimetres."""
        sheet = self.sheet(plane)
        right, down = (np.arange(sheet.shape[axis])[:, None] * sheet.affine[:-1, axis] for axis in (0, 1))
        return sheet.origin + right[:, None] + down

    def _moved(self, displacement: Displacement, plane: Plane) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where the map takes each pixel of a plane, (width, height, n) LPS millimetres, and whether the field has it;
        beyond its border the field is held constant."""
        grid = displacement.grid
        u, inside = sheets.read(Volume(displacement.u, grid), self.sheet(plane))
        linear = grid.affine[: grid.ndim, : grid.ndim]
        return self._points(plane) + np.moveaxis(u, 0, -1) @ linear.T, inside

    @cached_property
    def _box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest LPS coordinate of the voxels' outer edges."""
        ends = [(-0.5, s - 0.5) for s in self.grid.shape]
        corners = self.grid.world(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, self.grid.ndim))
        return corners.min(axis=0), corners.max(axis=0)


def jacobian_volumes(displacement: Displacement) -> tuple[Volume, Volume]:
    """The log Jacobian as an image (0 where it folds) and the folds as a label map, on the grid of the cells."""
    determinant = ff.jacobian_determinant(displacement.u[None])[0]
    shape = tuple(determinant.shape)
    half = displacement.grid.cropped([0] * len(shape), shape).affine.copy()
    half[:-1, -1] = displacement.grid.world([0.5] * len(shape))  # values belong to the middles of the cells
    grid = Grid(shape, half)
    log_det = torch.where(determinant > 0, determinant.clamp(min=1e-6).log(), torch.zeros(()))
    return Volume(log_det[None], grid), Volume((determinant <= 0)[None].to(torch.uint8), grid, "labels")


def focus(volume: Volume) -> tuple[float, ...]:
    """Find a point worth looking at, LPS millimetres; the middle of an empty volume.

    In a label map it is the centre of mass of the lowest label (cohorts name their main organ first), in an image that
    of what is brighter than its mean: the body against the air, of at most `_ENOUGH` voxels along an axis.
    """
    data: NDArray[Any] = volume.array
    if volume.kind == "labels":
        step = np.ones(data.ndim)
        inside = data == (data[data > 0].min() if (data > 0).any() else -1)
    else:
        step = np.ceil(np.array(data.shape) / _ENOUGH).astype(int)
        data = data[tuple(slice(int(s) // 2, None, int(s)) for s in step)]
        inside = data > data.mean(dtype=np.float64)
    inside = np.asarray(inside)
    count = np.count_nonzero(inside)
    if not count:
        return tuple(volume.grid.centre.tolist())
    others = [tuple(a for a in range(data.ndim) if a != axis) for axis in range(data.ndim)]
    middle = [np.arange(n) @ inside.sum(axis=o) / count for n, o in zip(data.shape, others, strict=True)]
    return tuple(volume.grid.world(np.array(middle) * step + step // 2).tolist())


def window_of(volume: Volume) -> tuple[float, float]:
    """Choose the grey range of a picture: the abdominal window for CT, percentiles 1 and 99.5 for anything else.

    Images normalised to -1..1 keep that range.
    """
    flat = volume.data.flatten()
    some = flat[:: max(1, flat.numel() // 50_000)].float()
    least, low, high, most = torch.quantile(some, torch.tensor([0.0, 0.05, 0.995, 1.0])).tolist()
    if -1.05 <= least < -0.5 and most <= 1.05:
        return -1.0, 1.0
    if modality_of(volume) == "ct":
        return CT_WINDOW
    shown = some[some > some.min()]  # a black surround would hide the contrast of what it surrounds
    if shown.numel():
        low, high = torch.quantile(shown, torch.tensor([0.01, 0.995])).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def window(pixels: ArrayLike, limits: tuple[float, float]) -> Pixels:
    """Map the grey range to 0..1, float32, clipped."""
    low, high = limits
    return np.clip((np.asarray(pixels, dtype=np.float32) - low) / (high - low), 0, 1).astype(np.float32)
