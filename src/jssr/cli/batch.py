"""`jssr align`, `register`, `segment` and `warp` on many patients: how, and what is shown of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

import jssr
from jssr.cli import log_file
from jssr.cli.guard import REFUSED
from jssr.cli.options import Options, opt
from jssr.cli.session import Session
from jssr.errors import OptionError

if TYPE_CHECKING:
    from jssr.api.batch import CohortRun
    from jssr.cohorts.batch import Handling
    from jssr.cohorts.cluster import Workers
    from jssr.cohorts.estimate import Estimate
    from jssr.io.patient_table import Task

SHOWN = 8
"""Rows that the terminal shows of what wants looking at."""
DOUBTFUL = ("CHECK", "FAIL")


@dataclass(frozen=True, kw_only=True)
class CohortOptions(Options):
    """Of a run on many patients alone."""

    workers: int | None = opt(None, "Of a cohort: processes, with the cores shared among them; by default 1.", min=1)
    memory: str | None = opt(
        None, "Of a cohort: of each worker, as 4GiB; one that needs more ends its patient; by default a share.",
        metavar="SIZE",
    )  # fmt: skip
    scheduler: str | None = opt(None, "Of a cohort: a Dask cluster, as tcp://host:8786.", metavar="ADDRESS")
    retry_failed: bool = opt(False, "Of a cohort: also try patients again whose own files were to blame.")
    replace: bool = opt(False, "Of a cohort: do those again that were done with other inputs or options.")
    force: bool = opt(False, "Of a cohort: do every patient again.")
    keep_going: bool = opt(False, "Of a cohort: leave out patients that cannot be done, instead of refusing.")
    dry_run: bool = opt(False, "Of a cohort: say what would be done, and the time, memory and disk that it takes.")

    def asked(self) -> list[str]:
        """The options that are given, by their names on the command line."""
        names = [name for name, value in vars(self).items() if value not in (None, False)]
        return [f"--{name.replace('_', '-')}" for name in names if name != "layout" or self.given()[name] != "folders"]

    def check_unused(self) -> None:
        """Refuse them for one patient."""
        if self.asked():
            raise OptionError(f"{self.asked()[0]}: expected a cohort (CSV, cohort.json, BIDS, a folder of patients), "
                              "got one patient")  # fmt: skip

    def workers_and_handling(self) -> tuple[Workers, Handling]:
        from jssr.cohorts.batch import Handling
        from jssr.cohorts.cluster import Workers

        how = Handling(self.retry_failed, self.replace, self.force)
        return Workers(self.workers or 1, None, self.memory, self.scheduler), how


@dataclass(frozen=True, kw_only=True)
class LayoutOptions(CohortOptions):
    """With the form of what is written."""

    layout: Literal["folders", "bids"] = opt("folders", "Of a cohort: bids gives names of BIDS derivatives.")


def means_many(task: Task, source: Path) -> bool:
    """Whether an argument means many patients: of pairs and files to be warped a table, else any cohort."""
    from jssr.io.patients import is_cohort, is_table

    if task == "register":
        return is_table(source)
    if task != "warp":
        return is_cohort(source)
    with suppress(OSError, ValueError), source.open(encoding="utf-8-sig") as file:
        return is_table(source) and "transform" in file.readline().lower()
    return False


def for_many(options: Options, source: str) -> dict[str, Any]:
    """The options as they are for every patient; `source` is the cohort."""
    given = {key: value for key, value in options.given().items() if key not in (source, "out")}
    alone = ("moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "fixed_landmarks",
             "moving_landmarks", "transform", "reference", "modalities", "dose")  # fmt: skip
    told = next((name for name in alone if given.get(name) and not isinstance(given[name], bool)), None)
    if told is not None:
        named = told.replace("modalities", "modality").replace("_", "-")
        raise OptionError(f"{named}: is of one patient: name it in a column of the table")
    return {key: value for key, value in given.items() if key not in alone or value is True}


def run_many(
    task: Task, source: Path, out: Path, given: Mapping[str, Any], cohort: CohortOptions, session: Session
) -> None:  # fmt: skip
    """Do a task for a cohort and show what became of it, or what it would take."""
    workers, handling = cohort.workers_and_handling()
    threads = given.get("threads")
    options = {key: value for key, value in given.items() if key not in ("threads", "out")}
    options |= {"workers": replace(workers, threads=threads), "handling": handling}
    if isinstance(cohort, LayoutOptions):
        options["layout"] = cohort.layout
    if cohort.dry_run:
        estimate = jssr.estimate_cohort(task, source, out, **{**options, "keep_going": cohort.keep_going})
        session.finish(vars(estimate), *_estimate_lines(estimate, handling.replace or handling.force))
        return
    found = _run(task, source, out, {**options, "keep_going": cohort.keep_going}, session)
    failed = [f"{name}: {reason}" for name, reason in found.failed.items()]
    data = {"written": str(out), "done": found.done, "kept": found.kept, "failed": found.failed}
    for words in failed:
        typer.echo(f"failed: {words}", err=True)
        log_file.note(logging.ERROR, words)
    verdicts = [row.get("verdict") for row in found.rows]
    told = [f"{verdicts.count(name)} of verdict {name}" for name in DOUBTFUL if name in verdicts]
    warned = len({row["patient"] for row in found.rows if row.get("warnings")})
    told += [f"{warned} with warnings"] if warned else []
    session.finish(data, *_lines(found), doubts=[] if failed else told)
    if failed:
        typer.echo(f"error: {source}: {len(failed)} of {_count(found)} patients failed: {failed[0]}", err=True)
        raise typer.Exit(REFUSED)


def _run(task: Task, source: Path, out: Path, options: dict[str, Any], session: Session) -> CohortRun:
    """Run; on a terminal ask before finished results are replaced."""
    from jssr.cohorts.batch import WouldReplaceError

    try:
        return session.run(jssr.run_cohort, task=task, cohort=source, out=out, **options)
    except WouldReplaceError as error:
        if not sys.stdin.isatty() or session.quiet:
            raise
        typer.echo(str(error), err=True)
        typer.confirm("Replace them?", abort=True, err=True)
        options["handling"] = replace(options["handling"], replace=True)
        return session.run(jssr.run_cohort, task=task, cohort=source, out=out, **options)


def _count(found: CohortRun) -> int:
    return len(found.done) + len(found.kept) + len(found.failed)


def _lines(found: CohortRun) -> list[Any]:
    """How many were done, and what wants looking at first."""
    from jssr.report.cohort import odd

    verdicts = [row.get("verdict") for row in found.rows]
    words = ", ".join(f"{name} {verdicts.count(name)}" for name in ("PASS", "CHECK", "FAIL") if name in verdicts)
    look = [row for row in found.rows if row.get("verdict") in DOUBTFUL or row.get("outlier")][:SHOWN]
    shown: list[Any] = []
    if look:
        from rich.table import Table

        table = Table(title="look at these first", title_justify="left")
        for name in ("patient", "scan", "verdict", "expected (mm)", "why"):
            table.add_column(name, overflow="fold")
        for row in look:
            error = row.get("expected_mm")
            reasons = "" if row.get("verdict") == "PASS" else row.get("reasons", "")
            why = f"{reasons} {odd(row)}".strip()
            told = "" if error is None else f"{error:.1f}"
            table.add_row(row["patient"], row["scan"], row["verdict"] or "", told, why)
        shown.append(table)
    tried = len(found.failed) - len(found.untried)
    parts = [f"{_patients(len(found.done))} done now", f"{len(found.kept)} before", f"{tried} failed"]
    parts += [f"{len(found.untried)} failed before (--retry-failed tries again)"] if found.untried else []
    shown.append(", ".join(parts) + (f"; {words}" if words else ""))
    return [*shown, f"table and pictures in {found.out / 'index.html'}"]


def _estimate_lines(found: Estimate, replaces: bool) -> list[str]:
    """What a run would do and take."""
    parts = [f"{_patients(len(found.todo))} to be done", f"{len(found.kept)} done already"]
    parts += [f"{len(found.failed)} failed before (--retry-failed tries again)"] if found.failed else []
    lines = [", ".join(parts)]
    if found.replaced and not replaces:
        lines.append(f"results of {_patients(len(found.replaced))} are of other inputs or options: without --replace "
                     "nothing is done")  # fmt: skip
    if not found.todo:
        return lines
    if found.seconds is None or found.memory_mib is None or found.disk_bytes is None:
        return [*lines, "time, memory and disk cannot be told: the scans are found when they are worked on"]
    from_what = "patients of this folder" if found.measured else "times of another machine (two cores)"
    lines.append(f"time: some {_time(found.seconds)}, by {from_what}")
    lines.append(f"memory: some {found.memory_mib / 1024:.1f} GiB in a worker, for the largest patient")
    return [*lines, f"disk: some {_size(found.disk_bytes)}; {_size(found.free_bytes)} are free"]


def _patients(count: int) -> str:
    return f"{count} patient{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"


def _time(seconds: float) -> str:
    if seconds > 5400:
        return f"{seconds / 3600:.1f} hours"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
