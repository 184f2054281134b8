"""A DICOM RT Structure Set read (PS3.3 C.8.8.5, C.8.8.6): structures with their contours, as they were drawn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from jssr.errors import ImageError
from jssr.io.dicom.files import class_name, opened, readable
from jssr.io.dicom.objects import is_structures
from jssr.io.dicom.slices import words

Array = NDArray[np.float64]
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
LONGEST = 2500.0
"""Millimetres that a structure may reach along one axis: no body is longer, so one that is has damaged numbers."""


@dataclass(frozen=True)
class Structure:
    """One structure (an ROI of DICOM).

    Attributes:
        number, name, interpreted, colour: as the file has them; `interpreted` is "PTV", "ORGAN" ... or "".
        closed: closed planar contours, (N, 3) LPS millimetres each.
        points: other contours, points and open lines, with their geometric type.
    """

    number: int
    name: str
    interpreted: str = ""
    colour: tuple[int, ...] = ()
    closed: tuple[Array, ...] = ()
    points: tuple[tuple[str, Array], ...] = ()

    @property
    def empty(self) -> bool:
        return not self.closed and not self.points

    @property
    def every_point(self) -> Array:
        """(N, 3) all points of all its contours."""
        every = [*self.closed, *(xyz for _, xyz in self.points)]
        return np.concatenate(every) if every else np.zeros((0, 3))


@dataclass(frozen=True)
class StructureSet:
    """A structure set read.

    Attributes:
        structures: in the order of the file, those without contours too.
        frame: UID of its frame of reference, "" where it has none.
        series: UIDs of the series it was drawn on.
        header: the data set, without contours.
        warnings: what was left out of it.
    """

    structures: tuple[Structure, ...]
    frame: str
    series: tuple[str, ...]
    header: Dataset
    name: str
    warnings: tuple[str, ...] = ()


def read_structures(path: str | os.PathLike[str]) -> StructureSet:
    """Read an RT Structure Set.

    Raises:
        ImageError: another kind of object, no structure at all, two of one number, damaged contours, or a structure
            larger than any body.
    """
    path = Path(path)
    found = opened(path)
    if not is_structures(found):
        raise ImageError(f"{path}: is a {class_name(found)} of DICOM, expected an RT Structure Set")
    with readable(path, "its structures"):
        rois = list(found.get("StructureSetROISequence") or ())
        if not rois:
            raise ImageError(f"{path}: holds no structures (no StructureSetROISequence); export it again")
        _check_numbers(rois, found, path)
        drawn = {int(c.ReferencedROINumber): c for c in found.get("ROIContourSequence") or ()}
        kinds = {int(o.ReferencedROINumber): o for o in found.get("RTROIObservationsSequence") or ()}
        warnings: list[str] = []
        structures = tuple(
            _structure(roi, drawn.get(int(roi.ROINumber)), kinds.get(int(roi.ROINumber)), path, warnings)
            for roi in rois
        )
        frames = [str(f.FrameOfReferenceUID) for f in found.get("ReferencedFrameOfReferenceSequence") or ()]
        frames = frames or [str(uid) for roi in rois if (uid := roi.get("ReferencedFrameOfReferenceUID"))]
        return StructureSet(
            structures, frames[0] if frames else "", _series(found), found, str(path), tuple(warnings)
        )  # fmt: skip
    raise AssertionError


def _name(roi: Dataset) -> str:
    """The name of a structure; a backslash parts no values in it, and signs that steer a terminal are left out."""
    name = "\\".join(words(roi.get("ROIName")))
    return "".join(sign for sign in name if sign.isprintable()).strip()


def _check_numbers(rois: Sequence[Dataset], found: Dataset, path: Path) -> None:
    """Refuse numbers that are there twice: what belongs to which structure cannot be told."""
    names: dict[int, list[str]] = {}
    for roi in rois:
        names.setdefault(int(roi.ROINumber), []).append(_name(roi))
    number, same = next(((n, found) for n, found in names.items() if len(found) > 1), (0, []))
    if same:
        shown = " and ".join(repr(name) for name in same)
        raise ImageError(
            f"{path}: structures {shown} share the number {number}; expected one number each: export again"
        )
    times = Counter(int(c.ReferencedROINumber) for c in found.get("ROIContourSequence") or ())
    number = next((n for n, count in times.items() if count > 1), 0)
    if times[number] > 1:
        name = (names.get(number) or [f"ROI {number}"])[0]
        raise ImageError(f"{path}: structure {name!r} has {times[number]} sets of contours, expected one: export again")


def _series(found: Dataset) -> tuple[str, ...]:
    return tuple(
        str(series.SeriesInstanceUID)
        for frame in found.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    )


def _structure(roi: Dataset, drawn: Dataset | None, kind: Dataset | None, path: Path, warnings: list[str]) -> Structure:
    number, name = int(roi.ROINumber), _name(roi) or f"ROI {roi.ROINumber}"
    closed: list[Array] = []
    points: list[tuple[str, Array]] = []
    short = repeated = empty = 0
    for contour in (None if drawn is None else drawn.get("ContourSequence")) or ():
        if _is_empty(contour):
            empty += 1
            continue
        xyz = _points(contour, f"{path}: structure {name!r}")
        geometry = str(contour.get("ContourGeometricType") or "").upper()
        if geometry not in CLOSED:
            points.append((geometry or "POINT", xyz))
        elif len(xyz) < 3:
            short += 1
        elif any(len(xyz) == len(one) and np.allclose(xyz, one, atol=1e-3) for one in closed[-8:]):
            repeated += 1
        else:
            closed.append(xyz)
    _check_size(name, [*closed, *(xyz for _, xyz in points)], path)
    if short:
        warnings.append(f"{path}: {short} closed contours of {name!r} have fewer than three points; they are left out")
    if empty:
        warnings.append(f"{path}: {empty} contours of {name!r} hold no point; they are left out")
    if repeated:
        warnings.append(f"{path}: {repeated} contours of {name!r} are there twice; they count once")
    colour = () if drawn is None else tuple(int(c) for c in drawn.get("ROIDisplayColor") or ())
    interpreted = "" if kind is None else str(kind.get("RTROIInterpretedType") or "")
    return Structure(number, name, interpreted, colour, tuple(closed), tuple(points))


def _check_size(name: str, drawn: Sequence[Array], path: Path) -> None:
    """Refuse a structure larger than any body."""
    reach = np.ptp(np.concatenate(drawn), axis=0) if drawn else np.zeros(3)
    if reach.max() > LONGEST:
        axis = "xyz"[int(reach.argmax())]
        raise ImageError(
            f"{path}: structure {name!r} reaches {reach.max() / 1000:.3g} m along {axis}, expected at most "
            f"{LONGEST / 1000:g} m: its contours are damaged; export again"
        )


def _numbers(contour: Dataset) -> Array:
    """The numbers of Contour Data. A set may hold millions: they are parsed at once, where pydicom takes each alone."""
    element = contour.get_item("ContourData")
    if element is None or not element.value:
        return np.zeros(0)
    if element.is_raw and isinstance(element.value, bytes):
        return np.array(element.value.rstrip(b" \0").split(b"\\"), dtype=np.float64)
    return np.atleast_1d(np.array(contour.ContourData, dtype=np.float64))


def _is_empty(contour: Dataset) -> bool:
    """Whether a contour has no point, and its header says no other number: some programs leave such ones."""
    return not int(contour.get("NumberOfContourPoints") or 0) and not _numbers(contour).size


def _points(contour: Dataset, what: str) -> Array:
    values = _numbers(contour)
    if values.size % 3 or not values.size or not np.isfinite(values).all():
        raise ImageError(f"{what} has a contour of {values.size} numbers, expected x, y, z of each point; export again")
    given = contour.get("NumberOfContourPoints")
    if given is not None and int(given) != values.size // 3:
        raise ImageError(
            f"{what} has a contour of {values.size // 3} points, and its header says {given}: export again"
        )
    return values.reshape(-1, 3)
