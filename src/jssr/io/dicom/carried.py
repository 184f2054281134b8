"""Structures and doses carried from one space to the other: pulled through a transform like images, and measured before
and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.points import move_points
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Transform
from jssr.core.volume import Points, Volume, volume_of
from jssr.errors import GeometryError
from jssr.io.dicom.contours import Structure, StructureSet
from jssr.io.dicom.shapes import FAR, OFF_PLANE, Shape, contours_of, shape_of
from jssr.io.dicom.structures import Contour

Array = NDArray[np.float64]
Space = Literal["fixed", "moving"]
By = Literal["shape", "points"]
MARGIN = 4
"""Voxels around the carried points at which a shape is read first."""


@dataclass(frozen=True)
class CarriedStructure:
    """One structure in its new place.

    Attributes:
        structure: as it was drawn.
        contours: of the result, on the slices of its scan where they lie on one.
        ml_before, ml_after: millilitres; 0 where it encloses nothing.
        mean_before, mean_after: mean dose in the part of it that the dose's grid reaches, in the dose's unit; None
            without a dose, or where that reaches nothing of it.
        inside: the mask within the result's grid, and the voxel it begins at; None where there is none.
        warnings: what of it was lost or filled in.
    """

    structure: Structure
    contours: tuple[Contour, ...] = ()
    ml_before: float = 0.0
    ml_after: float = 0.0
    mean_before: float | None = None
    mean_after: float | None = None
    inside: tuple[NDArray[np.bool_], tuple[int, ...]] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """How things are carried: a transform from the fixed to the moving space, the space and the grid of the result, and
    what that grid is called in messages."""

    transform: Transform
    to: Space
    grid: Grid
    scan: str = "the scan of the result"

    @property
    def pull(self) -> Transform:
        """From the result's space to that of the source, for images."""
        return self.transform if self.to == "fixed" else self.transform.inverse(self.grid)

    def points(self, xyz: Array, name: str) -> Array:
        """Points of the source, of the structure `name`, in the result's space."""
        return move_points(Points(xyz, (name,) * len(xyz)), self.transform, self.to).xyz


def carry_structures(
    found: StructureSet, route: Route, by: By = "shape", dose: Volume | None = None
) -> list[CarriedStructure]:
    """Carry every structure of a set.

    Args:
        found: the structure set.
        route: where to.
        by: "shape" pulls the inside through the transform and cuts it on the slices of the result; "points" carries the
            points of the contours, which then lie on no slice unless the transform keeps planes.
        dose: of the source.

    Raises:
        GeometryError: no structure has a contour, none reaches the grid of the result, or one needs too large a grid.
        TransformError: the transform has no inverse at the structures.
    """
    if all(one.empty for one in found.structures):
        raise GeometryError(f"{found.name}: its {len(found.structures)} structures hold no contours")
    pull = route.pull
    carried = [_carried(one, route, pull, by, dose) for one in found.structures]
    if not any(one.contours for one in carried):
        raise GeometryError(f"{found.name}: none of its {len(carried)} structures reaches {route.scan}")
    return carried


def _carried(one: Structure, route: Route, pull: Transform, by: By, dose: Volume | None) -> CarriedStructure:
    if one.empty:
        return CarriedStructure(one, warnings=(f"{one.name}: has no contours",))
    there = route.points(one.every_point, one.name)
    out = CarriedStructure(one)
    lost = 1 - float(_near(route.grid, there).mean())
    if lost == 1:
        return replace(out, warnings=(f"{one.name}: lies outside {route.scan}",))
    warnings = []
    if lost:
        warnings.append(f"{one.name}: {100 * lost:.2g} % of its points lie outside {route.scan}")
    lines = [(None, _carried_kind(kind), route.points(xyz, one.name)) for kind, xyz in one.points]
    shape = shape_of(one.closed, route.grid, one.name) if one.closed else None
    if shape is None:
        warnings += [f"{one.name}: encloses no volume"] if one.closed else []
        return replace(out, contours=tuple(lines), warnings=tuple(warnings))
    warnings += [f"{one.name}: {said}" for said in shape.warnings]
    crop, distance = _pulled(shape, route, pull, there)
    rings = contours_of(distance, least=0.5 * float(np.prod(route.grid.spacing[:2])))
    start = tuple(np.rint(route.grid.index(crop.origin)).astype(int).tolist())
    drawn: Sequence[Contour] = [(k + start[2], "CLOSED_PLANAR", xyz) for k, xyz in rings]
    if by == "points":
        drawn = [_closed(route.points(xyz, one.name), route.grid) for xyz in one.closed]
    mask = (distance.data[0] > 0).numpy()
    mean_before, share = _mean(dose, shape.distance.grid, None, shape.distance)
    if dose is not None and share < 0.995:
        what = "there is no mean dose" if not share else "the mean dose is of this part"
        warnings.append(f"{one.name}: the dose grid covers {100 * share:.0f} % of it; {what}")
    if not rings:
        warnings.append(f"{one.name}: is smaller than the voxels of the result; no contour is left")
    return replace(
        out,
        contours=(*drawn, *lines),
        ml_before=shape.ml,
        ml_after=_millilitres(rings, route.grid),
        mean_before=mean_before,
        mean_after=_mean(dose, crop, pull, distance)[0],
        inside=(mask, start),
        warnings=tuple(warnings),
    )


def _near(grid: Grid, points: Array) -> NDArray[np.bool_]:
    """Which points lie on a voxel of a grid, edges included."""
    at = grid.index(points)
    return np.asarray(((at >= -0.5) & (at <= np.array(grid.shape) - 0.5)).all(axis=-1))


