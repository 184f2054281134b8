"""The report of an evaluation: tables, the spread, and the pairs that want looking at, worst first, with pictures."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of
from jssr.metrics.warnings import plain_warnings
from jssr.report.html import laid_out, render, shown
from jssr.report.plots import box_plot, figure_png
from jssr.report.tables import Summary, lines, title_of

WORST = 4


def picture_name(case: str, phase: str) -> str:
    """The file of a pair's picture, in a folder a case."""
    return f"{case}/{phase}.png"


def write_evaluation_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    results: Sequence[CaseResult],
    summaries: Sequence[Summary],
    pictures: Path,
    provenance: Mapping[str, Any],
) -> None:
    """Write the report, atomically.

    `results` are of registrations, every state of every pair: the first method counts as before, the last as after.
    Missing `pictures` (`picture_name` of each pair) are left out; `provenance` is what was evaluated, and how.
    """
    pairs = _pairs(results)
    metric, structure = _judge(results)
    known = [p for p in pairs if math.isfinite(p["judged"])]
    known.sort(key=lambda p: p["judged"], reverse=not entry(metric).higher_is_better)
    unknown = [p for p in pairs if not math.isfinite(p["judged"]) and known]
    picked = [(p, "could not be judged") for p in unknown[:WORST]]
    picked += [(p, f"worst {i + 1}" if i else "worst") for i, p in enumerate(known[:WORST])]
    if len(known) // 2 >= WORST:
        picked.append((known[len(known) // 2], "in the middle"))
    plot = "" if metric != "dice" else _data(figure_png(box_plot(results, metric, structure), 110))
    render(
        path,
        "evaluation.html.j2",
        title=title,
        cases=len({p["case"] for p in pairs}),
        tables=[_table(s) for s in summaries if any(c.n or c.missed for row in s.cells.values() for c in row.values())],
        plot=plot,
        judged=f"{entry(metric).title}{', ' + _of(structure) if structure else ''}",
        shown=[{**p, "place": place, "value": shown(metric, p["judged"]), "picture": _picture(pictures, p)}
               for p, place in picked],
        columns=[entry(m).title + (f", {_of(s)}" if s else "") for m, s in _columns(results)],
        pairs=pairs,
        provenance=laid_out(provenance),
    )  # fmt: skip


def _table(summary: Summary) -> dict[str, Any]:
    about = entry(summary.metric)
    meaning = about.segmentor if summary.segmentor else about.meaning
    return {"title": title_of(summary), "meaning": meaning, "phases": summary.phases, "lines": lines(summary)}


def _pairs(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Before and after of every pair."""
    metric, structure = _judge(results)
    first = {(r.case, r.phase): r for r in reversed(results)}
    last = {(r.case, r.phase): r for r in results}
    out = []
    for (case, phase), after in last.items():
        before, cells = first[case, phase], []
        for m, s in _columns(results):
            texts = [shown(m, value_of(r, m, s)) for r in (before, after)]
            cells.append(texts[1] if texts[0] == shown(m, None) else " → ".join(texts))
        warnings, judged = plain_warnings(after.values, before.values), value_of(after, metric, structure)
        out.append({"case": case, "phase": phase, "cells": cells, "judged": judged, "warnings": warnings})
    return out


def _judge(results: Sequence[CaseResult]) -> tuple[str, str]:
    """What pairs are put in order by: the mean overlap, or the landmarks where there are no labels."""
    labels = any(key.startswith("dice/") for r in results for key in r.values)
    return ("dice", "mean") if labels else ("tre", "")


def _columns(results: Sequence[CaseResult]) -> list[tuple[str, str]]:
    wanted = (("dice", "liver"), ("dice", "mean"), ("hd95", "mean"), ("tre", ""), ("folds", ""), ("seconds", ""))
    return [w for w in wanted if any(not math.isnan(value_of(r, *w)) for r in results)]


def _of(structure: str) -> str:
    return "mean of the structures" if structure == "mean" else structure


def _picture(folder: Path, pair: Mapping[str, Any]) -> str:
    path = folder / picture_name(pair["case"], pair["phase"])
    return _data(path.read_bytes()) if path.is_file() else ""


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
