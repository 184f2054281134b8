"""The patients of a cohort as they lie in files: a table (CSV), a folder for each patient, `cohort.json`, or BIDS.

Everything that is wrong is found before the work begins, and told all at once, with line numbers.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jssr.errors import CohortError, JssrError
from jssr.io.bids import DESCRIPTION, bids_patients, is_bids
from jssr.io.cohort import Cohort
from jssr.io.files import digest, names_series
from jssr.io.patient_folders import RUN_LOG, are_patients, holds_scans, is_hidden, patient_folders
from jssr.io.patient_table import Row, Task, read_table

TABLES = ("index.html", "cohort.csv", "cohort.json", "cohort.parquet")
RESERVED = ("failures", RUN_LOG, *TABLES, DESCRIPTION)
"""What the results of a cohort are called beside its patients' folders."""
LONGEST = 180
"""Bytes of a folder's name: file systems have 255, and temporary names are longer by their prefix."""
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

    def __init__(
        self, source: Path, problems: Sequence[str], fine: Sequence[Patient], left_out: Mapping[str, str]
    ) -> None:  # fmt: skip
        shown = "; ".join(problems[:MOST_TOLD])
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        super().__init__(f"{source}: {count}, nothing was begun: {shown}{more}")
        self.problems, self.fine, self.left_out = tuple(problems), tuple(fine), dict(left_out)


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
    inner = patient_folders(source)
    return bool(inner) and not holds_scans(source) and are_patients(inner)


def is_table(source: Path) -> bool:
    """Whether a path is called as tables are."""
    return source.suffix.lower() in (".csv", ".tsv")


def read_patients(
    source: Path, task: Task, reference: str | None = None, out: Path | None = None
) -> list[Patient]:  # fmt: skip
    """The patients of a cohort, all checked.

    Args:
        source: a table (`jssr.io.patient_table`), `cohort.json` or its folder, BIDS, or a folder of patients' folders.
        task: what is to be done: what a table must hold depends on it.
        reference: the phase that stays, which every patient must have.
        out: folder for the results: no patient, where it lies in `source`.

    Raises:
        CohortProblems: whatever is wrong: files that are not there, two patients of one name, patients without the
            reference phase or with one scan. CohortError: no cohort.
    """
    source = source.absolute()  # workers may run elsewhere
    patients, problems, bad = _found(source, task, out)
    for one in patients:
        wrong = [*([] if is_table(source) else _gone(one)), *_wrong(one, task, reference)]
        problems += [f"{one.origin}: {words}" for words in wrong]
        bad |= {one.origin: one.id} if wrong else {}
    twice = _twice(patients)
    if problems or twice:
        left_out = _left_out(problems, bad, twice)
        problems = sorted([*problems, *(words for words, _ in twice)], key=_line)
        raise CohortProblems(source, problems, [one for one in patients if one.id not in left_out], left_out)
    if not patients:
        raise CohortError(f"{source}: holds no patients")
    return patients


def _left_out(
    problems: Sequence[str], bad: Mapping[str, str], twice: Sequence[tuple[str, set[str]]]
) -> dict[str, str]:  # fmt: skip
    """What is wrong with each patient, by its id; `bad` is the id that a place names, where it names one."""
    found: dict[str, list[str]] = defaultdict(list)
    for words in problems:
        place = words.partition(": ")[0]
        found[bad.get(place, place)].append(words)
    for words, ids in twice:
        for name in ids:
            found[name].append(words)
    return {name: "; ".join(words) for name, words in found.items()}


def phases_of(patients: Sequence[Patient]) -> dict[str, int]:
    """How many patients have each phase; those whose scans are found later do not count."""
    return dict(Counter(phase for one in patients for phase in one.images).most_common())


def _found(source: Path, task: Task, out: Path | None) -> tuple[list[Patient], list[str], dict[str, str]]:
    """The patients, what is wrong with their files so far, and the ids of the places where that is."""
    if source.is_file() and is_table(source):
        return _of_table(source, task)
    if not source.exists():
        raise CohortError(
            f"{source}: no such file or folder; a cohort is a CSV, cohort.json, BIDS or patients' folders"
        )
    patients, problems = [], []
    if source.is_dir() and is_bids(source) and not (source / "cohort.json").is_file():
        patients = [Patient(one.id, one.origin, one.images) for one in bids_patients(source)]
    elif source.is_file() or (source / "cohort.json").is_file():
        patients = _of_cohort(Cohort.load(source))
    else:
        for folder in patient_folders(source, out):
            try:
                patients.append(_of_folder(folder))
            except JssrError as error:
                problems.append(f"{folder.name}: {error}")
    return patients, problems, {}


