"""What a benchmark leaves to be read: tables 1 and 2, tests, figures 4 and 5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jssr.core.transform import Displacement, Transform
from jssr.evaluation.benchmark import rigid_of, start_of
from jssr.evaluation.methods import BEFORE, Contestant
from jssr.evaluation.statistics import Comparison, compare, comparisons_markdown, worse_markdown
from jssr.evaluation.synthesis import split_row
from jssr.io.atomic import atomic_path, make_folder
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.transforms import read_transform
from jssr.metrics.entries import METRICS
from jssr.metrics.results import CaseResult
from jssr.preprocessing.start2d import from_start, placed
from jssr.report.tables import PIXELS, Summary, markdown, markdown_row, summarise, value_of

__all__ = ["Behind", "table_one", "table_two", "write_figures", "write_tables"]


@dataclass(frozen=True)
class Behind:
    """What the tables rest on.

    Attributes:
        rows: how they were made, of `rows_markdown`.
        failed: what did, of `failures`.
        pixels: the scans have no spacing of their own.
    """

    rows: str = ""
    failed: Sequence[tuple[str, str, str, str]] = ()
    pixels: bool = False


def table_one(results: Sequence[CaseResult], structures: Sequence[str] = ()) -> list[Summary]:
    """The blocks of the paper's table 1, and landmarks, likeness, regularity and memory beside.

    Args:
        structures: those with blocks of their own; none are the liver, or the mean of all where there is no liver.
    """
    named = structures or (_first(results),)
    pair = [one for one in METRICS.values() if one.pair]
    wanted = [("dice", name) for name in (*named, "mean")]
    wanted += [(one.key, s) for s in named for one in pair if one.needs == "labels" and not one.optional]
    wanted += [(one.key, s) for s in structures for one in pair if one.optional]
    wanted += [(one.key, "") for one in pair if one.needs != "labels"]
    blocks = [summarise(results, metric, structure) for metric, structure in dict.fromkeys(wanted)]
    return [block for block in blocks if any(cell.n for row in block.cells.values() for cell in row.values())]


def table_two(results: Sequence[CaseResult]) -> list[tuple[str, list[Summary]]]:
    """For each segmentor the Dice by generator and phase, first that of the liver, then the mean of all structures."""
    out = []
    for segmentor in dict.fromkeys(split_row(r.method)[0] for r in results):
        mine = [
            CaseResult(r.case, r.phase, split_row(r.method)[1], r.values)
            for r in results
            if split_row(r.method)[0] == segmentor
        ]
        out.append((segmentor, [summarise(mine, "dice", s) for s in dict.fromkeys((_first(mine), "mean"))]))
    return out


def _decisive(results: Sequence[CaseResult], structures: Sequence[str]) -> list[tuple[str, str]]:
    """Metric and structure of what methods are judged by: the overlap and the landmarks."""
    named = [("dice", name) for name in (*(structures or (_first(results),)), "mean")]
    return list(dict.fromkeys([*named, ("tre", "")]))


def write_tables(
    out: Path,
    results: Sequence[CaseResult],
    second: Sequence[CaseResult],
    against: str,
    seed: int = 0,
    structures: Sequence[str] = (),
    behind: Behind | None = None,
) -> None:
    """Write tables.md: table 1, pairs made worse, tests against one method, table 2 where there is one, and what stands
    behind the rows.

    Args:
        results, second: of `run_benchmark` and `run_synthesis`.
        against: row that the others are tested against.
        seed: of the bootstrap.
        structures: as in `table_one`.
        behind: what the tables rest on.
    """
    behind = behind or Behind()
    notes = [*_about(results, structures), *([PIXELS + "\n"] if behind.pixels else [])]
    parts = ["## Table 1: registration\n", *notes, markdown(*table_one(results, structures))]
    if behind.failed:
        parts += ["## What failed, and is in no mean\n", _failed(behind.failed)]
    judged = _decisive(results, structures)
    worse = worse_markdown([r for r in results if r.method != BEFORE[0]], BEFORE[1], judged)
    if worse:
        parts += ["## Pairs that a row leaves worse than the rigid step does\n", worse]
    tests = [compare(results, against, metric, structure, seed) for metric, structure in judged]
    if any(tests):
        parts += [f"## Against {against}\n", _tests(tests) + "\n", comparisons_markdown(tests)]
    if second:
        parts.append("## Table 2: synthesis, by segmentation\n")
        for segmentor, blocks in table_two(second):
            parts += [f"### Segmentor: {segmentor}\n", markdown(*blocks)]
    if behind.rows:
        parts += ["## How the rows were made\n", behind.rows]
    _write(out / "tables.md", "\n".join(parts).encode())


def _about(results: Sequence[CaseResult], structures: Sequence[str]) -> list[str]:
    """Of how many scans the tables are, and what could not be measured."""
    pairs = {(r.case, r.phase) for r in results}
    counted = _counted(len({case for case, _ in pairs}), "patient"), _counted(len(pairs), "pair")
    told = f"{', '.join(counted)}. Mean (sample sd) of pairs; a cell of fewer pairs than others of its column says of "
    told += "how many, and is not the best."
    kinds = {key.partition("/")[0] for r in results for key in r.values}
    lacking = {"dice": "overlap and distances (no scan has labels, and its fixed scan too)",
               "tre": "landmark error (no scan has landmarks, and its fixed scan too)"}  # fmt: skip
    lost = [words for kind, words in lacking.items() if kind not in kinds]
    seen = {name for name in structures if any(math.isfinite(value_of(r, "dice", name)) for r in results)}
    lost += [f"{name} (in the label maps of no pair)" for name in structures if name not in seen and "dice" in kinds]
    return [told + "\n", *([f"Not measured: {'; '.join(lost)}.\n"] if lost else [])]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _tests(tests: Sequence[Sequence[Comparison]]) -> str:
    counts = sorted({c.n for block in tests for c in block})
    least = ", ".join(f"{2.0 ** (1 - n):.2g} of {n}" for n in counts)
    return (
        "Patients' means; two-sided Wilcoxon signed-rank test, percentile bootstrap interval of the mean difference. "
        f"The smallest p that the test can give: {least} patients."
    )


def _failed(failed: Sequence[tuple[str, str, str, str]]) -> str:
    lines = ["| row | case | phase | why |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *map(markdown_row, failed)]) + "\n"


def write_figures(
    out: Path, cohort: Cohort, contestants: Sequence[Contestant], results: Sequence[CaseResult], shown: str, fixed: str
) -> list[Path]:
    """Write figure4.png, the spread of Dice by phase, and figure5_PHASE.png, one case under every method.

    A phase of that case that rigid alignment failed on has no figure.
    """
    from jssr.report.comparison import method_rows
    from jssr.report.figures import box_plot, figure_png

    written = []
    if any("dice" in key for r in results for key in r.values):
        written.append(_write(out / "figure4.png", figure_png(box_plot(results, "dice", _first(results)))))
    case = cohort.case(shown)
    done = {r.phase for r in results if (r.case, r.method) == (shown, BEFORE[1])}
    for phase in (p for p in case.images if p in done):
        y = read_image(cohort.path(case.images[fixed]))
        x = read_image(cohort.path(case.images[phase]))
        known = {fixed, phase} <= set(case.labels)
        goal, labels = (
            read_image(cohort.path(case.labels[p]), kind="labels") if known else None for p in (fixed, phase)
        )
        maps: dict[str, Transform] = {BEFORE[0]: start_of(y, x)}
        maps[BEFORE[1]] = rigid_of(y, x, out / "rigid" / f"{shown}_{phase}.json").transform
        maps |= _fields(out, contestants, shown, phase)
        if y.grid.ndim == 2:
            fields = {name: m if isinstance(m, Displacement) else m.displacement(y.grid) for name, m in maps.items()}
            maps = {name: from_start(field, y.grid, x.grid) for name, field in fields.items()}
            x, labels = placed(x, y.grid), None if labels is None else placed(labels, y.grid)
        written.append(_write(out / f"figure5_{phase}.png", method_rows(y, x, maps, goal, labels)))
    return written


def _fields(out: Path, contestants: Sequence[Contestant], shown: str, phase: str) -> Mapping[str, Transform]:
    files = {c.name: out / "fields" / c.folder / f"{shown}_{phase}.nii.gz" for c in contestants}
    return {name: read_transform(file) for name, file in files.items() if file.is_file()}


def _first(results: Sequence[CaseResult]) -> str:
    """The structure of the paper's tables, or all of them."""
    return "liver" if any("dice/liver" in r.values for r in results) else "mean"


def _write(path: Path, data: bytes) -> Path:
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path
