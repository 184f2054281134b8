"""A system on the cases of a cohort: every pair registered and measured, case by case, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.processes import in_processes
from jssr.core.transform import resample
from jssr.core.volume import Volume
from jssr.errors import CohortError, ImageError, JssrError
from jssr.evaluation.settings import fingerprint, same_settings
from jssr.io.atomic import atomic_path, make_folder
from jssr.io.cohort import Case, Cohort, Split
from jssr.io.images import read_grid, read_image
from jssr.io.provenance import Stopwatch
from jssr.io.study import study_of
from jssr.metrics.entries import METRICS
from jssr.metrics.pair import evaluate_segmentation
from jssr.metrics.results import CaseResult
from jssr.preprocessing.start2d import placed, unknown_spacing
from jssr.registration.components import largest_parts
from jssr.registration.inputs import labels_of
from jssr.registration.model import Model, fitting_system
from jssr.registration.pipeline import prepare, register, solve
from jssr.registration.study import known_of, state_results
from jssr.registration.working import Working
from jssr.report.evaluation import picture_name, write_evaluation_report
from jssr.report.figures import StudyRow, montage
from jssr.report.tables import PIXELS, Summary, markdown, read_csv, summarise, write_csv

__all__ = [
    "SEGMENTOR",
    "cases_of",
    "evaluate_cohort",
    "first_grid",
    "fitting_cohort",
    "summaries",
    "write_tables",
]

PICTURES = "pictures"
SEGMENTOR = ("segmentor", "segmentor, synthesised")
"""Rows of the segmentor: on the scan itself (the paper's "non-synthesis"), and on what the generator makes of it."""


def cases_of(cohort: Cohort, split: str) -> list[Case]:
    """The cases of a split that have something to align; "all" takes every case, and so does any split of a
    cohort that has none.

    Raises:
        CohortError: there are none.
    """
    named = [] if split == "all" else cohort.split(_split(split))
    whole = split == "all" or not any(case.split for case in cohort.cases)
    chosen = cohort.cases if whole else named
    cases = [case for case in chosen if len(case.images) > 1]
    if not cases:
        there = ", ".join(sorted({case.split or "(none)" for case in cohort.cases}))
        raise CohortError(
            f"{cohort.root}: no case of split {split!r} has two phases; its splits are {there}; 'all' takes every case"
        )
    return cases


def fitting_cohort(cohort: Cohort, cases: Sequence[Case]) -> str:
    """`fitting_system` of a cohort: what its first case gets stands for all, so that a table is of one system."""
    first = cases[0]
    phases = [cohort.reference_phase, *(phase for phase in first.images if phase != cohort.reference_phase)]
    return fitting_system(*(read_image(cohort.image(first, phase)) for phase in phases[:2]))


def _split(name: str) -> Split:
    for known in ("train", "validation", "test"):
        if name == known:
            return known
    raise CohortError(f"unknown split {name!r}; there are train, validation, test and all")


def evaluate_cohort(
    cohort: Cohort,
    model: Model,
    out: str | os.PathLike[str],
    *,
    split: str = "test",
    refine: int | None = None,
    rigid: bool = True,
    workers: int = 1,
    on_case: Callable[[str], None] | None = None,
) -> list[CaseResult]:
    """Register every scan of the split's cases to the reference phase and measure it.

    Leaves `cases/ID.csv` and `pictures/ID/PHASE.png` as each case is done (a case that is there is not done again),
    `results.csv`, `tables.md`, `report.html` and `evaluation.json`. Rows are "initial", "rigid", the system's name, the
    same with "refined" behind, and the segmentor's Dice per phase on the scans themselves and as synthesised.

    Args:
        cohort: with labels or landmarks of its phases.
        model: the system.
        out: folder.
        split: "train", "validation", "test" or "all".
        refine: steps of instance optimisation, None the system's own number; with them both the network's and the
            refined state are measured.
        rigid: align rigidly first.
        workers: processes that share the cases, one thread each: several small jobs use the cores better than one
            large one. Seconds and memory are then those of a busy machine; measure them with 1.
        on_case: called with the id of each case when it is done.

    Raises:
        CohortError: no cases; OutputError: `out` holds another evaluation or cannot be written.
    """
    refine = model.recipe.inference.refine if refine is None else refine
    cases = cases_of(cohort, split)
    folder = make_folder(Path(out) / "cases")
    make_folder(Path(out) / PICTURES)
    same_settings(Path(out), _settings(cohort, cases, model, split, refine, rigid), "evaluation.json")
    job = partial(_case_file, cohort, model, refine, rigid, Path(out))
    for case, _ in in_processes(job, cases, workers):
        if on_case is not None:
            on_case(case.id)
    results = [result for case in cases for result in read_csv(folder / f"{case.id}.csv")]
    write_csv(results, Path(out) / "results.csv")
    write_tables(Path(out), results)
    return results


def first_grid(cohort: Cohort, cases: Sequence[Case], phase: str) -> Grid:
    """The grid of the first of the scans to align to that can be read.

    Raises:
        CohortError: a case has none; ImageError: none can be read.
    """
    lacking = next((case.id for case in cases if phase not in case.images), None)
    if lacking:
        raise CohortError(f"{cohort.root}: case {lacking} has no {phase!r} to align to")
    for case in cases[:-1]:
        with suppress(ImageError):
            return read_grid(cohort.path(case.images[phase]))
    return read_grid(cohort.path(cases[-1].images[phase]))


def write_tables(out: Path, results: list[CaseResult]) -> list[Summary]:
    """Write `tables.md` and `report.html` of an evaluation, and return the tables.

    Raises:
        JssrError: no evaluation in the folder.
    """
    blocks = summaries(results)
    told = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    note = f"{PIXELS}\n\n" if told.get("pixels") else ""
    with atomic_path(out / "tables.md") as temporary:
        temporary.write_text(note + markdown(*blocks), encoding="utf-8")
    aligned = [r for r in results if r.method not in SEGMENTOR]
    title = f"{told['recipe']} on {told['cohort']}, {told['split']}"
    write_evaluation_report(
        out / "report.html", title=title, results=aligned, summaries=blocks, pictures=out / PICTURES, provenance=told
    )
    return blocks


def _settings(cohort: Cohort, cases: list[Case], model: Model, split: str, refine: int, rigid: bool) -> dict[str, Any]:
    pixels = False
    with suppress(JssrError):  # what cannot be read is said by the case
        grid = first_grid(cohort, cases, _roles(cohort, cases[0], model)[0])
        pixels = grid.ndim == 2 and unknown_spacing(grid)
    return {
        **({"pixels": True} if pixels else {}),
        "cohort": cohort.name,
        "files": fingerprint(cohort, cases),
        "split": split,
        "system": model.recipe.network.system,
        "recipe": model.recipe.name,
        "weights": model.header.get("checksum"),
        "descriptor": model.recipe.inference.descriptor,
        "refine": refine,
        "rigid": rigid,
    }


def _case_file(cohort: Cohort, model: Model, refine: int, rigid: bool, out: Path, case: Case) -> None:
    """Measure a case unless that is done already."""
    file = out / "cases" / f"{case.id}.csv"
    if not file.is_file():
        write_csv(_evaluate_case(cohort, case, model, refine, rigid, out / PICTURES), file)


def _evaluate_case(
    cohort: Cohort, case: Case, model: Model, refine: int, rigid: bool, pictures: Path
) -> list[CaseResult]:
    study = study_of(cohort, case)
    reference_phase, phases = _roles(cohort, case, model)
    fixed = read_image(cohort.image(case, reference_phase))
    results: list[CaseResult] = []
    for phase in phases:
        if "displacement" not in model.system.outputs:
            results += _segmentor_alone(cohort, case, reference_phase, phase, fixed, model, rigid)
            continue
        told = known_of(study, reference_phase, phase, model.system.reads_structure)
        one = register(
            fixed, study.images[phase], checkpoint=model, refine=refine, rigid=rigid, structures=study.structures,
            device=model.device, deterministic=model.deterministic, **told,
        )  # fmt: skip
        picture = montage(
            [StudyRow(phase, one.fixed, placed(one.moving, one.fixed.grid), one.moved)],
            "image" if one.fixed.grid.ndim == 2 else "axial",
        )
        make_folder(pictures / case.id)
        (pictures / picture_name(case.id, phase)).write_bytes(picture)
        names = {"network": model.recipe.name, "refined": f"{model.recipe.name}, refined"}
        for found in state_results(case.id, phase, one):
            if found.method == "network" and model.recipe.network.system == "rigid":
                continue  # the state "rigid" once more
            method = names.get(found.method, found.method)
            results.append(CaseResult(case.id, phase, method, found.values, found.seconds, found.peak_mb))
        if model.structures and study.structures:
            known = _known_labels(cohort, case, {phase: one.moving, reference_phase: one.fixed})
            results += _segmentor(case.id, phase, reference_phase, one.work, known, study.structures)
    return results


def _roles(cohort: Cohort, case: Case, model: Model) -> tuple[str, list[str]]:
    """The phase that stays and those that are moved: a system of two modalities was trained for one of each.

    Raises:
        CohortError: the case lacks one of the two.
    """
    phases = model.recipe.preprocessing
    if phases.moving is None or phases.reference_phase is None:
        return cohort.reference_phase, [phase for phase in case.images if phase != cohort.reference_phase]
    if not {phases.reference_phase, phases.moving} <= set(case.images):
        raise CohortError(
            f"{cohort.root}: {model.source} moves {phases.moving} onto {phases.reference_phase}, and case "
            f"{case.id} has {', '.join(case.images)}"
        )
    return phases.reference_phase, [phases.moving]


def _segmentor_alone(
    cohort: Cohort, case: Case, reference_phase: str, phase: str, fixed: Volume, model: Model, rigid: bool
) -> list[CaseResult]:
    """The rows of a system without a register."""
    moving = read_image(cohort.image(case, phase))
    known = _known_labels(cohort, case, {phase: moving, reference_phase: fixed})
    if not known:
        return []
    work = solve(model, fixed, moving, prepare(model, fixed, moving, rigid), 0, Stopwatch())
    return _segmentor(case.id, phase, reference_phase, work, known, cohort.structures())


def _known_labels(cohort: Cohort, case: Case, scans: Mapping[str, Volume]) -> dict[str, Volume]:
    """The label maps of those of some scans that have one, by phase."""
    found = {p: labels_of(cohort.path(case.labels[p]), scan) for p, scan in scans.items() if p in case.labels}
    return {phase: labels for phase, labels in found.items() if labels is not None}


def _segmentor(
    case: str, phase: str, reference_phase: str, work: Working, known: Mapping[str, Volume], structures: Any
) -> list[CaseResult]:
    """How well the segmentor finds the organs of a moving scan and of the reference_phase, as far as they are known,
    on the network's grid."""
    pair, model = work.pair, work.model
    out: list[CaseResult] = []
    if work.alignment.moving_segmentation is None:
        return out

    def judged(classes: Tensor, goal: Volume) -> dict[str, float]:
        return evaluate_segmentation(classes[0].numpy(), goal, model.structures, structures)

    if phase in known:
        with model.computing():
            said = model.system.segment_moving(pair.moving.to(model.device)).float().cpu()
        plain = largest_parts(said, model.pieces).argmax(dim=1)
        goal = resample(known[phase], pair.grid, pair.transform)
        made = work.alignment.moving_segmentation.argmax(dim=1)
        out.append(CaseResult(case, phase, SEGMENTOR[0], judged(plain, goal)))
        if work.alignment.synthesised is not None and not work.alignment.registered:
            out.append(CaseResult(case, phase, SEGMENTOR[1], judged(made, goal)))
    if reference_phase in known and work.alignment.fixed_segmentation is not None:
        fixed = work.alignment.fixed_segmentation.argmax(dim=1)
        goal = resample(known[reference_phase], pair.grid)
        out.append(CaseResult(case, reference_phase, SEGMENTOR[0], judged(fixed, goal)))
    return out


def summaries(results: list[CaseResult]) -> list[Summary]:
    """The tables of the paper: overlap of the liver and of all structures, distances, landmarks, regularity, cost; then
    the segmentor's own."""
    aligned = [r for r in results if r.method not in SEGMENTOR]
    own = [r for r in results if r.method in SEGMENTOR]
    first = "liver" if any("dice/liver" in r.values for r in results) else "mean"
    pair = [one for one in METRICS.values() if one.pair and not one.optional]
    wanted = [("dice", first), ("dice", "mean")]
    wanted += [(one.key, first) for one in pair if one.needs == "labels"]
    wanted += [(one.key, "") for one in pair if one.needs not in ("labels", "images")]
    blocks = [summarise(aligned, *key) for key in dict.fromkeys(wanted)]
    if own:
        told = [("dice", first), ("dice", "mean"), *((one.key, first) for one in METRICS.values() if one.segmentor)]
        blocks += [summarise(own, *key, segmentor=True) for key in dict.fromkeys(told)]
    return blocks
