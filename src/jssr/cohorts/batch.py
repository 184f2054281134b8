"""A task on every patient of a cohort: what is missing is done, what is done is kept, who fails fails alone."""

from __future__ import annotations

import glob
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from jssr._version import __version__
from jssr.cohorts.cluster import Ended, Workers, connected, in_cluster, interrupted_once
from jssr.cohorts.manifest import TEMPORARY, Results, State, locked, note, sweep
from jssr.core.notes import collected
from jssr.errors import Interrupted, JssrError, MissingExtraError, OutputError, WorkerError
from jssr.io.files import make_folder
from jssr.io.patients import Patient

logger = logging.getLogger(__name__)
Rows = list[dict[str, Any]]
Doing = Callable[[Patient, Path], Rows]
"""Does the task for a patient, writes its files into a folder, and returns the rows of the table of results."""
OnPatient = Callable[[int, int, str], None]
"""Called with how many patients are done, of how many, and who was last."""
NAMED = 3


@dataclass(frozen=True)
class Handling:
    """What becomes of patients that are done or failed already.

    Attributes:
        retry_failed: those whose inputs were to blame are tried again too.
        replace: finished results that were made of something else are done again.
        force: everybody is done again.
    """

    retry_failed: bool = False
    replace: bool = False
    force: bool = False


class WouldReplaceError(OutputError):
    """Finished results were made of something else than they would be made of now."""


@dataclass(frozen=True)
class Plan:
    """What a run will do, and what it leaves as it is."""

    todo: tuple[Patient, ...]
    kept: tuple[Patient, ...]
    failed: tuple[Patient, ...]
    replaced: tuple[Patient, ...] = ()


