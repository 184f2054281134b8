"""Masks of what counts, and label values that stay rigid: checked before the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.errors import GeometryError, ImageError, OptionError, nearest
from jssr.preprocessing.modality import modality_of
from jssr.preprocessing.placement import body_of
from jssr.registration.initial import Start

REACH_MM = 30.0
"""Masks further apart than this where a pair starts show different things. What moves by more (a lung at two breaths)
is larger than that, so that its masks overlap all the same."""
_MOST = 20_000
_AIR = -950.0
"""HU; air outside of the patient stays below, lungs above."""
_SMALL = 8
"""Voxels; a piece of a label of no more than this is a splinter and bends with what is around it."""


def check_mask(mask: Volume, image: Volume, what: str) -> None:
    """Make sure that a mask on its scan's grid has something to count.

    Raises:
        ImageError: it is empty, or shows air alone.
    """
    at, _ = _some(mask.array != 0)
    if not len(at):
        raise ImageError(f"{mask.name}: the {what} mask is empty: expected voxels that are not 0 where the scan counts")
    if modality_of(image) == "ct" and np.median(image.array[tuple(at.T)]) > _AIR:
        return  # lungs that the scan's border cuts open are enclosed by nothing
    body = body_of(image)
    index = np.rint(body.grid.index(mask.grid.world(at))).astype(int)
    index = index.clip(0, np.array(body.grid.shape) - 1)
    if not body.array[tuple(index.T)].any():
        raise ImageError(
            f"{mask.name}: the {what} mask lies outside the body: there is only air of {image.name} in it; is it the "
            "mask of another scan?"
        )


def check_meeting(masks: tuple[Volume | None, Volume | None], grids: tuple[Grid, Grid], start: Start) -> None:
    """Make sure that what the masks of two volumes show can meet from where the pair starts. Radiographs are found
    wherever they lie on the film, and centre on centre nothing is known of where masks lie.

    Args:
        grids: of the fixed and of the moving scan.

    Raises:
        GeometryError: a mask is more than `REACH_MM` from the other, or from the other scan.
    """
    if start == "centre" or grids[0].ndim == 2:
        return
    to_moving = start if isinstance(start, (Affine, Displacement)) else Affine.identity()
    fixed, moving = masks
    if fixed is not None:
        at, slack = _points(fixed)
        at = to_moving(at)
        if moving is None:
            _refuse_far(fixed, _outside(at, grids[1]), "outside of the moving scan")
            return
        from scipy.spatial import cKDTree

        there, more = _points(moving)
        _refuse_far(moving, float(cKDTree(there).query(at)[0].min()) - slack - more, f"from {fixed.name}")
    elif moving is not None and isinstance(to_moving, Affine):
        _refuse_far(moving, _outside(to_moving.inverse()(_points(moving)[0]), grids[0]), "outside of the fixed scan")


def _refuse_far(mask: Volume, gap: float, what: str) -> None:
    if gap > REACH_MM:
        raise GeometryError(
            f"{mask.name}: lies {gap:.0f} mm {what} where the pair starts, so that the two cannot overlap; if the "
            "headers are wrong, start from a transform (initial=, --initial FILE)"
        )


def _outside(points: NDArray[np.float64], grid: Grid) -> float:
    """How far (mm) the nearest of some points lies from a field of view; 0 inside."""
    at, last = grid.index(points), np.array(grid.shape) - 1
    return float(np.linalg.norm((at - at.clip(0, last)) * grid.spacing, axis=1).min())


def _some(there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Indices (N, n) of about `_MOST` voxels that are true, and the step in which they were chosen; none where nothing
    is true."""
    count = int(there.sum())
    thin = max(1, int(np.ceil((count / _MOST) ** (1 / there.ndim))))
    found = np.argwhere(there[(slice(None, None, thin),) * there.ndim]) * thin
    if count and not len(found):  # so thin that no step meets it
        found = np.stack(np.unravel_index(np.flatnonzero(there)[:: max(1, count // _MOST)], there.shape), axis=-1)
    return found, thin


def _points(mask: Volume) -> tuple[NDArray[np.float64], float]:
    """World points of a mask, thinned, and by how much (mm) thinning may widen a gap."""
    at, thin = _some(mask.array != 0)
    return mask.grid.world(at), float(np.linalg.norm(mask.grid.spacing)) * thin


def rigid_values(
    wanted: Sequence[int | str] | None, labels: Volume | None, structures: Mapping[str, Sequence[int]] | None
) -> tuple[int, ...]:
    """The values of the fixed label map that stay rigid.

    Args:
        wanted: values, or names of `structures`.

    Raises:
        OptionError: no fixed label map, a name that is not known, or a value that the map does not hold.
    """
    if not wanted:
        return ()
    if isinstance(wanted, (str, Integral)):
        raise OptionError(f"rigid_labels: expected a list of label values or names, got {wanted!r}")
    if labels is None:
        raise OptionError("rigid labels are of the fixed label map: name it (fixed_labels, --fixed-labels)")
    held = {int(v) for v in np.unique(labels.array)} - {0}
    out: list[int] = []
    for one in wanted:
        if str(one).strip().isdigit():
            values: Sequence[int] = (int(str(one)),)
        elif structures and one in structures:
            values = [int(v) for v in structures[str(one)] if int(v) in held]
        else:
            raise OptionError(f"rigid labels: no structure {one!r}{nearest(str(one), structures or ())}")
        missing = [value for value in values if value not in held]
        if missing or not values:
            there = ", ".join(map(str, sorted(held)[:20]))
            raise OptionError(f"rigid labels: {labels.name} holds no {one!r}; it holds {there or 'no label'}")
        out += values
    return tuple(dict.fromkeys(out))


def rigid_parts(values: Sequence[int], labels: Volume, grid: Grid) -> Tensor | None:
    """The parts that stay rigid, (1, 1, *grid.shape) int32: each connected piece of each value a number, 0 elsewhere;
    None without values."""
    from scipy import ndimage

    if not values:
        return None
    # Pieces of the label map's own grid: a thin bridge that a coarser grid loses does not cut a bone in two.
    here = labels.array
    own, count = np.zeros(here.shape, np.int32), 0
    for value in values:
        pieces, _ = ndimage.label(here == value)
        sizes = np.bincount(pieces.ravel())
        for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
            if sizes[piece] > _SMALL or len(sizes) == 2:
                count += 1
                own[box][pieces[box] == piece] = count
    volume = Volume(torch.from_numpy(own)[None], labels.grid, "labels", labels.name)
    out = resample(volume, grid, nearest=True).array.astype(np.int32)
    # Every voxel of a part lies in one of the grid's, so that it is rigid on the scan's own grid too.
    at = np.argwhere(own)
    to = np.rint(grid.index(labels.grid.world(at))).astype(int)
    inside = ((to >= 0) & (to < grid.shape)).all(axis=1)
    at, to = at[inside], to[inside]
    free = out[tuple(to.T)] == 0
    out[tuple(to[free].T)] = own[tuple(at[free].T)]
    return torch.from_numpy(out)[None, None]
