"""Volumes pulled onto a grid, and where they have data there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import affine_reading
from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Transform
from jssr.core.volume import Volume

POINTS = 2**20
TIE = 1e-9
"""Weights of labels that differ by less are equal."""


def resample(
    volume: Volume,
    grid: Grid,
    transform: Transform | None = None,
    fill: float | Sequence[float] | None = None,
    nearest: bool = False,
) -> Volume:
    """Pull a volume onto `grid`: images linearly, labels without new values.

    Labels: nearest if `nearest`, else the label of the greatest linear weight (smoother borders).

    Args:
        volume: what to pull, on the moving grid.
        grid: the fixed grid.
        transform: fixed to moving space; None is the identity of physical space.
        fill: value outside the moving grid; None takes the volume's minimum (of labels the background: 0, or where
            there is no 0 but negative values, what most voxels of its faces have). Of an image also one a channel.
        nearest: read the nearest voxel.
    """
    transform = transform or Affine.identity(grid.ndim)
    # Pictures are small: there is nothing to gain.
    if volume.kind == "image" and not nearest and isinstance(transform, Affine) and grid.ndim == 3:
        return volume.with_data(_through_affine(volume, grid, transform, fill), grid)
    at = transform.positions(grid, volume.grid)
    outside = ~inside_grid(at, volume.grid)[0]
    if volume.kind != "image":
        out = sample_labels(volume.data, at, nearest)
        out[:, outside] = background_of(volume.data) if fill is None else int(np.max(fill))
        return volume.with_data(out, grid)
    data = ff.sample(volume.data[None].float(), at, "nearest" if nearest else "bilinear")[0]
    return volume.with_data(_filled(data, outside, volume, fill), grid)


def _through_affine(volume: Volume, grid: Grid, transform: Affine, fill: float | Sequence[float] | None) -> Tensor:
    """`resample` of an image, linearly: (C, *grid.shape)."""
    matrix = between(grid, volume.grid, transform)
    data = affine_reading.read(volume.data.float(), matrix, grid.shape)
    there = affine_reading.inside(matrix, volume.grid.shape, grid.shape)
    if data.data_ptr() == volume.data.data_ptr():  # read where its voxels are: nothing was computed
        data = data.clone()
    return data if there is None else _filled(data, ~there, volume, fill)


def _filled(data: Tensor, outside: Tensor, volume: Volume, fill: float | Sequence[float] | None) -> Tensor:
    values = float(volume.data.min()) if fill is None else fill
    for channel, value in zip(data, np.broadcast_to(values, len(data)).tolist(), strict=True):
        channel.masked_fill_(outside, value)
    return data


def between(grid: Grid, moving: Grid, transform: Affine) -> NDArray[np.float64]:
    """Homogeneous (n + 1, n + 1), from voxels of `grid` to voxels of `moving`."""
    return np.asarray(np.linalg.inv(moving.affine) @ transform.matrix @ grid.affine)


def background_of(labels: Tensor) -> int:
    """The value of a label map (1, *shape) beyond its border."""
    if labels.dtype == torch.bool or int(labels.min()) >= 0 or bool((labels == 0).any()):
        return 0
    n = labels.ndim - 1
    faces = [labels.select(axis + 1, end).flatten() for axis in range(n) for end in (0, -1)]
    values, counts = torch.cat(faces).unique(return_counts=True)
    return int(values[counts.argmax()])


def sample_labels(labels: Tensor, at: Tensor, nearest: bool) -> Tensor:
    if nearest:
        size = torch.tensor(labels.shape[1:]).view(1, -1, *[1] * (at.ndim - 2))
        index = torch.minimum(at.round().clamp(min=0), (size - 1).to(at.dtype))
        return labels.flatten()[cell_index(index, labels.shape[1:])][None]
    # Most of a label map has one label all round; only the other cells need interpolation.
    index = cell_index(at, labels.shape[1:])
    out, mixed = labels.flatten()[index][None], ~uniform_cells(labels).flatten()[index]
    points = torch.stack([axis[mixed] for axis in at[0]])
    # In parts: a point takes some hundred bytes.
    found = [_heaviest(labels[0], part) for part in points.split(POINTS, dim=1)]
    out[0][mixed] = torch.cat([out.new_zeros(0), *found])
    return out


def _heaviest(labels: Tensor, at: Tensor) -> Tensor:
    """The label of the greatest linear weight at points (n, N) in voxels, the smallest of equals: (N,).

    The corners of a cell are compared with each other, so that it takes as long with a hundred labels as with two.
    """
    n, count = at.shape
    size = torch.tensor(labels.shape).view(n, 1)
    at = torch.minimum(at.double().clamp(min=0), (size - 1).double())
    first = torch.minimum(at.floor().long(), (size - 2).clamp(min=0))
    part = at - first
    corners: list[Tensor] = []
    weights: list[Tensor] = []
    for ends in itertools.product((0, 1), repeat=n):
        index, weight = torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.float64)
        for axis, end in enumerate(ends):
            index = index * labels.shape[axis] + (first[axis] + end).clamp(max=labels.shape[axis] - 1)
            weight = weight * (part[axis] if end else 1 - part[axis])
        corners.append(labels.flatten()[index])
        weights.append(weight)
    best, found = torch.full((count,), -1.0, dtype=torch.float64), corners[0]
    for k, label in enumerate(corners):
        total = torch.zeros(count, dtype=torch.float64)
        for other, weight in zip(corners, weights, strict=True):
            total += torch.where(other == label, weight, 0.0)
        # Sums of other orders differ in the last bit, which must not decide.
        better = (total > best + TIE) | ((total >= best - TIE) & (label < found)) if k else total > best
        best, found = torch.where(better, total, best), torch.where(better, label, found)
    return found


def uniform_cells(labels: Tensor) -> Tensor:
    """Cells of (1, *spatial) labels all of whose corners have one label: (*spatial) bool.

    Cell (i, j, k) lies between voxels i and i + 1, and so on; the border is repeated.
    """
    alike = torch.ones(labels.shape[1:], dtype=torch.bool)
    for axis in range(labels.ndim - 1):
        # A cell is uniform where both its faces across this axis are, and have one label.
        length = alike.shape[axis] - 1
        low, high = alike.narrow(axis, 0, length), alike.narrow(axis, 1, length)
        same = labels[0].narrow(axis, 0, length) == labels[0].narrow(axis, 1, length)
        inner = low & high & same
        alike = torch.cat([inner, alike.narrow(axis, length, 1)], dim=axis)
    return alike


def cell_index(at: Tensor, shape: Sequence[int]) -> Tensor:
    """The cells of a grid that positions (1, n, *out) in voxels lie in, in its flat order: (*out)."""
    index = torch.zeros(at.shape[2:], dtype=torch.int64 if math.prod(shape) >= 2**31 else torch.int32)
    for axis, size in enumerate(shape):
        index = index.mul_(size).add_(at[0, axis].clamp(0, size - 1).to(index.dtype))
    return index


def coverage(grid: Grid, moving: Grid, transform: Transform | None = None) -> Tensor:
    """Where on `grid` the moving image has data: (1, *grid.shape) bool."""
    transform = transform or Affine.identity(grid.ndim)
    if isinstance(transform, Affine):
        there = affine_reading.inside(between(grid, moving, transform), moving.shape, grid.shape)
        return torch.ones(1, *grid.shape, dtype=torch.bool) if there is None else there[None]
    return inside_grid(transform.positions(grid, moving), moving)


def inside_grid(at: Tensor, grid: Grid) -> Tensor:
    """(1, *out) bool: which positions (1, n, *out) in voxels lie on a voxel of the grid, edges included (as in ITK)."""
    size = torch.tensor(grid.shape).view(1, -1, *[1] * (at.ndim - 2))
    return ((at >= -0.5) & (at <= size - 0.5)).all(dim=1)
