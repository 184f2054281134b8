"""Results as files and as tables: one CSV line per number, and mean (sd) per phase as the paper prints its table 1."""

from __future__ import annotations

import csv
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jssr.errors import JssrError
from jssr.io.files import atomic_path
from jssr.metrics.entries import Metric, entry
from jssr.metrics.results import CaseResult, split_key, value_of

COLUMNS = ("case", "phase", "method", "structure", "metric", "value")
_COSTS = ("seconds", "peak_mb")
PIXELS = "These radiographs have no spacing of their own: what the tables call mm are pixels of the fixed one."


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over `n` cases (sd 0 for one), without `missed` structures, found in one of
    the two scans only (infinite distance), and without those empty in both."""

    mean: float
    sd: float
    n: int
    missed: int = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> Cell:
        values = [v for v in values if not math.isnan(v)]
        finite = [v for v in values if math.isfinite(v)]
        mean = statistics.fmean(finite) if finite else math.nan
        sd = statistics.stdev(finite) if len(finite) > 1 else (0.0 if finite else math.nan)
        return cls(mean, sd, len(finite), len(values) - len(finite))


@dataclass(frozen=True)
class Summary:
    """A block of the paper's table 1: `cells[method][phase]`, in the units the metric is stored in.

    `segmentor`: a segmentation is compared with the known labels of one scan, not two scans with each other.
    """

    metric: str
    structure: str
    phases: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    segmentor: bool = False


def write_csv(results: Sequence[CaseResult], path: str | os.PathLike[str]) -> None:
    """Write one line per number (columns `COLUMNS`), atomically. Metrics of the pair have an empty structure."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for result in results:
            head = (result.case, result.phase, result.method)
            for key, value in result.values.items():
                metric, structure = split_key(key)
                writer.writerow((*head, structure, metric, repr(float(value))))
            for metric in _COSTS:
                writer.writerow((*head, "", metric, repr(float(getattr(result, metric)))))


def read_csv(path: str | os.PathLike[str]) -> list[CaseResult]:
    """Read what `write_csv` wrote, in its order; refuse other columns and values that are no number."""
    gathered: dict[tuple[str, str, str], dict[str, float]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise JssrError(
                    f"{path}: is damaged or no table of results (its columns must be {', '.join(COLUMNS)}); "
                    "delete it to have the case done again"
                )
            for row in reader:
                key = f"{row['metric']}/{row['structure']}" if row["structure"] else row["metric"]
                values = gathered.setdefault((row["case"], row["phase"], row["method"]), {})
                try:
                    values[key] = float(row["value"] or "")
                except ValueError:
                    raise JssrError(f"{path}: line {reader.line_num}: {row['value']!r} is not a number") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JssrError(f"{path}: cannot be read as a table of results ({error})") from error
    results = []
    for head, values in gathered.items():
        seconds, peak_mb = (values.pop(key, math.nan) for key in _COSTS)
        results.append(CaseResult(*head, values, seconds, peak_mb))
    return results


def summarise(
    results: Sequence[CaseResult],
    metric: str,
    structure: str = "",
    segmentor: bool = False,
) -> Summary:
    """Mean (sd) of one metric per method and phase, plus "all" over every scan where there are several phases.

    Methods and phases keep the order of their first appearance; metric and structure are as in `value_of`.
    """
    phases = tuple(dict.fromkeys(r.phase for r in results))
    shown = (*phases, "all") if len(phases) > 1 else phases
    cells: dict[str, dict[str, Cell]] = {}
    for method in dict.fromkeys(r.method for r in results):
        mine = [(r.phase, value_of(r, metric, structure)) for r in results if r.method == method]
        cells[method] = {p: Cell.of(v for phase, v in mine if p in (phase, "all")) for p in shown}
    return Summary(metric, structure, shown, cells, segmentor)


def _format(cell: Cell, metric: Metric, most: int) -> str:
    missed = f", {cell.missed} missed" if cell.missed else ""
    missed += f", of {cell.n}" if 0 < cell.n < most - cell.missed else ""
    if not cell.n:
        return f"-{missed}"
    mean = metric.text(cell.mean)
    return f"{mean} ({metric.text(cell.sd)}){missed}" if cell.n > 1 else f"{mean}{missed}"  # one value has no spread


def _best(summary: Summary, metric: Metric) -> dict[str, set[str]]:
    """The methods to print bold in each phase: the best as printed, ties shared; none where there is no contest.
    A method that missed more than others, or was measured on fewer, is no winner: its mean is of the easier ones."""
    best: dict[str, set[str]] = {}
    pick: Callable[[Iterable[float]], float] = max if metric.higher_is_better else min
    for phase in summary.phases:
        there = {method: row[phase] for method, row in summary.cells.items() if row[phase].n}
        most = max((cell.n for cell in there.values()), default=0)
        least = min((cell.missed for cell in there.values() if cell.n == most), default=0)
        complete = {method: cell for method, cell in there.items() if cell.n == most and cell.missed == least}
        means = {method: round(cell.mean * metric.factor, metric.decimals) for method, cell in complete.items()}
        winners = {m for m, v in means.items() if v == pick(means.values())}
        best[phase] = winners if len(winners) < len(means) else set()
    return best


def _most(summary: Summary, phase: str) -> int:
    """Values of the method that has most, missed ones included."""
    return max(row[phase].n + row[phase].missed for row in summary.cells.values())


def title_of(summary: Summary) -> str:
    """What a summary is of, with an arrow to where it is better."""
    metric = entry(summary.metric)
    arrow = "↑" if metric.higher_is_better else "↓"
    of = {"": "", "mean": ", mean of the structures"}.get(summary.structure, f", {summary.structure}")
    return f"{'Segmentor: ' if summary.segmentor else ''}{metric.title}{of} {arrow}"


def lines(summary: Summary) -> list[list[tuple[str, bool]]]:
    """A summary as text: for each method its name, then mean (sd) of each phase; each with whether it is the best."""
    metric = entry(summary.metric)
    best = _best(summary, metric)
    return [
        [(method, False), *((_format(row[p], metric, _most(summary, p)), method in best[p]) for p in summary.phases)]
        for method, row in summary.cells.items()
    ]


def markdown_table(rows: Sequence[Sequence[str]], align: str = "---:") -> str:
    """A Markdown table; the first row is its head, the first column is set to the left."""
    ruled = [rows[0], ["---", *[align] * (len(rows[0]) - 1)], *rows[1:]]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in ruled]
    return "\n".join(lines) + "\n"


def markdown(*summaries: Summary) -> str:
    """Print summaries as Markdown tables, mean (sd) of the cases, the best of each column bold."""
    blocks = []
    for summary in summaries:
        body = [[f"**{text}**" if best else text for text, best in line] for line in lines(summary)]
        blocks.append(markdown_table([[title_of(summary), *summary.phases], *body]))
    return "\n".join(blocks)