@dataclass
class Batch:
    """What a run did.

    Attributes:
        out: the folder of the results.
        done, kept: patients that were done now, and before.
        failed: patient to reason, of this run and of those that were not tried again.
        untried: those of `failed` that failed before and were not tried again.
    """

    out: Path
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What is done with a patient, as a worker gets it. `version` is that of whoever sends it."""

    doing: Doing
    results: Results
    run: str
    version: str = __version__
    anew: bool = False


def planned(patients: Sequence[Patient], results: Results, handling: Handling, trial: bool = False) -> Plan:
    """What is to be done; as a `trial`, also where it would be refused.

    Raises:
        WouldReplaceError: finished results were made of something else, and `handling` does not replace them.
    """
    by_state: dict[State, list[Patient]] = {}
    for one in patients:
        by_state.setdefault(results.state(one), []).append(one)
    changed, foreign = by_state.get("changed", []), by_state.get("foreign", [])
    if (changed or foreign) and not (handling.force or handling.replace or trial):
        raise WouldReplaceError(_would_replace(changed, foreign, results))
    again = {"missing", "unlucky", "changed", "foreign", *(("failed",) if handling.retry_failed else ())}
    if handling.force:
        again |= {"done", "failed"}
    todo = [one for state, some in by_state.items() if state in again for one in some]
    order = {one.id: k for k, one in enumerate(patients)}
    todo.sort(key=lambda one: order[one.id])
    replaced = [*changed, *foreign]
    left = [one for one in by_state.get("failed", []) if "failed" not in again]
    return Plan(tuple(todo), tuple([] if handling.force else by_state.get("done", [])), tuple(left), tuple(replaced))


def _would_replace(changed: Sequence[Patient], foreign: Sequence[Patient], results: Results) -> str:
    """What would be replaced, in words."""
    some = changed or foreign
    names = ", ".join(one.id for one in some[:NAMED]) + (" ..." if len(some) > NAMED else "")
    who = f"{len(some)} patients" if len(some) > 1 else "a patient"
    differs = f"that {'differ' if len(some) > 1 else 'differs'} in {', '.join(results.differs_in(some[0]))} ({names})"
    held = f"holds results of {who} {differs}" if changed else f"holds files in the place of {who} ({names})"
    return f"{results.out}: {held}: --replace does them again; or choose another folder"


def run(
    patients: Sequence[Patient],
    doing: Doing,
    results: Results,
    workers: Workers,
    handling: Handling | None = None,
    on_patient: OnPatient | None = None,
    finish: Callable[[Batch], None] | None = None,
) -> Batch:
    """Do a task for every patient that is not done; `finish` writes what belongs to all of them, before another run may
    work in the folder.

    Raises:
        OutputError: another run works in the folder, it cannot be written, or its results would be replaced.
        WorkerError: no workers. Interrupted: by the user; what is done stays.
    """
    handling = handling or Handling()
    with locked(results.out):
        sweep(results)
        plan = planned(patients, results, handling)
        batch = Batch(results.out, kept=[one.id for one in plan.kept])
        batch.failed = {one.id: results.failure(one) or "" for one in plan.failed}
        batch.untried = list(batch.failed)
        job = Job(doing, results, uuid.uuid4().hex[:8], anew=handling.force)
        try:
            with interrupted_once(), closing(_all(job, plan.todo, workers)) as outcomes:
                for patient, outcome in outcomes:
                    _take(batch, job, patient, outcome)
                    count = len(batch.done) + len(batch.failed) + len(batch.kept)
                    what = "failed" if patient.id in batch.failed else "done"
                    logger.info("%s %s, %d of %d", patient.id, what, count, len(patients))
                    if on_patient is not None:
                        on_patient(count, len(patients), patient.id)
        except KeyboardInterrupt:
            count = len(batch.done) + len(batch.kept)
            if finish is not None:
                finish(batch)
            raise Interrupted(
                f"interrupted; {count} of {len(patients)} patients are done; the same command goes on from there"
            ) from None
        finally:
            sweep(results)
        if finish is not None:
            finish(batch)
    return batch


def _all(job: Job, todo: Sequence[Patient], workers: Workers) -> Generator[tuple[Patient, Any], None, None]:
    if todo:
        workers = replace(workers, count=min(workers.count, len(todo)), threads=workers.threads_each)
        with connected(workers) as client:
            yield from in_cluster(client, partial(work, job), todo)


def _take(batch: Batch, job: Job, patient: Patient, outcome: Any) -> None:
    """Note what became of a patient; a full disk must not end the run of those who have room elsewhere."""
    if isinstance(outcome, Ended):
        for left in job.results.out.glob(f"{TEMPORARY}{job.run}-??????-{glob.escape(patient.name)}"):
            shutil.rmtree(left, ignore_errors=True)
        outcome = {"reason": outcome.reason, "lasting": False}
    if outcome.get("reason") is None:
        batch.done.append(patient.id)
        return
    batch.failed[patient.id] = outcome["reason"]
    note(job.results.out, "failed", patient.id, job.run)
    try:
        job.results.fail(patient, outcome["reason"], outcome["lasting"])
    except OutputError as error:
        batch.failed[patient.id] += f" (and this could not be written: {error})"


def work(job: Job, patient: Patient) -> Mapping[str, Any]:
    """Do the task for one patient, on a worker. Returns "reason", None of one that is done, and "lasting": whether the
    patient's own files are to blame."""
    if job.version != __version__:
        raise WorkerError(f"expected jssr {job.version} on every worker, got {__version__}: install the same there")
    if job.results.done_by(job.run, patient):  # Dask does again what a worker did that died before it was asked
        return {"reason": None, "lasting": False}
    # Of this try alone: one whose worker was killed left files behind, one whose worker was only cut off still writes.
    home = job.results.out / f"{TEMPORARY}{job.run}-{uuid.uuid4().hex[:6]}-{patient.name}"
    note(job.results.out, "begun", patient.id, job.run)
    start = time.monotonic()
    try:
        described = job.results.described(patient)
        make_folder(home)
        with collected() as told:
            rows = job.doing(patient, home)
        for row in rows[:1]:
            row["warnings"] = [*told, *row.get("warnings", [])]
        result = {"rows": rows, "seconds": round(time.monotonic() - start, 3), "run": job.run}
        job.results.publish(home, patient, described, result, job.anew)
    except (OutputError, WorkerError, MissingExtraError) as error:
        return {"reason": str(error), "lasting": False}
    except JssrError as error:
        return {"reason": str(error), "lasting": True}
    except MemoryError:
        return {"reason": "out of memory: give --memory, or fewer --workers", "lasting": False}
    except OSError as error:
        where = error.filename or job.results.out
        return {"reason": f"{where}: cannot be read or written ({error.strerror or error})", "lasting": False}
    except Exception as error:  # an error of jssr itself: one patient must not take the others along
        said = " ".join(str(error).split())[:300]
        return {"reason": f"unexpected: {type(error).__name__}: {said}", "lasting": False}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    note(job.results.out, "done", patient.id, job.run)
    return {"reason": None, "lasting": False}
