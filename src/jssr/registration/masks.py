"""Masks of what counts, and label values that stay rigid: checked before the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.errors import GeometryError, ImageError, OptionError, nearest
from jssr.preprocessing.modality import modality_of
from jssr.preprocessing.placement import body_of
from jssr.preprocessing.start2d import start_2d
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
    there = mask.array != 0
    if not there.any():
        raise ImageError(f"{mask.name}: the {what} mask is empty: expected voxels that are not 0 where the scan counts")
    shown = np.median(image.array[there])
    if modality_of(image) == "ct" and shown > _AIR:
        return  # lungs that the scan's border cuts open are enclosed by nothing
    body = body_of(image)
    at = np.argwhere(there)[:: max(1, int(there.sum()) // _MOST)]
    index = np.rint(body.grid.index(mask.grid.world(at))).astype(int)
    index = index.clip(0, np.array(body.grid.shape) - 1)
    if not body.array[tuple(index.T)].any():
        raise ImageError(
            f"{mask.name}: the {what} mask lies outside the body: there is only air of {image.name} in it; is it the "
            "mask of another scan?"
        )


def check_meeting(masks: tuple[Volume | None, Volume | None], start: Start) -> None:
    """Make sure that the masks of the two scans can show the same, from where the pair starts.

    Raises:
        GeometryError: they are more than `REACH_MM` apart.
    """
    if masks[0] is None or masks[1] is None or start == "centre":
        return
    fixed, moving = masks[0].grid, masks[1].grid
    transform = start if isinstance(start, (Affine, Displacement)) else Affine.identity(fixed.ndim)
    if fixed.ndim == 2 and isinstance(start, str):
        transform = start_2d(fixed, moving)
    here, step = _points(masks[0])
    there, other = _points(masks[1])
    gap = float(cKDTree(there).query(transform(here))[0].min()) - step - other
    # Radiographs are found wherever they lie on the film, so only a pair of volumes has a distance in the patient.
    if fixed.ndim == 3 and gap > REACH_MM:
        raise GeometryError(
            f"{masks[1].name}: lies {gap:.0f} mm from {masks[0].name} where the pair starts, so that the two masks "
            "cannot overlap; if the headers are wrong, start from a transform (initial=, --initial FILE)"
        )


def _points(mask: Volume) -> tuple[NDArray[np.float64], float]:
    """World points of a mask, thinned, and by how much (mm) thinning may widen a gap."""
    at = np.argwhere(mask.array != 0)
    thin = max(1, int(np.ceil((len(at) / _MOST) ** (1 / mask.grid.ndim))))
    kept = at[(at % thin == 0).all(axis=1)] if thin > 1 else at
    kept = kept if len(kept) else at[:: max(1, len(at) // _MOST)]
    return mask.grid.world(kept), float(np.linalg.norm(mask.grid.spacing)) * thin


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
    if not values:
        return None
    here = resample(labels, grid, nearest=True).array
    out, count = np.zeros(grid.shape, np.int32), 0
    for value in values:
        pieces, _ = ndimage.label(here == value)
        sizes = np.bincount(pieces.ravel())
        for piece in range(1, len(sizes)):
            if sizes[piece] > _SMALL or len(sizes) == 2:
                count += 1
                out[pieces == piece] = count
    return torch.from_numpy(out)[None, None]
