"""Whether whole numbers are a label map or the grey values of an image: told from the file, else from the voxels.

Labels are constant in pieces: nearly every value fills some blocks of 2 x 2 (x 2) voxels. Grey values change from voxel
to voxel, and where they do not (an image that is clipped), only few of the values fill blocks.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jssr.core.volume import Kind
from jssr.errors import ImageError
from jssr.io.header import nifti_header
from jssr.io.label_names import names_in_header, own_names

_LABEL = 1002
_CELLS = 200_000
"""Blocks looked at, at most."""
_UNIFORM = (0.25, 0.5)
"""Share of blocks of one value, of those without background: images stay below the first, label maps reach the
second."""
_VALUES = (0.25, 0.5)
"""Share of the values that fill a block, likewise."""
_EQUAL, _NO_ORDER, _LEAPS = 0.4, 0.5, 0.1
"""Share of neighbours with one value; how far apart the others' values are, as a part of any two's; share of the others
that follow one another. Grey values of neighbours are alike, those of labels need not be. Real scans, also in 40 greys,
have orders up to 0.21, and of the others 0.17 and more follow one another."""
_SURE, _SMOOTH, _MANY = 0.9, 0.9, 16
"""An image without noise can be as constant as labels: more than `_MANY` values, neighbours mostly in order."""
_SEEN = 8
"""Blocks that touch a value, for it to be counted."""
_SPARSE = 0.9
"""Share of background around labels that fill no block: points, lines."""


def kind_of_file(path: Path, values: NDArray[np.generic]) -> Kind:
    """ "labels" or "image", of a file and its voxels: labels where the file says so (a NIfTI with the intent "label",
    1002, or a header that names its values), else by `kind_of`, and in doubt where a JSON beside it has names.

    Raises:
        ImageError: it may be either; the user must name the kind.
    """
    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    if (nifti and int(nifti_header(path)["intent_code"]) == _LABEL) or names_in_header(path):
        return "labels"
    try:
        return kind_of(values, str(path))
    except ImageError:
        if own_names(path):
            return "labels"
        raise


def kind_of(values: NDArray[np.generic], name: str) -> Kind:
    """ "labels" or "image", of an array of 2 or 3 axes.

    Raises:
        ImageError: it may be either; the user must name the kind.
    """
    if values.dtype.kind == "f" and bool((values != np.rint(values)).any()):
        return "image"
    cells, background = _cells(values)
    distinct, codes = np.unique(cells, return_inverse=True)
    codes = codes.reshape(cells.shape)
    if len(distinct) <= 2:
        return "labels"
    empty = int(np.searchsorted(distinct, background))
    touched = (codes != empty).any(axis=0)
    inside = codes[:, (codes != empty).all(axis=0)]
    if not inside.shape[1]:
        if float(touched.mean()) < 1 - _SPARSE:
            return "labels"
        raise _ask(name, len(distinct))
    equal, order, follows = _neighbours(inside)
    if equal >= _EQUAL and (order >= _NO_ORDER or (len(distinct) > _MANY and follows < _LEAPS)):
        return "labels"
    one = (inside == inside[0]).all(axis=0)
    uniform = float(one.mean())
    seen = np.bincount(inside.ravel(), minlength=len(distinct)) >= 8 * _SEEN
    seen = seen if seen.any() else np.bincount(inside.ravel(), minlength=len(distinct)) > 0
    filled = np.bincount(inside[0, one], minlength=len(distinct)) > 0
    full = float(filled[seen].mean())
    if uniform < _UNIFORM[0] or full < _VALUES[0]:
        return "image"
    smooth = uniform < _SURE and len(distinct) > _MANY and follows > _SMOOTH
    if uniform >= _UNIFORM[1] and full >= _VALUES[1] and not smooth:
        return "labels"
    raise _ask(name, len(distinct))


def _cells(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], np.generic]:
    """Corners of evenly spaced blocks, (2 ** n, N), and the value most voxels have."""
    ends = [max(1, size - 1) for size in values.shape]
    step = max(1, int(np.ceil((np.prod(ends) / _CELLS) ** (1 / values.ndim))))
    shifts = product(*[(0, 1) if size > 1 else (0,) for size in values.shape])
    corners = np.stack(
        [values[tuple(slice(a, a + end, step) for a, end in zip(shift, ends, strict=True))].ravel() for shift in shifts]
    )
    found, counts = np.unique(corners[0], return_counts=True)
    return corners, found[counts.argmax()]


def _neighbours(inside: NDArray[np.intp]) -> tuple[float, float, float]:
    """Of neighbouring voxels (corners of blocks, ranks of their values): the share that have one value, how far apart
    the values of the others are as a part of that of any two, and the share of those that follow one another."""
    others = [1 << axis for axis in range(int(np.log2(len(inside))))]
    first = np.concatenate([inside[0]] * len(others))
    second = np.concatenate([inside[k] for k in others])
    apart = np.abs(first - second)
    by_chance = np.abs(first - np.random.default_rng(0).permutation(second))
    differ, usual = apart[apart > 0], by_chance[by_chance > 0]
    if not len(differ) or not len(usual):
        return 1.0, 1.0, 0.0
    return 1 - len(differ) / len(apart), float(differ.mean() / usual.mean()), float((differ == 1).mean())


def _ask(name: str, count: int) -> ImageError:
    return ImageError(
        f"{name}: its {count} whole numbers may be labels or grey values: name the kind, --kind labels or --kind image "
        "(in Python kind=)"
    )
