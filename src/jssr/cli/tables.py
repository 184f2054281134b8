"""Results on the terminal: before and after, one row a phase."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jssr.cli import options as opt
from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of
from jssr.report.tables import Summary, lines, title_of

if TYPE_CHECKING:
    from jssr.evaluation.runner import Failure
    from jssr.io.dicom.phases import Named
    from jssr.registration.study import StudyAlignment

__all__ = ["case_bar", "rich_table", "series_rows", "show_results", "show_series", "warn", "warn_failed"]


@contextmanager
def case_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar as the callback of what works case by case: done, total, what was done last."""
    with opt.progress() as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)


def warn_failed(failed: Sequence[Failure]) -> None:
    """Print on stderr which pairs failed, and why."""
    for one in failed:
        typer.echo(f"warning: {one.method} failed on {one.case}, {one.phase}: {one.reason}", err=True)
    if failed:
        typer.echo("warning: these pairs are in no mean; the same command tries them again", err=True)


def show_results(screen: Console, results: Sequence[CaseResult], remark: str = "") -> None:
    """Print one row a phase: what was measured in the first and in the last state. The remark stands below."""
    structure = "liver" if any("dice/liver" in r.values for r in results) else "mean"
    wanted = [("dice", structure), ("dice", "mean"), ("hd95", structure), ("tre", ""), ("folds", "")]
    wanted = [w for w in dict.fromkeys(wanted) if any(not math.isnan(value_of(r, *w)) for r in results)]
    if not wanted:
        return
    table = Table(caption="before → after" + (f". {remark}" if remark else ""), caption_justify="left")
    table.add_column("scan")
    for metric, of in wanted:
        table.add_column(f"{entry(metric).title}{', ' + of if of else ''}", justify="right")
    for phase in dict.fromkeys(r.phase for r in results):
        states = [r for r in results if r.phase == phase]
        table.add_row(phase, *[_change(states[0], states[-1], metric, of) for metric, of in wanted])
    screen.print(table)


def rich_table(summary: Summary) -> Table:
    """A block of results: a row for each method, the best of each phase bold."""
    table = Table(title=title_of(summary), title_justify="left")
    table.add_column("method", no_wrap=True)
    for phase in summary.phases:
        table.add_column(phase, justify="right")
    for line in lines(summary):
        table.add_row(*(f"[bold]{escape(text)}[/bold]" if best else escape(text) for text, best in line))
    return table


def series_rows(found: Sequence[Named]) -> list[dict[str, Any]]:
    """The series of a study as plain data: what names each, what it is, which phase it is taken for and why."""
    return [
        {
            "series": one.key,
            "description": one.series.description,
            "modality": one.series.modality,
            "slices": one.series.n_slices,
            "taken": one.series.acquisition_time,
            "contrast": one.series.contrast,
            "phase": one.phase or None,
            "sure": one.sure,
            "why": one.why,
        }
        for one in found
    ]


def show_series(screen: Console, found: Sequence[Named]) -> None:
    """Print which series is taken for which phase, and why."""
    table = Table(caption="? = inferred. Others: --phase PHASE=SERIES, --leave SERIES", caption_justify="left")
    for name in ("series", "description", "kind", "slices", "taken at", "phase", "because"):
        table.add_column(name)
    for row in series_rows(found):
        phase = "left out" if row["phase"] is None else row["phase"] + ("" if row["sure"] else " ?")
        words = (
            row["series"],
            row["description"],
            row["modality"],
            str(row["slices"]),
            _clock(row["taken"]),
            phase,
            row["why"],
        )
        table.add_row(*map(escape, words), style="dim" if row["phase"] is None else None)
    screen.print(table)


def _clock(moment: str) -> str:
    """`YYYYMMDD HHMMSS` as people write it, "2020-01-02 10:14:00"; anything else as it is."""
    try:
        return str(datetime.strptime(moment, "%Y%m%d %H%M%S"))
    except ValueError:
        return moment


def warn(done: StudyAlignment) -> None:
    """Print the warnings of every registration of a study on stderr."""
    for phase, one in done.registrations.items():
        for warning in one.result["warnings"]:
            typer.echo(f"warning: {phase}: {warning}", err=True)


def _change(first: CaseResult, last: CaseResult, metric: str, structure: str) -> str:
    before, after = (_shown(metric, value_of(r, metric, structure)) for r in (first, last))
    return after if before == "-" else f"{before} → {after}"


def _shown(metric: str, value: float) -> str:
    return entry(metric).text(value) if math.isfinite(value) else "-"
