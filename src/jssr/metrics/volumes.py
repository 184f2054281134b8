"""How large structures are in both scans, and what the field says of their change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.core import field as ff
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.metrics.masks import mask_of
from jssr.metrics.transforms import SLAB

FEW = 1 << 16
"""Labels below are counted in a table."""


@dataclass(frozen=True)
class Size:
    """A structure in two scans.

    Attributes:
        fixed_ml, moving_ml: its volumes in the label maps, each on its own grid.
        change_percent: 100 (moving / fixed - 1); NaN where the fixed scan has none of it.
        jacobian: mean Jacobian determinant of the map from fixed to moving space, over its voxels in the fixed scan:
            what the field says moving / fixed is; NaN without voxels.
    """

    fixed_ml: float
    moving_ml: float
    change_percent: float
    jacobian: float


def sizes(
    fixed: Volume, moving: Volume, displacement: Displacement, structures: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Size]:
    """The size of each structure.

    Args:
        fixed, moving: 3D label maps, each on its own grid.
        displacement: fixed to moving space, on the fixed grid.
        structures: name to label values; None takes each value but 0 under its number.
    """
    counts = tuple(_counts(volume.array) for volume in (fixed, moving))
    if structures is None:
        structures = {str(v): (v,) for v in sorted(set(counts[0]) | set(counts[1])) if v != 0}
    each = tuple(float(np.prod(volume.grid.spacing)) / 1000 for volume in (fixed, moving))
    out: dict[str, Size] = {}
    for name, values in structures.items():
        ours, theirs = (ml * sum(found.get(v, 0) for v in values) for found, ml in zip(counts, each, strict=True))
        change = 100 * (theirs / ours - 1) if ours else math.nan
        out[name] = Size(ours, theirs, change, mean_jacobian(displacement, mask_of(fixed.array, values)))
    return out


def mean_jacobian(displacement: Displacement, mask: NDArray[np.bool_]) -> float:
    """The mean Jacobian determinant over the cells whose first corner is in a mask on the field's grid; NaN of none.

    It is the same in voxels and in millimetres. Computed in slabs of the mask's box.
    """
    from scipy.ndimage import find_objects

    box = find_objects(mask.astype(np.uint8))
    if not box:
        return math.nan
    # A cell reaches to the next voxel; the last voxels have none.
    first = [min(s.start, n - 2) for s, n in zip(box[0], mask.shape, strict=True)]
    last = [min(s.stop, n - 1) for s, n in zip(box[0], mask.shape, strict=True)]
    if min(first) < 0:
        return math.nan
    inner = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    u = displacement.u[(slice(None), *inner)][None]
    inside = mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    thick = max(1, SLAB // max(1, inside[0].size))
    total, count = 0.0, 0
    for start in range(0, inside.shape[0], thick):
        part = inside[start : start + thick]
        determinant = ff.jacobian_determinant(u[:, :, start : start + thick + 1])[0].numpy()
        total += float(determinant[part].sum(dtype=np.float64))
        count += int(np.count_nonzero(part))
    return total / count if count else math.nan


def _counts(labels: NDArray[np.generic]) -> dict[int, int]:
    if labels.size and labels.min() >= 0 and labels.max() < FEW:
        counts = np.bincount(labels.ravel())  # no sort
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}
