"""Methods on the pairs of a cohort: the one loop behind `evaluate`, `benchmark` and table 2.

Every method measures the same pairs. What is done is kept, case by case; a run begun again does what is missing, and
methods can be added later. A pair that fails is in no mean: it is reported with the reason, and tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jssr.cohorts.store import Store
from jssr.core.grid import Grid
from jssr.core.processes import in_processes, shared
from jssr.core.volume import Volume
from jssr.errors import CohortError, ImageError, JssrError, OutputError, WorkerError
from jssr.io.cohort import Case, Cohort, Split
from jssr.io.images import read_grid, read_image
from jssr.io.provenance import provenance
from jssr.metrics.results import CaseResult
from jssr.preprocessing.prepare import check_labels

OnCase = Callable[[int, int, str], None]
"""Called with how many cases are done, of how many, and what was done last."""
LIBRARIES = ("jssr", "torch")


@dataclass(frozen=True)
class Pair:
    """One pair of a cohort, for a method to measure: two phases, the folder of the run and the digest of the case."""

    cohort: Cohort
    case: Case
    fixed: str
    moving: str
    out: Path
    digest: str

    def scan(self, phase: str) -> Volume:
        return self.cohort.scan(self.case, phase)

    def labels(self, phase: str, image: Volume) -> Volume | None:
        """The label map of a phase, on the grid of its scan; None where there is none."""
        if phase not in self.case.labels:
            return None
        return check_labels(read_image(self.cohort.path(self.case.labels[phase]), "labels"), image)


@dataclass(frozen=True)
class Method:
    """One row of a table by its name, or several that one run of a system gives."""

    name: str

    @property
    def folder(self) -> str:
        """The name of its folders."""
        return "".join(c if c.isalnum() or c in "-_+." else "_" for c in self.name)

    def identity(self) -> dict[str, Any]:
        """What its numbers depend on besides the scans, as plain data: weights, steps, settings."""
        raise NotImplementedError

    def load(self) -> None:
        """Read weights and libraries, once a process and before any clock starts."""

    def phases(self, cohort: Cohort, case: Case, fixed: str) -> tuple[str, list[str]]:
        """The phase that stays and those that are moved onto it. A case that lacks one is refused."""
        return fixed, [phase for phase in case.images if phase != fixed]

    def complete(self, case: Case, out: Path) -> bool:
        """Whether the other files of a measured case are there."""
        return True

    def measure(self, pair: Pair, done: Sequence[CaseResult]) -> list[CaseResult]:
        """Run on a pair. `done` holds the results of the case's pairs before."""
        raise NotImplementedError


@dataclass(frozen=True)
class RunOptions:
    """How methods are run.

    Attributes:
        fixed: phase that the others are aligned to; None takes the cohort's reference phase.
        workers: processes that share a method's cases, one thread each. Seconds are honest with 1, which has all.
        apart: even one worker is a process of its own, so that peak memory is the method's.
        folder: of the finished cases, in the run's folder.
    """

    fixed: str | None = None
    workers: int = 1
    apart: bool = False
    folder: str = "cases"


class Failure(NamedTuple):
    """A pair that could not be aligned or measured, and why."""

    method: str
    case: str
    phase: str
    reason: str


@dataclass(frozen=True)
class Run:
    """What a run measured.

    Attributes:
        results: by method, then by case.
        failed: pairs that are in no mean.
        measured: for each method how it was measured: processes, threads, processor, versions, date.
    """

    results: list[CaseResult] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    measured: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse where every pair failed; the message holds the first reason."""
        if self.failed and not self.results:
            first = self.failed[0]
            raise JssrError(f"no pair could be measured; the first: {first.case}, {first.phase}: {first.reason}")


@dataclass(frozen=True)
class _Job:
    """A method's work, as a process gets it."""

    cohort: Cohort
    method: Method
    fixed: str
    out: Path
    store: Store
    keys: Mapping[str, Mapping[str, Any]]
    measured: Mapping[str, Any]


def cases_of(cohort: Cohort, split: str) -> list[Case]:
    """The cases of a split that have something to align, at least one. "all" takes every case, and so does any split of
    a cohort that has none."""
    known: tuple[Split, ...] = ("train", "validation", "test")
    if split not in (*known, "all"):
        raise CohortError(f"unknown split {split!r}; there are train, validation, test and all")
    every = split == "all" or not any(case.split for case in cohort.cases)
    cases = [case for case in cohort.cases if len(case.images) > 1 and (every or case.split == split)]
    if not cases:
        there = ", ".join(sorted({case.split or "(none)" for case in cohort.cases}))
        raise CohortError(
            f"{cohort.root}: no case of split {split!r} has two phases; its splits are {there}; 'all' takes every case"
        )
    return cases


def first_grid(cohort: Cohort, cases: Sequence[Case], phase: str) -> Grid:
    """The grid of the first fixed scan that can be read; every case must have one."""
    lacking = next((case.id for case in cases if phase not in case.images), None)
    if lacking:
        raise CohortError(f"{cohort.root}: case {lacking} has no {phase!r} to align to")
    for case in cases[:-1]:
        with suppress(ImageError):
            return read_grid(cohort.path(case.images[phase]))
    return read_grid(cohort.path(cases[-1].images[phase]))


