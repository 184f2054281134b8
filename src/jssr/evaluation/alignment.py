"""What the methods of table 1 share: where a pair starts, its rigid step, and how the result is measured.

Every method aligns the same pairs from the scans themselves and is judged by its full transform. Systems of ours and
peers without a linear stage start from one rigid step, found once for each pair, whose time counts for all that use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from jssr.cohorts.store import Store
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Points, Volume
from jssr.evaluation.runner import Pair
from jssr.io.files import plain
from jssr.io.points import read_points
from jssr.metrics.entries import Images
from jssr.metrics.pair import evaluate_pair
from jssr.metrics.transforms import tre
from jssr.preprocessing.intensity import limits, normalise
from jssr.preprocessing.modality import modality_of, window_for
from jssr.preprocessing.rigid import RigidResult, rigid_align
from jssr.preprocessing.start2d import from_start, start_2d
from jssr.recipes.config import Preprocessing


@dataclass(frozen=True, eq=False)
class Scans:
    """A pair as a method gets it, with the fixed scan's label map and the names of its values."""

    fixed: Volume
    moving: Volume
    labels: Volume | None = None
    structures: Mapping[str, Sequence[int]] | None = None


def start_of(fixed: Volume, moving: Volume) -> Affine:
    """What counts as not aligned: the headers' geometry, or `start_2d` of two radiographs."""
    return start_2d(fixed.grid, moving.grid) if fixed.grid.ndim == 2 else Affine.identity()


def rigid_found(fixed: Volume, moving: Volume) -> RigidResult:
    """`rigid_align`; radiographs are not aligned rigidly."""
    is_2d = fixed.grid.ndim == 2
    return RigidResult(start_2d(fixed.grid, moving.grid), 0.0, 0.0, 0.0) if is_2d else rigid_align(fixed, moving)


def rigid_of(pair: Pair, fixed: Volume, moving: Volume, fresh: bool = False) -> RigidResult:
    """The rigid step of a pair, found once for all methods; `fresh` finds it anew, whatever is kept."""
    store, item = Store(pair.out / "rigid"), f"{pair.case.id}_{pair.moving}"
    # What an earlier version kept held less: it is found anew.
    key = {"scans": pair.digest, "holds": [one.name for one in fields(RigidResult)]}
    kept = None if fresh else store.find(item, key)
    if kept is None:
        found = rigid_found(fixed, moving)
        affine = found.affine and found.affine.matrix.tolist()
        store.keep(item, key, plain({**vars(found), "transform": found.transform.matrix.tolist(), "affine": affine}))
        return found
    known = {k: kept[k] and Affine(np.array(kept[k], dtype=np.float64)) for k in ("transform", "affine")}
    return RigidResult(**{**kept, **known, "warnings": tuple(kept["warnings"])})


def measured(pair: Pair, scans: Scans, transform: Transform, similarity: bool) -> dict[str, float]:
    """`evaluate_pair` of what the cohort knows of a pair, at the fixed scan's size."""
    fixed, moving, case = scans.fixed, scans.moving, pair.case
    moved: Volume | None = None
    points: Sequence[Points | None] = (None, None)
    moving_labels = pair.labels(pair.moving, moving)
    if scans.labels is not None and moving_labels is not None:
        moved = resample(moving_labels, fixed.grid, transform)
    if {pair.fixed, pair.moving} <= set(case.landmarks):
        files = [pair.cohort.path(case.landmarks[phase]) for phase in (pair.fixed, pair.moving)]
        points = [read_points(file, fixed.grid.ndim) for file in files]
    field = from_start(transform, fixed.grid, moving.grid) if isinstance(transform, Displacement) else None
    values = evaluate_pair(
        scans.labels, moved, pair.cohort.structures() or None, transform=transform, displacement=field,
        fixed_points=points[0], moving_points=points[1],
        images=images_of(fixed, moving, transform) if similarity else None,
    )  # fmt: skip
    return values if points[0] is None or points[1] is None else values | by_group(points[0], points[1], transform)


def by_group(fixed: Points, moving: Points, transform: Transform) -> dict[str, float]:
    """Landmark errors of named groups, mm: the mean as "tre/GROUP" and the median as "tre_median/GROUP", of all as
    "tre_median".

    The group of a landmark is its name without the number at its end: "liver" of "liver01". There are no groups where
    a name has no such number, or all are of one group.
    """
    names = [name for name in fixed.names if name in set(moving.names)]  # the order of `tre`
    errors = tre(fixed, moving, transform)
    groups = [name.rstrip("0123456789") for name in names]
    found = {"tre_median": float(np.median(errors))}
    grouped = all(g and g != name for g, name in zip(groups, names, strict=True)) and len(set(groups)) > 1
    for group in dict.fromkeys(groups) if grouped else ():
        mine = errors[[one == group for one in groups]]
        found |= {f"tre/{group}": float(mine.mean()), f"tre_median/{group}": float(np.median(mine))}
    return found


def clipped(volume: Volume) -> Volume:
    """A scan as peers get it: CT in the abdominal window, as our own systems see it, in HU; others as they are.

    Metal, and the bins of a histogram that it takes, cost elastix 4 mm on an abdomen.
    """
    if modality_of(volume) != "ct":
        return volume
    return volume.with_data(volume.data.float().clamp(*Preprocessing().window))


def images_of(fixed: Volume, moving: Volume, transform: Transform) -> Images:
    """The fixed and the moved scan for the similarities, in the abdominal window where they are CT."""
    window = Preprocessing().window
    a = normalise(fixed.data, limits(fixed.data, window_for(modality_of(fixed), window)))
    moved = resample(moving, fixed.grid, transform).data
    b = normalise(moved, limits(moving.data, window_for(modality_of(moving), window)))
    return Images(a[None], b[None], coverage(fixed.grid, moving.grid, transform)[None])
