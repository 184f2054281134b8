"""How good a transform is: how far it leaves corresponding landmarks apart, and how regular its field is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jssr.core import field as ff
from jssr.core.late import part_of
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
    grid = displacement.grid
    thick = max(1, SLAB // max(1, grid.voxels // grid.shape[0]))
    folds, count, total, squares = 0, 0, 0.0, 0.0
    for first in range(0, grid.shape[0] - 1, thick):
        # One more slice: a cell reaches to the next voxel.
        inner = slice(first, min(first + thick + 1, grid.shape[0])), *(slice(0, size) for size in grid.shape[1:])
        determinant = ff.jacobian_determinant(torch.from_numpy(part_of(displacement, "u", inner))[None])
        positive = determinant[determinant > 0]
        folds, count = folds + determinant.numel() - positive.numel(), count + determinant.numel()
        logs = positive.log_()
        total += float(logs.sum(dtype=torch.float64))
        squares += float(logs.square_().sum(dtype=torch.float64))
    if not count:
        return Regularity(math.nan, math.nan)
    kept = count - folds
    spread = math.sqrt(max(squares / kept - (total / kept) ** 2, 0.0)) if kept else math.nan
    return Regularity(100.0 * folds / count, spread)


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
