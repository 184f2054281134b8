"""Images and affine maps at every voxel of a grid, axis by axis where that is enough: in a fraction of the time of one
voxel after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff

Matrix = NDArray[np.float64]
_NOTHING = 1e-6
"""Entries of a matrix below this, times the voxels of its axis, move no position by a thousandth of a voxel."""


def read(image: Tensor, matrix: Matrix, shape: Sequence[int]) -> Tensor:
    """An image at every voxel of a grid, n-linear, the border repeated.

    Args:
        image: (C, *spatial).
        matrix: homogeneous (n + 1, n + 1), voxels of the grid to voxels of the image.
        shape: of the grid.

    Returns:
        (C, *shape).
    """
    axes = parallel(matrix)
    if axes is None:
        return ff.sample(image[None], positions(matrix, shape))[0]
    out = image.permute(0, *(a + 1 for a in axes))
    at = []
    for k, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        at.append(matrix[axis, k] * torch.arange(size, dtype=torch.float64) + matrix[axis, -1])
    return along_axes(out, at)


def along_axes(image: Tensor, at: Sequence[Tensor]) -> Tensor:
    """An image (C, *spatial) at the positions along each axis, in voxels, that are given for it: (C, *counts). It holds
    no infinity."""
    places = []
    for axis, where in enumerate(at):
        last = image.shape[axis + 1] - 1
        inside = where.clamp(0, last)
        first = inside.floor().clamp(max=max(last - 1, 0))
        low, high = int(first.min()), min(int(first.max()) + 1, last)
        image = image.narrow(axis + 1, low, high - low + 1)
        places.append((first.long() - low, (inside - first).to(image.dtype)))
    # The last axis first, while there is little of the others.
    for axis, (first, part) in reversed(list(enumerate(places))):
        image = _along(image, axis + 1, first, part)
    return image


def _along(image: Tensor, axis: int, first: Tensor, part: Tensor) -> Tensor:
    """An image between voxels `first` and the next ones of an axis, `part` of the way."""
    size = image.shape[axis]
    other = (first + 1).clamp(max=size - 1)
    if 1 < axis < image.ndim - 1:
        low, high = image.index_select(axis, first), image.index_select(axis, other)
        return torch.lerp(low, high, part.view(-1, *[1] * (image.ndim - 1 - axis)))
    # Single numbers, or few rows: a product of matrices takes less time than to copy both of their ends.
    weights = torch.zeros(len(first), size).scatter_(1, first[:, None], 1 - part[:, None])
    weights.scatter_add_(1, other[:, None], part[:, None])
    if axis == 1:
        return (weights @ image.flatten(2)).view(len(image), -1, *image.shape[2:])
    return image @ weights.T


def positions(matrix: Matrix, shape: Sequence[int]) -> Tensor:
    """The voxels of a grid through a homogeneous matrix: (1, n, *shape) float32."""
    n = len(shape)
    out = torch.empty((1, n, *shape))
    axes = [torch.arange(size, dtype=torch.float64) for size in shape]
    for row in range(n):
        plane = torch.tensor(matrix[row, n])
        for axis in range(1, n):
            plane = plane[..., None] + matrix[row, axis] * axes[axis]
        torch.add(plane.float()[None], (matrix[row, 0] * axes[0]).float().view(-1, *[1] * (n - 1)), out=out[0, row])
    return out


def apply_matrix(matrix: NDArray[np.float64], at: Tensor) -> Tensor:
    """Apply a linear (n, n) or homogeneous (n+1, n+1) matrix to (1, n, *spatial) coordinates."""
    n = at.shape[1]
    linear = torch.from_numpy(np.ascontiguousarray(matrix[:n, :n])).float()
    out = (linear @ at.reshape(n, -1)).view_as(at)
    if len(matrix) > n:
        out += torch.from_numpy(np.ascontiguousarray(matrix[:n, n])).float().view(1, n, *([1] * n))
    return out


def parallel(matrix: Matrix) -> list[int] | None:
    """For each axis of a grid the one axis of the image that it runs along, by the matrix from one to the other; None
    where some axis runs along none."""
    linear = np.abs(matrix[:-1, :-1])
    axes = linear.argmax(axis=0).tolist()
    rest = linear.copy()
    rest[axes, range(len(axes))] = 0
    return axes if len(set(axes)) == len(axes) and rest.max() < _NOTHING else None
