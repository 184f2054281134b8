"""What stands behind the rows of a benchmark: of what their numbers are, how they were measured, and what failed.

Each row has a folder with a `row.json`, an `ID.csv` for every case, and an `ID.failed.json` beside where some pair of
it could not be aligned or measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from jssr.data.cohort import Case, Cohort
from jssr.engine.contestants import BEFORE, Contestant
from jssr.engine.output import write_json
from jssr.engine.provenance import provenance
from jssr.engine.settings import check_settings, described, read_settings
from jssr.errors import JssrError, OutputError
from jssr.io.atomic import make_folder
from jssr.processes import shared

__all__ = ["attempt", "check_cohort", "failures", "is_measured", "keep_failures", "note_row", "rows_markdown"]

T = TypeVar("T")
ROW = "row.json"
LIBRARIES = ("jssr", "torch")


def note_row(folder: Path, one: Contestant, workers: int, todo: int) -> None:
    """Write down of what a row's numbers are and how those to come are measured.

    Raises:
        OutputError: the folder's numbers are of other weights, settings or versions.
    """
    identity, before = one.identity(), read_settings(folder / ROW)
    if (folder / ROW).is_file():
        check_settings(folder, before, identity)
    made = before.get("made", [])
    if todo:
        processes, threads = shared(workers, todo)
        told = provenance("cpu", False)
        now = {"processes": processes, "threads": threads, "processor": told["processor"], "date": str(date.today())}
        now["versions"] = {name: told["versions"][name] for name in LIBRARIES}
        made = made if now in made else [*made, now]
    write_json({**identity, "made": made}, folder / ROW)


def check_cohort(cohort: Cohort, cases: Sequence[Case], out: Path, settings: Mapping[str, Any]) -> None:
    """Make sure that a benchmark goes on with the scans that it began with, and write down which these are.

    A case whose files have changed is welcome where no row has measured it, and so are more cases.

    Raises:
        OutputError: other settings, or a measured case has changed.
    """
    file = out / "benchmark.json"
    before = read_settings(file)
    now = {case.id: described(cohort, case) for case in cases}
    then: dict[str, str] = before.get("cases", {})
    if file.is_file():
        check_settings(out, before, settings)
        for id, files in now.items():
            if then.get(id, files) != files and any(is_measured(row, id) for row in (out / "cases").glob("*")):
                raise OutputError(f"{out}: the scans of case {id} have changed since; choose another folder")
    write_json({**settings, "cases": {**then, **now}, "provenance": provenance("cpu", False)}, file)


def is_measured(folder: Path, id: str) -> bool:
    """Whether a row has every pair of a case."""
    return (folder / f"{id}.csv").is_file() and not _failed(folder, id).is_file()


def attempt(step: Callable[[], T]) -> tuple[T | None, str]:
    """Do what may fail of itself: a tool gives up, a scan is damaged. Its result, or None and what went wrong."""
    try:
        return step(), ""
    except JssrError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def keep_failures(folder: Path, id: str, failed: Mapping[str, str]) -> None:
    """Write which phases of a case failed and why, or that none did. Such a case is done again."""
    file = _failed(folder, id)
    if failed:
        write_json(failed, file)
    else:
        file.unlink(missing_ok=True)


def failures(out: Path, contestants: Sequence[Contestant], cases: Sequence[Case]) -> list[tuple[str, str, str, str]]:
    """(row, case, phase, what went wrong) of everything that failed."""
    found = []
    for one in contestants:
        for case in cases:
            file = _failed(out / "cases" / one.folder, case.id)
            if file.is_file():
                told = json.loads(file.read_text(encoding="utf-8"))
                found += [(one.name, case.id, phase, why) for phase, why in told.items()]
    return found


def rows_markdown(out: Path, contestants: Sequence[Contestant]) -> str:
    """How the rows were made, as a Markdown table."""
    lines = ["| row | what | measured with |", "| --- | --- | --- |"]
    for one in contestants:
        told = read_settings(make_folder(out / "cases" / one.folder) / ROW)
        lines.append(f"| {one.name} | {_what(one, told)} | {'; '.join(_how(m) for m in told.get('made', [])) or '-'} |")
    return "\n".join(lines) + "\n"


def _what(one: Contestant, told: Mapping[str, Any]) -> str:
    if one.name in BEFORE:
        return {"initial": "the headers alone", "rigid": "our rigid alignment"}[one.name]
    if one.is_tool:
        return f"{told['settings']}" + (f"; version {told['version']}" if told.get("version") else "")
    weights = f"weights {told['weights'][:16]}" if told.get("weights") else "no weights"
    return weights + (f", {one.refine} steps of refinement" if one.refine else "")


def _how(made: Mapping[str, Any]) -> str:
    cores = (
        f"{made['processes']} x {made['threads']} threads" if made["processes"] > 1 else f"{made['threads']} threads"
    )
    versions = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    return f"{cores}, {made['processor']}, {versions}, {made['date']}"


def _failed(folder: Path, id: str) -> Path:
    return folder / f"{id}.failed.json"
