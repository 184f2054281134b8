"""The objects of a study that refer to one of its series: structure sets, segmentations, and doses by their plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage, RTPlanStorage, RTStructureSetStorage

from jssr.io.dicom.files import quietly
from jssr.io.dicom.objects import SEGMENTATIONS
from jssr.io.dicom.series import SeriesInfo

_KINDS = {RTStructureSetStorage: "structures", RTDoseStorage: "dose", **dict.fromkeys(SEGMENTATIONS, "segmentation")}
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence", "ReferencedRTPlanSequence", "ReferencedStructureSetSequence",
]  # fmt: skip


@dataclass(frozen=True)
class Referring:
    """One object, what it is, and the series that it refers to; no series where none could be told."""

    path: Path
    kind: str
    series: frozenset[str]


def find_referring(folder: Path, frames: Mapping[str, str], without: str) -> list[Referring]:
    """The structure sets, segmentations and doses of a folder, in the order of their names.

    A dose names no series: it belongs to that of the structure set of its plan, else to the one series of the same
    frame of reference, if there is one alone.

    Args:
        folder: of the study.
        frames: UID of each series to that of its frame of reference.
        without: the name of folders that hold results.
    """
    found: list[tuple[Path, Dataset]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and without not in p.relative_to(folder).parts):
        header = _header(path)
        if header is not None:
            found.append((path, header))
    drawn = {str(h.SOPInstanceUID): _named(h) for _, h in found if h.SOPClassUID == RTStructureSetStorage}
    plans = {str(h.SOPInstanceUID): _plan(h, drawn) for _, h in found if h.SOPClassUID == RTPlanStorage}
    out = []
    for path, header in found:
        kind = _KINDS.get(header.SOPClassUID)
        if kind is not None:
            series = _of_dose(header, plans, frames) if kind == "dose" else _named(header)
            out.append(Referring(path, kind, frozenset(series)))
    return out


def refers_to(path: Path, series: SeriesInfo) -> bool:
    """Whether an object refers to an image of a series; yes too where it names none. Acquisitions that share a series'
    UID are told apart by their images."""
    with quietly():
        named = _images(pydicom.dcmread(path, stop_before_pixels=True))
        tags = ["SOPInstanceUID"]
        own = {str(pydicom.dcmread(p, specific_tags=list(tags), force=True).SOPInstanceUID) for p in series.paths}
    return not named or bool(named & own)


def _images(header: Dataset) -> set[str]:
    """The images that contours are drawn on or segments refer to; of a structure set that says nothing for a contour,
    those of the series."""
    found: set[str] = set()
    for roi in header.get("ROIContourSequence") or ():
        for contour in roi.get("ContourSequence") or ():
            found |= {str(i.ReferencedSOPInstanceUID) for i in contour.get("ContourImageSequence") or ()}
    if found:
        return found
    for series in header.get("ReferencedSeriesSequence") or ():
        found |= {str(i.ReferencedSOPInstanceUID) for i in series.get("ReferencedInstanceSequence") or ()}
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                found |= {str(i.ReferencedSOPInstanceUID) for i in series.get("ContourImageSequence") or ()}
    return found


def _header(path: Path) -> Dataset | None:
    try:
        with quietly():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        return header if header.get("SOPClassUID") in (*_KINDS, RTPlanStorage) and header.SOPInstanceUID else None
    except Exception:  # whatever a damaged file makes pydicom raise: it is no object of this study
        return None


def _named(header: Dataset) -> set[str]:
    """The series that a structure set or a segmentation names."""
    series = [s.get("SeriesInstanceUID") for s in header.get("ReferencedSeriesSequence") or ()]
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            series += [s.get("SeriesInstanceUID") for s in study.get("RTReferencedSeriesSequence") or ()]
    return {str(uid) for uid in series if uid}


def _plan(header: Dataset, drawn: Mapping[str, set[str]]) -> set[str]:
    return _union(drawn.get(str(s.get("ReferencedSOPInstanceUID")), set())
                  for s in header.get("ReferencedStructureSetSequence") or ())  # fmt: skip


def _of_dose(header: Dataset, plans: Mapping[str, set[str]], frames: Mapping[str, str]) -> set[str]:
    planned = _union(plans.get(str(p.get("ReferencedSOPInstanceUID")), set())
                     for p in header.get("ReferencedRTPlanSequence") or ())  # fmt: skip
    same = {uid for uid, frame in frames.items() if frame and frame == str(header.get("FrameOfReferenceUID") or "")}
    return planned or (same if len(same) == 1 else set())


def _union(sets: Iterable[set[str]]) -> set[str]:
    return set().union(*sets)
