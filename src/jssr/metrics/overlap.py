"""How much two masks overlap. Masks are boolean arrays of one shape."""

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
