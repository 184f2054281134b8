"""The Brain Imaging Data Structure (BIDS 1.10): patients of a data set, and results under the names of derivatives.

A name is made of entities, `sub-01_ses-2_ce-arterial_ct.nii.gz`: key-value pairs joined by `_`, then a suffix.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jssr._version import __version__
from jssr.errors import CohortError

DESCRIPTION = "dataset_description.json"
VERSION = "1.10.0"
NOT_SCANS = ("mask", "dseg", "probseg", "xfm", "events", "bold", "dwi", "physio", "boldref", "sbref")
BESIDE = ("index.html", "cohort.*", "log.jsonl", "failures/", "**/report.html", "**/result*", "**/manifest.json")
"""What is written beside the derivatives that BIDS has no names for."""
_NAME = re.compile(r"(sub-[^_]+)((?:_[a-zA-Z]+-[^_]+)*)_([a-zA-Z0-9]+)\.nii(?:\.gz)?")


@dataclass(frozen=True)
class BidsPatient:
    """One session of one subject: its id, its folder in the data set, and its scans by phase."""

    id: str
    origin: str
    images: Mapping[str, str]


def is_bids(folder: Path) -> bool:
    """Whether a folder is a BIDS data set: it says so, and holds subjects."""
    return (folder / DESCRIPTION).is_file() and any(folder.glob("sub-*"))


def bids_patients(folder: Path) -> list[BidsPatient]:
    """The sessions of every subject, in order.

    A scan's phase is what tells it from the session's others: the value of `ce` (contrast), else of `acq`, else the
    suffix (`T1w`, `ct`); where two scans would have the same, all entities with the suffix.
    """
    found = []
    for subject in sorted(p for p in folder.glob("sub-*") if p.is_dir()):
        sessions = sorted(p for p in subject.glob("ses-*") if p.is_dir()) or [subject]
        for session in sessions:
            scans = [p for p in sorted(session.glob("*/*.nii*")) if _entities(p.name)]
            origin = str(session.relative_to(folder))
            found.append(BidsPatient(origin.replace("/", "_"), origin, _phases(scans)))
    return found


def _phases(scans: list[Path]) -> dict[str, str]:
    known = [(path, *found) for path in scans if (found := _entities(path.name)) is not None]
    short = [entities.get("ce") or entities.get("acq") or suffix for _, entities, suffix in known]
    times = Counter(short)
    long = ["_".join([*(f"{k}-{v}" for k, v in entities.items()), suffix]) for _, entities, suffix in known]
    phases: dict[str, str] = {}
    for (path, _, _), brief, whole in zip(known, short, long, strict=True):
        phase = brief if times[brief] == 1 else whole
        if phase in phases:
            raise CohortError(f"{path}: expected one scan called {phase!r} in a session, got {phases[phase]} too")
        phases[phase] = str(path)
    return phases


def _entities(name: str) -> tuple[dict[str, str], str] | None:
    """The entities of a scan's name but subject and session, and its suffix; None of what is no scan."""
    found = _NAME.fullmatch(name)
    if found is None or found[3] in NOT_SCANS:
        return None
    pairs = dict(part.split("-", 1) for part in found[2].split("_") if part)
    return {key: value for key, value in pairs.items() if key != "ses"}, found[3]


def derivative_name(patient: str, reference: str, phase: str, file: str) -> str | None:
    """Where a result of `align` lies among derivatives, relative to the patient's folder; None where it has no name.

    `moved.nii.gz` of the arterial scan of sub-01 becomes
    `anat/sub-01_ce-arterial_space-venous_desc-moved_image.nii.gz`, its transform
    `anat/sub-01_from-arterial_to-venous_mode-image_desc-displacement_xfm.nii.gz`, which pulls the arterial image onto
    the venous one (BEP014).
    """
    start = subject_name(patient)
    here, there = _word(phase), _word(reference)
    names = {
        "moved.nii.gz": f"{start}_ce-{here}_space-{there}_desc-moved_image.nii.gz",
        "synthesised.nii.gz": f"{start}_ce-{here}_space-{there}_desc-synthesised_image.nii.gz",
        "displacement.nii.gz": f"{start}_from-{here}_to-{there}_mode-image_desc-displacement_xfm.nii.gz",
        "inverse.nii.gz": f"{start}_from-{there}_to-{here}_mode-image_desc-displacement_xfm.nii.gz",
        "moved_segmentation.nii.gz": f"{start}_ce-{here}_space-{there}_dseg.nii.gz",
        "fixed_segmentation.nii.gz": f"{start}_ce-{there}_desc-{here}_dseg.nii.gz",
        "expected_error.nii.gz": f"{start}_ce-{here}_space-{there}_desc-expectederror_image.nii.gz",
        "result.json": f"{start}_ce-{here}_space-{there}_desc-result_image.json",
        "thumbnail.png": f"{start}_ce-{here}_space-{there}_desc-thumbnail_image.png",
    }
    return f"anat/{names[file]}" if file in names else None


def subject_name(patient: str) -> str:
    """The entities of a patient: those it has, else a subject of its letters and digits."""
    return patient if re.fullmatch(r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?", patient) else f"sub-{_word(patient)}"


def check_subjects(patients: Sequence[str]) -> None:
    """Refuse patients whose names are one subject's in BIDS, which knows letters and digits alone.

    Raises:
        CohortError: two of them are.
    """
    seen: dict[str, str] = {}
    for one in patients:
        other = seen.setdefault(subject_name(one), one)
        if other != one:
            raise CohortError(f"{one}: expected a subject of its own, got {subject_name(one)}, which {other} is too: "
                              "rename one, or take --layout folders")  # fmt: skip


def _word(text: str) -> str:
    """Letters and digits, as the values of entities are."""
    return re.sub(r"[^a-zA-Z0-9]", "", text) or "x"


def write_description(folder: Path, source: Path) -> None:
    """Write what a data set of derivatives says of itself."""
    from jssr.io.files import write_json

    described = {
        "Name": f"{source.name}: aligned by jssr",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "jssr", "Version": __version__}],
        "SourceDatasets": [{"URL": source.resolve().as_uri()}],
    }
    (folder / ".bidsignore").write_text("".join(f"{name}\n" for name in BESIDE), encoding="utf-8")
    file = folder / DESCRIPTION
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != described:
        write_json(described, file)
