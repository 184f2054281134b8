"""The grid: where the voxels of an image lie in the patient.

World space is LPS millimetres (ITK's). Tensor axes are ITK's index axes in ITK's order: `tensor[i, j, k]` is the voxel
with ITK index `(i, j, k)`, and `affine @ (i, j, k, 1)` is its centre in the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


class GridError(ValueError):
    """A geometry that cannot be an image's: no volume, bad spacing, a singular or shearing affine."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A shape and the affine that takes a voxel index to LPS millimetres.

    Args:
        shape: voxels along each tensor axis, 2 or 3 of them.
        affine: (n+1, n+1) float64, column a = step of one voxel along axis a (mm), last column = centre of voxel 0.

    Raises:
        GridError: empty shape, non-finite or singular affine, or axes that are not perpendicular.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(s) for s in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        n = len(shape)
        if n not in (2, 3) or min(shape) < 1:
            raise GridError(f"a grid needs 2 or 3 axes of at least one voxel, got shape {shape}")
        if affine.shape != (n + 1, n + 1):
            raise GridError(f"a {n}D grid needs a {n + 1} x {n + 1} affine, got shape {affine.shape}")
        if not np.isfinite(affine).all():
            raise GridError("expected a finite affine, got NaN or infinity in it")
        if not np.allclose(affine[n], np.eye(n + 1)[n]):
            raise GridError(f"expected 0 ... 0 1 as the last row of the affine, got {affine[n].tolist()}")
        steps = np.linalg.norm(affine[:n, :n], axis=0)
        if (steps <= 0).any():
            raise GridError(f"spacing must be positive, got {tuple(steps)}")
        axes = affine[:n, :n] / steps
        if not np.allclose(axes.T @ axes, np.eye(n), atol=1e-3):
            raise GridError("its axes are not perpendicular (gantry tilt or shear): resample the image first")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float] | float = 1.0,
        origin: Sequence[float] | None = None,
        direction: ArrayLike | None = None,
    ) -> Grid:
        """Build a grid from ITK's four: size, spacing (mm), origin (mm, LPS) and direction (columns are axes)."""
        n = len(shape)
        step = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (n,))
        if not np.isfinite(step).all() or (step <= 0).any():
            raise GridError(f"spacing must be positive, got {tuple(step)}")
        axes = np.eye(n) if direction is None else np.asarray(direction, dtype=np.float64).reshape(n, n)
        affine = np.eye(n + 1)
        affine[:n, :n] = axes * step
        affine[:n, n] = 0.0 if origin is None else np.asarray(origin, dtype=np.float64)
        return cls(tuple(shape), affine)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(n,) millimetres between neighbouring voxels along each tensor axis."""
        return np.linalg.norm(self.affine[: self.ndim, : self.ndim], axis=0)

    @property
    def origin(self) -> NDArray[np.float64]:
        """(n,) centre of voxel 0 in LPS millimetres."""
        return self.affine[: self.ndim, self.ndim].copy()

    @property
    def direction(self) -> NDArray[np.float64]:
        """(n, n) unit axes, one a column."""
        return self.affine[: self.ndim, : self.ndim] / self.spacing

    @property
    def centre(self) -> NDArray[np.float64]:
        """(n,) the middle of the grid in LPS millimetres."""
        return self.world((np.array(self.shape) - 1) / 2)

    @property
    def voxels(self) -> int:
        return int(np.prod(self.shape))

    def world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map voxel indices (..., n), fractions allowed, to LPS millimetres (..., n)."""
        n = self.ndim
        return np.asarray(index, dtype=np.float64) @ self.affine[:n, :n].T + self.affine[:n, n]

    def index(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map LPS millimetres (..., n) to fractional voxel indices (..., n)."""
        n = self.ndim
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points, dtype=np.float64) @ inverse[:n, :n].T + inverse[:n, n]

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Whether each point (..., n), LPS millimetres, lies between the outermost voxel centres."""
        at = self.index(points)
        return np.asarray(((at >= -1e-6) & (at <= np.array(self.shape) - 1 + 1e-6)).all(axis=-1))

    def distance(self, points: ArrayLike) -> NDArray[np.float64]:
        """How far (mm) each point (..., n) lies outside the outermost voxel centres; 0 inside."""
        at = self.index(points)
        off = at - at.clip(0, np.array(self.shape) - 1)
        return np.where(self.contains(points), 0.0, np.linalg.norm(off * self.spacing, axis=-1))

    def corners(self) -> NDArray[np.float64]:
        """(2**n, n) the outermost voxel centres in LPS millimetres."""
        ends = [(0, s - 1) for s in self.shape]
        return self.world(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, self.ndim))

    def resized(self, shape: Sequence[int]) -> Grid:
        """The grid with another number of voxels between the same first and last voxel centres (`align_corners`)."""
        scale = [(a - 1) / max(b - 1, 1) if a > 1 else 1.0 for a, b in zip(self.shape, shape, strict=True)]
        return Grid(tuple(shape), self.affine * [*scale, 1.0])

    def respaced(self, spacing: Sequence[float] | float) -> Grid:
        """Return a grid of the given spacing (mm) that covers the same box of voxel edges, centred on it."""
        target = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (self.ndim,))
        extent = np.array(self.shape) * self.spacing
        shape = np.maximum(1, np.round(extent / target)).astype(int)
        first = self.centre - self.direction @ ((shape - 1) / 2 * target)
        return Grid.of(tuple(shape), target.tolist(), first.tolist(), self.direction)

    def cropped(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """Return the part of the grid that begins at voxel `start` (may be negative: then the grid grows)."""
        affine = self.affine.copy()
        affine[: self.ndim, self.ndim] = self.world(start)
        return Grid(tuple(shape), affine)

    def same_as(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Whether both grids have one shape and their voxel centres agree within `tolerance` voxels everywhere."""
        if self.shape != other.shape:
            return False
        apart = np.abs(self.corners() - other.corners()).max()
        return bool(apart <= tolerance * self.spacing.min())

    def __repr__(self) -> str:
        size = " x ".join(str(s) for s in self.shape)
        return f"Grid({size} at {' x '.join(f'{s:.4g}' for s in self.spacing)} mm, origin {np.round(self.origin, 3)})"


def dims_in_words(dims: Iterable[int]) -> str:
    """Numbers of axes as people say them: "2D and 3D"."""
    return " and ".join(f"{n}D" for n in dims)
