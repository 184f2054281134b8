"""What transforms compute at every voxel of a grid, on torch: `jssr.core.transform` imports it when it is needed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core import separable
from jssr.core.grid import Grid

Matrix = NDArray[np.float64]


def affine(matrix: Matrix, grid: Grid) -> Tensor:
    """Each voxel of a grid through a homogeneous matrix in voxels: (1, n, *grid.shape) float32.

    One product of matrices instead of a pass over every voxel in float64.
    """
    turn = torch.from_numpy(matrix).float()
    n = grid.ndim
    at = torch.einsum("ij,bj...->bi...", turn[:n, :n], ff.identity(grid.shape))
    return at + turn[:n, n].view(1, n, *([1] * n))


def between(grid: Grid, target: Grid) -> Tensor:
    """Each voxel of a grid in voxels of another: (1, n, *grid.shape) float32."""
    return affine(np.linalg.inv(target.affine) @ grid.affine, grid)


def displaced(u: Tensor, own: Grid, grid: Grid, target: Grid) -> Tensor:
    """Each voxel of `grid` through a field u (n, *own.shape) in voxels of `own`, in voxels of `target`."""
    at = u[None] if grid.same_as(own) else ff.sample(u[None], between(grid, own))
    return between(grid, target) + turned(at, own, target)


def resampled(u: Tensor, own: Grid, grid: Grid) -> Tensor:
    """A field u (n, *own.shape) in voxels of `own`, on `grid` and in its voxels: (n, *grid.shape)."""
    # Not `turned(on_grid(...))`: by its rounding other voxels at the border of a phantom would have data.
    return (displaced(u, own, grid, grid) - ff.identity(grid.shape))[0]


def on_grid(image: Tensor, own: Grid, grid: Grid) -> Tensor:
    """An image (C, *own.shape) at every voxel of another grid: (C, *grid.shape)."""
    if grid.same_as(own):
        return image
    return separable.read(image, np.linalg.inv(own.affine) @ grid.affine, grid.shape)


def read(u: Tensor, at: Matrix) -> Matrix:
    """A field u (n, *shape) at positions (N, n) in voxels: (N, n)."""
    n = len(u)
    where = torch.from_numpy(at.T.astype(np.float32)).view(1, n, -1, *([1] * (n - 1)))
    return ff.sample(u[None], where).view(n, -1).T.double().numpy()


def inverted(u: Tensor, own: Grid, grid: Grid, linear: Matrix) -> tuple[Tensor, float]:
    """The inverse of a field u (n, *own.shape), on `grid` and in its voxels (n, *grid.shape), and the share of voxels
    where there is none.

    Read on the field's own grid: resampled onto the other one first, it would be cut off at that one's border.

    Args:
        linear: homogeneous, in voxels of `own`, that the map is near to.
    """
    at = between(grid, own)
    here = _solved(u, at, linear)
    off = ((at - here - ff.sample(u[None], here)).abs() > 1.0).any(dim=1)
    last = torch.tensor(own.shape).view(1, -1, *[1] * grid.ndim) - 1
    lost = float((off & ((here >= 0) & (here <= last)).all(dim=1)).float().mean())
    return turned(here - at, own, grid)[0], lost


def turned(u: Tensor, source: Grid, target: Grid) -> Tensor:
    """Vectors (B, n, ...) in voxels of `source` as voxels of `target`."""
    n = source.ndim
    linear = np.linalg.inv(target.affine)[:n, :n] @ source.affine[:n, :n]
    return torch.einsum("ij,bj...->bi...", torch.from_numpy(linear).float(), u)


def _solved(u: Tensor, goal: Tensor, linear: Matrix) -> Tensor:
    """Which positions (1, n, *out) a field takes to `goal`, both in voxels of its grid; `field.solve_inverse`."""
    n = len(u)
    back = torch.from_numpy(np.linalg.inv(linear)).to(goal.dtype)
    start = torch.einsum("ij,bj...->bi...", back[:n, :n], goal) + back[:n, n].view(1, n, *[1] * n)
    return ff.solve_inverse(u[None], goal, start, back[:n, :n], step=0.7)
