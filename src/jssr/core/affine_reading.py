"""Images read through an affine transform, and where they have data there, in few passes over the voxels.

Positions under an affine transform are a sum of one term an axis. Where axes go to axes an image is read along one axis
after the other; elsewhere the positions are written once, as `grid_sample` wants them. What lies inside is found as
an interval of each line of voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff

Matrix = NDArray[np.float64]

_STRAIGHT = 1e-6
"""Voxels that a straight axis may drift over its length: float32 positions are no better."""
_EDGE = 1e-6
"""Voxels within which a point counts as on the edge of the image, which belongs to it."""


def read(image: Tensor, matrix: Matrix, shape: Sequence[int]) -> Tensor:
    """Read an image linearly, its outermost voxels repeated beyond its border.

    Args:
        image: (C, *spatial) float32.
        matrix: homogeneous (n + 1, n + 1), from voxels of the output to voxels of the image.
        shape: of the output.

    Returns:
        (C, *shape).
    """
    n = len(shape)
    if _straight(matrix, shape):
        # Axes that lose voxels go first: the others then have less to do.
        for axis in sorted(range(n), key=lambda a: shape[a] / image.shape[a + 1]):
            image = _along(image, axis + 1, matrix[axis, axis] * np.arange(shape[axis]) + matrix[axis, n])
        return image
    scale = 2.0 / np.maximum(np.array(image.shape[1:]) - 1, 1)
    # grid_sample counts from -1 to 1 and wants the last axis first.
    turn, start = (scale[:, None] * matrix[:n, :n])[::-1], (scale * matrix[:n, n] - 1)[::-1]
    parts = [torch.from_numpy((np.arange(s)[:, None] * turn[:, a]).astype(np.float32)) for a, s in enumerate(shape)]
    where = parts[0] + torch.from_numpy(start.astype(np.float32))
    for part in parts[1:]:
        where = where.unsqueeze(-2) + part
    return ff.grid_sample(image[None], where[None])[0]


def inside(matrix: Matrix, size: Sequence[int], shape: Sequence[int]) -> Tensor | None:
    """Which voxels of an output lie on a voxel of an image, edges included; None where all do.

    Args:
        matrix: as in `read`.
        size: of the image.
        shape: of the output.

    Returns:
        (*shape) bool.
    """
    n = len(shape)
    low, high = -0.5 - _EDGE, np.array(size) - 0.5 + _EDGE
    ends = np.stack(np.meshgrid(*[(0, s - 1) for s in shape], indexing="ij"), -1).reshape(-1, n)
    corners = ends @ matrix[:n, :n].T + matrix[:n, n]
    if ((corners >= low) & (corners <= high)).all():  # and with its corners a box
        return None
    first = np.zeros(tuple(shape[:-1]))
    last = np.full(tuple(shape[:-1]), shape[-1] - 1.0)
    axes = np.meshgrid(*[np.arange(s) for s in shape[:-1]], indexing="ij", sparse=True)
    for a in range(n):
        base = sum((matrix[a, k] * axis for k, axis in enumerate(axes)), start=np.zeros(1)) + matrix[a, n]
        slope = matrix[a, n - 1]
        if abs(slope) * shape[-1] < _EDGE:
            last = np.where((base >= low) & (base <= high[a]), last, -1.0)
            continue
        one, two = (low - base) / slope, (high[a] - base) / slope
        first, last = np.maximum(first, np.minimum(one, two)), np.minimum(last, np.maximum(one, two))
    # Short integers are compared several times as fast.
    k = torch.arange(shape[-1], dtype=torch.int16 if shape[-1] < 2**15 else torch.int32)
    begin, end = (np.clip(v, -1, shape[-1])[..., None] for v in (np.ceil(first), np.floor(last)))
    return (k >= torch.from_numpy(begin).to(k.dtype)) & (k <= torch.from_numpy(end).to(k.dtype))


def _straight(matrix: Matrix, shape: Sequence[int]) -> bool:
    """Whether each axis of the output runs along the same axis of the image."""
    n = len(shape)
    off = matrix[:n, :n] - np.diag(np.diagonal(matrix)[:n])
    return bool((np.abs(off) @ np.array(shape) < _STRAIGHT).all())


def _along(image: Tensor, axis: int, at: NDArray[np.float64]) -> Tensor:
    """An image read at positions of one axis, and all of the others."""
    size = image.shape[axis]
    at = at.clip(0, size - 1)
    lower = np.floor(at).clip(max=max(size - 2, 0))
    if np.array_equal(at, np.arange(size)):
        return image
    share = torch.from_numpy((at - lower).astype(np.float32)).view([-1] + [1] * (image.ndim - 1 - axis))
    first, values = lower.astype(np.int64), image.numpy()
    # Along the last axis numpy takes a seventh of the time of torch.
    low = torch.from_numpy(values.take(first, axis))
    return low if size == 1 else low.lerp_(torch.from_numpy(values.take(first + 1, axis)), share)
