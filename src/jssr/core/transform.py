"""Transforms in physical space. Every one maps a point of the FIXED space to the point of the MOVING space that
corresponds to it (LPS millimetres): images are pulled through it, `moved(p) = moving(T(p))`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jssr.core import bridges
from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.errors import ImageError, TransformError

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK

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
        index = np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)
        at = target.index(self(grid.world(index)))
        return torch.from_numpy(np.moveaxis(at, -1, 0)[None].astype(np.float32))

    def displacement(self, grid: Grid) -> Displacement:
        """The map as one displacement field on `grid`."""
        u = self.positions(grid, grid) - ff.identity(grid.shape)
        return Displacement(u[0], grid)


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
        # One product of matrices instead of a pass over every voxel in float64.
        matrix = torch.from_numpy(np.linalg.inv(target.affine) @ self.matrix @ grid.affine).float()
        n = grid.ndim
        index = ff.identity(grid.shape)
        at = torch.einsum("ij,bj...->bi...", matrix[:n, :n], index)
        return at + matrix[:n, n].view(1, n, *([1] * n))


@dataclass(frozen=True, eq=False)
class Displacement(Transform):
    """A displacement field: `u` (n, *grid.shape) float32 in voxels of `grid`, which lies in the fixed space.

    Beyond the grid the field of its border is continued.
    """

    u: Tensor
    grid: Grid

    def __post_init__(self) -> None:
        if tuple(self.u.shape) != (self.grid.ndim, *self.grid.shape):
            raise ValueError(f"a field of shape {tuple(self.u.shape)} does not fit a grid of {self.grid.shape}")

    @classmethod
    def from_millimetres(cls, vectors: ArrayLike, grid: Grid) -> Displacement:
        """From LPS millimetres, (*grid.shape, n), as files hold them."""
        linear = np.linalg.inv(grid.affine[: grid.ndim, : grid.ndim])
        u = np.asarray(vectors, dtype=np.float64) @ linear.T
        return cls(torch.from_numpy(np.moveaxis(u, -1, 0).astype(np.float32)), grid)

    @property
    def ndim(self) -> int:
        return self.grid.ndim

    def millimetres(self) -> NDArray[np.float32]:
        """LPS millimetres, (*grid.shape, n), as files hold them."""
        linear = self.grid.affine[: self.grid.ndim, : self.grid.ndim]
        return (np.moveaxis(self.u.numpy(), 0, -1) @ linear.T.astype(np.float32)).astype(np.float32, copy=False)

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
        at = self.grid.index(points).reshape(-1, n)
        where = torch.from_numpy(at.T.astype(np.float32)).view(1, n, -1, *([1] * (n - 1)))
        u = ff.sample(self.u[None], where).view(n, -1).T.double().numpy()
        return points + (u @ self.grid.affine[:n, :n].T).reshape(points.shape)

    def inverse(self, grid: Grid | None = None) -> Displacement:
        """The opposite map on `grid` (of the moving space; by default the field's own grid), by fixed point."""
        grid = grid or self.grid
        # Read on the field's own grid: resampled onto the other one first, it would be cut off at that one's border.
        at = Affine.identity(grid.ndim).positions(grid, self.grid)
        here = solved(self, at)
        off = ((at - here - ff.sample(self.u[None], here)).abs() > 1.0).any(dim=1)
        last = torch.tensor(self.grid.shape).view(1, -1, *[1] * grid.ndim) - 1
        lost = float((off & ((here >= 0) & (here <= last)).all(dim=1)).float().mean())
        if lost > 0.01:
            log.warning("the field has no inverse in %.1f %% of %s: it folds there", 100 * lost, grid)
        return Displacement(_turn(here - at, self.grid, grid)[0], grid)

    def nearest_linear(self) -> NDArray[np.float64]:
        """The homogeneous matrix (n+1, n+1), in voxels of the grid, that comes nearest to the map.

        The inverse is sought from there: a fixed point about the identity diverges for turns above some 60 degrees.
        """
        n = self.grid.ndim
        every = tuple(slice(None, None, max(1, s // 24)) for s in self.grid.shape)
        p = ff.identity(self.grid.shape)[0][(slice(None), *every)].reshape(n, -1).double()
        there = p + self.u[(slice(None), *every)].reshape(n, -1).double()
        known = torch.cat([p, torch.ones_like(p[:1])]).T
        # Small norm where the grid is flat along an axis: the identity is fitted out first.
        found = torch.linalg.lstsq(known, (there - p).T, driver="gelsd").solution.T
        matrix = np.eye(n + 1)
        matrix[:n] += found.numpy()
        return matrix if np.linalg.cond(matrix) < 1e6 else np.eye(n + 1)

    def positions(self, grid: Grid, target: Grid) -> Tensor:
        n = grid.ndim
        at = Affine.identity(n).positions(grid, self.grid)
        u = self.u[None] if grid.same_as(self.grid) else ff.sample(self.u[None], at)
        return Affine.identity(n).positions(grid, target) + _turn(u, self.grid, target)


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


def _turn(u: Tensor, source: Grid, target: Grid) -> Tensor:
    """Vectors (B, n, ...) in voxels of `source` as voxels of `target`."""
    n = source.ndim
    linear = np.linalg.inv(target.affine)[:n, :n] @ source.affine[:n, :n]
    return torch.einsum("ij,bj...->bi...", torch.from_numpy(linear).float(), u)


def solved(transform: Displacement, goal: Tensor, **settings: Any) -> Tensor:
    """Which positions (1, n, *out) a field takes to `goal`, both in voxels of its grid; `field.solve_inverse`."""
    n = transform.ndim
    back = torch.from_numpy(np.linalg.inv(transform.nearest_linear())).to(goal.dtype)
    start = torch.einsum("ij,bj...->bi...", back[:n, :n], goal) + back[:n, n].view(1, n, *[1] * n)
    return ff.solve_inverse(transform.u[None], goal, start, back[:n, :n], step=0.7, **settings)
