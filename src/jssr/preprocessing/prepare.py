"""Preparation, as in the paper (section 4.2): common field of view, rigid pre-alignment, window, resample.

`prepare_pair` does it in memory for one pair; `jssr.cohorts.prepare` writes a whole cohort for training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Volume
from jssr.errors import GeometryError, ImageError
from jssr.preprocessing.intensity import Window, normalise
from jssr.preprocessing.placement import Ready, put, ready, working_grid
from jssr.preprocessing.rigid import OverlapError, RigidResult, overlap, rigid_align
from jssr.preprocessing.start2d import grid_2d, seen_spacing, start_2d, unknown_spacing


@dataclass(frozen=True)
class PreparedImage:
    """One scan on its working grid: `image` in -1..1 and `mask`, (1, 1, *grid.shape); `limits` became -1 and 1."""

    image: Tensor
    mask: Tensor
    grid: Grid
    limits: Window


@dataclass(frozen=True)
class PreparedPair:
    """A pair as the networks see it, everything (1, 1, *grid.shape) float32 on one working grid.

    `fixed` and `moving` are in -1..1 and -1 where there is no data; masks are 1 where there is. `transform` takes
    fixed-space to moving-space points (LPS mm) and is already in `moving`. `rigid` is None where none was asked for.
    `finer` is the fixed and the moving scan on the grid of instance optimisation, where that is another one.
    `start` is what counts as not registered: the headers' geometry, or for 2D images what `start_2d` gives.
    """

    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor
    moving_mask: Tensor
    grid: Grid
    transform: Affine
    fixed_limits: Window
    moving_limits: Window
    rigid: RigidResult | None = None
    warnings: tuple[str, ...] = field(default=())
    start: Affine = field(default_factory=Affine.identity)
    finer: tuple[PreparedImage, PreparedImage] | None = None


def prepare_pair(
    fixed: Volume,
    moving: Volume,
    spacing: Sequence[float] | float,
    window: Window | None,
    rigid: bool = True,
    *,
    initial: Literal["geometry", "centre"] = "geometry",
    found: RigidResult | None = None,
    pixels: int = 256,
    most_voxels: int | None = None,
    finer: Callable[[Grid], Grid] | None = None,
) -> PreparedPair:
    """Put two scans of one patient onto one working grid.

    Args:
        fixed, moving: two 3D or two 2D images in their own units, of any geometry.
        spacing: mm of the working grid, one number or one for each axis (towards left, back, head: the working grid has
            the fixed image's axes in that order).
        window: HU that become -1..1 in scans that are CT; other scans get robust limits of their own.
        rigid: align rigidly first; otherwise the headers' geometry holds.
        initial: as in `rigid_align`.
        found: a rigid alignment found before, taken as it is.
        pixels: along each side of the grid of 2D images; spacing, rigid, initial, found and most_voxels are for 3D
            alone.
        most_voxels: where the grid would have more, its spacing grows until it has not.
        finer: gives the grid of instance optimisation from the working grid, if there will be one; 3D alone.

    Raises:
        OverlapError: the fields of view do not meet in physical space.
        ImageError: a scan without contrast, or one of two dimensions and one of three.
    """
    if fixed.grid.ndim != moving.grid.ndim:
        dims = f"{fixed.name} ({fixed.grid.ndim}D) and {moving.name} ({moving.grid.ndim}D)"
        raise ImageError(f"expected two images of one dimension, got {dims}")
    if fixed.grid.ndim == 2:
        return _pair_2d(fixed, moving, window, pixels)
    result = rigid_align(fixed, moving, initial=initial) if rigid and found is None else found
    transform = result.transform if result else Affine.identity()
    if overlap(fixed.grid, moving.grid, transform) == 0:
        raise OverlapError(f"{moving.name}: its field of view does not overlap that of {fixed.name} in physical space")

    def placed(spacing: Sequence[float] | float) -> tuple[Ready, Ready, Grid, list[str]]:
        a = _ready(fixed, spacing, window, Affine.identity())
        b = _ready(moving, spacing, window, transform)
        return a, b, *working_grid(a, [b], spacing)

    a, b, grid, warnings = placed(spacing)
    if most_voxels is not None and grid.voxels > most_voxels:
        grow = 1.01 * (grid.voxels / most_voxels) ** (1 / 3)  # a margin for rounding up
        a, b, grid, warnings = placed([grow * s for s in np.broadcast_to(spacing, 3).tolist()])
    one, two = normalised(a, grid), normalised(b, grid)
    ends = a.limits, b.limits
    noted = (*(result.warnings if result else ()), *warnings)
    pair = PreparedPair(one.image, two.image, one.mask, two.mask, grid, transform, *ends, result, noted)
    other = grid if finer is None else finer(grid)
    return pair if other.same_as(grid) else _with_finer(pair, fixed, moving, window, other)


def _with_finer(pair: PreparedPair, fixed: Volume, moving: Volume, window: Window | None, grid: Grid) -> PreparedPair:
    step = grid.spacing.tolist()
    a, b = _ready(fixed, step, window, Affine.identity()), _ready(moving, step, window, pair.transform)
    return replace(pair, finer=(normalised(a, grid), normalised(b, grid)))


def _pair_2d(fixed: Volume, moving: Volume, window: Window | None, pixels: int) -> PreparedPair:
    grid, start = grid_2d(fixed.grid, pixels), start_2d(fixed.grid, moving.grid)
    here = Affine.identity(2)
    a = _ready(fixed, seen_spacing(grid, here), window, here)
    b = _ready(moving, seen_spacing(grid, start), window, start)
    one, two = normalised(a, grid), normalised(b, grid)
    return PreparedPair(one.image, two.image, one.mask, two.mask, grid, start, a.limits, b.limits, start=start)


def prepare_image(
    image: Volume, spacing: Sequence[float] | float, window: Window | None, pixels: int = 256
) -> PreparedImage:
    """Put one scan onto its working grid (for segmentation alone). Arguments and errors as `prepare_pair`."""
    if image.grid.ndim == 2:
        grid = grid_2d(image.grid, pixels)
        return normalised(_ready(image, float(grid.spacing[0]), window, Affine.identity(2)), grid)
    scan = _ready(image, spacing, window, Affine.identity())
    grid, _ = working_grid(scan, [], spacing)
    return normalised(scan, grid)


def normalised(scan: Ready, grid: Grid) -> PreparedImage:
    """Read a scan on a grid and scale it to -1..1; -1 where there is no data."""
    image, mask = put(scan, grid)
    return PreparedImage((normalise(image, scan.limits) + 1) * mask - 1, mask, grid, scan.limits)


def check_labels(labels: Volume, image: Volume) -> Volume:
    """Make sure that a label map lies on its image's grid; a picture of as many pixels is put there.

    Raises:
        GeometryError: it does not.
    """
    picture = labels.grid.ndim == 2 and labels.grid.shape == image.grid.shape
    if picture and (unknown_spacing(labels.grid) or unknown_spacing(image.grid)):
        return replace(labels, grid=image.grid)
    if not labels.grid.same_as(image.grid, tolerance=0.05):
        raise GeometryError(
            f"{labels.name}: lies on another grid than {image.name} ({labels.grid} against {image.grid}); "
            "resample it to its image first"
        )
    return labels


def _ready(volume: Volume, spacing: Sequence[float] | float, window: Window | None, transform: Affine) -> Ready:
    try:
        return ready(volume.with_data(volume.data[:1].to(torch.float32)), spacing, window, transform)
    except ValueError as error:
        raise ImageError(f"{volume.name}: {error}") from error
