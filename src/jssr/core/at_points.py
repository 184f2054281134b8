"""A displacement field at points, on numpy: read, and the points found that it takes to others. What needs every
voxel of a grid is in `jssr.core.field`, on torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sparse(shape: Sequence[int]) -> tuple[slice, ...]:
    """Slices of some 24 to 47 voxels along each axis, all of a smaller one: enough to know a smooth field by."""
    return tuple(slice(None, None, max(1, size // 24)) for size in shape)


def sparse_indices(shape: Sequence[int]) -> Array:
    """The indices of these voxels, (N, n)."""
    axes = [np.arange(size)[part] for size, part in zip(shape, sparse(shape), strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)).astype(np.float64)


def read_linear(values: NDArray[np.float32], at: Array) -> Array:
    """Values (C, *shape) at positions (N, n) in voxels, n-linear, the border repeated: (N, C), as `field.sample`."""
    return read_voxels(lambda voxels: values[(slice(None), *voxels.T)].T, values.shape, at)


def read_voxels(voxels: Callable[[NDArray[np.intp]], NDArray[Any]], shape: Sequence[int], at: Array) -> Array:
    """`read_linear` of what is not held.

    Args:
        voxels: gives the values of some voxels, by their indices (N, n): (N, C).
        shape: (C, *shape) of all of them.
    """
    last = np.array(shape[1:]) - 1
    inside = at.clip(0, last)
    first = np.minimum(np.nan_to_num(np.floor(inside)), np.maximum(last - 1, 0)).astype(np.intp)
    part = inside - first
    out = np.zeros((len(at), shape[0]))
    for ends in product((0, 1), repeat=len(last)):
        weight = np.where(ends, part, 1 - part).prod(axis=1)
        corner = np.minimum(first + ends, last)
        out += weight[:, None] * voxels(corner)
    return out


def solve_inverse(
    read: Callable[[Array], Array], goal: Array, linear: Array, tolerance: float, iterations: int, step: float = 0.7
) -> Array:
    """The positions (N, n) in voxels that a field takes to `goal`, by the fixed point of `field.solve_inverse`.

    Args:
        read: the field's displacement (N, n) at positions, both in voxels.
        linear: homogeneous (n + 1, n + 1), the linear map in voxels that `p + read(p)` is near to.
        tolerance: voxels by which a component may be off.
    """
    n = goal.shape[1]
    back = np.linalg.inv(linear)
    p = goal @ back[:n, :n].T + back[:n, n]
    for _ in range(iterations):
        miss = (goal - p - read(p)).clip(-1e4, 1e4)  # numbers, where it diverges
        p = p + step * miss @ back[:n, :n].T
        if not (np.abs(miss) > tolerance).any():
            break
    return p
