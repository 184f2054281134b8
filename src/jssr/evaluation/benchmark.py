"""Several methods on the pairs of a cohort, side by side: the paper's tables 1 and 2, tests, figures 4 and 5."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jssr.cohorts.store import same_settings
from jssr.core.transform import Displacement, Transform
from jssr.errors import JssrError, nearest, requires
from jssr.evaluation.alignment import rigid_of, start_of
from jssr.evaluation.methods import BEFORE, Alignment, check_methods, rows_markdown
from jssr.evaluation.runner import Failure, OnCase, Pair, RunOptions, cases_of, check_run, first_grid, run
from jssr.evaluation.statistics import Comparison, compare, comparisons_markdown, worse_markdown
from jssr.evaluation.synthesis import split_row, synthesis_methods
from jssr.io.cohort import Cohort
from jssr.io.files import atomic_path
from jssr.io.images import read_image
from jssr.io.transforms import read_transform
from jssr.metrics.entries import METRICS
from jssr.metrics.results import CaseResult, value_of
from jssr.preprocessing.start2d import from_start, placed, unknown_spacing
from jssr.report.comparison import method_rows
from jssr.report.plots import box_plot, figure_png
from jssr.report.tables import PIXELS, Summary, markdown, markdown_table, summarise, write_csv


@dataclass(frozen=True)
class BenchmarkOptions:
    """How methods are compared.

    Attributes:
        split: "train", "validation", "test" or "all".
        fixed: phase that the others are aligned to; None takes the cohort's reference phase.
        synthesis: runs of ours for table 2; each has a segmentor, a generator or both.
        against: method that the others are tested against; None takes the first that is compared.
        structures: those with tables of their own; none are the liver, or the mean of all where there is no liver.
        similarity: also mutual information and SSIM, some seconds a pair.
        picture: id of the case of figure 5; None takes the first.
        workers: processes that share a method's cases, one thread each. Seconds are honest with 1.
        seed: of the bootstrap.
    """

    split: str = "test"
    fixed: str | None = None
    synthesis: Sequence[str] = ()
    against: str | None = None
    structures: Sequence[str] = ()
    similarity: bool = False
    picture: str | None = None
    workers: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark measured: blocks of table 1, of table 2 by segmentor, and `failed` pairs, which are in no
    mean."""

    results: list[CaseResult]
    synthesis: list[CaseResult]
    tables: list[Summary]
    second: list[tuple[str, list[Summary]]]
    failed: list[Failure]
    pixels: bool = False
    """The scans have no spacing of their own: what tables call mm are pixels."""


def benchmark(
    cohort: Cohort,
    methods: Sequence[Alignment],
    out: str | os.PathLike[str],
    options: BenchmarkOptions | None = None,
    on_case: OnCase | None = None,
) -> Benchmark:
    """Compare methods on a cohort. A pair that fails is left out and reported.

    Writes `cases/METHOD/ID.json` and `table2/ROW/ID.json` as each is done (what is there is not done again, and methods
    can be added later), `rigid/ID_PHASE.json`, `fields/METHOD/ID_PHASE.nii.gz` of the case of figure 5, `results.csv`,
    `table2.csv`, `tables.md`, `figure4.png` and `figure5_PHASE.png`.

    Raises:
        CohortError: no cases; OutputError: `out` holds a benchmark of other scans, weights or options.
        JssrError: nothing to compare, an unknown name in the options, a method that takes no such scans, or every pair
            failed.
    """
    options, out = options or BenchmarkOptions(), Path(out)
    requires("benchmark", "statsmodels")  # now, not after hours of work
    cases = cases_of(cohort, options.split)
    fixed = options.fixed or cohort.reference_phase
    grid = first_grid(cohort, cases, fixed)
    against = _checked(cohort, methods, options)
    check_methods(methods, grid.ndim)
    second = synthesis_methods(options.synthesis, grid.ndim)
    shown = options.picture or cases[0].id
    cohort.case(shown)
    settings = {"cohort": cohort.name, "split": options.split, "reference_phase": fixed}
    same_settings(out / "benchmark.json", {**settings, "similarity": options.similarity})
    # The rigid step first: whoever comes first finds it, and its memory belongs to its own row.
    ordered = sorted(methods, key=lambda one: one.name != BEFORE[1])
    ordered = [replace(one, similarity=options.similarity, picture=shown) for one in ordered]
    labelled = [case for case in cases if case.labels]
    first = RunOptions(fixed, options.workers, apart=True)
    then = RunOptions(fixed, options.workers, folder="table2")
    check_run(cohort, labelled, second, out, then)  # refused now, not after the hours of table 1
    done = run(cohort, cases, ordered, out, first, on_case)
    done.check()
    made = run(cohort, labelled, second, out, then, on_case)
    results = [r for one in methods for r in done.results if r.method == one.name]
    write_csv(results, out / "results.csv")
    if second:
        write_csv(made.results, out / "table2.csv")
    found = Benchmark(
        results, made.results, table_one(results, options.structures), table_two(made.results),
        [*done.failed, *made.failed], grid.ndim == 2 and unknown_spacing(grid),
    )  # fmt: skip
    _write_tables(out, found, against, options, rows_markdown(methods, done.measured, grid.ndim == 2))
    _write_figures(out, cohort, methods, results, shown, fixed)
    return found


