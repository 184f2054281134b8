"""Tables for the terminal: before and after of an alignment, the series of a study, what an evaluation measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, spoken, value_of
from jssr.metrics.warnings import WORSE
from jssr.registration.study import state_results
from jssr.report.html import volume_rows
from jssr.report.tables import Summary, lines, title_of

if TYPE_CHECKING:
    from jssr.api.evaluation import Measured
    from jssr.cohorts.check_report import CheckReport
    from jssr.cohorts.paired import Made
    from jssr.registration.result import Registration
    from jssr.registration.study import StudyAlignment

FEW = 8
"""Structures that the terminal lists all; of more, `_chosen` ones."""
UNNAMED = "Structures are values of the label map: --label-names FILE names them"
OWN = "Dice is that of the system's own segmentations"


def pair_table(found: Registration) -> list[RenderableType]:
    """What was measured of one registration, below what it made worse; nothing where nothing was measured."""
    own = found.known.fixed_labels is None and "segmentations" in found.result["dice"]
    name = Path(found.moving.name).name
    return [*_worse(found), *_changes(state_results("pair", name, found), own), *_volumes({name: found})]


def cost_of(found: Registration) -> str:
    """Seconds, memory, folds, and what the instance optimisation did, in words."""
    result = found.result
    cost = f"{result['time_s']['total']:.1f} s, {result['peak_memory_mib']} MiB"
    used = result["optimisation"]
    how = "" if used is None else f"; compared by {used['similarity']}{', organs may slide' if used['sliding'] else ''}"
    return f"{cost}, {result['folds_percent']:.3g} % of the field folds{how}"


def study_table(done: StudyAlignment) -> list[RenderableType]:
    """The same of a study, phase by phase, and the verdict on each."""
    found = done.registrations
    worse = [line for phase, one in found.items() for line in _worse(one, f"{phase}: ")]
    own = all(one.known.fixed_labels is None for one in found.values())
    verdicts = [f"{escape(phase)}: {one.verdict.line}" for phase, one in found.items() if one.verdict is not None]
    return [*worse, *_changes(done.results, own), *_volumes(found), *verdicts]


def doubts_of(found: Mapping[str, Registration]) -> list[str]:
    """The verdicts CHECK by phase, "" for the phase of a pair. FAIL is a warning of its result."""
    checked = [phase for phase, one in found.items() if one.verdict is not None and one.verdict.name == "CHECK"]
    return [f"the verdict{' on ' + phase if phase else ''} is CHECK" for phase in checked]


def _volumes(found: Mapping[str, Registration]) -> list[Table]:
    """How large structures are in both scans: of many, tumours and those whose volume changed most."""
    volumes: dict[str, Mapping[str, Any]] = {scan: one.result.get("volumes") or {} for scan, one in found.items()}
    shown = {scan: volume_rows(_most_changed(known)) for scan, known in volumes.items()}
    if not any(shown.values()):
        return []
    told = ["Jacobian: moving / fixed volume, as the field has it"]
    most = max(map(len, volumes.values()))
    told += [_rule(FEW, most, "volume")] if most > FEW else []
    table = Table(caption="\n".join(told), caption_justify="left")
    table.add_column("scan", overflow="fold")
    table.add_column("structure", overflow="fold")
    for name in ("fixed (ml)", "moving (ml)", "change (%)", "Jacobian"):
        table.add_column(name, justify="right")
    for scan, lines_of in shown.items():
        for k, row in enumerate(lines_of):
            table.add_row(escape(scan) if k == 0 else "", *map(escape, row))
        table.add_section()
    return [table]


def _most_changed(volumes: Mapping[str, Any]) -> dict[str, Any]:
    """`FEW` structures at most, as `_chosen` has them, by the change of their volume."""

    def order(name: str) -> tuple[bool, float]:
        return "tumour" not in name, -abs(volumes[name]["change_percent"] or 0.0)

    return {name: volumes[name] for name in (sorted(volumes, key=order)[:FEW] if len(volumes) > FEW else volumes)}


def _rule(few: int, of: int, what: str) -> str:
    """Which structures of many a table shows."""
    return f"{few} of {of} structures: tumours first, then those whose {what} changed most; result.json has all"


def _worse(found: Registration, of: str = "") -> list[RenderableType]:
    """That the deformation lost what the rigid step had: the first line that a user sees."""
    return [Text(f"{of}{words}", style="yellow") for words in found.result["warnings"] if words.startswith(WORSE)]


def study_warnings(done: StudyAlignment) -> Iterator[str]:
    """The warnings of every registration of a study."""
    for phase, one in done.registrations.items():
        yield from (f"{phase}: {warning}" for warning in one.result["warnings"])


def carried_rows(carried: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """What became of the DICOM objects of a study: a line and a table each."""
    shown: list[RenderableType] = []
    for one in carried:
        if one["written"] is not None:
            shown.append(f"{one['phase']}: {one['kind']} {one['source']} written to {one['written']}")
            shown += carried_table(one["structures"], one["dose"])
    return shown


def carried_table(structures: Sequence[Mapping[str, Any]], told: Mapping[str, float] | None) -> list[RenderableType]:
    """What a DICOM object was before and after it was carried."""
    if told is not None:
        unit = _dose_unit(told, "most_after_")
        most, integral = (
            " → ".join(f"{told[key.format(when, unit)]:.4g}" for when in ("before", "after"))
            for key in ("most_{}_{}", "integral_{}_{}_ml")
        )
        if unit == "gy":
            return [f"largest dose {most} Gy, integral {integral} Gy ml"]
        return [f"largest dose {most}, integral {integral} times ml; its unit is {unit}, not gray"]
    unit = next((found for row in structures if (found := _dose_unit(row, "mean_after_"))), "")
    table = Table(caption="before → after", caption_justify="left")
    means = [f"mean dose ({'Gy' if unit == 'gy' else unit})"] if unit else []
    for title in ("number", "structure", "volume (ml)", *means):
        table.add_column(title)
    for row in structures:
        cells = [str(row["number"]), escape(row["name"]), f"{row['ml_before']:.1f} → {row['ml_after']:.1f}"]
        if unit:
            both = (row.get(f"mean_before_{unit}"), row.get(f"mean_after_{unit}"))
            cells.append(" → ".join("-" if one is None else f"{one:.2f}" for one in both))
        table.add_row(*cells)
    return [table]


def _dose_unit(told: Mapping[str, Any], start: str) -> str:
    """The unit of a dose, from the name of a number: "gy", "relative" or "unknown"; "" where there is none."""
    return next((key.removeprefix(start) for key in told if key.startswith(start)), "")


def _changes(results: Sequence[CaseResult], own: bool) -> list[Table]:
    """One row for each scan and measure: before, after the rigid step, and in the end. The end is bold where it is
    better than both."""
    structures = dict.fromkeys(key.split("/", 1)[1] for r in results for key in r.values if key.startswith("dice/"))
    few = _chosen(results, list(structures))
    wanted = [("tre", ""), *(("dice", s) for s in few), ("dice", "mean")]
    wanted += [*(("hd95", s) for s in few if "tumour" in s), ("hd95", "mean"), ("folds", "")]
    if not any(math.isfinite(value_of(r, *w)) for r in results for w in wanted):
        return []
    told = [OWN] if own and structures else []
    if len(few) < len(structures):
        told.append(_rule(len(few), len(structures), "Dice"))
    told += [UNNAMED] if any(s.isdigit() for s in structures) else []
    table = Table(caption="\n".join(told) or None, caption_justify="left")
    table.add_column("scan")
    table.add_column("measured")
    for name in ("before", "rigid", "after"):
        table.add_column(name, justify="right")
    for phase in dict.fromkeys(r.phase for r in results):
        states = {r.method: r for r in results if r.phase == phase}
        label = phase
        for metric, of in dict.fromkeys(wanted):
            row = _change(states, metric, of)
            if any(cell != "-" for cell in row):
                table.add_row(escape(label), f"{entry(metric).title}{', ' + spoken(of) if of else ''}", *row)
                label = ""
        table.add_section()
    return [table]


def _chosen(results: Sequence[CaseResult], structures: Sequence[str]) -> list[str]:
    """Structures whose Dice is shown, tumours first, then by how much the Dice of any scan changed; `FEW` at most."""
    change = dict.fromkeys(structures, 0.0)
    for phase in dict.fromkeys(r.phase for r in results):
        states = [r for r in results if r.phase == phase]
        for name in structures:
            by = value_of(states[-1], "dice", name) - value_of(states[0], "dice", name)
            change[name] = max(change[name], abs(by) if math.isfinite(by) else 0.0)
    return sorted(structures, key=lambda name: ("tumour" not in name, -change[name]))[:FEW]


def _change(states: Mapping[str, CaseResult], metric: str, structure: str) -> list[str]:
    """A measure before, after the rigid step and in the end."""
    first, last = list(states)[0], list(states)[-1]
    values = [value_of(states[s], metric, structure) if s in states else math.nan for s in (first, "rigid", last)]
    about = entry(metric)
    earlier = [v for v in values[:2] if not math.isnan(v)]
    cells = [about.text(v) if math.isfinite(v) else "missed" if math.isinf(v) else "-" for v in values]
    if earlier and last != "rigid" and all(about.better(values[2], v) for v in earlier):
        cells[2] = f"[bold]{cells[2]}[/bold]"
    return cells


def summary_tables(found: Measured) -> list[RenderableType]:
    """The tables of an evaluation or a benchmark, under their headings."""
    shown: list[RenderableType] = []
    for heading, blocks in found.tables:
        shown += [heading] if heading else []
        shown += map(rich_table, blocks)
    return shown


def rich_table(summary: Summary) -> Table:
    """A block of results: a row for each method, the best of each phase bold."""
    table = Table(title=title_of(summary), title_justify="left")
    table.add_column("method", no_wrap=True)
    for phase in summary.phases:
        table.add_column(phase, justify="right")
    for line in lines(summary):
        table.add_row(*(f"[bold]{escape(text)}[/bold]" if best else escape(text) for text, best in line))
    return table


def check_tables(report: CheckReport) -> list[RenderableType]:
    """What `jssr check` found: a row for each phase, then the findings."""
    table = Table(title=f"{report.cohort}: {report.cases} cases", title_justify="left")
    rows = report.rows()
    for name in rows[0] if rows else ():
        table.add_column(name)
    for row in rows:
        table.add_row(*map(escape, row.values()))
    styles = {"error": "red", "warning": "yellow"}
    return [table, *(Text(words, style=styles.get(level, "")) for level, words in report.remarks())]


def pairs_rows(pairs: Sequence[Made]) -> list[dict[str, Any]]:
    """What became of each pair for which paired ground truth was made."""
    names = ("case", "kept", "before", "syn", "demons", "worst", "folds")
    return [{name: getattr(one, name) for name in names} for one in pairs]


def pairs_lines(pairs: Sequence[Made]) -> list[RenderableType]:
    """The same in words."""
    lines: list[RenderableType] = []
    for one in pairs:
        dice = f"Dice {one.before:.3f}, by SyN {one.syn:.3f}, by demons {one.demons:.3f} (worst {one.worst:.3f})"
        lines.append(f"{one.case}: {dice}, folds {one.folds:.2f} %: {'kept' if one.kept else 'dropped'}")
    return [*lines, f"{sum(one.kept for one in pairs)} of {len(pairs)} pairs kept"] if pairs else []