def _of_table(source: Path, task: Task) -> tuple[list[Patient], list[str], dict[str, str]]:
    """Rows of one patient are put together; a row that says nothing new about a phase stays a patient of its own, to be
    told as a second one of that id."""
    rows, problems, bad = read_table(source, task)
    made: dict[str, Patient] = {}
    twice: list[Patient] = []
    for row in rows:
        one = _of_row(row, source)
        gone = _gone(one)
        problems += [f"{one.origin}: {words}" for words in gone]
        bad |= {one.origin: one.id} if gone else {}
        before = made.get(row.id)
        if before is None:
            made[row.id] = one
        elif set(before.images) & set(one.images) or one.options or not one.images:
            twice.append(one)
        else:
            parts = ("images", "labels", "landmarks", "masks", "modalities", "notes")
            joined: Any = {part: {**getattr(before, part), **getattr(one, part)} for part in parts}
            made[row.id] = Patient(row.id, before.origin, **joined)
    return [*made.values(), *twice], problems, bad


def _of_row(row: Row, source: Path) -> Patient:
    return Patient(
        row.id, f"{source.name}, line {row.line}", row.images, row.labels, row.landmarks, row.masks,
        modalities=row.modalities, options=row.options, notes=row.notes,
    )  # fmt: skip


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
    if not holds_scans(folder):
        return Patient(folder.name, folder.name, folder=str(folder))
    from jssr.io.study import read_study

    study = read_study(folder)
    images, labels, landmarks, masks = (
        {phase: str(file) for phase, file in part.items()}
        for part in (study.images, study.labels, study.landmarks, study.masks)
    )
    structures, modalities = study.structures, dict(study.modalities)
    return Patient(folder.name, folder.name, images, labels, landmarks, masks, None, structures, modalities)


def _gone(one: Patient) -> list[str]:
    """Which of its files are not there."""
    found = []
    try:
        found = [f"expected a file, found none at {p}" for p in one.files if not p.exists()]
    except OSError as error:
        return [f"expected a file, got {str(error.filename)[:80]!r} ({error.strerror})"]
    if not found and one.folder and not any(p.is_file() and not is_hidden(p) for p in Path(one.folder).rglob("*")):
        return [f"{one.id}: holds no scans"]
    return found


def _line(problem: str) -> int:
    """The line of a table that a problem is of."""
    found = re.search(r", line (\d+)[: ]", problem)
    return int(found[1]) if found else 0


def _wrong(one: Patient, task: Task, reference: str | None) -> list[str]:
    """What is wrong with one patient beside its files."""
    found = []
    plain = re.search(r"\w", one.id) and one.id.isprintable() and not one.name.startswith(".")
    if not plain or one.name.casefold() in RESERVED:
        found.append(f"expected an id that can name a folder, got {one.id!r}")
    if len(one.name.encode()) > LONGEST:
        found.append(f"expected an id of {LONGEST} bytes at most, got {len(one.name.encode())}: {one.id[:24]!r} ...")
    if task == "align" and not one.folder:
        here = ", ".join(one.images) or "none"
        if reference is not None and reference not in one.images:
            found.append(f"expected a scan of the phase {reference!r}, got {here}: name another with --reference-phase")
        elif len(one.images) < 2:
            found.append(f"expected two scans or more, got {here}: there is nothing to align")
    return found


def _twice(patients: Sequence[Patient]) -> list[tuple[str, set[str]]]:
    """Patients of one id, and of ids that name one folder: in words, and their ids."""
    found = []
    by_id: dict[str, list[Patient]] = defaultdict(list)
    by_name: dict[str, list[Patient]] = defaultdict(list)
    for one in patients:
        by_id[one.id].append(one)
        by_name[unicodedata.normalize("NFC", one.name).casefold()].append(one)  # as file systems compare names
    for what, groups in (("an id", by_id), ("a name of a folder", by_name)):
        for value, some in groups.items():
            ids = {one.id for one in some}
            if len(some) > 1 and (what == "an id" or len(ids) > 1):
                named = ", ".join(f"{one.origin} ({one.id})" for one in some)
                found.append((f"expected {what} for each patient, got {value!r} of {named}", ids))
    return found