def _checked(cohort: Cohort, methods: Sequence[Alignment], options: BenchmarkOptions) -> str:
    """The method that the others are tested against, after every name in the options was found to exist."""
    rows = [one.name for one in methods]
    if len(rows) <= len(BEFORE) and not options.synthesis:
        raise JssrError("nothing to compare: name runs (--run, --refined) or peers (--peer)")
    against = options.against or rows[min(len(BEFORE), len(rows) - 1)]
    if against not in rows:
        raise JssrError(f"--against {against!r} is no row of this benchmark{nearest(against, rows)}")
    known = [*cohort.structures(), "mean"]
    for name in options.structures:
        if name not in known:
            raise JssrError(f"--structure {name!r}: the cohort knows none of that name{nearest(name, known)}")
    return against


def table_one(results: Sequence[CaseResult], structures: Sequence[str] = ()) -> list[Summary]:
    """The blocks of the paper's table 1, and landmarks, similarities, regularity and memory beside.

    `structures` have blocks of their own; without any the liver has, or the mean of all where there is no liver.
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
    rows: dict[str, list[CaseResult]] = {}
    for one in results:
        segmentor, generator = split_row(one.method)
        rows.setdefault(segmentor, []).append(replace(one, method=generator))
    return [
        (segmentor, [summarise(mine, "dice", s) for s in dict.fromkeys((_first(mine), "mean"))])
        for segmentor, mine in rows.items()
    ]


def _decisive(results: Sequence[CaseResult], structures: Sequence[str]) -> list[tuple[str, str]]:
    """Metric and structure of what methods are judged by: the overlap and the landmarks."""
    named = [("dice", name) for name in (*(structures or (_first(results),)), "mean")]
    return list(dict.fromkeys([*named, ("tre", "")]))


def _write_tables(out: Path, found: Benchmark, against: str, options: BenchmarkOptions, rows: str) -> None:
    """Write tables.md: table 1, pairs made worse, tests against one method, table 2 where there is one, and how the
    rows were made."""
    results, structures = found.results, options.structures
    notes = [*_about(results, structures), *([PIXELS + "\n"] if found.pixels else [])]
    parts = ["## Table 1: registration\n", *notes, markdown(*found.tables)]
    if found.failed:
        table = markdown_table([("row", "case", "phase", "why"), *found.failed], "---")
        parts += ["## What failed, and is in no mean\n", table]
    judged = _decisive(results, structures)
    worse = worse_markdown([r for r in results if r.method != BEFORE[0]], BEFORE[1], judged)
    if worse:
        parts += ["## Pairs that a row leaves worse than the rigid step does\n", worse]
    tests = [compare(results, against, metric, structure, options.seed) for metric, structure in judged]
    if any(tests):
        parts += [f"## Against {against}\n", _tests(tests) + "\n", comparisons_markdown(tests)]
    if found.second:
        parts.append("## Table 2: synthesis, by segmentation\n")
        for segmentor, blocks in found.second:
            parts += [f"### Segmentor: {segmentor}\n", markdown(*blocks)]
    parts += ["## How the rows were made\n", rows]
    _write(out / "tables.md", "\n".join(parts).encode())


def _about(results: Sequence[CaseResult], structures: Sequence[str]) -> list[str]:
    """Of how many scans the tables are, and what could not be measured."""
    pairs = {(r.case, r.phase) for r in results}
    counted = _counted(len({case for case, _ in pairs}), "patient"), _counted(len(pairs), "pair")
    note = f"{', '.join(counted)}. Mean (sample sd) of pairs; a cell of fewer pairs than others of its column names "
    note += "how many, and is not the best."
    kinds = {key.partition("/")[0] for r in results for key in r.values}
    lacking = {"dice": "overlap and distances (no scan has labels, and its fixed scan too)",
               "tre": "landmark error (no scan has landmarks, and its fixed scan too)"}  # fmt: skip
    lost = [words for kind, words in lacking.items() if kind not in kinds]
    seen = {name for name in structures if any(math.isfinite(value_of(r, "dice", name)) for r in results)}
    lost += [f"{name} (in the label maps of no pair)" for name in structures if name not in seen and "dice" in kinds]
    return [note + "\n", *([f"Not measured: {'; '.join(lost)}.\n"] if lost else [])]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _tests(tests: Sequence[Sequence[Comparison]]) -> str:
    counts = sorted({c.n for block in tests for c in block})
    least = ", ".join(f"{2.0 ** (1 - n):.2g} of {n}" for n in counts)
    return (
        "Patients' means; two-sided Wilcoxon signed-rank test, percentile bootstrap interval of the mean difference. "
        f"The smallest p that the test can give: {least} patients."
    )


def _write_figures(
    out: Path, cohort: Cohort, methods: Sequence[Alignment], results: Sequence[CaseResult], shown: str, fixed: str
) -> None:
    """Write figure4.png, the spread of Dice by phase, and figure5_PHASE.png, one case under every method.

    A phase of that case that the rigid step failed on has no figure.
    """
    if any("dice" in key for r in results for key in r.values):
        _write(out / "figure4.png", figure_png(box_plot(results, "dice", _first(results))))
    case = cohort.case(shown)
    done = {r.phase for r in results if (r.case, r.method) == (shown, BEFORE[1])}
    for phase in (p for p in case.images if p in done):
        y, x = (read_image(cohort.path(case.images[p])) for p in (fixed, phase))
        known = {fixed, phase} <= set(case.labels)
        goal, labels = (
            read_image(cohort.path(case.labels[p]), kind="labels") if known else None for p in (fixed, phase)
        )
        rigid = rigid_of(Pair(cohort, case, fixed, phase, out, cohort.digest(case)), y, x).transform
        transforms = {BEFORE[0]: start_of(y, x), BEFORE[1]: rigid, **_fields(out, methods, shown, phase)}
        if y.grid.ndim == 2:
            fields = {k: t if isinstance(t, Displacement) else t.displacement(y.grid) for k, t in transforms.items()}
            transforms = {name: from_start(field, y.grid, x.grid) for name, field in fields.items()}
            x, labels = placed(x, y.grid), None if labels is None else placed(labels, y.grid)
        _write(out / f"figure5_{phase}.png", method_rows(y, x, transforms, goal, labels))


def _fields(out: Path, methods: Sequence[Alignment], shown: str, phase: str) -> Mapping[str, Transform]:
    files = {c.name: out / "fields" / c.folder / f"{shown}_{phase}.nii.gz" for c in methods}
    return {name: read_transform(file) for name, file in files.items() if file.is_file()}


def _first(results: Sequence[CaseResult]) -> str:
    """The structure of the paper's tables, or all of them."""
    return "liver" if any("dice/liver" in r.values for r in results) else "mean"


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
