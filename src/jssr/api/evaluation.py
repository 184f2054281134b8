"""Systems measured on cohorts: one system, or several beside the tools of others."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from jssr.api.cohorts import cohort_of
from jssr.api.session import OnProgress, PathLike, begin
from jssr.evaluation import benchmark as benchmarks
from jssr.evaluation import evaluate as evaluations
from jssr.evaluation.methods import methods_of
from jssr.evaluation.runner import Failure
from jssr.io.cohort import Cohort
from jssr.io.files import check_output
from jssr.metrics.results import CaseResult
from jssr.registration.chosen import missing_values
from jssr.registration.model import aligning_model
from jssr.registration.options import EvaluateOptions, Knobs, parse_options
from jssr.registration.reload import rewrite_report
from jssr.report.tables import PIXELS, Summary

__all__ = ["BenchmarkOptions", "Measured", "benchmark", "evaluate", "make_report"]


@dataclass(frozen=True)
class Measured:
    """What an evaluation or a benchmark measured.

    Attributes:
        folder: with the files of the command; temporary where no `out` was given, until `save` copies it.
        results: one row for each case, phase and method; `values` by metric.
        tables: (heading, blocks): mean and standard deviation per phase and method.
        system: of an evaluation, what was measured.
        synthesis: of a benchmark, the rows of table 2.
        failed: of a benchmark, pairs that are in no mean: method, case, phase, reason.
        notes: on how the tables are to be read.
    """

    folder: Path
    results: list[CaseResult]
    tables: list[tuple[str, list[Summary]]]
    system: str | None = None
    synthesis: list[CaseResult] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    _alive: Any = field(default=None, repr=False)

    def to_markdown(self) -> str:
        """The tables, and what stands behind them, as Markdown."""
        return (self.folder / "tables.md").read_text(encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        rows = {"results": [*map(asdict, self.results)], "synthesis": [*map(asdict, self.synthesis)]}
        return {"system": self.system, **rows, "failed": [one._asdict() for one in self.failed]}

    def save(self, out: PathLike) -> Path:
        """Write the files (results.csv, tables.md, report.html, ...) to another folder."""
        check_output(out)
        return Path(shutil.copytree(self.folder, out, dirs_exist_ok=True))


def _folder(out: PathLike | None) -> tuple[Path, Any]:
    """Where the files go, and what keeps a temporary folder alive."""
    if out is not None:
        check_output(out)
        return Path(out), None
    temporary = tempfile.TemporaryDirectory(prefix="jssr-")
    return Path(temporary.name), temporary


def evaluate(
    cohort: Cohort | PathLike,
    *,
    out: PathLike | None = None,
    split: str = "test",
    workers: int = 1,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[EvaluateOptions],
) -> Measured:
    """Measure a system on the cases of a cohort: `jssr evaluate`.

    Args:
        cohort: with labels or landmarks of its phases; or its folder.
        out: folder for the files; an interrupted evaluation continues there.
        split: "train", "validation", "test" or "all".
        workers: processes that share the cases; seconds are comparable with 1.
        threads, on_progress: as in `register`.
        options: of `register`: system, checkpoint, refine, descriptor, rigid, preset, similarity, smoothness, spacing,
            sliding, rigid_labels, device, deterministic.

    Raises:
        CohortError: no cases; OutputError: `out` holds another evaluation; JssrError: pairs failed.
    """
    begin(options, EvaluateOptions, threads)
    patients = cohort_of(cohort)
    wanted: dict[str, Any] = dict(options)
    chosen, _ = parse_options(wanted)
    knobs = {name: wanted.pop(name) for name in Knobs.__annotations__ if wanted.get(name) is not None}
    wanted = {name: value for name, value in wanted.items() if name not in Knobs.__annotations__}
    wanted |= {name: value for name, value in missing_values(chosen).items() if name == "system"}
    refine = wanted.pop("refine", None)
    how = evaluations.EvaluationOptions(split, refine, wanted.pop("rigid", True), workers, knobs)
    model = aligning_model(**wanted)
    folder, alive = _folder(out)
    found = evaluations.evaluate(patients, model, folder, how, on_progress)
    return Measured(folder, found.results, [("", found.tables)], model.recipe.network.system, _alive=alive)


class BenchmarkOptions(TypedDict, total=False):
    """How methods are compared."""

    split: str
    fixed: str | None
    synthesis: Sequence[PathLike]
    against: str | None
    structures: Sequence[str]
    similarity: bool
    picture: str | None
    workers: int
    seed: int


def benchmark(
    cohort: Cohort | PathLike,
    runs: Sequence[PathLike] = (),
    peers: Sequence[str] = (),
    *,
    refined: Sequence[PathLike] = (),
    refine: int = 20,
    out: PathLike | None = None,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[BenchmarkOptions],
) -> Measured:
    """Compare systems and peers on a cohort, with tests: `jssr benchmark`.

    Args:
        cohort: with labels or landmarks of its phases; or its folder.
        runs: weights files or run folders, or "jssr" or "jrsnet".
        peers: "discrete" ("discrete:mind": with another descriptor; "discrete:ct-lung": a preset), "elastix",
            "affine", "syn-mi", "syn-cc", "greedy", "greedy-mi", "convexadam", "deeds".
        refined: runs with `refine` steps of instance optimisation.
        out: folder for the files; an interrupted benchmark continues there.
        threads, on_progress: as in `register`.
        options: of `jssr.evaluation.benchmark.BenchmarkOptions`: split, fixed, synthesis, against, structures,
            similarity, picture, workers, seed.

    Raises:
        JssrError: an unknown method or row, or every pair failed; otherwise as `evaluate`.
    """
    begin(options, BenchmarkOptions, threads)
    wanted: dict[str, Any] = dict(options)
    wanted["synthesis"] = [str(run) for run in wanted.get("synthesis", ())]
    how = benchmarks.BenchmarkOptions(**wanted)
    patients = cohort_of(cohort)
    methods = methods_of([str(run) for run in runs], [str(run) for run in refined], peers, refine)
    folder, alive = _folder(out)
    found = benchmarks.benchmark(patients, methods, folder, how, on_progress)
    tables = [("", found.tables), *((f"segmentor: {name}", blocks) for name, blocks in found.second)]
    notes = (PIXELS,) if found.pixels else ()
    return Measured(folder, found.results, tables, None, found.synthesis, found.failed, notes, alive)


def make_report(folder: PathLike) -> Path:
    """Write `report.html` of a result or an evaluation again: `jssr report`.

    Args:
        folder: what `register`, `align`, `demo` or `evaluate` wrote. Of a result the scans must be where they were.

    Returns:
        The report.

    Raises:
        JssrError: no result in the folder, or a scan that is no longer where it was.
    """
    place = Path(folder)
    if not (place / "evaluation.json").is_file():
        return rewrite_report(place)
    evaluations.read_evaluation(place)
    return place / "report.html"
