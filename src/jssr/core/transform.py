"""Transforms in physical space. Every one maps a point of the FIXED space to the point of the MOVING space that
corresponds to it (LPS millimetres): images are pulled through it, `moved(p) = moving(T(p))`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jssr.core import bridges
from jssr.core.at_points import read_linear, read_voxels, sparse, sparse_indices
from jssr.core.grid import Grid
from jssr.core.late import array_of, held, is_computed, late_tensor, part_of, parts, pending
from jssr.errors import ImageError, TransformError

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK
    from torch import Tensor

FEW = 200_000
"""Points up to which a field is read on numpy: there that takes less time than importing torch."""

log = logging.getLogger(__name__)


class Transform(ABC):
    """A map from fixed-space to moving-space points, LPS millimetres."""

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Axes of its space."""

    @abstractmethod
    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (..., n) of the fixed space into the moving space."""

    @abstractmethod
    def inverse(self, grid: Grid | None = None) -> Transform:
        """The opposite map. A displacement needs the grid (of the moving space) that its inverse shall live on."""

    @abstractmethod
    def sitk(self) -> SimpleITK.Transform:
        """As a SimpleITK transform (LPS mm, fixed to moving space), as `SimpleITK.Resample` wants it."""

    def positions(self, grid: Grid, target: Grid) -> Tensor:
        """Where each voxel of `grid` lands, in voxels of `target`: (1, n, *grid.shape) float32."""
        import torch

        at = target.index(self._ends(grid))
        return torch.from_numpy(np.moveaxis(at, -1, 0)[None].astype(np.float32))

    def _ends(self, grid: Grid) -> NDArray[np.float64]:
        """Where each voxel of `grid` lands: (*grid.shape, n) LPS millimetres."""
        return self(grid.world(_indices(grid)))

    def displacement(self, grid: Grid) -> Displacement:
        """The map as one displacement field on `grid`."""
        u = grid.index(self._ends(grid)) - _indices(grid)
        return Displacement(pending(np.moveaxis(u, -1, 0).astype(np.float32)), grid)


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """`p -> matrix @ (p, 1)`, homogeneous (n+1, n+1) float64, LPS millimetres."""

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not abs(np.linalg.det(matrix)) > 1e-12:
            raise ValueError("an affine transform needs a square invertible matrix")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls, n: int = 3) -> Affine:
        return cls(np.eye(n + 1))

    @property
    def ndim(self) -> int:
        return len(self.matrix) - 1

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        n = len(self.matrix) - 1
        return np.asarray(points, dtype=np.float64) @ self.matrix[:n, :n].T + self.matrix[:n, n]

    def inverse(self, grid: Grid | None = None) -> Affine:
        return Affine(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def numpy(self) -> NDArray[np.float64]:
        """(n + 1, n + 1) homogeneous matrix, LPS millimetres, in memory of its own."""
        return self.matrix.copy()

    def sitk(self) -> SimpleITK.AffineTransform:
        import SimpleITK as sitk

        n = self.ndim
        out = sitk.AffineTransform(n)
        out.SetMatrix(self.matrix[:n, :n].ravel().tolist())
        out.SetTranslation(self.matrix[:n, n].tolist())
        return out

    def positions(self, grid: Grid, target: Grid) -> Tensor:
        from jssr.core import every_voxel

        return every_voxel.affine(np.linalg.inv(target.affine) @ self.matrix @ grid.affine, grid)

    def displacement(self, grid: Grid) -> Displacement:
        # A sum of one array an axis.
        n = grid.ndim
        moves = np.linalg.inv(grid.affine) @ self.matrix @ grid.affine - np.eye(n + 1)
        axes = np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij", sparse=True)
        u = np.empty((n, *grid.shape), dtype=np.float32)
        for out, row in zip(u, moves, strict=False):
            out[...] = sum((row[k] * axis for k, axis in enumerate(axes)), start=row[n])
        return Displacement(pending(u), grid)


@late_tensor("u")
@dataclass(frozen=True, eq=False)
class Displacement(Transform):
    """A displacement field: `u` (n, *grid.shape) float32 in voxels of `grid`, which lies in the fixed space.

    Beyond the grid the field of its border is continued.
    """

    u: Tensor
    grid: Grid

    def __post_init__(self) -> None:
        shape = tuple(held(self, "u").shape)
        if shape != (self.grid.ndim, *self.grid.shape):
            raise ValueError(f"a field of shape {shape} does not fit a grid of {self.grid.shape}")

    @classmethod
    def from_millimetres(cls, vectors: ArrayLike, grid: Grid) -> Displacement:
        """From LPS millimetres, (*grid.shape, n), as files hold them."""
        linear = np.linalg.inv(grid.affine[: grid.ndim, : grid.ndim])
        u = np.asarray(vectors, dtype=np.float64) @ linear.T
        return cls(pending(np.moveaxis(u, -1, 0).astype(np.float32)), grid)

    @property
    def ndim(self) -> int:
        return self.grid.ndim

    def millimetres(self) -> NDArray[np.float32]:
        """LPS millimetres, (*grid.shape, n), as files hold them."""
        linear = self.grid.affine[: self.grid.ndim, : self.grid.ndim]
        return (np.moveaxis(array_of(self, "u"), 0, -1) @ linear.T.astype(np.float32)).astype(np.float32, copy=False)

    def numpy(self) -> NDArray[np.float32]:
        """`millimetres`: LPS, (*grid.shape, n)."""
        return self.millimetres()

    def sitk(self) -> SimpleITK.DisplacementFieldTransform:
        import SimpleITK as sitk

        vectors = bridges.to_sitk(np.moveaxis(self.millimetres(), -1, 0), self.grid)
        return sitk.DisplacementFieldTransform(sitk.Cast(vectors, sitk.sitkVectorFloat64))

    def nibabel(self) -> nib.Nifti1Image:
        """As a NIfTI vector image (intent 1007), LPS millimetres, as `write_displacement` writes it."""
        return bridges.to_vectors(self.millimetres(), self.grid)

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image, *, name: str = "displacement field") -> Displacement:
        """From a SimpleITK vector image, LPS millimetres.

        Raises:
            TransformError: it is no field of one vector a voxel, holds NaN or infinity, or lies on no grid.
        """
        import SimpleITK as sitk

        n, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
        if components != n:
            raise TransformError(
                f"{name}: has {components} value(s) per voxel in {n}D; a displacement field has one vector of {n} "
                "(mm, LPS)"
            )
        vectors = sitk.GetArrayViewFromImage(image).transpose(*range(n)[::-1], n)
        if not np.isfinite(vectors).all():
            raise TransformError(f"{name}: holds NaN or infinite displacements")
        try:
            return cls.from_millimetres(vectors, bridges.grid_of(image, name))
        except ImageError as error:
            raise TransformError(str(error)) from error

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        points = np.asarray(points, dtype=np.float64)
        n = self.grid.ndim
        u = self.read(self.grid.index(points).reshape(-1, n))
        return points + (u @ self.grid.affine[:n, :n].T).reshape(points.shape)

    def read(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """The field at positions (N, n), both in voxels of its grid: (N, n)."""
        if is_computed(self, "u"):
            return self._read_parts(at)
        if len(at) <= FEW:
            return read_linear(array_of(self, "u"), at)
        from jssr.core import every_voxel

        return every_voxel.read(self.u, at)

    def _read_parts(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """`read` of a field that is computed: only at the voxels round the positions, or slabs in which those lie."""
        found = held(self, "u")
        if found.at is not None:
            return read_voxels(found.at, found.shape, at)
        out = np.empty_like(at)
        last = self.grid.shape[0] - 1
        planes = np.floor(at[:, 0].clip(0, last)).astype(int)
        for whole in parts(self.grid.shape, 0):
            inside = (planes >= whole[0].start) & (planes < whole[0].stop)
            if inside.any():
                first, end = int(planes[inside].min()), min(int(planes[inside].max()) + 2, last + 1)
                values = part_of(self, "u", (slice(first, end), *whole[1:]))
                # Cut where the grid goes on only beyond what is read.
                out[inside] = read_linear(values, at[inside] - [first, *[0] * (self.grid.ndim - 1)])
        return out

    def _ends(self, grid: Grid) -> NDArray[np.float64]:
        return grid.world(_indices(grid)) + self.millimetres() if grid.same_as(self.grid) else super()._ends(grid)

    def inverse(self, grid: Grid | None = None) -> Displacement:
        """The opposite map on `grid` (of the moving space; by default the field's own grid), by fixed point."""
        from jssr.core import every_voxel

        grid = grid or self.grid
        u, lost = every_voxel.inverted(self.u, self.grid, grid, self.nearest_linear())
        if lost > 0.01:
            log.warning("the field has no inverse in %.1f %% of %s: it folds there", 100 * lost, grid)
        return Displacement(u, grid)

    def nearest_linear(self) -> NDArray[np.float64]:
        """The homogeneous matrix (n+1, n+1), in voxels of the grid, that comes nearest to the map.

        The inverse is sought from there: a fixed point about the identity diverges for turns above some 60 degrees.
        """
        n = self.grid.ndim
        p = sparse_indices(self.grid.shape)
        moves = array_of(self, "u")[(slice(None), *sparse(self.grid.shape))].reshape(n, -1).T.astype(np.float64)
        known = np.concatenate([p, np.ones((len(p), 1))], axis=1)
        # Small norm where the grid is flat along an axis: the identity is fitted out first.
        found = np.linalg.lstsq(known, moves, rcond=None)[0].T
        matrix = np.eye(n + 1)
        matrix[:n] += found
        return matrix if np.linalg.cond(matrix) < 1e6 else np.eye(n + 1)

    def positions(self, grid: Grid, target: Grid) -> Tensor:
        from jssr.core import every_voxel

        return every_voxel.displaced(self.u, self.grid, grid, target)

    def displacement(self, grid: Grid) -> Displacement:
        from jssr.core import every_voxel

        return Displacement(every_voxel.resampled(self.u, self.grid, grid), grid)


@dataclass(frozen=True, eq=False)
class Chain(Transform):
    """Several transforms, applied to a point from first to last: fixed space first, moving space last."""

    parts: tuple[Transform, ...]

    def __init__(self, *parts: Transform) -> None:
        flat: list[Transform] = []
        for part in parts:
            flat.extend(part.parts if isinstance(part, Chain) else [part])
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def ndim(self) -> int:
        return self.parts[0].ndim

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        out = np.asarray(points, dtype=np.float64)
        for part in self.parts:
            out = part(out)
        return out

    def _ends(self, grid: Grid) -> NDArray[np.float64]:
        first, *others = self.parts
        out = first._ends(grid)
        for part in others:
            out = part(out)
        return out

    def sitk(self) -> SimpleITK.CompositeTransform:
        import SimpleITK as sitk

        # ITK runs the one added last first.
        return sitk.CompositeTransform([part.sitk() for part in reversed(self.parts)])

    def inverse(self, grid: Grid | None = None) -> Chain:
        """The parts inverted in the opposite order.

        Args:
            grid: of the moving space, that the inverse shall be good on: each displacement's inverse covers it, in that
                displacement's own resolution. None keeps the displacements' own grids. Affine parts are exact.
        """
        found: list[Transform] = []
        corners = None if grid is None else grid.corners()
        for part in reversed(self.parts):
            on = grid
            if found and grid is not None and corners is not None and isinstance(part, Displacement):
                on = _covering(part.grid, corners)
            found.append(part.inverse(on))
            corners = None if corners is None else found[-1](corners)
        return Chain(*found)


def _covering(grid: Grid, points: NDArray[np.float64]) -> Grid:
    """A grid continued or cut to the box of some points (N, n), LPS mm, along its axes."""
    at = grid.index(points)
    low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int)
    return grid.cropped(low.tolist(), (high - low + 1).tolist())


def _indices(grid: Grid) -> NDArray[np.int64]:
    """The index of each voxel, (*shape, n)."""
    return np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)
