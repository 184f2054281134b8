"""Axial, coronal and sagittal pictures of a volume of any orientation, sides as radiologists expect them.

A picture is a grid of its own: a sheet one voxel thick, its axes along the patient's, its pixels square in millimetres.
Cutting is resampling onto that sheet, so spacing and obliquity need no special case, and all volumes cut with the same
`Planes` fit on one another pixel by pixel.

Sides: the patient's right is on the left of axial and coronal pictures, anterior is on top of axial ones and on the
left of sagittal ones, the head is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Transform, resample
from jssr.core.volume import Volume

__all__ = ["CT_WINDOW", "LETTERS", "Plane", "Planes", "focus", "window", "window_of"]

Plane = Literal["axial", "coronal", "sagittal", "flat"]
Pixels = NDArray[np.float32]

CT_WINDOW = (-160.0, 240.0)
"""The abdominal soft-tissue window: level 40, width 400 HU."""

LETTERS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
    "flat": ("", "", "", ""),
}
"""What lies on the left, right, top and bottom of each plane's picture."""

# Columns: what one step to the right, one step down and one step away from the reader is in LPS.
_AXES: dict[Plane, NDArray[np.float64]] = {
    "axial": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64),
    "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float64),
    "sagittal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], dtype=np.float64),
    "flat": np.eye(2),
}


@dataclass(frozen=True, eq=False)
class Planes:
    """The standard planes of a grid through one point, all at one scale.

    Args:
        grid: what the pictures must show whole (the fixed image's).
        at: the point that the planes run through, LPS millimetres; None is the middle. It is moved to the nearest voxel
            centre, so that axis-aligned slices are shown as they are and not as a mean of two.
        width: pixels along the longest side of the box round the grid.
    """

    grid: Grid
    at: tuple[float, ...] | None = None
    width: int = 420

    @property
    def names(self) -> tuple[Plane, ...]:
        """The planes there are: three, or "flat" of a 2D grid, shown as it is stored."""
        return ("axial", "coronal", "sagittal") if self.grid.ndim == 3 else ("flat",)

    @property
    def point(self) -> NDArray[np.float64]:
        """The voxel centre that the planes run through, LPS millimetres."""
        at = self.grid.centre if self.at is None else np.asarray(self.at, dtype=np.float64)
        index = np.clip(np.round(self.grid.index(at)), 0, np.array(self.grid.shape) - 1)
        return self.grid.world(index)

    @property
    def pixel(self) -> float:
        """Millimetres a pixel."""
        low, high = self._box()
        return float((high - low).max() / self.width)

    def sheet(self, plane: Plane) -> Grid:
        """Return the grid of a picture: (width, height[, 1]) pixels, first axis to the right, second downwards."""
        low, high = self._box()
        axes, pixel, n = _AXES[plane], self.pixel, self.grid.ndim
        size = np.abs(axes.T @ (high - low))[:2]
        shape = tuple(int(s) for s in np.maximum(1, np.round(size / pixel)))
        # Centre the sheet in its plane, and set it on the point across the plane.
        middle = self.point if n == 3 else (low + high) / 2
        middle = middle + axes[:, :2] @ (axes[:, :2].T @ ((low + high) / 2 - middle))
        first = middle - axes[:, :2] @ ((np.array(shape) - 1) / 2 * pixel)
        return Grid.of((*shape, 1)[:n], pixel, first, axes)

    def cut(self, volume: Volume, plane: Plane) -> NDArray[np.generic]:
        """Read a volume in a plane: (height, width), float32 for images and the labels' own type for labels.

        Beyond the volume it is its minimum, labels 0.
        """
        out = resample(volume, self.sheet(plane))
        return out.data[0].reshape(out.grid.shape[:2]).numpy().T

    def world(self, plane: Plane) -> NDArray[np.float64]:
        """LPS millimetres of each pixel, (height, width, n)."""
        sheet = self.sheet(plane)
        index = np.stack(np.meshgrid(*[np.arange(s) for s in sheet.shape], indexing="ij"), axis=-1)
        flat = sheet.world(index).reshape(*sheet.shape[:2], sheet.ndim)
        return np.swapaxes(flat, 0, 1)

    def mapped(self, transform: Transform, plane: Plane) -> NDArray[np.float64]:
        """Where the map takes each pixel, as (height, width, 2) millimetres to the right and down in the plane."""
        points = transform(self.world(plane).reshape(-1, self.grid.ndim))
        sheet = self.sheet(plane)
        return (points @ _AXES[plane][:, :2]).reshape(sheet.shape[1], sheet.shape[0], 2)

    def _box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest LPS coordinate of the voxels' outer edges."""
        ends = [(-0.5, s - 0.5) for s in self.grid.shape]
        corners = self.grid.world(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, self.grid.ndim))
        return corners.min(axis=0), corners.max(axis=0)


def focus(volume: Volume) -> tuple[float, ...]:
    """Find a point worth looking at: the centre of mass of a label map, or of what in an image is brighter than its
    mean (the body against the air). LPS millimetres; the middle of an empty volume."""
    data = volume.data[0]
    inside = data != 0 if volume.kind == "labels" else data > data.float().mean()
    index = inside.nonzero().double()
    middle = volume.grid.world(index.mean(dim=0).numpy()) if len(index) else volume.grid.centre
    return tuple(float(x) for x in middle)


def window_of(volume: Volume) -> tuple[float, float]:
    """Choose the grey range of a picture: the abdominal window for CT, percentiles 1 and 99.5 for anything else.

    CT is told by its negative values: MR and ultrasound hardly have any. Images normalised to -1..1 keep that range.
    """
    flat = volume.data.flatten()
    some = flat[:: max(1, flat.numel() // 200_000)].float()
    least, low, high, most = torch.quantile(some, torch.tensor([0.0, 0.05, 0.995, 1.0])).tolist()
    if -1.05 <= least < -0.5 and most <= 1.05:
        return -1.0, 1.0
    if low < -50 or least < -500:
        return CT_WINDOW
    shown = some[some > some.min()]  # a black surround would hide the contrast of what it surrounds
    if shown.numel():
        low, high = torch.quantile(shown, torch.tensor([0.01, 0.995])).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def window(pixels: ArrayLike, limits: tuple[float, float]) -> Pixels:
    """Map the grey range to 0..1, float32, clipped."""
    low, high = limits
    return np.clip((np.asarray(pixels, dtype=np.float32) - low) / (high - low), 0, 1).astype(np.float32)
