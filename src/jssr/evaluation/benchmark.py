"""Several systems and tools on the cases of a cohort, one after the other, measured alike: the paper's table 1.

Every one of them aligns the same pairs from the scans themselves and is judged by the whole map on the fixed grid.
Systems of ours and tools without a linear stage start from one rigid alignment, found once for each pair, whose time
counts for all that use it. Each contestant runs in processes of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jssr.core.processes import in_processes
from jssr.core.transform import Affine, Displacement, Transform, coverage, resample
from jssr.core.volume import Volume
from jssr.errors import JssrError, WorkerError
from jssr.evaluation.evaluate import cases_of, first_grid
from jssr.evaluation.methods import BEFORE, Contestant, check_contestants, model_of
from jssr.evaluation.rows import attempt, check_cohort, check_row, failures, is_measured, keep, note_row
from jssr.io.atomic import make_folder
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image
from jssr.io.itk_elastix import load
from jssr.io.output import write_json
from jssr.io.points import read_points
from jssr.io.provenance import Stopwatch, forget_peak, peak_memory_mb
from jssr.io.transforms import write_displacement
from jssr.metrics.entries import Images
from jssr.metrics.pair import evaluate_pair
from jssr.metrics.results import CaseResult
from jssr.peers import TOOLS
from jssr.preprocessing.intensity import limits, normalise
from jssr.preprocessing.modality import modality_of, window_for
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import RigidResult, rigid_align
from jssr.preprocessing.start2d import flat_start, from_start
from jssr.recipes.config import Preprocessing
from jssr.registration.pipeline import prepare, solve, structure_of
from jssr.report.tables import read_csv, write_csv

__all__ = ["aligned", "rigid_of", "run_benchmark", "start_of"]


def run_benchmark(
    cohort: Cohort,
    contestants: Sequence[Contestant],
    out: Path,
    *,
    split: str = "test",
    fixed: str | None = None,
    workers: int = 1,
    picture: str | None = None,
    likeness: bool = False,
    on_case: Callable[[str, str], None] | None = None,
) -> list[CaseResult]:
    """Run every contestant on every case. A pair that fails is left out and told (`engine.rows`).

    Leaves `cases/NAME/ID.csv` as each is done (what is there is not done again, and contestants can be added later),
    `rigid/ID_PHASE.json`, `fields/NAME/ID_PHASE.nii.gz` of the case to be pictured, and `results.csv`.

    Args:
        contestants: of `contestants_of`.
        out: folder.
        split: "train", "validation", "test" or "all".
        fixed: phase that the others are aligned to; None takes the cohort's reference phase.
        workers: processes that share a contestant's cases, one thread each. Seconds are honest with 1, which has all.
        picture: id of the case whose fields are kept; None takes the first.
        likeness: also mutual information and SSIM, some seconds a pair.
        on_case: called with contestant and case when they are done.

    Raises:
        CohortError: no cases; OutputError: `out` holds a benchmark of other scans; JssrError: a contestant that takes
            no such images, or every pair failed.
    """
    cases = cases_of(cohort, split)
    reference_phase = fixed or cohort.reference_phase
    check_contestants(contestants, first_grid(cohort, cases, reference_phase).ndim)
    shown = picture or cases[0].id
    cohort.case(shown)
    settings = {"cohort": cohort.name, "split": split, "reference_phase": reference_phase, "likeness": likeness}
    check_cohort(cohort, cases, out, settings)
    # The rigid alignment first: whoever comes first finds it, and its memory is to stand in its own row.
    for one in sorted(contestants, key=lambda c: c.name != "rigid"):
        folder = make_folder(out / "cases" / one.folder)
        todo = [case for case in cases if not _is_done(one, case, out, shown)]
        note_row(folder, one, workers, len(todo))
        job = partial(_case, cohort, one, reference_phase, out, shown, likeness)
        for case in _done(job, todo, workers, folder, reference_phase):
            if on_case is not None:
                on_case(one.name, case.id)
    folders = {one.name: out / "cases" / one.folder for one in contestants}
    files = [folder / f"{case.id}.csv" for folder in folders.values() for case in cases]
    results = [result for file in files for result in read_csv(file)]
    if not results:
        raise JssrError(f"no pair could be measured; the first: {failures(folders, cases)[0][-1]}")
    write_csv(results, out / "results.csv")
    return results


def _done(
    job: Callable[[Case], None], todo: Sequence[Case], workers: int, folder: Path, reference_phase: str
) -> Iterator[Case]:
    """The cases of a row as each is done; one that ends its process (a tool crashes, memory is short) fails alone."""
    left = list(todo)
    try:
        for case, _ in in_processes(job, left, workers, apart=True):
            yield case
        return
    except WorkerError:
        left = [case for case in todo if not is_measured(folder, case.id)]
    for case in left:  # whoever did it, each by itself now
        try:
            list(in_processes(job, [case], 1, apart=True))
        except WorkerError:
            wrong = "its process ended: it crashed, was killed, or memory is short"
            keep(folder, case.id, [], {phase: wrong for phase in case.images if phase != reference_phase})
        yield case


def _is_done(one: Contestant, case: Case, out: Path, shown: str) -> bool:
    drawn = one.name in BEFORE or case.id != shown or any((out / "fields" / one.folder).glob(f"{shown}_*"))
    return drawn and is_measured(out / "cases" / one.folder, case.id)


def _case(
    cohort: Cohort, one: Contestant, reference_phase: str, out: Path, shown: str, alike: bool, case: Case
) -> None:
    """Run a contestant on every scan of a case."""
    one.load()
    folder = out / "cases" / one.folder
    check_row(folder, one)  # a run that still trains changes its weights
    results: list[CaseResult] = []
    failed: dict[str, str] = {}
    for phase in (p for p in case.images if p != reference_phase):
        result, wrong = attempt(partial(_pair, cohort, one, reference_phase, out, shown, alike, case, phase))
        if result is None:
            failed[phase] = wrong
        else:
            results.append(result)
    keep(folder, case.id, results, failed)


def _pair(
    cohort: Cohort, one: Contestant, reference_phase: str, out: Path, shown: str, alike: bool, case: Case, phase: str
) -> CaseResult:
    """Run a contestant on one pair and measure it."""
    y, x = (read_image(cohort.path(case.images[p])) for p in (reference_phase, phase))
    labels = _labels(cohort, case, reference_phase, y)
    file = out / "rigid" / f"{case.id}_{phase}.json"
    if one.name == "rigid":
        file.unlink(missing_ok=True)  # of these scans, not of what may have been here before them
        load()
        forget_peak()
        rigid: RigidResult | None = rigid_of(y, x, file)
    else:
        rigid = rigid_of(y, x, file) if one.starts_rigid else None
        forget_peak()
    whole, seconds = aligned(one, y, x, rigid, labels, cohort.structures())
    # Where nothing is done there is nothing to compare: radiographs are not aligned rigidly.
    idle = one.name == BEFORE[0] or (one.name in BEFORE and y.grid.ndim == 2)
    peak, seconds = (math.nan, math.nan) if idle else (peak_memory_mb(), seconds)
    values = _measured(cohort, case, reference_phase, phase, y, x, whole, alike)
    if case.id == shown and isinstance(whole, Displacement):
        write_displacement(whole, make_folder(out / "fields" / one.folder) / f"{case.id}_{phase}.nii.gz")
    return CaseResult(case.id, phase, one.name, values, seconds, peak)


def aligned(
    one: Contestant,
    y: Volume,
    x: Volume,
    rigid: RigidResult | None,
    labels: Volume | None = None,
    structures: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Transform, float]:
    """Run a contestant on a pair.

    Args:
        y, x: fixed and moving scan.
        rigid: found before; its seconds count. None finds it where it is needed.
        labels, structures: the fixed scan's label map and the names of its values, for systems that read them.

    Returns:
        The whole map, as a field on the fixed grid (where it is not linear), and the seconds from the scans to that.
    """
    if one.name == "initial":
        return start_of(y, x), 0.0
    one.load()
    watch = Stopwatch()
    if not one.starts_rigid:
        with watch.stage("align"):
            whole = _by_tool(one, y, x, start_of(y, x))
        return whole, watch.total
    rigid = rigid or rigid_found(y, x)
    if one.name == "rigid":
        return rigid.transform, rigid.seconds
    with watch.stage("align"):
        if one.is_tool:
            whole = _by_tool(one, y, x, rigid.transform)
        else:
            whole = _by_system(one, y, x, rigid, labels, structures)
    return whole, watch.total + rigid.seconds


def _by_tool(one: Contestant, y: Volume, x: Volume, rigid: Affine) -> Displacement:
    return TOOLS[one.source].run(y, x, rigid, torch.get_num_threads()).displacement(y.grid)


def _by_system(
    one: Contestant,
    y: Volume,
    x: Volume,
    rigid: RigidResult,
    labels: Volume | None,
    structures: Mapping[str, Sequence[int]] | None,
) -> Displacement:
    model = model_of(one.source)
    pair = prepare(model, y, x, found=rigid)
    known = structure_of(model, pair, labels, structures)
    return solve(model, y, x, pair, one.refine, Stopwatch(), known, last_only=True).final.chain.displacement(y.grid)


def start_of(y: Volume, x: Volume) -> Affine:
    """What counts as not aligned: the headers' geometry, or `flat_start` of two radiographs."""
    return flat_start(y.grid, x.grid) if y.grid.ndim == 2 else Affine.identity()


