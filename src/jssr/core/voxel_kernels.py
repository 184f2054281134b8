"""Inner loops of full size in C, of the library of `jssr.core.kernels`: a displacement and an image at every voxel of
part of a grid, a field beyond where it was measured, and a field in the order of a file."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.kernels import call, int64, library, shared

Matrix = NDArray[np.float64]
_LINES = 64
"""Lines of voxels of a part of the work, at least."""


def moves(
    field: Tensor, into: Matrix, linear: Matrix, more: Matrix, back: Matrix, step: float, shape: Sequence[int]
) -> Tensor:
    """The displacement at every voxel of part of a grid, (1, 3, *shape) in its voxels.

    Args:
        field: (3, *spatial) on a grid of its own.
        into: (4, 4), voxels of the part to those of the field.
        linear: (3, 3), what the field moves, in millimetres.
        more: (4, 4), what is added for each voxel of the part, in millimetres.
        back: (3, 3), millimetres to voxels of the part.
        step: millimetres that they are rounded to.
    """
    out = torch.empty(1, 3, *shape)
    field = field.contiguous()
    matrices = [_double(m) for m in (into[:3], linear, more[:3], back)]
    given = field, int64(field.shape[1:]), *matrices, float(step), int64(shape), out
    shared(shape[0] * shape[1], _LINES, lambda *part: call("jssr_moves", *given, *part))
    return out


def relaxed(u: Tensor, valid: Tensor, rounds: int) -> Tensor:
    """An image (1, C, *spatial) whose voxels that are not `valid`, (1, 1, *spatial) bool, become the mean of the 27
    around them, `rounds` times over; the border is repeated."""
    u, valid = u.contiguous(), valid.contiguous()
    planes, other = u.shape[1] * u.shape[2], torch.empty_like(u)
    least = max(1, 32768 // u[0, 0, 0].numel())
    for k in range(rounds):
        given = u, int64(u.shape[2:]), valid, other if k % 2 == 0 else torch.empty_like(u)
        shared(planes, least, lambda *part, given=given: call("jssr_relaxed", *given, *part))
        u = given[3]
    return u


def pulled(image: Tensor, read: Matrix, u: Tensor, fill: float) -> tuple[Tensor, Tensor]:
    """An image at the voxels of part of a grid that are moved, (1, *part), `fill` where it has no data; and where it
    has, bool.

    Args:
        image: (1, *spatial) float32.
        read: (4, 4), voxels of the part to those of the image.
        u: (1, 3, *part) in voxels of the part.
    """
    shape = u.shape[2:]
    image, u = image.contiguous(), u.contiguous()
    out, seen = torch.empty(1, *shape), torch.empty((1, *shape), dtype=torch.bool)
    given = image, int64(image.shape[1:]), _double(read[:3]), u, int64(shape), float(fill), out, seen
    shared(shape[0] * shape[1], _LINES, lambda *part: call("jssr_pull", *given, *part))
    return out, seen


def file_order(u: NDArray[np.float32], linear: Matrix, steps: float) -> NDArray[np.float32] | None:
    """Part of a field (3, x, y, z) in voxels, in the order of a file: (3, z, y, x) in millimetres, rounded to
    1 / `steps`. None where they are not compiled, or take no such array.

    Args:
        linear: (3, 3), voxels to millimetres.
    """
    if library() is None or u.ndim != 4 or u.dtype != np.float32 or any(s % 4 for s in u.strides):
        return None
    out = np.empty((3, *u.shape[:0:-1]), np.float32)
    matrix = np.ascontiguousarray(linear, dtype=np.float32)
    strides = int64([s // 4 for s in u.strides])
    given = (
        ctypes.c_void_p(u.ctypes.data), strides, ctypes.c_void_p(matrix.ctypes.data), float(steps), int64(u.shape[1:]),
        ctypes.c_void_p(out.ctypes.data),
    )  # fmt: skip
    shared(u.shape[2], 8, lambda *part: call("jssr_file_order", *given, *part))
    return out


def regularity(u: Tensor, linear: Matrix | None = None) -> tuple[int, float, float]:
    """Of the cells between neighbouring voxels of a field (3, *spatial), two voxels along each axis at least: how many
    fold, and the sum of the log Jacobian determinant of the others and of its square.

    Args:
        linear: (3, 3), the axes of the tensor in the unit of the field, one a column; None where that is their voxels.
    """
    u, axes = u.contiguous(), np.eye(3) if linear is None else np.ascontiguousarray(linear)
    sums = torch.empty(u.shape[1] - 1, 3, dtype=torch.float64)
    scale = 1 / float(np.linalg.det(axes))
    given = u, int64(u.shape[1:]), torch.from_numpy(axes.astype(np.float32)), scale, sums
    shared(len(sums), 1, lambda *part: call("jssr_regularity", *given, *part))
    folds, total, squares = sums.sum(dim=0).tolist()
    return int(folds), total, squares


def _double(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float64))
