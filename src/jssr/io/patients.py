"""The patients of a cohort as they lie in files: a table (CSV), a folder for each patient, `cohort.json`, or BIDS.

Everything that is wrong is found before the work begins, and told all at once, with line numbers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jssr.errors import CohortError
from jssr.io.bids import bids_patients, is_bids
from jssr.io.cohort import Cohort
from jssr.io.files import digest, names_series
from jssr.io.itk import WRITABLE
from jssr.io.patient_table import Row, Task, read_table

RESERVED = ("failures", "index.html", "log.jsonl", "cohort.csv", "cohort.json", "cohort.parquet")
"""What the results of a cohort are called beside its patients' folders."""
MOST_TOLD = 20


@dataclass(frozen=True)
class Patient:
    """What is worked on at once: one patient, or one row of a table.

    Attributes:
        id: unique in the cohort.
        origin: where it was found: a file with its line, a folder.
        images, labels, landmarks, masks: files by phase; of a pair the phases are "fixed" and "moving".
        folder: whose scans are found when it is worked on (DICOM, files named by phase).
        structures: the label values of each structure; None takes each value under its number.
        modalities: by phase, where the cohort names them.
        options: of this patient alone: `initial`, `transform`, `reference`, `to`, `kind`.
        notes: what else its row holds, for the table of results.
    """

    id: str
    origin: str
    images: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    landmarks: Mapping[str, str] = field(default_factory=dict)
    masks: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    structures: Mapping[str, Sequence[int]] | None = None
    modalities: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its folder among the results."""
        return re.sub(r"[^\w.+-]", "_", self.id)

    @property
    def files(self) -> list[Path]:
        """Every file that it names; of a DICOM series its folder."""
        found = [Path(p) for part in (self.images, self.labels, self.landmarks, self.masks) for p in part.values()]
        found += [Path(p) for key, p in self.options.items() if key in ("initial", "transform", "reference")]
        return [p.parent if names_series(p) else p for p in found] + ([Path(self.folder)] if self.folder else [])

    def stamp(self) -> str:
        """Changes when a file of it is written, moved or replaced: names, sizes and times, as git's index has them."""
        found: list[list[Any]] = [[self.id, dict(self.options), sorted(self.modalities.items()), str(self.structures)]]
        for path in self.files:
            inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for file in inner:
                with suppress(OSError):
                    status = file.stat()
                    found.append([str(file), status.st_size, status.st_mtime_ns])
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]

    def digest(self) -> str:
        """Changes when what is known of it, or the content of one of its files, does; not when they are moved."""
        known = {key: value for key, value in asdict(self).items() if key in ("structures", "modalities")}
        named = [{k: Path(p).name for k, p in part.items()} for part in (self.images, self.labels, self.landmarks)]
        named += [dict(self.masks), {k: v for k, v in self.options.items() if k in ("to", "kind")}]
        content = []
        for file in self.files:
            with suppress(OSError):
                content.append(digest(file))
        words = json.dumps([self.id, known, named[:3], sorted(named[3]), named[4], content], sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()[:16]


class CohortProblems(CohortError):
    """Everything that is wrong with a cohort, found before the work begins: `problems`, one line each, the patients
    that nothing is wrong with, and of the others what is, by id (of a line that names no patient by its number)."""

    def __init__(self, source: Path, problems: Sequence[str], patients: Sequence[Patient]) -> None:
        shown = "; ".join(problems[:MOST_TOLD])
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        super().__init__(f"{source}: {count}, nothing was begun: {shown}{more}")
        self.problems, self.left_out = tuple(problems), dict[str, str]()
        for words in problems:
            of = {one.id for one in patients if words.startswith(f"{one.origin}:") or f"{one.origin} (" in words}
            for name in of or {words.partition(": ")[0]}:
                self.left_out[name] = "; ".join(filter(None, (self.left_out.get(name), words)))
        self.fine = tuple(one for one in patients if one.id not in self.left_out)


def is_cohort(source: Path) -> bool:
    """Whether a path means many patients: a table, a cohort's file or folder, BIDS, or folders of patients.

    A folder of folders is a cohort where most of them hold image files, or where their DICOM files are of several
    patients; else it is one DICOM study.
    """
    if source.is_file():
        return is_table(source) or source.name in ("cohort.json", "dataset.json")
    if not source.is_dir():
        return False
    if (source / "cohort.json").is_file() or is_bids(source):
        return True
    inner = _folders(source)
    if not inner or _scans(source):
        return False
    return sum(map(_scans, inner)) > len(inner) / 2 or _of_several(inner)


def is_table(source: Path) -> bool:
    """Whether a path is called as tables are."""
    return source.suffix.lower() in (".csv", ".tsv")


def read_patients(source: Path, task: Task, reference: str | None = None) -> list[Patient]:
    """The patients of a cohort, all checked.

    Args:
        source: a table (`jssr.io.patient_table`), `cohort.json` or its folder, BIDS, or a folder of patients' folders.
        task: what is to be done: what a table must hold depends on it.
        reference: the phase that stays, which every patient must have.

    Raises:
        CohortProblems: whatever is wrong: files that are not there, two patients of one name, patients without the
            reference phase or with one scan. CohortError: no cohort.
    """
    source = source.absolute()  # workers may run elsewhere
    patients, problems = _found(source, task)
    for one in patients:
        problems += [f"{one.origin}: {words}" for words in _wrong(one, task, reference)]
    for what, key in (("an id", lambda p: p.id), ("a name of a folder", lambda p: p.name.casefold())):
        times = Counter(map(key, patients))
        for value in (value for value, count in times.items() if count > 1):
            where = [one for one in patients if key(one) == value]
            if what == "an id" or len({one.id for one in where}) > 1:
                named = ", ".join(f"{one.origin} ({one.id})" for one in where)
                problems.append(f"expected {what} for each patient, got {value!r} of {named}")
    if problems:
        raise CohortProblems(source, problems, patients)
    if not patients:
        raise CohortError(f"{source}: holds no patients")
    return patients


def phases_of(patients: Sequence[Patient]) -> dict[str, int]:
    """How many patients have each phase; those whose scans are found later do not count."""
    return dict(Counter(phase for one in patients for phase in one.images).most_common())


def _found(source: Path, task: Task) -> tuple[list[Patient], list[str]]:
    if source.is_file() and is_table(source):
        rows, problems = read_table(source, task)
        return _of_rows(rows, source), problems
    if not source.exists():
        raise CohortError(
            f"{source}: no such file or folder; a cohort is a CSV, cohort.json, BIDS or patients' folders"
        )
    if source.is_dir() and is_bids(source) and not (source / "cohort.json").is_file():
        made = bids_patients(source)
        return [Patient(one.id, one.origin, one.images) for one in made], []
    if source.is_file() or (source / "cohort.json").is_file():
        return _of_cohort(Cohort.load(source)), []
    return [_of_folder(one) for one in _folders(source)], []


def _of_rows(rows: Sequence[Row], source: Path) -> list[Patient]:
    """Rows of one patient are put together; a row that says nothing new about a phase stays a patient of its own, to be
    told as a second one of that id."""
    made: dict[str, Patient] = {}
    twice: list[Patient] = []
    for row in rows:
        one = Patient(row.id, f"{source.name}, line {row.line}", row.images, row.labels, row.landmarks, row.masks,
                      modalities=row.modalities, options=row.options, notes=row.notes)  # fmt: skip
        before = made.get(row.id)
        if before is None:
            made[row.id] = one
        elif set(before.images) & set(one.images) or one.options or not one.images:
            twice.append(one)
        else:
            parts = ("images", "labels", "landmarks", "masks", "modalities", "notes")
            joined = {part: {**getattr(before, part), **getattr(one, part)} for part in parts}
            made[row.id] = Patient(row.id, before.origin, **joined)  # type: ignore[arg-type]
    return [*made.values(), *twice]


def _of_cohort(cohort: Cohort) -> list[Patient]:
    def files(part: Mapping[str, str]) -> dict[str, str]:
        return {phase: str(cohort.path(path)) for phase, path in part.items()}

    structures = cohort.structures() or None
    return [
        Patient(
            case.id, f"case {case.id}", files(case.images), files(case.labels), files(case.landmarks),
            files(case.masks), structures=structures, modalities=dict(cohort.modalities),
        )
        for case in cohort.cases
    ]  # fmt: skip


def _of_folder(folder: Path) -> Patient:
    """A patient of a folder: its scans are known by their names, or found when it is worked on (DICOM)."""
    if not _scans(folder):
        return Patient(folder.name, folder.name, folder=str(folder))
    from jssr.io.study import read_study

    study = read_study(folder)
    images, labels, landmarks, masks = (
        {phase: str(file) for phase, file in part.items()}
        for part in (study.images, study.labels, study.landmarks, study.masks)
    )
    structures, modalities = study.structures, dict(study.modalities)
    return Patient(folder.name, folder.name, images, labels, landmarks, masks, None, structures, modalities)


def _wrong(one: Patient, task: Task, reference: str | None) -> list[str]:
    """What is wrong with one patient."""
    found = []
    if not re.search(r"\w", one.id) or one.name.startswith(".") or one.name in RESERVED:
        found.append(f"expected an id that can name a folder, got {one.id!r}")
    gone = [p for p in one.files if not p.exists()]
    found += [f"expected a file, found none at {p}" for p in gone]
    if one.folder and not gone and not any(p.is_file() for p in Path(one.folder).rglob("*")):
        found.append(f"{one.id}: holds no scans")
    if task == "align" and not one.folder:
        here = ", ".join(one.images) or "none"
        if reference is not None and reference not in one.images:
            found.append(f"expected a scan of the phase {reference!r}, got {here}: name another with --reference-phase")
        elif len(one.images) < 2:
            found.append(f"expected two scans or more, got {here}: there is nothing to align")
    return found


def _folders(source: Path) -> list[Path]:
    return sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith("."))


def _scans(folder: Path) -> bool:
    """Whether a folder holds image files by itself."""
    return any(p.is_file() and p.name.lower().endswith(WRITABLE) for p in folder.iterdir())


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
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        found = []
        for file in (*files[:1], *files[-1:]):
            with suppress(Exception):  # whatever is no DICOM
                found.append(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags))
        patients |= {(str(one.get("PatientID", "")), str(one.get("PatientName", ""))) for one in found[:1]}
        rich = rich or len({str(one.get("SeriesInstanceUID", "")) for one in found}) > 1
        if rich and len(patients) > 1:
            return True
    return False
