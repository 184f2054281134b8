"""Every metric that the known data of a pair allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jssr.core.resampling import background_of
from jssr.core.transform import Displacement, Transform
from jssr.core.volume import Points, Volume
from jssr.errors import GeometryError
from jssr.metrics.entries import METRICS, Field, Images, Landmarks, Needs, Structure
from jssr.metrics.masks import mask_of


def evaluate_pair(
    fixed_labels: Volume | None = None,
    moved_labels: Volume | None = None,
    structures: Mapping[str, Sequence[int]] | None = None,
    *,
    displacement: Displacement | None = None,
    transform: Transform | None = None,
    fixed_points: Points | None = None,
    moving_points: Points | None = None,
    images: Images | None = None,
) -> dict[str, float]:
    """Compute every metric that the given data allow.

    Args:
        fixed_labels, moved_labels: label maps on the fixed grid.
        structures: name to label values; None takes each value under its number.
        displacement: the field whose regularity is measured.
        transform: of the landmarks; None takes `displacement`, or the initial state without one.
        fixed_points, moving_points: landmarks of the two scans, matched by name.
        images: both scans, for the similarities.

    Returns:
        "KEY/STRUCTURE" for metrics of label maps, else "KEY", in the stored units of `METRICS`. Of a structure that is
        empty in both scans all are nan; of one that is empty in one scan Dice is 0 and the distances are inf.
    """
    out: dict[str, float] = {}
    if fixed_labels is not None and moved_labels is not None:
        for name, structure in _structures(fixed_labels, moved_labels, structures):
            out |= {f"{key}/{name}": value for key, value in _computed("labels", structure).items()}
    if fixed_points is not None and moving_points is not None:
        out |= _computed("landmarks", Landmarks(fixed_points, moving_points, transform or displacement))
    if images is not None:
        out |= _computed("images", images)
    if displacement is not None:
        out |= _computed("field", Field(displacement))
    return out


def evaluate_segmentation(
    classes: NDArray[np.generic],
    known: Volume,
    names: Sequence[str],
    structures: Mapping[str, Sequence[int]],
    distances: bool = True,
) -> dict[str, float]:
    """Compute the metrics of class indices on the grid of the known label map of the same scan; class k + 1 is
    `names[k]`.

    Names that `structures` lacks are not measured. `distances` also takes the metrics in millimetres, which take
    longer.
    """
    wanted = [one for one in METRICS.values() if one.segmentor and one.function and (distances or one.unit != "mm")]
    out: dict[str, float] = {}
    for k, name in enumerate(names, start=1):
        if name in structures:
            true = mask_of(known.array, structures[name])
            structure = Structure(true, classes == k, tuple(known.grid.spacing))
            out |= {f"{one.key}/{name}": one.function(structure) for one in wanted if one.function}
    return out


def _computed(needs: Needs, data: Any) -> dict[str, float]:
    found = [one for one in METRICS.values() if one.needs == needs and one.pair]
    return {one.key: float(one.function(data)) for one in found if one.function}


def _structures(
    fixed: Volume, moved: Volume, structures: Mapping[str, Sequence[int]] | None
) -> Iterator[tuple[str, Structure]]:
    if not fixed.grid.same_as(moved.grid):
        raise GeometryError(f"{moved.name}: not on the grid of {fixed.name}; resample it before the comparison")
    if structures is None:
        values = torch.unique(torch.cat([fixed.data.unique(), moved.data.unique()])).tolist()
        structures = {str(v): (v,) for v in values if v not in (0, background_of(fixed.data))}
    a, b = fixed.array, moved.array
    boxes = _boxes(a, b)
    for name, labels in structures.items():
        box = _around([boxes.get(value) for value in labels], a.ndim)
        yield name, Structure(mask_of(a[box], labels), mask_of(b[box], labels), tuple(fixed.grid.spacing))


Box = tuple[slice, ...]


def _boxes(*labels: NDArray[np.generic]) -> dict[int, Box]:
    """The smallest box that holds a label in any of some maps, for each label but 0."""
    from scipy.ndimage import find_objects

    found: dict[int, list[Box]] = {}
    for each in labels:
        values, places = torch.unique(torch.from_numpy(np.ascontiguousarray(each)), return_inverse=True)
        for value, box in zip(values.tolist(), find_objects(places.numpy() + 1), strict=True):
            if value != 0:
                found.setdefault(value, []).append(box)
    return {value: _around(boxes, labels[0].ndim) for value, boxes in found.items()}


def _around(boxes: Sequence[Box | None], ndim: int) -> Box:
    """The box round boxes; a box of nothing round none."""
    there = [box for box in boxes if box is not None]
    if not there:
        return (slice(0, 0),) * ndim
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*there, strict=True))
