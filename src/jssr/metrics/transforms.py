"""How good a transform is: how far it leaves corresponding landmarks apart, and how regular its field is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jssr.core import field as ff
from jssr.core import kernels, voxel_kernels
from jssr.core.late import part_of, planes_of
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Points
from jssr.errors import PointsError

SLAB = 1 << 20
"""Voxels whose Jacobian determinants are in memory at a time."""


class Regularity(NamedTuple):
    """`folds` in per cent of the grid's cells, and the standard deviation of the log Jacobian over the others."""

    folds: float
    log_jacobian_sd: float


def regularity(displacement: Displacement) -> Regularity:
    """Folds and the spread of the log Jacobian determinant, which is the same in voxels and in millimetres.

    Both are nan for a grid without cells; the spread is nan where every cell folds.
    """
    folds, count, total, squares = 0, 0, 0.0, 0.0
    for cells, *found in _sums(displacement):
        count += cells
        folds, total, squares = folds + int(found[0]), total + found[1], squares + found[2]
    if not count:
        return Regularity(math.nan, math.nan)
    kept = count - folds
    spread = math.sqrt(max(squares / kept - (total / kept) ** 2, 0.0)) if kept else math.nan
    return Regularity(100.0 * folds / count, spread)


def _sums(displacement: Displacement) -> Iterator[tuple[int, int, float, float]]:
    """Of one slab after the other: its cells, those that fold, and the sum of the log Jacobian determinant of the
    others and of its square."""
    grid, planes = displacement.grid, planes_of(displacement, "u")
    if planes is not None and min(grid.shape) > 1:
        plane, length = grid.shape[:2], grid.shape[2]
        thick = max(1, 2 * SLAB // math.prod(plane))
        for first in range(0, length - 1, thick):
            # One more plane: a cell reaches to the next voxel.
            last = min(first + thick + 1, length)
            mm = torch.from_numpy(planes(first, last))
            cells = math.prod(s - 1 for s in mm.shape[1:])
            yield cells, *voxel_kernels.regularity(mm, grid.affine[:3, 2::-1])
        return
    thick = max(1, SLAB // max(1, grid.voxels // grid.shape[0]))
    for first in range(0, grid.shape[0] - 1, thick):
        inner = slice(first, min(first + thick + 1, grid.shape[0])), *(slice(0, size) for size in grid.shape[1:])
        u = torch.from_numpy(part_of(displacement, "u", inner))
        cells = math.prod(s - 1 for s in u.shape[1:])
        if kernels.usable(u[None]) and cells:
            yield cells, *voxel_kernels.regularity(u)
            continue
        determinant = ff.jacobian_determinant(u[None])
        positive = determinant[determinant > 0]
        logs = positive.log_()
        found = float(logs.sum(dtype=torch.float64)), float(logs.square_().sum(dtype=torch.float64))
        yield cells, determinant.numel() - len(positive), *found


def tre(fixed: Points, moving: Points, transform: Transform | None = None) -> NDArray[np.float64]:
    """Target registration error of each landmark that both scans have, in millimetres, in the order of `fixed`.

    Landmarks are LPS millimetres, matched by name; no name in both, or one twice, is refused. The transform leads from
    fixed to moving space; None is the initial state.
    """
    for points, side in ((fixed, "fixed"), (moving, "moving")):
        if len(set(points.names)) < len(points.names):
            twice = max(points.names, key=points.names.count)
            raise PointsError(f"two {side} landmarks have the name {twice!r}; they are matched by name")
    where = dict(zip(moving.names, moving.xyz, strict=True))
    common = [i for i, name in enumerate(fixed.names) if name in where]
    if not common:
        raise PointsError("the fixed and the moving landmarks have no name in common")
    goal = np.stack([where[fixed.names[i]] for i in common])
    mapped = (transform or Affine.identity(fixed.xyz.shape[1]))(fixed.xyz[common])
    return np.asarray(np.linalg.norm(mapped - goal, axis=1))