def run(
    cohort: Cohort,
    cases: Sequence[Case],
    methods: Sequence[Method],
    out: Path,
    options: RunOptions | None = None,
    on_case: OnCase | None = None,
) -> Run:
    """Run every method on every case, and write `cases/METHOD/ID.json` as each case is done.

    Raises:
        CohortError: a case lacks a phase that a method needs.
        OutputError: `out` holds results of other scans, weights or options.
    """
    options = options or RunOptions()
    jobs = _jobs(cohort, cases, methods, out, options)
    done = 0
    for job in jobs:
        todo = [c for c in cases if job.store.find(c.id, job.keys[c.id]) is None or not job.method.complete(c, out)]
        done += len(cases) - len(todo)
        for case in _all_done(job, todo, options):
            done += 1
            if on_case is not None:
                on_case(done, len(jobs) * len(cases), f"{job.method.name}: {case.id}")
    return _gathered(jobs, cases)


def check_run(cohort: Cohort, cases: Sequence[Case], methods: Sequence[Method], out: Path, options: RunOptions) -> None:
    """Refuse now what `run` would refuse before its work."""
    _jobs(cohort, cases, methods, out, options)


def _jobs(
    cohort: Cohort, cases: Sequence[Case], methods: Sequence[Method], out: Path, options: RunOptions
) -> list[_Job]:
    fixed = options.fixed or cohort.reference_phase
    scans = {case.id: cohort.digest(case) for case in cases}
    jobs = []
    for method in methods:
        store = Store(out / options.folder / method.folder)
        identity = method.identity()
        keys = {case.id: {**identity, "scans": scans[case.id], "fixed": fixed} for case in cases}
        for case in cases:
            method.phases(cohort, case, fixed)
            store.check(case.id, keys[case.id])
        jobs.append(_Job(cohort, method, fixed, out, store, keys, {}))
    return jobs


def _gathered(jobs: Sequence[_Job], cases: Sequence[Case]) -> Run:
    found = Run()
    for job in jobs:
        name, places = job.method.name, found.measured.setdefault(job.method.name, [])
        for case in cases:
            result = job.store.result(case.id) or {"rows": []}
            found.results.extend(CaseResult(**row) for row in result["rows"])
            found.failed.extend(Failure(name, case.id, *why) for why in job.store.failures(case.id).items())
            if result["rows"] and result["measured"] not in places:
                places.append(result["measured"])
    return found


def _all_done(job: _Job, todo: Sequence[Case], options: RunOptions) -> Iterator[Case]:
    """The cases as each is done; one that ends its process (a peer crashes, memory is short) fails alone."""
    if not todo:
        return
    processes, threads = shared(options.workers, len(todo))
    made = provenance("cpu", False)
    versions = {name: made["versions"][name] for name in LIBRARIES}
    measured = {"processes": processes, "threads": threads, "processor": made["processor"], "date": str(date.today())}
    job = replace(job, measured={**measured, "versions": versions})
    try:
        for case, _ in in_processes(partial(_case, job), todo, options.workers, apart=options.apart):
            yield case
        return
    except WorkerError:
        left = [case for case in todo if job.store.find(case.id, job.keys[case.id]) is None]
    for case in left:  # whoever did it, each by itself now
        try:
            list(in_processes(partial(_case, job), [case], 1, apart=True))
        except WorkerError:
            why = "its process ended: it crashed, was killed, or memory is short"
            _, phases = job.method.phases(job.cohort, case, job.fixed)
            _keep(job, case, [], dict.fromkeys(phases, why))
        yield case


def _case(job: _Job, case: Case) -> None:
    """Run a method on every pair of a case."""
    job.method.load()
    changed = [name for name, value in job.method.identity().items() if job.keys[case.id].get(name) != value]
    if changed:  # a run that still trains changes its weights
        raise OutputError(f"{job.store.folder}: {', '.join(changed)} of {job.method.name} changed while this ran")
    results: dict[tuple[str, str], CaseResult] = {}
    failed: dict[str, str] = {}
    fixed, phases = job.method.phases(job.cohort, case, job.fixed)
    for phase in phases:
        pair = Pair(job.cohort, case, fixed, phase, job.out, str(job.keys[case.id]["scans"]))
        try:
            rows = job.method.measure(pair, list(results.values()))
        except JssrError as error:
            failed[phase] = str(error)
        except Exception as error:  # whatever a peer stops with: one pair must not take the others with it
            failed[phase] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            results |= {(row.phase, row.method): row for row in rows}
    _keep(job, case, list(results.values()), failed)


def _keep(job: _Job, case: Case, rows: Sequence[CaseResult], failed: Mapping[str, str]) -> None:
    result = {"rows": [asdict(row) for row in rows], "measured": job.measured}
    job.store.keep(case.id, job.keys[case.id], result, failed)
