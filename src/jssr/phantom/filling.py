"""How a pelvis differs between two scans: the bladder fills or empties, the rectum widens, bones stay.

The velocity that is integrated (`motion.integrate`) is that of a source inside the organ: within it everything grows
alike, outside the tissue gives way so that its own volume stays, v ~ 1/r^2 round a bladder and 1/r round a tube. It is
weighted by how freely the tissue gives way, which is nothing in bone. To it come the smooth random velocity and the
small rigid motion that the abdomen has too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.phantom.motion import Motion, MotionRanges, draw_rigid, integrate, wander
from jssr.phantom.pelvis import Pelvis

__all__ = ["FillingRanges", "make_filling"]

_COARSE_MM = 4.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class FillingRanges:
    """How far pelves change between two scans."""

    bladder: tuple[float, float] = (-0.30, 0.26)
    """Logarithm of the factor on the bladder's diameters."""
    rectum: tuple[float, float] = (-0.4, 0.4)
    """Logarithm of the factor on the rectum's diameter, where it changes most."""
    push: float = 2.0
    """Standard deviation (mm) by which the bladder's middle is moved, up and forwards with what it takes up."""
    rest: MotionRanges = field(default_factory=lambda: MotionRanges(smooth=(0.6, 1.8), shift=1.0, turn=0.8))


def make_filling(rng: np.random.Generator, pelvis: Pelvis, grid: Grid, ranges: FillingRanges) -> tuple[Motion, float]:
    """Draw one change.

    Args:
        rng: the phase's own stream.
        pelvis: in its reference state.
        grid: the reference phase's voxel grid, extended beyond any field of view.
        ranges: how far.

    Returns:
        The motion, and the logarithm of the factor on the bladder's diameters before it was limited.
    """
    coarse = pelvis.grid.respaced(_COARSE_MM)
    at = Affine.identity(3).positions(coarse, pelvis.grid)
    gives = ff.sample(torch.from_numpy(pelvis.mobility)[None, None], at)
    points = coarse.world(np.moveaxis(np.indices(coarse.shape), 0, -1))
    bladder, rectum = float(rng.uniform(*ranges.bladder)), float(rng.uniform(*ranges.rectum))
    centre, radii = pelvis.bladder
    push = rng.normal(0, ranges.push, 3) + bladder * radii * np.array([0.0, -0.35, 0.75])
    velocity = _swelling(points, centre, radii, bladder, push) + _widening(points, *pelvis.rectum, rectum, rng)
    moved = _tensor(velocity) * gives + wander(rng, coarse, ranges.rest) * (0.15 + 0.85 * gives)
    return integrate(moved, coarse, draw_rigid(rng, grid.centre, ranges.rest), grid), bladder


def _swelling(
    points: Array,
    centre: Array,
    radii: Array,
    rate: float,
    push: Array,
) -> Array:
    """Round an ellipsoid: like everything in it growing at `rate`, falling with the cube of the distance outside."""
    away = points - centre
    reach = np.sqrt(((away / radii) ** 2).sum(axis=-1, keepdims=True))
    fall = np.minimum(1.0, np.maximum(reach, 1e-3) ** -3)
    return away * rate * fall + push * np.minimum(1.0, np.maximum(reach, 1e-3) ** -2)


def _widening(
    points: Array,
    line: Array,
    radii: Array,
    rate: float,
    rng: np.random.Generator,
) -> Array:
    """Round a tube, horizontally: most at one height, falling with the distance outside."""
    order = np.argsort(line[:, 2])
    z = points[..., 2]
    axis = [np.interp(z, line[order, 2], line[order, a]) for a in (0, 1)]
    radius = np.interp(z, line[order, 2], radii[order])
    most, spread = rng.uniform(-35, 20), rng.uniform(22, 45)
    local = rate * np.exp(-(((z - most) / spread) ** 2))
    away = np.stack([points[..., 0] - axis[0], points[..., 1] - axis[1], np.zeros_like(z)], axis=-1)
    reach = np.hypot(away[..., 0], away[..., 1]) / radius
    return away * (local * np.minimum(1.0, np.maximum(reach, 1e-3) ** -2))[..., None]


def _tensor(velocity: Array) -> Tensor:
    return torch.from_numpy(np.moveaxis(velocity, -1, 0).astype(np.float32))[None]
