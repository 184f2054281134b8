"""Is one method better than another? Paired tests and intervals over patients, and how many pairs one leaves worse.

The scans of one patient share anatomy and the fixed scan: they are averaged first, and patients are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, wilcoxon

from jssr.errors import requires
from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of
from jssr.report.tables import markdown_table

RESAMPLES = 10_000
TOLERANCE = 1e-5
"""In the unit a metric is stored in: a thousandth of a per cent of overlap, a hundredth of a micrometre."""


@dataclass(frozen=True)
class Comparison:
    """`method` minus `against`, over the `n` patients that both have, in the unit the metric is stored in.

    `low` and `high` bound the 95 % percentile bootstrap interval of the mean difference (NaN of one patient). `p` is of
    the two-sided Wilcoxon signed-rank test (1 where no patient differs), `p_holm` corrected for all comparisons of one
    call.
    """

    method: str
    against: str
    metric: str
    structure: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = math.nan


def compare(
    results: Sequence[CaseResult], against: str, metric: str, structure: str = "", seed: int = 0
) -> list[Comparison]:
    """Compare every other method with one, over the patients of whom both have the same scans.

    Methods without such a patient are left out; the others keep the order of their first appearance.
    """
    there = _patients(results, against, metric, structure)
    found = []
    for method in dict.fromkeys(r.method for r in results):
        if method == against:
            continue
        mine = _patients(results, method, metric, structure)
        common = [case for case in mine if case in there and mine[case].keys() == there[case].keys()]
        if not common:
            continue
        differences = np.array([_mean(mine[case]) - _mean(there[case]) for case in common])
        low, high = _interval(differences, seed)
        p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
        found.append(
            Comparison(method, against, metric, structure, len(common), float(differences.mean()), low, high, p)
        )
    return _holm(found)


def worsened(
    results: Sequence[CaseResult], before: str, metric: str, structure: str = ""
) -> dict[str, tuple[int, int]]:
    """Of each other method how many pairs are worse than by `before`, and of how many: those that both measured.

    Values within `TOLERANCE` are the same: maps that move nothing differ by as much as they are stored with.
    """
    start = {(r.case, r.phase): value_of(r, metric, structure) for r in results if r.method == before}
    sign = -1 if entry(metric).higher_is_better else 1
    found: dict[str, tuple[int, int]] = {}
    for method in dict.fromkeys(r.method for r in results if r.method != before):
        mine = {(r.case, r.phase): value_of(r, metric, structure) for r in results if r.method == method}
        pairs = [(v, start[k]) for k, v in mine.items() if not math.isnan(v) and not math.isnan(start.get(k, math.nan))]
        if pairs:
            found[method] = sum(sign * after > sign * first + TOLERANCE for after, first in pairs), len(pairs)
    return found


def worse_markdown(results: Sequence[CaseResult], before: str, wanted: Sequence[tuple[str, str]]) -> str:
    """Print `worsened` as one Markdown table, a column for each (metric, structure); empty where nothing was measured.

    A distance that is infinite, of a structure that was missed, is worse than any other.
    """
    columns = {key: worsened(results, before, *key) for key in dict.fromkeys(wanted)}
    columns = {key: counts for key, counts in columns.items() if counts}
    if not columns:
        return ""
    titles = [entry(m).name + (f", {s}" if s else "") for m, s in columns]
    rows = [["pairs worse than " + before, *titles]]
    for method in dict.fromkeys(m for counts in columns.values() for m in counts):
        cells = [counts.get(method) for counts in columns.values()]
        rows.append([method, *("-" if cell is None else "{} of {}".format(*cell) for cell in cells)])
    return markdown_table(rows)


def _patients(results: Sequence[CaseResult], method: str, metric: str, structure: str) -> dict[str, dict[str, float]]:
    """Each patient's value by phase; patients with a scan that was not measured or missed are left out."""
    values: dict[str, dict[str, float]] = {}
    for result in results:
        if result.method == method:
            values.setdefault(result.case, {})[result.phase] = value_of(result, metric, structure)
    return {case: v for case, v in values.items() if all(math.isfinite(value) for value in v.values())}


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    if len(differences) < 2:
        return math.nan, math.nan  # one patient tells nothing of the others
    if np.ptp(differences) == 0:
        return float(differences.mean()), float(differences.mean())
    rng = np.random.default_rng(seed)
    found = bootstrap((differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _holm(found: list[Comparison]) -> list[Comparison]:
    """Correct for the number of comparisons after Holm."""
    if not found:
        return found
    requires("benchmark", "statsmodels")
    from statsmodels.stats.multitest import multipletests

    corrected = multipletests([c.p for c in found], method="holm")[1]
    return [replace(c, p_holm=float(p)) for c, p in zip(found, corrected, strict=True)]


def comparisons_markdown(blocks: Sequence[Sequence[Comparison]]) -> str:
    """Print comparisons as Markdown tables, one for each metric."""
    out = []
    for block in (b for b in blocks if b):
        first, about = block[0], entry(block[0].metric)
        of = f", {first.structure}" if first.structure else ""
        title = f"{about.title}{of}: minus {first.against}"
        rows = [[title, "mean difference", "95 % interval", "n", "p", "p (Holm)"]]
        for c in block:
            difference, low, high = (about.text(v, "+") for v in (c.difference, c.low, c.high))
            interval = f"{low} to {high}" if math.isfinite(c.low) else "-"
            rows.append([c.method, difference, interval, str(c.n), f"{c.p:.2g}", f"{c.p_holm:.2g}"])
        out.append(markdown_table(rows))
    return "\n".join(out)
