"""How two masks of one shape fit: their overlap, and their distances in millimetres. Masks are boolean arrays.

Surfaces are the voxels of a mask that touch its outside through a face; distances run between voxel centres. HD95 is
the greater of the two directed 95th percentiles, ASD the mean over both surfaces together: the definitions of MONAI's
`compute_hausdorff_distance` and `compute_average_surface_distance(symmetric=True)`, whose values these agree with
(tested). A k-d tree over the surface voxels finds them some four times faster than a distance map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


def mask_of(labels: NDArray[np.generic], values: Sequence[int]) -> Mask:
    """Where a label map has one of some values: `np.isin` without its sort, structures have a few values."""
    out = np.zeros(labels.shape, dtype=bool)
    for value in values:
        out |= labels == value
    return out


def _counts(a: ArrayLike, b: ArrayLike) -> tuple[int, int, int]:
    """Voxels of both, of the first, of the second."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))


def dice(a: ArrayLike, b: ArrayLike) -> float:
    """2 |A and B| / (|A| + |B|): 1 where they agree, 0 where one is empty, nan where both are."""
    both, first, second = _counts(a, b)
    return 2.0 * both / (first + second) if first + second else math.nan


def recall(true: ArrayLike, found: ArrayLike) -> float:
    """Share of the true mask that was found; nan where there is nothing to find."""
    both, size, _ = _counts(true, found)
    return both / size if size else math.nan


def precision(true: ArrayLike, found: ArrayLike) -> float:
    """Share of the found mask that is true; nan where nothing was found."""
    both, _, size = _counts(true, found)
    return both / size if size else math.nan


def volume_difference(true: ArrayLike, found: ArrayLike) -> float:
    """RVD, | |found| / |true| - 1 | (macJNet, eq. 3); nan where there is nothing to find."""
    _, size, found_size = _counts(true, found)
    return abs(found_size / size - 1) if size else math.nan


def volume_overlap_error(true: ArrayLike, found: ArrayLike) -> float:
    """VOE, 1 - |found and true| / |found or true| (macJNet, eq. 4); nan where both are empty."""
    both, first, second = _counts(true, found)
    return 1 - both / (first + second - both) if first + second else math.nan


def centre_distance(a: ArrayLike, b: ArrayLike, spacing: ArrayLike) -> float:
    """Distance between the centres of gravity; nan where one mask is empty."""
    centres = [np.argwhere(np.asarray(mask, dtype=bool)) for mask in (a, b)]
    if not all(len(c) for c in centres):
        return math.nan
    return float(np.linalg.norm((centres[0].mean(axis=0) - centres[1].mean(axis=0)) * np.asarray(spacing)))


def surface_distances(a: ArrayLike, b: ArrayLike, spacing: ArrayLike) -> tuple[float, float]:
    """Return (HD95, ASD); nan if both masks are empty, inf if one is."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if not (a.any() and b.any()):
        nothing = math.inf if a.any() or b.any() else math.nan
        return nothing, nothing
    a, b = _in_their_box(a, b)
    edges = _surface(a), _surface(b)
    there, back = (_to_the_nearest(*pair, spacing) for pair in (edges, edges[::-1]))
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _in_their_box(a: Mask, b: Mask) -> tuple[Mask, Mask]:
    """Both masks, cut to the smallest box that holds both."""
    from scipy.ndimage import find_objects

    box = find_objects((a | b).astype(np.uint8))[0]
    return a[box], b[box]


def _to_the_nearest(edge: Mask, other: Mask, spacing: ArrayLike) -> NDArray[np.float64]:
    """Distance of each voxel of a surface from the nearest of another one, mm. Voxels of both are 0 apart, and need no
    search: of two scans that fit they are most."""
    from scipy.spatial import cKDTree

    alone = np.argwhere(edge & ~other) * np.asarray(spacing)
    out = np.zeros(int(np.count_nonzero(edge)))
    if len(alone):
        tree = cKDTree(np.argwhere(other) * np.asarray(spacing))
        out[: len(alone)] = tree.query(alone)[0]
    return out


def _surface(mask: Mask) -> Mask:
    """The voxels of a mask that touch its outside through a face. What lies beyond the image counts as outside."""
    from scipy.ndimage import binary_erosion

    edge: Mask = mask & ~binary_erosion(mask)
    return edge
