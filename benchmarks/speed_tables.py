"""What `speed.py` measured, as tables, as growth with the number of voxels, and as a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from speed_scans import shape_of

OURS = "ours"
MEASURES = {"seconds": ("wall, s", ".1f"), "cpu": ("CPU, s", ".1f"), "gb": ("memory, GB", ".2f")}
Run = dict[str, Any]
Condition = tuple[int, int]
"""Threads of a process, and busy processes beside it."""


def finished(runs: Iterable[Run]) -> list[Run]:
    """The runs that came to their end."""
    return [run for run in runs if "failed" not in run]


def conditions_of(runs: Iterable[Run]) -> list[Condition]:
    """Those of some runs, in the order in which they were run first."""
    return list(dict.fromkeys((run["threads"], run["busy"]) for run in runs))


def told(condition: Condition) -> str:
    """A condition in words, for the head of a column."""
    threads, busy = condition
    return f"{threads} thread{'s' * (threads > 1)}, {f'{busy} busy' if busy else 'idle'}"


def medians(runs: Iterable[Run], measure: str) -> dict[tuple[str, str, Condition], float]:
    """Of each pair, method and condition."""
    values: dict[tuple[str, str, Condition], list[float]] = {}
    for run in finished(runs):
        key = run["pair"], run["method"], (run["threads"], run["busy"])
        values.setdefault(key, []).append(run[measure])
    return {key: statistics.median(found) for key, found in values.items()}


def table(runs: Sequence[Run], measure: str) -> str:
    """A measure's medians: a row for each pair and method, a column for each condition. In brackets, what ours is of it
    under the same condition."""
    head, form = MEASURES[measure]
    middle, conditions = medians(runs, measure), conditions_of(runs)
    lines = ["| pair | method | " + " | ".join(f"{head}, {told(c)} (ours)" for c in conditions) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(conditions))
    for pair, method in dict.fromkeys((run["pair"], run["method"]) for run in runs):
        cells = []
        for condition in conditions:
            value, ours = (middle.get((pair, who, condition)) for who in (method, OURS))
            ratio = "" if ours is None or value is None or method == OURS else f" ({ours / value:.2f})"
            cells.append("failed" if value is None else f"{value:{form}}{ratio}")
        lines.append(f"| {pair} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stage_table(runs: Sequence[Run]) -> str:
    """Median seconds of each stage: a row for each pair and stage, a column for each method that tells its stages, and
    condition. Empty if none tells them."""
    mine = [run for run in finished(runs) if run.get("stages")]
    columns = list(dict.fromkeys((run["method"], (run["threads"], run["busy"])) for run in mine))
    if not columns:
        return ""
    lines = ["| pair | stage | " + " | ".join(f"{method}, {told(c)}" for method, c in columns) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(columns))
    for pair in dict.fromkeys(run["pair"] for run in mine):
        here = [run for run in mine if run["pair"] == pair]
        for stage in dict.fromkeys(stage for run in here for stage in run["stages"]):
            cells = []
            for column in columns:
                told_by = [r["stages"] for r in here if (r["method"], (r["threads"], r["busy"])) == column]
                seconds = [stages[stage] for stages in told_by if stage in stages]
                cells.append(f"{statistics.median(seconds):.2f}" if seconds else "")
            lines.append(f"| {pair} | {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def exponent(voxels: Sequence[float], values: Sequence[float]) -> float:
    """The k of value = a voxels^k, by least squares of the logarithms; NaN of fewer than two sizes."""
    if len(set(voxels)) < 2:
        return math.nan
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0])


def by_size(runs: Sequence[Run], measure: str) -> dict[tuple[str, Condition], list[tuple[int, float]]]:
    """(voxels, median) of each method and condition, smallest first, of the pairs that are named by their size."""
    lines: dict[tuple[str, Condition], list[tuple[int, float]]] = {}
    for (pair, method, condition), value in medians(runs, measure).items():
        shape = shape_of(pair)
        if shape is not None:
            lines.setdefault((method, condition), []).append((math.prod(shape), value))
    return {key: sorted(points) for key, points in lines.items()}


def growth(runs: Sequence[Run]) -> str:
    """How the measures grow: k of voxels^k over all sizes, and in brackets from the second largest to the largest,
    where fixed costs count least. Empty without two sizes. At most linear is what has no k above 1."""
    found = {measure: by_size(runs, measure) for measure in MEASURES}
    rows = []
    for key, first in found["seconds"].items():
        points = [list(zip(*found[measure][key], strict=True)) for measure in MEASURES]
        if len(first) < 2:
            continue
        k = [(exponent(*p), exponent(p[0][-2:], p[1][-2:])) for p in points]
        verdict = "yes" if max(map(max, k)) <= 1.0 else "no"
        cells = " | ".join(f"{whole:.2f} ({last:.2f})" for whole, last in k)
        rows.append(f"| {key[0]} | {told(key[1])} | {len(first)} | {cells} | {verdict} |")
    heads = " | ".join(head.partition(",")[0] for head, _ in MEASURES.values())
    head = [f"| method | | sizes | {heads} | at most linear |", "| --- | --- |" + " ---: |" * 4 + " --- |"]
    return "\n".join([*head, *rows]) if rows else ""


def plot(runs: Sequence[Run], path: Path) -> None:
    """Seconds and memory over voxels, a line for each method and condition."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    several = len(conditions_of(runs)) > 1
    for axes, (measure, title) in zip(
        figure.subplots(1, 2), (("seconds", "seconds"), ("gb", "peak memory (GB)")), strict=True
    ):
        for (method, condition), points in by_size(runs, measure).items():
            label = f"{method}, {told(condition)}" if several else method
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label)
        axes.set(xscale="log", yscale="log", xlabel="voxels of each scan", ylabel=title)
        axes.grid(True, color="#dddddd")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