def _pulled(shape: Shape, route: Route, pull: Transform, there: Array) -> tuple[Grid, Volume]:
    """The part of the result's grid that a shape comes to lie in, and its distances there."""
    grid, margin = route.grid, MARGIN
    at = grid.index(there)
    last = np.array(grid.shape) - 1
    while True:
        low = np.clip(np.floor(at.min(axis=0)).astype(int) - margin, 0, last)
        high = np.clip(np.ceil(at.max(axis=0)).astype(int) + margin, 0, last)
        crop = grid.cropped(low.tolist(), (high - low + 1).tolist())
        distance = resample(shape.distance, crop, pull, fill=FAR)
        inside = (distance.data[0] > 0).numpy()
        cut = any(
            inside.take(end, axis=axis).any() and edge != limit
            for axis in range(3)
            for end, edge, limit in ((0, low[axis], 0), (-1, high[axis], last[axis]))
        )
        if not cut:
            return crop, distance
        margin *= 3


def _carried_kind(kind: str) -> str:
    """What becomes of an open contour: it lies in no plane any more."""
    return "OPEN_NONPLANAR" if kind == "OPEN_PLANAR" else kind


def _closed(xyz: Array, grid: Grid) -> Contour:
    """A closed contour by its points: planar where it lies on one slice, else as an open one that ends where it
    begins, the only contour of DICOM that need not be planar."""
    height = grid.index(xyz)[:, 2]
    k = int(np.rint(height.mean()))
    if np.abs(height - k).max() * grid.spacing[2] <= OFF_PLANE and 0 <= k < grid.shape[2]:
        return k, "CLOSED_PLANAR", xyz
    if np.ptp(xyz @ grid.direction[:, 2]) <= OFF_PLANE:
        return None, "CLOSED_PLANAR", xyz
    return None, "OPEN_NONPLANAR", np.concatenate([xyz, xyz[:1]])


def _millilitres(rings: Sequence[tuple[int, Array]], grid: Grid) -> float:
    """Millilitres within contours that are cut on the slices of a grid."""
    normal = grid.direction[:, 2]
    doubled = 0.0
    for _, xyz in rings:
        middle = xyz - xyz.mean(axis=0)
        doubled += abs(float(np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0) @ normal))
    return doubled / 2 * float(grid.spacing[2]) / 1000


def _mean(dose: Volume | None, grid: Grid, pull: Transform | None, distance: Volume) -> tuple[float | None, float]:
    """The mean dose within the part of a shape that the dose's grid reaches, and this part's share of the shape."""
    inside = distance.data > 0
    if dose is None or not bool(inside.any()):
        return None, 1.0
    reached = coverage(grid, dose.grid, pull) & inside
    share = float(reached.sum()) / float(inside.sum())
    values = resample(dose, grid, pull, fill=0.0)
    return (float(values.data[reached].double().mean()) if share else None), share


def label_map(carried: Sequence[CarriedStructure], grid: Grid, name: str) -> tuple[Volume, list[str]]:
    """The structures as one label map, their numbers as values; where they overlap the smaller one takes the voxel, and
    words name those that were cut."""
    names = {one.structure.number: one.structure.name for one in carried}
    masks = [(one.structure.number, *one.inside) for one in carried if one.inside is not None and one.inside[0].any()]
    out = np.zeros(grid.shape, np.int32)
    lost: dict[int, dict[int, int]] = {}
    for number, mask, start in sorted(masks, key=lambda m: -int(m[1].sum())):
        part = out[tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))]
        for value, count in zip(*(found.tolist() for found in np.unique(part[mask], return_counts=True)), strict=True):
            if value:
                lost.setdefault(value, {})[number] = count
        part[mask] = number
    to = {one: names[next(iter(by))] if len(by) == 1 else f"{len(by)} others" for one, by in lost.items()}
    cut = [f"{names[one]} loses {sum(by.values())} voxels to {to[one]}" for one, by in lost.items()]
    said = [f"{name}: structures overlap, and the smaller one takes the voxels: {'; '.join(cut)}"] if cut else []
    left = set(np.unique(out).tolist())
    gone = [names[number] for number, *_ in masks if number not in left]
    if gone:
        said.append(f"{name}: nothing of {', '.join(gone)} is left in the label map: smaller structures take all of it")
    return volume_of(out, grid, "labels", name), said


@dataclass(frozen=True)
class CarriedDose:
    """A dose in its new place.

    Attributes:
        volume: gray, 0 where the source has no dose.
        integral_before, integral_after: gray times millilitres over both grids.
        most_before, most_after: the largest dose.
        covered_percent: of the result's grid that the source's grid reaches.
    """

    volume: Volume
    integral_before: float
    integral_after: float
    most_before: float
    most_after: float
    covered_percent: float


def carry_dose(dose: Volume, route: Route) -> CarriedDose:
    """Carry a dose: interpolated linearly in gray on the grid of the result, not multiplied by the change of volume.

    Raises:
        GeometryError: the dose does not reach the grid of the result.
    """
    pull = route.pull
    share = float(coverage(route.grid, dose.grid, pull).float().mean())
    if not share:
        raise GeometryError(f"{dose.name}: its dose grid does not overlap {route.scan}")
    made = resample(dose, route.grid, pull, fill=0.0)
    return CarriedDose(
        made, _integral(dose), _integral(made), float(dose.data.max()), float(made.data.max()), 100 * share
    )  # fmt: skip


def _integral(dose: Volume) -> float:
    return float(dose.data.double().sum()) * float(np.prod(dose.grid.spacing)) / 1000


def dose_grid(dose: Grid, fixed: Grid) -> Grid:
    """The grid of a carried dose: the box and the directions of a scan, as coarse as the dose was."""
    along = np.linalg.norm((fixed.direction.T @ dose.direction) * dose.spacing, axis=1)
    return fixed.respaced(np.maximum(along, fixed.spacing).tolist())
