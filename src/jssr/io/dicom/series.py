"""The DICOM series of a folder, from the headers of its files."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid as uids

from jssr.errors import ImageError
from jssr.io.dicom.acquisitions import by_size, split
from jssr.io.dicom.slices import Slice, read_header, slice_of, words

ENHANCED = (
    uids.EnhancedCTImageStorage, uids.EnhancedMRImageStorage, uids.EnhancedPETImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage, uids.LegacyConvertedEnhancedMRImageStorage,
    uids.LegacyConvertedEnhancedPETImageStorage,
)  # fmt: skip
MIN_SLICES = 3
_PATIENT = ("PatientID", "PatientBirthDate", "PatientName")
_2D = ("CR", "DX", "RG", "PX", "MG", "IO", "XA", "RF")
"""Modalities whose images are 2D."""
_NO_AGENT = re.compile(r"no(ne)?|n/?a|0|without|oral|ohne|keines?|no contrast", re.IGNORECASE)
_VEIN = re.compile(r"\b(iv|i\.v\.?|intra-?\s?ven\w*|vein)", re.IGNORECASE)
_REFERS = re.compile(r"no image \((RT |(Deformable )?Spatial Registration)")
Member = tuple[pydicom.Dataset, Path]


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, or one of the acquisitions in it, its slices sorted along the patient.

    Attributes:
        acquisition_time: of its earliest slice, `YYYYMMDD HHMMSS` or less.
        contrast: the agent's name (or its route, into a vein), "" where there is none, None where the header lacks it.
        delay: seconds from the injection's start to the first slice; None where the header lacks it.
        image_type: its words, in capitals.
        enhanced: is one multi-frame file with a place for each frame (enhanced CT, MR or PET).
        study: UID of the examination.
        patient: identity, birth date and name, as far as the header has them: two patients differ in one of them.
        part, split_by: which acquisition of the series it is, from 1, and what tells it from the others
            ("AcquisitionNumber 2"); None and "" where the series is one.
        acquisition: AcquisitionNumber, where all slices have the same.
        frame: UID of the frame of reference.
        notes: what is wrong with its files, in words.
    """

    uid: str
    description: str
    modality: str
    n_slices: int
    acquisition_time: str
    paths: tuple[Path, ...]
    localizer: bool = False
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    number: int | None = None
    protocol: str = ""
    contrast: str | None = None
    delay: float | None = None
    kernel: str = ""
    image_type: frozenset[str] = frozenset()
    enhanced: bool = False
    study: str = ""
    patient: tuple[str, ...] = ("", "", "")
    part: int | None = None
    split_by: str = ""
    acquisition: int | None = None
    frame: str = ""
    notes: tuple[str, ...] = ()

    @property
    def taken(self) -> str:
        """When, as people write it: "2020-01-02 10:14:00", or the date alone; anything else as the header has it."""
        for given, wanted in (("%Y%m%d %H%M%S", "%Y-%m-%d %H:%M:%S"), ("%Y%m%d", "%Y-%m-%d")):
            with suppress(ValueError):
                return datetime.strptime(self.acquisition_time, given).strftime(wanted)
        return self.acquisition_time

    @property
    def id(self) -> str:
        """UID, and the part where the series holds several: `1.2.3:2`."""
        return self.uid if self.part is None else f"{self.uid}:{self.part}"

    def __str__(self) -> str:
        number = "" if self.number is None else f"series {self.number}, "
        told = f", {self.split_by}" if self.split_by else ""
        return f'{self.id} ({number}{self.modality or "?"} "{self.description}", {self.n_slices} slices{told})'


def find_series(folder: str | os.PathLike[str], localizers: bool = False) -> list[SeriesInfo]:
    """List the image series in a folder and its subfolders, sorted by acquisition time; of a series that holds several
    acquisitions each by itself.

    A file that is there twice (one SOP Instance UID, one content) counts once.

    Args:
        folder: where to look; files that are not DICOM images are passed over (`passed_over`).
        localizers: also list scouts and series of fewer than three slices.

    Raises:
        ImageError: no such folder, or a damaged header.
    """
    return [s for s in _found(*_listed(folder))[0] if localizers or not s.localizer]


def passed_over(folder: str | os.PathLike[str]) -> str:
    """What of a folder's files was passed over, in a line: how many, what they are, some names; "" where none was.

    Structure sets, plans and registrations do not count: they refer to a series, and lie beside it as they should.
    """
    folder = Path(folder)
    over = {p: kind for p, kind in _found(*_listed(folder))[1].items() if not _REFERS.match(kind)}
    kinds = Counter(over.values())
    shown = [
        f"{n} {kind} ({', '.join(p.name for p in [p for p, k in over.items() if k == kind][:2])}{', ...' * (n > 2)})"
        for kind, n in kinds.most_common()
    ]
    files = "file" if len(over) == 1 else "files"
    return f"{folder}: {len(over)} {files} passed over: {'; '.join(shown)}" if over else ""


