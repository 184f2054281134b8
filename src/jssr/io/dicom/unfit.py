"""Which series of a study are no scans to align, and why: scouts, dose reports, reformats, second reconstructions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jssr.errors import ImageError
from jssr.io.dicom.geometry import stack_of
from jssr.io.dicom.series import SeriesInfo

_BOLUS = re.compile(r"monitoring|bolus.?track|test.?bolus|smart.?prep|care.?bolus|sure.?start", re.IGNORECASE)
"""Series taken to find the moment for a phase."""
_DOSE = re.compile(
    r"\bdose\W*(report|info|record|summary|sheet|page|display|screen|protocol|struct)|"
    r"\bdosis\W*(bericht|protokoll|info)|rapport\W*(de\W*)?dose|\bpatient\W*protocol|\brdsr\b|\bexam\W*summary",
    re.IGNORECASE,
)
"""Reports of the dose; a dose alone is none: "LOW DOSE", "half dose"."""
_ONLY_DOSE = re.compile(r"\W*(radiation\W*)?dose\W*\d*\W*", re.IGNORECASE)
REFER = {"RTDOSE": "a dose", "SEG": "a segmentation"}
"""Modalities of objects with pixels that refer to a series: `align --dicom` carries them with it."""
_REFORMAT = {"MIP", "MPR", "REFORMATTED", "PROJECTION IMAGE", "CPR", "VRT", "MAX_IP", "MIN_IP", "CSA MPR"}
_SHARP = re.compile(
    r"lung|bone|edge|detail|sharp|ultra|"
    r"^[bdfhijqstu][a-z]{0,2}\s?(5\d|[6-9]\d)|"  # Siemens: B70f, Br59, Bl57, Hr64
    r"^fc\s?(3\d|5\d|8\d)|"  # Canon, Toshiba: bone, lung, high resolution
    r"^([def]|l|ec|[yu][c-e])(\s|$)",  # Philips
    re.IGNORECASE,
)
"""Kernels for lung and bone: noise in soft tissue."""


def unfit(found: Sequence[SeriesInfo]) -> Iterator[tuple[SeriesInfo, str]]:
    """What is no scan to align, each with the reason."""
    for one in found:
        reason = _reason(one)
        if reason:
            yield one, reason


def _reason(one: SeriesInfo) -> str:
    if one.modality in REFER:
        return f"{REFER[one.modality]}, which refers to a series; --dicom carries it with that series"
    if one.localizer:
        return "a scout, or fewer than 3 slices"
    if any(s.samples != 1 for s in one.slices):
        return "in colour"
    if any(s.frames > 1 for s in one.slices) and not one.enhanced:
        return "a multi-frame file; convert it to NIfTI first"
    if "MOSAIC" in one.image_type:
        return "mosaics of slices; convert it with dcm2niix first"
    if any(s.position is None or s.axes is None for s in one.slices) and not one.enhanced:
        return "without a place in the patient"
    if _BOLUS.search(one.description):
        return "taken to find the moment for a phase"
    if one.modality == "SR" or _DOSE.search(one.description) or _ONLY_DOSE.fullmatch(one.description):
        return "a report of the dose"
    if one.image_type & {"SCREEN SAVE", "DOSE_INFO", "DOSE"}:
        return "a picture of a screen"
    if one.image_type & _REFORMAT and not _oblique(one):
        return "a reformat or projection of another series"
    return "" if one.enhanced else _misplaced(one)


def _oblique(one: SeriesInfo) -> bool:
    """Whether an MR was acquired as it is: GE calls oblique slices ORIGINAL, PRIMARY and MPR."""
    words = one.image_type & _REFORMAT
    return one.modality == "MR" and words == {"MPR"} and {"ORIGINAL", "PRIMARY"} <= one.image_type


def _misplaced(one: SeriesInfo) -> str:
    """Why its slices are no stack; "" where they are."""
    try:
        if len(one.slices) > 1:
            stack_of(one.slices, "")
    except ImageError as error:
        return str(error).removeprefix(": ")
    return ""


def second_reconstructions(scans: Sequence[SeriesInfo]) -> Iterator[tuple[SeriesInfo, SeriesInfo]]:
    """All but the best reconstruction of each acquisition, each with the best one; an MR acquisition makes images of
    several kinds, which their descriptions tell apart."""
    groups: dict[tuple[str, ...], list[SeriesInfo]] = {}
    for one in scans:
        what = f"{one.description} {one.split_by}" if one.modality == "MR" else ""
        groups.setdefault((one.modality, _acquisition(one), what), []).append(one)
    for group in groups.values():
        best = min(group, key=lambda s: (bool(_SHARP.search(s.kernel)), "ORIGINAL" not in s.image_type, -s.n_slices))
        for one in group:
            if one is not best:
                yield one, best


def _acquisition(one: SeriesInfo) -> str:
    """What reconstructions of one acquisition share: its time, else its number, where series hold several numbers."""
    if one.acquisition_time.partition(" ")[2].strip("0"):  # all zeros are no time
        return one.acquisition_time
    if one.split_by.startswith("AcquisitionNumber") and one.acquisition is not None:
        return f"{one.study} {one.frame} {one.acquisition}"
    return one.id