def rigid_found(y: Volume, x: Volume) -> RigidResult:
    """`rigid_align`; radiographs are not aligned rigidly."""
    return RigidResult(flat_start(y.grid, x.grid), 0.0, 0.0, 0.0) if y.grid.ndim == 2 else rigid_align(y, x)


def rigid_of(y: Volume, x: Volume, file: Path) -> RigidResult:
    """The rigid alignment of a pair, found once and kept."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged: found anew
        kept = json.loads(file.read_text(encoding="utf-8"))
        matrix = np.array(kept.pop("matrix"), dtype=np.float64).reshape(y.grid.ndim + 1, -1)
        return RigidResult(Affine(matrix), **{**kept, "warnings": tuple(kept["warnings"])})
    found = rigid_found(y, x)
    make_folder(file.parent)
    kept = {key: value for key, value in vars(found).items() if key != "transform"}
    write_json({"matrix": found.transform.matrix.tolist(), **kept}, file)
    return found


def _labels(cohort: Cohort, case: Case, phase: str, image: Volume) -> Volume | None:
    """The label map of a scan, on its grid."""
    if phase not in case.labels:
        return None
    return check_labels(read_image(cohort.path(case.labels[phase]), "labels"), image)


def _measured(
    cohort: Cohort,
    case: Case,
    reference_phase: str,
    phase: str,
    y: Volume,
    x: Volume,
    whole: Transform,
    similarity: bool,
) -> dict[str, float]:
    """`evaluate_pair` of what the cohort knows of a pair."""
    known: dict[str, Any] = {}
    p_y, p_x = _labels(cohort, case, reference_phase, y), _labels(cohort, case, phase, x)
    if p_y is not None and p_x is not None:
        known |= {"fixed_labels": p_y, "moved_labels": resample(p_x, y.grid, whole)}
    if {reference_phase, phase} <= set(case.landmarks):
        points = [read_points(cohort.path(case.landmarks[p]), y.grid.ndim) for p in (reference_phase, phase)]
        known |= {"fixed_points": points[0], "moving_points": points[1]}
    return evaluate_pair(
        known.pop("fixed_labels", None), known.pop("moved_labels", None), cohort.structures() or None,
        displacement=from_start(whole, y.grid, x.grid) if isinstance(whole, Displacement) else None,
        transform=whole, images=_images(y, x, whole) if similarity else None, **known,
    )  # fmt: skip


def _images(y: Volume, x: Volume, whole: Transform) -> Images:
    """The fixed and the moved scan for the similarities, in the abdominal window where they are CT."""
    window = Preprocessing().window
    fixed = normalise(y.data, limits(y.data, window_for(modality_of(y), window)))
    moved = normalise(resample(x, y.grid, whole).data, limits(x.data, window_for(modality_of(x), window)))
    return Images(fixed[None], moved[None], coverage(y.grid, x.grid, whole)[None])
