"""A smooth image given by formula, so that it is exact on any grid after any motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from body import middle_grid
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.preprocessing.small_scan import SmallScan


def blobs(grid: Grid, motion: Affine | None = None) -> Tensor:
    p = grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1))
    p = p if motion is None else motion.inverse()(p)
    random = np.random.default_rng(0)
    image = np.zeros(grid.shape)
    for _ in range(40):
        centre, size = random.uniform(-70, 70, 3), random.uniform(12, 30)
        image += random.choice([-1, 1]) * np.exp(-((p - centre) ** 2).sum(-1) / (2 * size**2))
    return torch.from_numpy(np.tanh(image)).float()


def scan(
    grid: Grid, motion: Affine | None = None, change: Callable[[Tensor], Tensor] = lambda image: image
) -> SmallScan:
    """The image after a motion, in a contrast of its own."""
    return SmallScan(change(blobs(grid, motion)), torch.ones(grid.shape, dtype=torch.bool), grid)


HERE, THERE = middle_grid((40, 40, 40), (4.0, 4.0, 4.0)), middle_grid((52, 46, 38), (3.5, 4.0, 4.5))
