"""Tasks on every patient of a cohort: `jssr align`, `register`, `segment` and `warp` on many."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from jssr._version import __version__
from jssr.api import scans
from jssr.api.pairs import register
from jssr.api.session import OnProgress, PathLike
from jssr.api.studies import read_study
from jssr.api.transforms import warp
from jssr.cohorts import batch, overview
from jssr.cohorts.batch import Handling, Rows
from jssr.cohorts.cluster import Workers
from jssr.cohorts.estimate import Estimate, estimated
from jssr.cohorts.manifest import Results
from jssr.cohorts.places import check_places
from jssr.core.notes import tell
from jssr.errors import CohortError, OptionError, check_options, requires
from jssr.io.bids import check_subjects, derivative_name, write_description
from jssr.io.files import digest
from jssr.io.patient_table import Task
from jssr.io.patients import CohortProblems, Patient, phases_of, read_patients
from jssr.io.study import Study
from jssr.registration.options import ModelOptions, OptionsDict
from jssr.registration.result import Registration
from jssr.registration.verdict import Verdict
from jssr.report.cohort import write_index
from jssr.report.thumbnail import write_thumbnail

__all__ = ["CohortRun", "estimate_cohort", "run_cohort"]

Layout = Literal["folders", "bids"]
TASKS: dict[Task, Any] = {"align": OptionsDict, "register": OptionsDict, "segment": ModelOptions, "warp": None}
FILES = ("report", "dicom", "anonymise")
MORE: dict[Task, tuple[str, ...]] = {
    "align": FILES, "register": (*FILES, "structures"), "segment": ("moving",),
    "warp": ("to", "kind", "contours", "label_names"),
}  # fmt: skip
"""Options beside those: what is written, and of `warp` all there are."""


@dataclass(frozen=True)
class CohortRun:
    """What became of a cohort.

    Attributes:
        out: the folder of the results: a folder for each patient, `index.html`, `cohort.csv`, `cohort.json`.
        done, kept: patients that were done by this call, and before.
        failed: patient to reason.
        rows: the table, worst first; a row for each scan.
        untried: those of `failed` that failed before, by their own files, and were not tried again.
    """

    out: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failed: Mapping[str, str]
    rows: tuple[Mapping[str, Any], ...]
    untried: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """What a worker is asked to do with each patient."""

    task: Task
    options: Mapping[str, Any]
    reference: str
    threads: int
    layout: Layout


def run_cohort(
    task: Task,
    cohort: PathLike,
    out: PathLike,
    *,
    reference_phase: str = "venous",
    workers: Workers | int = 1,
    handling: Handling | None = None,
    keep_going: bool = False,
    layout: Layout = "folders",
    on_progress: OnProgress | None = None,
    **options: Any,
) -> CohortRun:
    """Do a task for every patient of a cohort: `jssr align COHORT`, `jssr register PAIRS.csv` and so on.

        run = jssr.run_cohort("align", "cohort.csv", "aligned", workers=2)
        run.rows[0]["patient"], run.failed

    What is finished is kept: the same call goes on where another ended. One patient that fails stops no other.

    Args:
        task: "align", "register", "segment" or "warp".
        cohort: a table (CSV: `jssr.io.patient_table`), a folder of patients, `cohort.json` or its folder, or BIDS.
        out: folder for the results.
        reference_phase: of "align", the phase that stays.
        workers: processes of this machine, or where else (`jssr.cohorts.cluster.Workers`).
        handling: what becomes of patients that failed or are done (`jssr.cohorts.batch.Handling`).
        keep_going: do the patients that nothing is wrong with, instead of refusing the cohort.
        layout: "folders", or of "align" "bids": names of BIDS derivatives.
        on_progress: called with patients done, all patients, and who was last.
        options: of `jssr.align`, `jssr.segment`: system, preset, report, dicom ... and of "segment" also moving.

    Raises:
        CohortProblems: what is wrong with the cohort, all at once, before the work begins.
        OutputError: another run works in `out`, it cannot be written, or it holds results of something else.
        WorkerError: no scheduler, no workers, or they are of another version. Interrupted: by the user.
    """
    requires("cohort", "distributed", "filelock")
    patients, left_out = _patients(task, Path(cohort), Path(out), reference_phase, keep_going)
    where = _capped(workers, len(patients))
    asked, results = _asked(task, Path(out), reference_phase, where, layout, options)
    if results.nested:
        check_subjects([one.id for one in patients])
    check_places(patients, Path(cohort), results)
    rows: list[dict[str, Any]] = []

    def finish(found: batch.Batch) -> None:
        found.failed |= left_out
        rows.extend(overview.rows_of(patients, results, found.failed))
        overview.write_tables(rows, results.out)
        write_index(results.out / "index.html", rows, {"cohort": Path(cohort).name, **results.settings})
        if results.nested:
            write_description(results.out, Path(cohort))

    found = batch.run(patients, partial(do, asked), results, where, handling, on_progress, finish)
    return CohortRun(
        Path(out), tuple(found.done), tuple(found.kept), dict(found.failed), tuple(rows), tuple(found.untried)
    )


def estimate_cohort(
    task: Task,
    cohort: PathLike,
    out: PathLike,
    *,
    reference_phase: str = "venous",
    workers: Workers | int = 1,
    handling: Handling | None = None,
    keep_going: bool = False,
    layout: Layout = "folders",
    **options: Any,
) -> Estimate:
    """What `run_cohort` would do, and what it would take: `--dry-run`. Nothing is written. Results of something else
    are counted in `replaced`, where `run_cohort` refuses to replace them.

    Raises:
        CohortProblems: as `run_cohort`.
    """
    patients, _ = _patients(task, Path(cohort), Path(out), reference_phase, keep_going)
    where = _capped(workers, len(patients))
    _, results = _asked(task, Path(out), reference_phase, where, layout, options)
    check_places(patients, Path(cohort), results)
    return estimated(batch.planned(patients, results, handling or Handling(), trial=True), results, where)


def _capped(workers: Workers | int, patients: int) -> Workers:
    """The workers, no more than there are patients: each gets its share of the cores."""
    where = Workers(workers) if isinstance(workers, int) else workers
    return replace(where, count=min(where.count, max(1, patients)))


def _patients(
    task: Task, cohort: Path, out: Path, reference: str, keep_going: bool
) -> tuple[list[Patient], dict[str, str]]:  # fmt: skip
    if task not in TASKS:
        raise OptionError(f"task: expected one of {', '.join(TASKS)}, got {task!r}")
    try:
        patients = read_patients(cohort, task, reference if task == "align" else None, out)
        if task == "align":
            _tell_phases(patients)
        return patients, {}
    except CohortProblems as error:
        if not keep_going or not error.fine:
            raise
        return list(error.fine), error.left_out


def _tell_phases(patients: Sequence[Patient]) -> None:
    """Tell that patients have other phases than others, of those whose scans are known before they are worked on."""
    known = [one for one in patients if one.images]
    part = {phase: count for phase, count in phases_of(known).items() if count < len(known)}
    if part:
        words = ", ".join(f"{phase} in {count}" for phase, count in part.items())
        tell(f"The patients' phases differ: of {len(known)}, {words}.")


def _asked(
    task: Task, out: Path, reference: str, where: Workers, layout: Layout, options: Mapping[str, Any]
) -> tuple[_Asked, Results]:
    """What the workers are asked, and where their results go."""
    known = TASKS[task].__annotations__ if TASKS[task] is not None else {}
    check_options(options, [*known, *MORE[task]])
    if layout not in ("folders", "bids"):
        raise OptionError(f"layout: expected folders or bids, got {layout!r}")
    if layout == "bids" and task != "align":
        raise OptionError(f"layout: expected folders, got bids: {task} writes no BIDS derivatives")
    plain = {key: _plain(value) for key, value in sorted(options.items()) if value is not None}
    settings = {"task": task, "version": __version__, "options": {**plain, "layout": layout}}
    if task == "align":
        settings["options"]["reference_phase"] = reference  # type: ignore[index]
    file = options.get("checkpoint")
    if file is not None and Path(str(file)).exists():
        settings["weights"] = digest(Path(str(file)))
    chosen = {key: value for key, value in options.items() if value is not None}
    if file is not None and Path(str(file)).exists():
        chosen["checkpoint"] = Path(str(file)).absolute()  # workers may run elsewhere
    return _Asked(task, chosen, reference, where.threads_each, layout), Results(
        out.absolute(), settings, layout == "bids"
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else [*map(str, value)] if isinstance(
        value, (list, tuple)) else str(value)  # fmt: skip


def do(asked: _Asked, patient: Patient, home: Path) -> Rows:
    """Do the task for one patient, in a worker, and return its rows of the table of results."""
    rows = _DOING[asked.task](asked, patient, home)
    return [{"patient": patient.id, **row} for row in rows]


def _align(asked: _Asked, patient: Patient, home: Path) -> Rows:
    study = _study(patient)
    done = scans.align(study, asked.reference, out=home, threads=asked.threads, **asked.options)
    rows, report = [], _report(asked)
    for phase, one in done.registrations.items():
        write_thumbnail(one.fixed, one.moved, home / phase / "thumbnail.png")
        rows.append({"scan": phase, **row_of(one), **report, "thumbnail": f"{phase}/thumbnail.png"})
    if asked.layout == "bids":
        rows = _as_derivatives(patient, asked.reference, home, rows)
    return rows


def _study(patient: Patient) -> Study:
    """The scans of a patient; of DICOM they are found now."""
    if patient.folder:
        return replace(read_study(patient.folder), name=patient.id)
    modalities: Any = dict(patient.modalities)
    return Study(
        patient.id, dict(patient.images), dict(patient.labels), dict(patient.landmarks), patient.structures,
        modalities=modalities, masks=dict(patient.masks),
    )  # fmt: skip


def _as_derivatives(patient: Patient, reference: str, home: Path, rows: Rows) -> Rows:
    """The files under the names of BIDS derivatives, in a folder beside which `report.html` and tables stay."""
    renamed = {}
    for row in rows:
        for file in sorted((home / row["scan"]).iterdir()):
            name = derivative_name(patient.id, reference, row["scan"], file.name)
            if name is not None:
                if (home / name).exists():
                    raise CohortError(f"{patient.id}: two phases would be called {name}: rename one")
                (home / name).parent.mkdir(exist_ok=True)
                file.rename(home / name)
                renamed[f"{row['scan']}/{file.name}"] = name
        if not any((home / row["scan"]).iterdir()):
            shutil.rmtree(home / row["scan"])
    return [{**row, "thumbnail": renamed[row["thumbnail"]]} for row in rows]


def _register(asked: _Asked, patient: Patient, home: Path) -> Rows:
    parts = {"labels": patient.labels, "landmarks": patient.landmarks, "mask": patient.masks}
    known = {f"{role}_{what}": path for what, part in parts.items() for role, path in part.items()}
    known |= {key: value for key, value in patient.options.items() if key == "initial"}
    fixed, moving = patient.images["fixed"], patient.images["moving"]
    done = register(fixed, moving, out=home, threads=asked.threads, **{**asked.options, **known})
    write_thumbnail(done.fixed, done.moved, home / "thumbnail.png")
    return [{"scan": Path(moving).name, **row_of(done), **_report(asked), "thumbnail": "thumbnail.png"}]


def _report(asked: _Asked) -> dict[str, str]:
    return {"report": "report.html"} if asked.options.get("report", True) else {}


def _segment(asked: _Asked, patient: Patient, home: Path) -> Rows:
    images = _study(patient).images if patient.folder else patient.images
    rows = []
    for phase, image in images.items():
        target = home / f"{phase}_segmentation.nii.gz"
        found = scans.segment(image, out=target, threads=asked.threads, **asked.options)
        rows.append({"scan": phase, "ml": found.sizes, "warnings": list(found.warnings), "file": target.name})
    if not rows:
        raise CohortError(f"{patient.id}: holds no scans")
    return rows


def _warp(asked: _Asked, patient: Patient, home: Path) -> Rows:
    source, given = Path(patient.images["input"]), {**asked.options, **patient.options}
    target = home / source.name
    warp(source, given.pop("transform"), given.pop("to", "fixed"), out=target, **given)
    return [{"scan": source.name, "file": target.name, "warnings": []}]


_DOING: dict[Task, Callable[[_Asked, Patient, Path], Rows]] = {
    "align": _align, "register": _register, "segment": _segment, "warp": _warp,
}  # fmt: skip


def row_of(one: Registration) -> dict[str, Any]:
    """The numbers of a registration, as the table of a cohort has them; None where there is none."""
    result, verdict = one.result, one.verdict
    quality = result.get("quality") or {}
    labels = {state: _mean(values.values()) for state, values in result["dice"].get("labels", {}).items()}
    told = verdict or Verdict("CHECK", ("It was not judged.",), None, None)
    return {
        "verdict": told.name,
        "reasons": " ".join(told.reasons),
        "expected_mm": told.expected_mm,
        "expected_p95_mm": told.expected_p95_mm,
        **{key: result[key] for key in ("folds_percent", "covered_percent", "log_jacobian_sd")},
        "moved_mm": quality.get("body_moved_mm"),
        **{f"dice_{name}": value for name, value in _states(labels).items()},
        **{f"tre_{name}_mm": value for name, value in _states(result.get("tre_mm") or {}).items()},
        "seconds": result["time_s"]["total"],
        "peak_memory_mib": result["peak_memory_mib"],
        "warnings": list(result["warnings"]),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean over the structures that both scans have."""
    known = [value for value in values if value is not None]
    return round(fmean(known), 6) if known else None


def _states(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Before, after the rigid step, and in the end."""
    if not values:
        return {}
    names = list(values)
    rigid = {"rigid": values["rigid"]} if "rigid" in values and names[-1] != "rigid" else {}
    return {"before": values[names[0]], **rigid, "after": values[names[-1]]}
