"""Tables for the terminal: before and after of an alignment, the series of a study, what an evaluation measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of
from jssr.registration.study import state_results
from jssr.report.tables import Summary, lines, title_of

if TYPE_CHECKING:
    from jssr.api.evaluation import Measured
    from jssr.api.results import WeightsInfo
    from jssr.cohorts.check_report import CheckReport
    from jssr.cohorts.paired import Made
    from jssr.io.dicom.phases import Named
    from jssr.registration.result import Registration
    from jssr.registration.study import StudyAlignment

OWN = "Dice is that of the system's own segmentations"


def pair_table(found: Registration) -> list[Table]:
    """What was measured of one registration, before and after; no table where nothing was."""
    own = found.known.fixed_labels is None and "segmentations" in found.result["dice"]
    return _changes(state_results("pair", Path(found.moving.name).name, found), own)


def cost_of(found: Registration) -> str:
    """Seconds, memory, folds, and what the instance optimisation did, in words."""
    result = found.result
    cost = f"{result['time_s']['total']:.1f} s, {result['peak_memory_mib']} MiB"
    used = result["optimisation"]
    how = "" if used is None else f"; compared by {used['similarity']}{', organs may slide' if used['sliding'] else ''}"
    return f"{cost}, {result['folds_percent']:.3g} % of the field folds{how}"


def study_table(done: StudyAlignment) -> list[Table]:
    """What was measured of a study, one row a phase."""
    return _changes(done.results, all(one.known.fixed_labels is None for one in done.registrations.values()))


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
        return [
            f"largest dose {told['most_before_gy']:.4g} → {told['most_after_gy']:.4g} Gy, "
            f"integral {told['integral_before_gy_ml']:.4g} → {told['integral_after_gy_ml']:.4g} Gy ml"
        ]
    with_dose = any("mean_after_gy" in row for row in structures)
    table = Table(caption="before → after", caption_justify="left")
    for title in ("number", "structure", "volume (ml)", *(("mean dose (Gy)",) if with_dose else ())):
        table.add_column(title)
    for row in structures:
        cells = [str(row["number"]), escape(row["name"]), f"{row['ml_before']:.1f} → {row['ml_after']:.1f}"]
        if with_dose:
            means = (row.get("mean_before_gy"), row.get("mean_after_gy"))
            cells.append(" → ".join("-" if one is None else f"{one:.2f}" for one in means))
        table.add_row(*cells)
    return [table]


def _changes(results: Sequence[CaseResult], own: bool) -> list[Table]:
    """One row a phase: what was measured in the first and in the last state."""
    structure = "liver" if any("dice/liver" in r.values for r in results) else "mean"
    wanted = [("dice", structure), ("dice", "mean"), ("hd95", structure), ("tre", ""), ("folds", "")]
    wanted = [w for w in dict.fromkeys(wanted) if any(not math.isnan(value_of(r, *w)) for r in results)]
    if not wanted:
        return []
    table = Table(caption="before → after" + (f". {OWN}" if own else ""), caption_justify="left")
    table.add_column("scan")
    for metric, of in wanted:
        table.add_column(f"{entry(metric).title}{', ' + of if of else ''}", justify="right")
    for phase in dict.fromkeys(r.phase for r in results):
        states = [r for r in results if r.phase == phase]
        table.add_row(phase, *[_change(states[0], states[-1], metric, of) for metric, of in wanted])
    return [table]


def _change(first: CaseResult, last: CaseResult, metric: str, structure: str) -> str:
    before, after = (_shown(metric, value_of(r, metric, structure)) for r in (first, last))
    return after if before == "-" else f"{before} → {after}"


def _shown(metric: str, value: float) -> str:
    return entry(metric).text(value) if math.isfinite(value) else "-"


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


def series_table(found: Sequence[Named]) -> Table:
    """Which series is taken for which phase, and why."""
    table = Table(caption="? = inferred. Others: --phase PHASE=SERIES, --leave SERIES", caption_justify="left")
    for name in ("series", "description", "kind", "slices", "taken at", "phase", "because"):
        table.add_column(name)
    for row in series_rows(found):
        phase = "left out" if row["phase"] is None else row["phase"] + ("" if row["sure"] else " ?")
        first = (row["series"], row["description"], row["modality"], str(row["slices"]))
        words = (*first, _clock(row["taken"]), phase, row["why"])
        table.add_row(*map(escape, words), style="dim" if row["phase"] is None else None)
    return table


def _clock(moment: str) -> str:
    """`YYYYMMDD HHMMSS` as people write it, "2020-01-02 10:14:00"; anything else as it is."""
    try:
        return str(datetime.strptime(moment, "%Y%m%d %H%M%S"))
    except ValueError:
        return moment


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


def info_table(found: WeightsInfo) -> Table:
    """What a weights file is."""
    recipe = dict(found.header.get("recipe") or {})
    to = recipe.get("preprocessing") or {}
    dims = to.get("dims") or [3]
    rows = {
        "recipe": recipe.get("name"),
        "description": recipe.get("description"),
        "structures": ", ".join((recipe.get("network") or {}).get("structures") or ()),
        **({"spacing (mm)": to.get("spacing"), "window (HU)": to.get("window")} if 3 in dims else {}),
        **({"pixels a side": to.get("pixels")} if 2 in dims else {}),
    }
    table = Table(title=str(found.path), title_justify="left", show_header=False)
    for key, value in {**{k: v for k, v in found.header.items() if k != "recipe"}, **rows}.items():
        table.add_row(str(key), value if isinstance(value, str) else json.dumps(value))
    return table
