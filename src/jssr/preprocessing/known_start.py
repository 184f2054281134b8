"""Where a pair starts when a transform is known before: it takes the place of the headers' geometry.

A linear transform moves the moving scan's grid, or the scan itself where it shears. A field is looked through: what
follows sees the moving scan as the field shows it on the fixed one, and the field is put behind what is found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jssr.core.grid import Grid, GridError
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Volume
from jssr.preprocessing.placement import shrink
from jssr.preprocessing.rigid import RigidResult, rigid_align

Masks = tuple[Volume | None, Volume | None]
"""Of the fixed and of the moving scan: label maps on their grids; only what is not 0 counts."""
NO_MASKS: Masks = (None, None)
FINEST_MM = 1.5
"""A scan seen through a field is read no finer than this: nothing that follows works on a finer grid in 3D."""
BEYOND_MM = 20.0
"""Kept around the fixed scan, so that what lies just outside of it can still move in."""


def rigid_from(fixed: Volume, moving: Volume, start: Affine, masks: Masks = NO_MASKS) -> RigidResult:
    """`rigid_align` from where a linear transform puts the moving scan; what it gives holds that transform."""
    there, mask = moved_by(moving, start), masks[1] and moved_by(masks[1], start)
    found = rigid_align(fixed, there, fixed_mask=masks[0], moving_mask=mask)
    affine = found.affine and Affine(start.matrix @ found.affine.matrix)
    return replace(found, transform=Affine(start.matrix @ found.transform.matrix), affine=affine)


def moved_by(volume: Volume, start: Affine) -> Volume:
    """A volume of the moving space where a linear transform puts it in the fixed space.

    Nothing is interpolated as long as its axes stay perpendicular; a shear is resampled, without data (NaN, of labels
    0) where the volume ends.
    """
    back = np.linalg.inv(start.matrix) @ volume.grid.affine
    try:
        return replace(volume, grid=Grid(volume.grid.shape, back))
    except GridError:
        pass
    n = volume.grid.ndim
    steps = np.linalg.norm(back[:n, :n], axis=0)
    left, _, right = np.linalg.svd(back[:n, :n] / steps)
    upright = Grid.of(volume.grid.shape, steps.tolist(), back[:n, n].tolist(), left @ right)
    at = upright.index(start.inverse()(volume.grid.corners()))
    low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int)
    return _read(volume, upright.cropped(low.tolist(), (high - low + 1).tolist()), start)


def seen_through(volume: Volume, field: Displacement, fixed: Grid) -> Volume:
    """A volume of the moving space as a field shows it, around the fixed scan; without data (NaN, of labels 0) where
    the field leads out of it."""
    if fixed.ndim == 2:
        return _read(volume, fixed, field)
    grid = fixed.respaced(np.maximum(fixed.spacing, FINEST_MM).tolist())
    margin = np.ceil(BEYOND_MM / grid.spacing).astype(int)
    grid = grid.cropped((-margin).tolist(), (np.array(grid.shape) + 2 * margin).tolist())
    return _read(shrink(volume, grid.spacing.tolist()), grid, field)


def _read(volume: Volume, grid: Grid, transform: Transform) -> Volume:
    return resample(volume, grid, transform, fill=float("nan") if volume.kind == "image" else 0)
