"""How regular a displacement field is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jssr.core import field as ff
from jssr.core.transform import Displacement

SLAB = 1 << 20
"""Voxels whose Jacobian determinants are in memory at a time."""


class Regularity(NamedTuple):
    """`folds` in per cent of the grid's cells, and the standard deviation of the log Jacobian over the others."""

    folds: float
    log_jacobian_sd: float


def regularity(displacement: Displacement) -> Regularity:
    """Folds and the spread of the log Jacobian determinant, which is the same in voxels and in millimetres.

    Returns:
        Both nan for a grid without cells; the spread is nan where every cell folds.
    """
    grid = displacement.grid
    thick = max(1, SLAB // max(1, grid.voxels // grid.shape[0]))
    folds, count, total, squares = 0, 0, 0.0, 0.0
    for first in range(0, grid.shape[0] - 1, thick):
        # One more slice: a cell reaches to the next voxel.
        determinant = ff.jacobian_determinant(displacement.u[None, :, first : first + thick + 1])
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
