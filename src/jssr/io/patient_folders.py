"""Folders of patients: which of a folder's folders are patients, and whether it is a cohort at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jssr.io.itk import WRITABLE

RUN_LOG = "log.jsonl"
"""What every run on a cohort writes: a folder with it holds results, and no patient."""


def patient_folders(source: Path, out: Path | None = None) -> list[Path]:
    """The folders in a folder that may be patients: not hidden, and no results, neither earlier ones nor those of `out`
    that are to be written."""
    found = sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith("."))
    to_be = None if out is None else out.resolve()
    return [p for p in found if not (p / RUN_LOG).is_file() and p.resolve() != to_be]


def holds_scans(folder: Path) -> bool:
    """Whether a folder holds image files by itself."""
    return any(p.is_file() and not is_hidden(p) and p.name.lower().endswith(WRITABLE) for p in folder.iterdir())


def is_hidden(path: Path) -> bool:
    """Whether a file's name begins with a dot, as `.DS_Store` and `._venous.nii.gz` do, which macOS leaves."""
    return path.name.startswith(".")


def are_patients(folders: Sequence[Path]) -> bool:
    """Whether folders are those of patients: most hold image files, or their DICOM files are of several patients."""
    return sum(map(holds_scans, folders)) > len(folders) / 2 or _of_several(folders)


def _of_several(folders: Sequence[Path]) -> bool:
    """Whether folders of DICOM are patients: those that their first files name are several, and at least one folder
    holds more than one series. Folders of one series each are the series of one export."""
    try:
        import pydicom
    except ImportError:
        return False
    tags = ["PatientID", "PatientName", "SeriesInstanceUID"]
    patients, rich = set(), False
    for folder in folders:
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not is_hidden(p)]
        found = []
        for file in (*files[:1], *files[-1:]):
            with suppress(Exception):  # whatever is no DICOM
                found.append(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags))
        patients |= {(str(one.get("PatientID", "")), str(one.get("PatientName", ""))) for one in found[:1]}
        rich = rich or len({str(one.get("SeriesInstanceUID", "")) for one in found}) > 1
        if rich and len(patients) > 1:
            return True
    return False
