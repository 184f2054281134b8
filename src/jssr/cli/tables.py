"""Results on the terminal: before and after, one row a phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from jssr.evaluate.metrics import CaseResult
from jssr.evaluate.tables import METRICS, value_of

if TYPE_CHECKING:
    from jssr.engine.study import StudyAlignment

__all__ = ["show_results", "warn"]


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
        table.add_column(f"{METRICS[metric].title}{', ' + of if of else ''}", justify="right")
    for phase in dict.fromkeys(r.phase for r in results):
        states = [r for r in results if r.phase == phase]
        table.add_row(phase, *[_change(states[0], states[-1], metric, of) for metric, of in wanted])
    screen.print(table)


def warn(done: StudyAlignment) -> None:
    """Print the warnings of every registration of a study on stderr."""
    for phase, one in done.registrations.items():
        for warning in one.result["warnings"]:
            typer.echo(f"warning: {phase}: {warning}", err=True)


def _change(first: CaseResult, last: CaseResult, metric: str, structure: str) -> str:
    before, after = (_shown(metric, value_of(r, metric, structure)) for r in (first, last))
    return after if before == "-" else f"{before} → {after}"


def _shown(metric: str, value: float) -> str:
    about = METRICS[metric]
    return f"{value * about.factor:.{about.decimals}f}" if math.isfinite(value) else "-"
