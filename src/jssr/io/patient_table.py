"""A table of patients or pairs: CSV with a header, one row for each scan or each pair.

    patient,phase,image,labels,landmarks,mask,modality        of `align` and `segment`: a row for each scan
    id,fixed,moving,fixed_labels,moving_labels, ...           of `register`: a row for each pair
    id,input,transform,reference,to,kind                      of `warp`: a row for each file

Paths are relative to the table. Other columns are kept for the table of results.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jssr.core.volume import MODALITIES
from jssr.errors import CohortError
from jssr.io.files import is_plain_name

Task = Literal["align", "register", "segment", "warp"]
ROLES = ("fixed", "moving")
SAME = {"patient_id": "id", "patient": "id", "case": "id", "scan": "image", "points": "landmarks", "masks": "mask",
        "fixed_points": "fixed_landmarks", "moving_points": "moving_landmarks", "source": "input"}  # fmt: skip
"""Other names of columns."""
_BY_SCAN = {"id", "phase", "image", "labels", "landmarks", "mask", "modality"}
_BY_PAIR = {"id", "initial"} | {f"{r}{what}" for r in ROLES for what in ("", "_labels", "_landmarks", "_mask")}
_BY_FILE = {"id", "input", "transform", "reference", "to", "kind"}
COLUMNS: dict[Task, set[str]] = {"align": _BY_SCAN, "segment": _BY_SCAN, "register": _BY_PAIR, "warp": _BY_FILE}
NEEDED: dict[Task, tuple[str, ...]] = {
    "align": ("id", "phase", "image"), "segment": ("image",), "register": ROLES, "warp": ("input", "transform"),
}  # fmt: skip
_PARTS = {"labels": "labels", "landmarks": "landmarks", "mask": "masks"}
NEAR = 0.8
"""How much alike a column and a known one are for the first to be taken for a slip of the pen."""


@dataclass(frozen=True)
class Row:
    """A row of a table, its paths made absolute; the fields are those of `jssr.io.patients.Patient`."""

    line: int
    id: str
    images: Mapping[str, str]
    labels: Mapping[str, str]
    landmarks: Mapping[str, str]
    masks: Mapping[str, str]
    modalities: Mapping[str, str]
    options: Mapping[str, str]
    notes: Mapping[str, str]


def read_table(file: Path, task: Task) -> tuple[list[Row], list[str], dict[str, str]]:
    """The rows of a table, what is wrong with the others, each with its line, and the ids that those lines name.

    Raises:
        CohortError: it cannot be read, or a column is missing or misspelt.
    """
    lines, columns = _lines(file)
    _check_columns(file, columns, task)
    rows: list[Row] = []
    problems: list[str] = []
    bad: dict[str, str] = {}
    for number, cells in lines:
        values = _fitted(cells, columns, task)
        found = dict(zip(columns, values, strict=False))
        wrong = _wrong(found, values, columns, task)
        problems += [f"{file.name}, line {number}: {words}" for words in wrong]
        if not wrong:
            rows.append(_row(file.parent, number, found, task))
        elif found.get("id"):
            bad[f"{file.name}, line {number}"] = found["id"]
    return rows, problems, bad


def _lines(file: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """The lines of a table that hold something, each with the number of its first one in the file, and the names of its
    columns."""
    lines = []
    try:
        text = file.read_bytes().decode("utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip()), "")
        told = first.lower().startswith("sep=") and len(first) > 4  # Excel's word for the mark between cells
        mark = first[4] if told else max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        before = 0
        for row in reader:
            if any(cell.strip() for cell in row):
                lines.append((before + 1, row))
            before = reader.line_num
    except (OSError, ValueError, csv.Error) as error:
        raise CohortError(f"{file}: expected a table as CSV in UTF-8, got {error}: save it as CSV UTF-8") from error
    lines = lines[1:] if told else lines
    if not lines:
        raise CohortError(f"{file}: expected a table with a header, got an empty file")
    names = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in lines[0][1]]
    while not names[-1]:  # spreadsheets leave columns without name or values
        names.pop()
    return lines[1:], [SAME.get(name, name) for name in names]


def _fitted(cells: list[str], columns: list[str], task: Task) -> list[str]:
    """The values of a row: empty cells at its end may be too many, or be left out where nothing is needed."""
    values = [cell.strip() for cell in cells]
    while len(values) > len(columns) and not values[-1]:
        values.pop()
    lacking = columns[len(values) :]
    return values if set(lacking) & set(NEEDED[task]) else [*values, *[""] * len(lacking)]


def _check_columns(file: Path, columns: list[str], task: Task) -> None:
    """Refuse a table that lacks a column, or has one twice or misspelt."""
    lacking = [name for name in NEEDED[task] if name not in columns]
    if lacking:
        needed, got = ", ".join(NEEDED[task]), ", ".join(columns)
        names = ", ".join(map(repr, lacking))
        verb = "is" if len(lacking) == 1 else "are"
        raise CohortError(f"{file}, line 1: expected the columns {needed}, got {got}: {names} {verb} missing")
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise CohortError(f"{file}, line 1: expected each column once, got {twice!r} twice")
    for name in (name for name in columns if name and name not in COLUMNS[task]):
        near = difflib.get_close_matches(name, COLUMNS[task], n=1, cutoff=NEAR)
        if near:
            raise CohortError(f"{file}, line 1: unknown column {name!r}: did you mean {near[0]!r}?")


def _wrong(found: Mapping[str, str], values: list[str], columns: list[str], task: Task) -> list[str]:
    """What is wrong with a row by itself."""
    if len(values) != len(columns):
        return [f"expected {len(columns)} values, got {len(values)}"]
    problems = [f"expected a value in the column {name!r}, got none" for name in NEEDED[task] if not found[name]]
    if found.get("modality") and found["modality"] not in MODALITIES:
        problems.append(f"expected a modality of {', '.join(MODALITIES)}, got {found['modality']!r}")
    if found.get("phase") and not is_plain_name(found["phase"]):
        problems.append(f"expected a phase that can name a folder, got {found['phase']!r}")
    for name, known in (("to", ROLES), ("kind", ("auto", "image", "labels"))):
        if task == "warp" and found.get(name) and found[name] not in known:
            problems.append(f"expected {name!r} to be one of {', '.join(known)}, got {found[name]!r}")
    return problems


def _row(home: Path, number: int, found: Mapping[str, str], task: Task) -> Row:
    def path(value: str) -> str:
        named = Path(value)
        with suppress(RuntimeError):  # no such user: the path as it is is told
            named = named.expanduser()
        return str(home / named)

    notes = {name: value for name, value in found.items() if name and name not in COLUMNS[task]}
    parts: dict[str, dict[str, str]] = {"labels": {}, "landmarks": {}, "masks": {}}
    images: dict[str, str] = {}
    modalities: dict[str, str] = {}
    options = {}
    if task == "register":
        images = {role: path(found[role]) for role in ROLES}
        for role in ROLES:
            for what, part in _PARTS.items():
                if found.get(f"{role}_{what}"):
                    parts[part][role] = path(found[f"{role}_{what}"])
        start = found.get("initial", "")
        options = {} if not start else {"initial": start if start in ("geometry", "centre") else path(start)}
    elif task == "warp":
        images = {"input": path(found["input"])}
        files = {name: path(found[name]) for name in ("transform", "reference") if found.get(name)}
        options = {**files, **{name: found[name] for name in ("to", "kind") if found.get(name)}}
    else:
        phase = found.get("phase") or "image"
        images = {phase: path(found["image"])}
        for what, part in _PARTS.items():
            if found.get(what):
                parts[part][phase] = path(found[what])
        modalities = {phase: found["modality"]} if found.get("modality") else {}
    name = found.get("id") or _named_by(found, task, number)
    return Row(number, name, images, parts["labels"], parts["landmarks"], parts["masks"], modalities, options, notes)


def _named_by(found: Mapping[str, str], task: Task, number: int) -> str:
    """The id of a row without one: its number; of scans to be segmented their file's name."""
    if task == "segment":
        return Path(found["image"]).name.split(".")[0]
    return f"row{number:05d}"
