"""Volumes pulled onto a grid, where they have data there, and points carried along a transform."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.transform import Affine, Chain, Displacement, Transform, solved
from jssr.core.volume import Points, Volume
from jssr.errors import TransformError

POINTS = 2**20
TIE = 1e-9
"""Weights of labels that differ by less are equal."""


def resample(
    volume: Volume, grid: Grid, transform: Transform | None = None, fill: float | None = None, nearest: bool = False
) -> Volume:
    """Pull a volume onto `grid`: images linearly, labels without new values.

    Labels: nearest if `nearest`, else the label of the greatest linear weight (smoother borders).

    Args:
        volume: what to pull, on the moving grid.
        grid: the fixed grid.
        transform: fixed to moving space; None is the identity of physical space.
        fill: value outside the moving grid; None takes the volume's minimum (of labels the background: 0, or where
            there is no 0 but negative values, what most voxels of its faces have).
        nearest: read the nearest voxel.
    """
    at = (transform or Affine.identity(grid.ndim)).positions(grid, volume.grid)
    outside = ~inside_grid(at, volume.grid)[0]
    if volume.kind != "image":
        out = sample_labels(volume.data, at, nearest)
        out[:, outside] = background_of(volume.data) if fill is None else int(fill)
        return volume.with_data(out, grid)
    data = ff.sample(volume.data[None].float(), at, "nearest" if nearest else "bilinear")[0]
    data[:, outside] = float(volume.data.min()) if fill is None else fill
    return volume.with_data(data, grid)


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
    return inside_grid((transform or Affine.identity(grid.ndim)).positions(grid, moving), moving)


def inside_grid(at: Tensor, grid: Grid) -> Tensor:
    """(1, *out) bool: which positions (1, n, *out) in voxels lie on a voxel of the grid, edges included (as in ITK)."""
    size = torch.tensor(grid.shape).view(1, -1, *[1] * (at.ndim - 2))
    return ((at >= -0.5) & (at <= size - 0.5)).all(dim=1)


def move_points(points: Points, transform: Transform, to: Literal["fixed", "moving"], iterations: int = 50) -> Points:
    """Carry points along a registration.

    Args:
        points: LPS millimetres.
        transform: fixed to moving space.
        to: "moving" takes points of the fixed image to the moving image (the transform itself); "fixed" takes points
            of the moving image to the fixed image (its inverse, solved for each point by fixed-point iteration).

    Raises:
        ValueError: another `to`.
        TransformError: the points are of another dimension, or the transform has no inverse at some point (its field
            folds there).
    """
    if points.xyz.shape[1] != transform.ndim:
        raise TransformError(f"points of {points.xyz.shape[1]} coordinates, and a transform of {transform.ndim}D space")
    if to not in ("fixed", "moving"):
        raise ValueError(f'to must be "fixed" or "moving", got {to!r}')
    parts: Sequence[Transform] = transform.parts if isinstance(transform, Chain) else (transform,)
    out = points.xyz
    for part in parts if to == "moving" else reversed(parts):
        if isinstance(part, Displacement):
            found = continued(part, out) if to == "moving" else brought_back(part, out, iterations)
            _tell_outside(part.grid, out if to == "moving" else found, points.names)
            out = found
        else:
            out = part(out) if to == "moving" else part.inverse()(out)
    return Points(out, points.names)


def _tell_outside(grid: Grid, at: NDArray[np.float64], names: Sequence[str]) -> None:
    away = grid.distance(at)
    if (outside := away > 0).any():
        first = ", ".join(dict.fromkeys(name for name, out in zip(names, outside, strict=True) if out))
        tell(
            f"{int(outside.sum())} of {len(names)} points lie outside the displacement field, up to {away.max():.1f} "
            f"mm: it is continued there, less surely ({first[:120]})."
        )


def continued(transform: Displacement, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, n) through a field; beyond its grid the map goes on from the border as the field does on the whole:
    by the linear part of the affine transform next to it, so that a turn stays one."""
    grid = transform.grid
    out = transform(points)
    outside = grid.distance(points) > 0
    if outside.any():
        index = grid.index(points[outside])
        border = grid.world(index.clip(0, np.array(grid.shape) - 1))
        linear = _beyond(transform)
        further = points[outside] - border
        out[outside] = transform(border) + (further if linear is None else further @ linear.T)
    return out


def _beyond(transform: Displacement) -> NDArray[np.float64] | None:
    """The linear part (n, n), mm, by which a map goes on beyond its field; None of a field that folds."""
    n, steps = transform.ndim, transform.grid.affine[: transform.ndim, : transform.ndim]
    found = steps @ transform.nearest_linear()[:n, :n] @ np.linalg.inv(steps)
    sizes = np.linalg.svd(found, compute_uv=False)
    sane = sizes.min() > 0.5 and sizes.max() < 2 and np.linalg.det(found) > 0
    return np.asarray(found, dtype=np.float64) if sane else None


def brought_back(transform: Displacement, goal: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    """The points (N, n) that a field takes to `goal`, to 1e-4 mm."""
    grid = transform.grid
    at = torch.from_numpy(grid.index(goal).T).view(1, grid.ndim, -1, *[1] * (grid.ndim - 1))
    found_at = solved(transform, at, tolerance=1e-4 / float(grid.spacing.max()), allowed=0.0, iterations=iterations)
    found = grid.world(found_at.reshape(grid.ndim, -1).T.numpy())
    beyond = grid.distance(found) > 0
    if beyond.any() and (linear := _beyond(transform)) is not None:
        back = np.linalg.inv(linear)
        for _ in range(iterations):
            found[beyond] += 0.9 * (goal[beyond] - continued(transform, found[beyond])) @ back.T
    off = float(np.linalg.norm(goal - continued(transform, found), axis=-1).max(initial=0.0))
    if not off <= 1.0:  # nan too
        raise TransformError(f"the field folds: it has no inverse at some of the points (off by {off:.1f} mm)")
    return found