def _listed(folder: str | os.PathLike[str]) -> tuple[Path, tuple[tuple[Path, int], ...]]:
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return folder, tuple((p, p.stat().st_mtime_ns) for p in files)


@lru_cache(maxsize=4)
def _found(folder: Path, files: tuple[tuple[Path, int], ...]) -> tuple[list[SeriesInfo], Mapping[Path, str]]:
    """The series of these files, changed at these times (a study is asked for once a scan, and has thousands), and what
    was passed over."""
    groups: dict[str, list[Member]] = defaultdict(list)
    over: dict[Path, str] = {}
    for path, _ in files:
        header, what = read_header(path)
        if header is None:
            over[path] = what
        else:
            groups[str(header.SeriesInstanceUID)].append((header, path))
    found = []
    for uid, members in groups.items():
        kept, notes = _without_copies(members)
        found += _series(uid, kept, notes)
    return sorted(found, key=lambda s: (s.acquisition_time, s.number or 0, s.uid, s.part or 0)), over


def _without_copies(members: Sequence[Member]) -> tuple[list[Member], tuple[str, ...]]:
    """The files of a series, each content once, and words where different slices share a SOP Instance UID or have
    none."""
    instances: dict[str, list[Member]] = defaultdict(list)
    for header, path in members:
        instances[str(header.get("SOPInstanceUID") or "").strip()].append((header, path))
    kept: list[Member] = []
    lacking = shared = 0
    for instance, same in instances.items():
        alone = {_content(header, path) if len(same) > 1 else "": (header, path) for header, path in reversed(same)}
        kept += reversed(alone.values())
        lacking += 0 if instance else len(alone)
        shared += len(alone) if instance and len(alone) > 1 else 0
    notes = [f"{lacking} slices have no SOP Instance UID"] * bool(lacking)
    notes += [f"{shared} different slices share a SOP Instance UID"] * bool(shared)
    return kept, tuple(notes)


def _content(header: pydicom.Dataset, path: Path) -> str:
    """What tells a slice from another of the same SOP Instance UID: its header and its pixels."""
    digest = hashlib.blake2b(str(header).encode(), digest_size=12)
    try:
        digest.update(pydicom.dcmread(path, force=True, specific_tags=["PixelData"]).get("PixelData") or b"")
    except Exception:  # whatever a damaged file makes pydicom raise; reading its pixels will tell
        digest.update(str(path).encode())
    return digest.hexdigest()


def single_image(folder: str | os.PathLike[str], series: str | None = None) -> Path | None:
    """The file of a folder (or of one of its series) that holds one image and no more, as a radiograph does."""
    found = find_series(folder, localizers=True)
    chosen = found if series is None else matching(found, series, numbers=False)
    single = len(chosen) == 1 and chosen[0].modality in _2D and len(chosen[0].slices) == 1
    return chosen[0].paths[0] if single and chosen[0].slices[0].frames == 1 else None


def matching(found: Sequence[SeriesInfo], key: str, numbers: bool = True) -> list[SeriesInfo]:
    """The series that a user means: its number, its UID or how that begins, with `:2` for its second part."""
    name, colon, part = key.partition(":")
    exact = [s for s in found if name == s.uid or (numbers and name == str(s.number))]
    match = exact or [s for s in found if name and s.uid.startswith(name)]
    return [s for s in match if part == str(s.part or 1)] if colon else match


def check_one_patient(found: Sequence[SeriesInfo]) -> None:
    """Refuse series of two patients, as far as their headers name one; capitals do not count."""
    for position, what in enumerate(_PATIENT):
        said = {" ".join(s.patient[position].casefold().replace("^", " ").split()): s.patient[position] for s in found}
        names = sorted(name for plain, name in said.items() if plain)
        if len(names) > 1:
            shown = ", ".join(names[:4])
            raise ImageError(f"scans of {len(names)} patients ({what} {shown}); expected scans of one patient")


def listed(found: Sequence[SeriesInfo]) -> str:
    """Series in a line, for a message."""
    shown = "; ".join(str(s) for s in found[:12])
    return shown + (f"; and {len(found) - 12} more" if len(found) > 12 else "")


def _series(uid: str, members: Sequence[Member], notes: tuple[str, ...]) -> list[SeriesInfo]:
    """The acquisitions of one series, in the order of time, else of what tells them; each image size by itself."""
    slices = [slice_of(header, path) for header, path in members]
    modality = str(members[0][0].get("Modality") or "")
    told = [
        (_info(uid, members, slices, order, notes), ", ".join(filter(None, (size, words_))))
        for group, size in by_size(slices, modality)
        for order, words_ in _acquisitions(slices, group, modality)
    ]
    if len(told) == 1:
        return [told[0][0]]
    told.sort(key=lambda one: one[0].acquisition_time)  # stable
    return [_as_part(info, k, words_) for k, (info, words_) in enumerate(told, start=1)]


