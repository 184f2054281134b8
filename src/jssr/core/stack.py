"""A stack of slices on a straight line, upright or sheared by a tilted gantry, which is made upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.nifti import SHEARED

SKEW = 0.5
"""Pixels of sideways drift over the stack."""
_LAST = 1.2
"""By so much less the distance along the last axis may be, and it is still taken for that of the slices."""
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slice k begins at `origin + k * step`.

    Attributes:
        axes: (2, 3) direction of the columns' and of the rows' index.
        pixel: distance of neighbouring rows, of neighbouring columns (mm).
        size: columns, rows, slices.
    """

    origin: Vector
    step: Vector
    axes: Vector
    pixel: tuple[float, ...]
    size: tuple[int, int, int]

    @property
    def drift(self) -> Vector:
        """How far each slice lies beside the one before it, along the axes (mm): of a tilted gantry."""
        drift = self.axes @ self.step
        far = np.abs(drift).max() * (self.size[2] - 1) > SKEW * min(self.pixel)
        return drift if far else np.zeros(2)

    @property
    def angle(self) -> float:
        """The tilt of the gantry in degrees; 0 of an upright stack."""
        rise = np.cross(self.axes[0], self.axes[1]) @ self.step
        return float(np.degrees(np.arctan2(np.linalg.norm(self.drift), rise)))

    def grid(self) -> Grid:
        """The grid of the slices, as they are or once they are upright (`upright`)."""
        low, shape = self._margins()
        row_step, column_step = self.pixel
        # The column index runs along the first axis, its step is the distance of columns: DICOM stores rows first.
        spacing = np.array([column_step, row_step])
        normal = np.cross(self.axes[0], self.axes[1])
        origin = self.origin - (low * spacing) @ self.axes
        return Grid.of(
            (*shape, self.size[2]), (*spacing.tolist(), float(normal @ self.step)), origin.tolist(),
            np.c_[self.axes.T, normal],
        )  # fmt: skip

    def upright(self, array: NDArray[Any], fill: float, linear: bool = True) -> NDArray[Any]:
        """The voxels of a tilted stack on `grid()`: every slice is moved in its own plane, where it lies anyway, by
        linear interpolation, or to the nearest pixels; `fill` beside it."""
        if not self.drift.any():
            return array
        from scipy import ndimage  # 0.4 s, for tilted gantries alone

        low, shape = self._margins()
        out = np.full((*shape, self.size[2]), fill, dtype=array.dtype)
        steps = self.drift / (self.pixel[1], self.pixel[0])
        for k in range(self.size[2]):
            off = low + k * steps
            moved = ndimage.affine_transform(array[..., k], np.eye(2), -off, shape, order=int(linear), mode="nearest")
            # As ITK has it: half a pixel beyond the outermost ones counts as theirs.
            at = [np.arange(n) - start for n, start in zip(shape, off, strict=True)]
            held = [(x >= -0.5) & (x <= n - 0.5) for x, n in zip(at, self.size[:2], strict=True)]
            out[..., k] = np.where(np.outer(*held), moved, fill)
        return out

    def _margins(self) -> tuple[NDArray[np.int64], tuple[int, int]]:
        """Pixels that the upright grid has before slice 0's first ones, and its columns and rows."""
        reach = self.drift / (self.pixel[1], self.pixel[0]) * (self.size[2] - 1)
        low = np.ceil(np.maximum(0, -reach) - 1e-6).astype(np.int64)
        high = np.ceil(np.maximum(0, reach) - 1e-6).astype(np.int64)
        shape = low + high + self.size[:2]
        return low, (int(shape[0]), int(shape[1]))

    def words(self, name: str) -> str:
        """What the user is told of a stack that was moved upright."""
        return f"{name}: was taken with a tilted gantry ({self.angle:.1f} degrees); its slices were moved upright."


@dataclass(frozen=True, eq=False)
class Sheared:
    """An array whose axes are not perpendicular, as a stack of slices that are.

    Attributes:
        stack: its slices.
        order: which axis of the array runs along the columns' index, the rows' and the slices'.
        down: whether the slices are counted against the normal of their plane.
    """

    stack: Stack
    order: tuple[int, int, int]
    down: bool

    def upright(self, array: NDArray[Any], fill: float, linear: bool = True) -> NDArray[Any]:
        """The voxels on `stack.grid()`, as `Stack.upright` has it."""
        turned = array.transpose(self.order)
        return self.stack.upright(turned[..., ::-1] if self.down else turned, fill, linear)


def sheared(shape: tuple[int, ...], affine: Vector) -> Sheared | None:
    """The slices of an array of three axes whose affine (4, 4), LPS mm, is sheared as a tilted gantry does it; None
    where its axes are perpendicular, or where no two of them are."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if len(shape) != 3 or not np.isfinite(affine).all() or (steps <= 0).any():
        return None
    axes = affine[:3, :3] / steps
    cosines = np.abs(axes.T @ axes - np.eye(3))
    if cosines.max() <= SHEARED or abs(np.linalg.det(axes)) < 1e-6:
        return None
    # Two axes may do. Slices are stored last, as a rule, and lie further apart than pixels.
    by_step = sorted(((0, 1, 2), (2, 0, 1), (1, 2, 0)), key=lambda o: -steps[o[2]] * (_LAST if o[2] == 2 else 1.0))
    for order in by_step:
        u, v, through = order
        if cosines[u, v] > SHEARED:
            continue
        origin, step = affine[:3, 3], affine[:3, through]
        plane = np.stack([axes[:, u], axes[:, v] - (axes[:, u] @ axes[:, v]) * axes[:, u]])
        down = bool(np.cross(plane[0], plane[1]) @ step < 0)
        count = shape[through]
        first, step = (origin + (count - 1) * step, -step) if down else (origin, step)
        size = (shape[u], shape[v], count)
        plane /= np.linalg.norm(plane, axis=1, keepdims=True)
        return Sheared(Stack(first, step, plane, (float(steps[v]), float(steps[u])), size), order, down)
    return None
