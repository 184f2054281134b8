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
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Modality, Volume
from jssr.errors import GeometryError, ImageError
from jssr.preprocessing.intensity import Window, normalise
from jssr.preprocessing.known_start import NO_MASKS, Masks, rigid_from, seen_through
from jssr.preprocessing.placement import Cleaned, Ready, cleaned, counts, put, working_grid
from jssr.preprocessing.rigid import Initial, OverlapError, RigidResult, overlap, rigid_align
from jssr.preprocessing.start2d import grid_2d, seen_spacing, start_2d, unknown_spacing


@dataclass(frozen=True)
class PreparedImage:
    """One scan on its working grid: `image` in -1..1 and `mask`, (1, 1, *grid.shape); `limits` became -1 and 1.

    `mask` is 1 where there is data and the user's mask, if there is one, has it count; `data` where there is data.
    """

    image: Tensor
    mask: Tensor
    grid: Grid
    limits: Window
    data: Tensor | None = None


@dataclass(frozen=True)
class PreparedPair:
    """A pair as the networks see it, everything (1, 1, *grid.shape) float32 on one working grid.

    `fixed` and `moving` are in -1..1 and -1 where there is no data; masks are 1 where there is and the user's mask, if
    there is one, has it count; `data` are the masks without the user's. `transform` takes fixed-space to moving-space
    points (LPS mm) and is already in `moving`. `rigid` is None where none was asked for. `finer` is the fixed and the
    moving scan on the grid of instance optimisation, where that is another one. `start` is what counts as not
    registered: the headers' geometry, for 2D images what `start_2d` gives, or the transform that the user gave.
    `initial` is a field that the user gave: `moving` is seen through it, and it follows after `transform`. `masked` is
    the one scan, "fixed" or "moving", that has a mask of the user's while the other has none.
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
    initial: Displacement | None = None
    modalities: tuple[Modality, Modality] | None = None
    data: tuple[Tensor, Tensor] | None = None
    masked: str | None = None

    @property
    def before(self) -> Transform:
        """What counts as not registered: `start`, or the field that was given."""
        return self.initial or self.start


def prepare_pair(
    fixed: Volume,
    moving: Volume,
    spacing: Sequence[float] | float,
    window: Window | None,
    rigid: Linear | RigidResult = True,
    *,
    initial: Initial | Affine | Displacement = "geometry",
    masks: Masks = NO_MASKS,
    pixels: int = 256,
    voxels: tuple[int | None, int | None] = (None, None),
    finer: Callable[[Grid, Grid], Grid] | None = None,
) -> PreparedPair:
    """Put two scans of one patient onto one working grid.

    Args:
        fixed, moving: two 3D or two 2D images in their own units, of any geometry.
        spacing: mm of the working grid, one number or one for each axis (towards left, back, head: the working grid has
            the fixed image's axes in that order).
        window: HU that become -1..1 in scans that are CT; other scans get robust limits of their own.
        rigid: align rigidly first (otherwise the headers' geometry holds); "affine" then takes the affine transform,
            where one is found that is better; or a rigid alignment found before, taken as it is with its affine one.
        initial: as in `rigid_align`, or a transform from fixed to moving space in place of the headers' geometry: a
            linear one is where the rigid step begins; with a field there is no rigid step.
        masks: of the fixed and of the moving scan; only what is not 0 in them counts. The images stay whole.
        pixels: along each side of the grid of 2D images; spacing, rigid and voxels are for 3D alone.
        voxels: fewest and most of the grid: where it would have fewer, its spacing shrinks until it has not, or is as
            fine as the fixed scan; where it would have more, its spacing grows.
        finer: gives the grid of instance optimisation from the working grid and the fixed scan's, if there will be
            one; 3D alone.

    Raises:
        OverlapError: the fields of view do not meet in physical space.
        ImageError: a scan without contrast, one of two dimensions and one of three, or a mask of which nothing is left
            on the working grid.
    """
    if fixed.grid.ndim != moving.grid.ndim:
        dims = f"{fixed.name} ({fixed.grid.ndim}D) and {moving.name} ({moving.grid.ndim}D)"
        raise ImageError(f"expected two images of one dimension, got {dims}")
    scans = [(fixed, masks[0]), (moving, masks[1])]
    field = initial if isinstance(initial, Displacement) else None
    if field is not None:
        seen = [one and seen_through(one, field, fixed.grid) for one in scans[1]]
        rigid, scans[1] = False, (seen[0] or moving, seen[1])
    if fixed.grid.ndim == 2:
        start = initial if isinstance(initial, Affine) else start_2d(fixed.grid, moving.grid)
        pair = _pair_2d(scans, window, pixels, Affine.identity(2) if field is not None else start)
    else:
        pair = _pair_3d(scans, _Sampling(spacing, window, voxels, finer), rigid, initial)
    have = [role for role, mask in zip(("fixed", "moving"), masks, strict=True) if mask is not None]
    return _checked(replace(pair, initial=field, masked=have[0] if len(have) == 1 else None), masks)


@dataclass(frozen=True)
class _Sampling:
    """How the working grid of 3D images is chosen, as `prepare_pair` is told."""

    spacing: Sequence[float] | float
    window: Window | None
    voxels: tuple[int | None, int | None]
    finer: Callable[[Grid, Grid], Grid] | None


Linear = bool | Literal["affine"]
"""Whether scans are aligned rigidly before a system sees them, and by an affine transform where that is better."""
_Scan = tuple[Volume, Volume | None]
"""An image and its mask."""


def _pair_3d(
    scans: Sequence[_Scan], how: _Sampling, rigid: Linear | RigidResult, initial: Initial | Affine | Displacement
) -> PreparedPair:
    (fixed, fixed_mask), (moving, moving_mask) = scans
    start = initial if isinstance(initial, Affine) else Affine.identity()
    result = rigid if isinstance(rigid, RigidResult) else None
    if result is None and rigid and isinstance(initial, Affine):
        result = rigid_from(fixed, moving, initial, (fixed_mask, moving_mask))
    elif result is None and rigid and isinstance(initial, str):
        result = rigid_align(fixed, moving, initial=initial, fixed_mask=fixed_mask, moving_mask=moving_mask)
    transform = result.transform if result else start
    if result and result.affine and rigid is not True:
        transform = result.affine
    if overlap(fixed.grid, moving.grid, transform) == 0:
        raise OverlapError(f"{moving.name}: its field of view does not overlap that of {fixed.name} in physical space")

    clean = [_cleaned(scan, how.window) for scan in scans]

    def placed(spacing: Sequence[float] | float) -> tuple[Ready, Ready, Grid, list[str]]:
        a, b = clean[0].ready(spacing, Affine.identity()), clean[1].ready(spacing, transform)
        return a, b, *working_grid(a, [b], spacing)

    a, b, grid, warnings = placed(how.spacing)
    fewest, most = how.voxels
    if most is not None and grid.voxels > most:
        grow = 1.01 * (grid.voxels / most) ** (1 / 3)  # a margin for rounding up
        a, b, grid, warnings = placed([grow * s for s in np.broadcast_to(how.spacing, 3).tolist()])
    elif fewest is not None and grid.voxels < fewest:
        step = max(float(fixed.grid.spacing.min()), float(np.prod(grid.shape * grid.spacing) / fewest) ** (1 / 3))
        if (finest := np.minimum(step, how.spacing)).min() < np.min(how.spacing):
            a, b, grid, warnings = placed(np.broadcast_to(finest, 3).tolist())
    pair = _paired(a, b, grid, transform, start)
    pair = replace(pair, rigid=result, warnings=(*(result.warnings if result else ()), *warnings))
    other = grid if how.finer is None else how.finer(grid, scans[0][0].grid)
    if other.same_as(grid):
        return pair
    step = other.spacing.tolist()
    one, two = clean[0].ready(step, Affine.identity()), clean[1].ready(step, transform)
    return replace(pair, finer=(normalised(one, other), normalised(two, other)))


def _paired(a: Ready, b: Ready, grid: Grid, transform: Affine, start: Affine) -> PreparedPair:
    one, two = normalised(a, grid), normalised(b, grid)
    return PreparedPair(
        one.image, two.image, one.mask, two.mask, grid, transform, a.limits, b.limits, start=start,
        modalities=(a.modality, b.modality),
        data=None if one.data is None or two.data is None else (one.data, two.data),
    )  # fmt: skip


def _pair_2d(scans: Sequence[_Scan], window: Window | None, pixels: int, start: Affine) -> PreparedPair:
    grid, here = grid_2d(scans[0][0].grid, pixels), Affine.identity(2)
    a = _ready(scans[0], seen_spacing(grid, here), window, here)
    b = _ready(scans[1], seen_spacing(grid, start), window, start)
    return _paired(a, b, grid, start, start)


def _checked(pair: PreparedPair, masks: Masks) -> PreparedPair:
    """A pair of which each mask still has something to count."""
    for mask, there in zip(masks, (pair.fixed_mask, pair.moving_mask), strict=True):
        if mask is not None and not bool(there.any()):
            size = f"voxels of {pair.grid.spacing.max():.3g} mm"
            raise ImageError(
                f"{mask.name}: nothing of this mask is left on the working grid ({size}, where both scans are): make "
                "it larger, or leave it out"
            )
    return pair


def prepare_image(
    image: Volume, spacing: Sequence[float] | float, window: Window | None, pixels: int = 256
) -> PreparedImage:
    """Put one scan onto its working grid (for segmentation alone). Arguments and errors as `prepare_pair`."""
    if image.grid.ndim == 2:
        grid = grid_2d(image.grid, pixels)
        return normalised(_ready((image, None), float(grid.spacing[0]), window, Affine.identity(2)), grid)
    scan = _ready((image, None), spacing, window, Affine.identity())
    grid, _ = working_grid(scan, [], spacing)
    return normalised(scan, grid)


def normalised(scan: Ready, grid: Grid) -> PreparedImage:
    """Read a scan on a grid and scale it to -1..1; -1 where there is no data."""
    image, data = put(scan, grid)
    wanted = counts(scan, grid)
    mask = data if wanted is None else data * wanted
    return PreparedImage(normalise(image, scan.limits).masked_fill_(data == 0, -1), mask, grid, scan.limits, data)


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


def _ready(scan: _Scan, spacing: Sequence[float] | float, window: Window | None, transform: Affine) -> Ready:
    return _cleaned(scan, window).ready(spacing, transform)


def _cleaned(scan: _Scan, window: Window | None) -> Cleaned:
    volume, mask = scan
    try:
        return cleaned(volume.with_data(volume.data[:1].to(torch.float32)), window, mask)
    except ValueError as error:
        raise ImageError(f"{volume.name}: {error}") from error