def _acquisitions(slices: Sequence[Slice], among: Sequence[int], modality: str) -> list[tuple[list[int], str]]:
    """The acquisitions in some of a series' slices: their indices along the patient, and what tells each."""
    first = slices[among[0]]
    heights = {i: _along(slices[i], first) for i in among}
    order = sorted(among, key=lambda i: (heights[i], slices[i].path))
    if first.axes is None or not all(slices[i].position is not None and slices[i].frames == 1 for i in order):
        return [(order, "")]
    parts = split([slices[i] for i in order], np.array([heights[i] for i in order]), modality)
    return [([order[i] for i in group], words_) for group, words_ in parts]


def _as_part(info: SeriesInfo, part: int, split_by: str) -> SeriesInfo:
    """The same, as one acquisition of its series."""
    return replace(info, part=part, split_by=split_by)


def _info(
    uid: str, members: Sequence[Member], slices: Sequence[Slice], order: Sequence[int], notes: tuple[str, ...]
) -> SeriesInfo:
    headers = [members[i][0] for i in order]
    first = min((members[i] for i in order), key=lambda m: m[1])[0]
    mine = tuple(slices[i] for i in order)

    def text(name: str) -> str:
        return str(first.get(name) or "")

    n = sum(s.frames for s in mine)
    image_type = frozenset(word.upper() for word in words(first.get("ImageType")))
    # A slice each has its own time; the first in space is not the first in time.
    began = min(_moment(header) for header in headers)
    numbers = {_integer(header.get("AcquisitionNumber")) for header in headers}
    return SeriesInfo(
        uid=uid,
        description=text("SeriesDescription"),
        modality=text("Modality"),
        n_slices=n,
        acquisition_time=began.partition(".")[0],
        paths=tuple(s.path for s in mine),
        localizer=bool(image_type & {"LOCALIZER", "SCOUT"}) or n < MIN_SLICES,
        slices=mine,
        number=_integer(first.get("SeriesNumber")),
        protocol=text("ProtocolName"),
        contrast=_contrast(first),
        delay=_seconds_between(text("ContrastBolusStartTime"), began.partition(" ")[2]),
        kernel=" ".join(words(first.get("ConvolutionKernel"))),
        image_type=image_type,
        study=text("StudyInstanceUID"),
        enhanced=len(members) == 1 and first.get("SOPClassUID") in ENHANCED,
        patient=tuple(text(name).strip() for name in _PATIENT),
        acquisition=numbers.pop() if len(numbers) == 1 else None,
        frame=text("FrameOfReferenceUID"),
        notes=notes,
    )


def _contrast(header: pydicom.Dataset) -> str | None:
    """The agent that was given into a vein, or how; "" where none was, None where nothing is said."""
    agent, route = (str(header.get(name) or "").strip() for name in ("ContrastBolusAgent", "ContrastBolusRoute"))
    if agent and not _NO_AGENT.fullmatch(agent) and not (route and not _VEIN.search(route)):
        return agent
    if not agent and _VEIN.search(route):
        return route
    return "" if "ContrastBolusAgent" in header else None


def _moment(header: pydicom.Dataset) -> str:
    """When a slice was taken: `YYYYMMDD HHMMSS.FFF` or as much of it as is known."""
    moment = str(header.get("AcquisitionDateTime") or "")
    days = (header.get("AcquisitionDate"), moment[:8], header.get("SeriesDate"), header.get("StudyDate"))
    date = next((str(day) for day in days if day), "")
    time = str(header.get("AcquisitionTime") or moment[8:].partition("+")[0] or header.get("SeriesTime") or "")
    return f"{date} {time}".strip()


def _seconds_between(start: str, end: str) -> float | None:
    """From one DICOM time of day (`HHMMSS.FFF`) to another; None where one is not known or they are out of order."""
    digits = [text.partition(".")[0].replace(":", "").strip() for text in (start, end)]
    if "" in digits:
        return None
    try:  # seconds, then minutes may be left out
        began, ended = (datetime.strptime(text.ljust(6, "0"), "%H%M%S") for text in digits)
    except ValueError:
        return None
    return (ended - began).total_seconds() if ended >= began else None


def _integer(value: Any) -> int | None:
    try:
        return None if value is None or str(value).strip() == "" else int(value)
    except (OverflowError, TypeError, ValueError):
        return None


def _along(one: Slice, first: Slice) -> float:
    if one.position is None or first.axes is None:
        return 0.0
    return float(np.cross(first.axes[0], first.axes[1]) @ one.position)
