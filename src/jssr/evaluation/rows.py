"""What stands behind the rows of a benchmark: of what their numbers are, how they were measured, and what failed.

Each row has a folder with a `row.json`, an `ID.csv` for every case, and an `ID.failed.json` beside where some pair of
it could not be aligned or measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from jssr.core.processes import shared
from jssr.errors import JssrError, OutputError
from jssr.evaluation.methods import BEFORE, Contestant
from jssr.evaluation.settings import check_settings, described, read_settings
from jssr.io.cohort import Case, Cohort
from jssr.io.output import write_json
from jssr.io.provenance import provenance
from jssr.metrics.results import CaseResult
from jssr.report.tables import write_csv

__all__ = ["attempt", "check_cohort", "check_row", "failures", "is_measured", "keep", "note_row", "rows_markdown"]

T = TypeVar("T")
ROW = "row.json"
LIBRARIES = ("jssr", "torch")


def note_row(folder: Path, one: Contestant, workers: int, todo: int) -> None:
    """Write down of what a row's numbers are and how those to come are measured.

    Raises:
        OutputError: the folder's numbers are of other weights, settings or versions.
    """
    identity = one.identity()
    before = check_row(folder, one)
    made = before.get("made", [])
    if todo:
        processes, threads = shared(workers, todo)
        told = provenance("cpu", False)
        now = {"processes": processes, "threads": threads, "processor": told["processor"], "date": str(date.today())}
        now["versions"] = {name: told["versions"][name] for name in LIBRARIES}
        made = made if now in made else [*made, now]
    write_json({**identity, "made": made}, folder / ROW)


def check_row(folder: Path, one: Contestant) -> dict[str, Any]:
    """Make sure that a row's numbers are of what the contestant is now; what is written down of them.

    Raises:
        OutputError: they are of other weights, settings or versions, or nobody wrote down of what.
    """
    before = read_settings(folder / ROW)
    if (folder / ROW).is_file() or any(folder.glob("*.csv")):
        check_settings(folder, before, one.identity())
    return before


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
    rows = list((out / "cases").glob("*"))
    if file.is_file() or any(any(row.glob("*.csv")) for row in rows):
        check_settings(out, before, settings)
        for id, files in now.items():
            if then.get(id) != files and any(is_measured(row, id) for row in rows):
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


def keep(folder: Path, id: str, results: Sequence[CaseResult], failed: Mapping[str, str]) -> None:
    """Write what was measured of a case, and which phases failed and why: such a case is done again."""
    if failed:  # first, so that no part of a case counts as the whole
        write_json(failed, _failed(folder, id))
    write_csv(results, folder / f"{id}.csv")
    if not failed:
        _failed(folder, id).unlink(missing_ok=True)


def failures(folders: Mapping[str, Path], cases: Sequence[Case]) -> list[tuple[str, str, str, str]]:
    """(row, case, phase, what went wrong) of everything that failed, by the rows' folders."""
    found = []
    for name, folder in folders.items():
        for case in cases:
            told = read_settings(_failed(folder, case.id))
            found += [(name, case.id, phase, str(why)) for phase, why in told.items()]
    return found


def rows_markdown(out: Path, contestants: Sequence[Contestant], flat: bool) -> str:
    """How the rows were made, as a Markdown table.

    Args:
        flat: of radiographs.
    """
    lines = ["| row | what | measured with |", "| --- | --- | --- |"]
    for one in contestants:
        row = read_settings(out / "cases" / one.folder / ROW)
        made = "; ".join(_how(m) for m in row.get("made", [])) or "-"
        lines.append(f"| {one.name} | {_what(one, row, flat)} | {made} |")
    told = "" if flat else "\nThe seconds of a row that starts from our rigid alignment hold those of the row rigid.\n"
    return "\n".join(lines) + "\n" + told


def _what(one: Contestant, told: Mapping[str, Any], flat: bool) -> str:
    if one.name in BEFORE and flat:
        return "middle on middle, the longer sides equal where a spacing is unknown"
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
