"""A system on the cases of a cohort: every pair registered as `jssr register` does it, and measured in every state."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from jssr.cohorts.store import read_settings, same_settings
from jssr.core.resampling import resample
from jssr.core.volume import Volume
from jssr.errors import CohortError, JssrError
from jssr.evaluation.runner import Method, OnCase, Pair, RunOptions, cases_of, first_grid, run
from jssr.io.cohort import Case, Cohort
from jssr.io.files import atomic_path, make_folder
from jssr.io.provenance import Stopwatch
from jssr.io.study import study_of
from jssr.metrics.entries import METRICS
from jssr.metrics.pair import evaluate_segmentation
from jssr.metrics.results import CaseResult
from jssr.preprocessing.start2d import placed, unknown_spacing
from jssr.registration.chosen import missing_values, steps_of
from jssr.registration.full_size import Working, largest_parts
from jssr.registration.labels import labels_of
from jssr.registration.model import Model
from jssr.registration.options import RegistrationOptions
from jssr.registration.pipeline import prepare, register, solve
from jssr.registration.result import Registration
from jssr.registration.study import known_of, state_results
from jssr.report.evaluation import picture_name, write_evaluation_report
from jssr.report.figures import montage
from jssr.report.planes import Plane
from jssr.report.tables import PIXELS, Summary, markdown, read_csv, summarise, write_csv

PICTURES = "pictures"
SETTINGS = "evaluation.json"
SEGMENTOR = ("segmentor", "segmentor, synthesised")
"""Rows of the segmentor: on the scan itself (the paper's "non-synthesis"), and on what the generator makes of it."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How a system is evaluated.

    Attributes:
        split: "train", "validation", "test" or "all".
        refine: steps of instance optimisation; None takes the system's own number. With them both the network's and
            the refined state are measured.
        rigid: align rigidly first.
        workers: processes that share the cases, one thread each. Seconds and memory are comparable with 1.
        knobs: options of the instance optimisation, as `jssr.register` takes them (preset, smoothness ...).
    """

    split: str = "test"
    refine: int | None = None
    rigid: bool = True
    workers: int = 1
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured: every state of every pair ("initial", "rigid", the system's name, the same with
    "refined" behind, and the segmentor's rows), and mean (sd) of each metric by method and phase."""

    results: list[CaseResult]
    tables: list[Summary]


def evaluate(
    cohort: Cohort,
    model: Model,
    out: str | os.PathLike[str],
    options: EvaluationOptions | None = None,
    on_case: OnCase | None = None,
) -> Evaluation:
    """Register every scan of the split's cases to the reference phase and measure it.

    Writes `cases/NAME/ID.json` and `pictures/ID/PHASE.png` as each case is done (a case that is there is not done
    again), `results.csv`, `tables.md`, `report.html` and `evaluation.json`.

    Raises:
        CohortError: no cases, or one that lacks a phase that the system needs.
        OutputError: `out` holds another evaluation or cannot be written.
        JssrError: pairs failed: every one, or some, after all others were measured and the tables were written.
    """
    options, out = options or EvaluationOptions(), Path(out)
    cases = cases_of(cohort, options.split)
    wanted = RegistrationOptions(refine=options.refine, **options.knobs)
    refine = steps_of(model, replace(wanted, **missing_values(wanted)), any(case.masks for case in cases))
    method = EvaluatedSystem(model.recipe.name, model, refine, options.rigid, options.knobs)
    reference, _ = method.phases(cohort, cases[0], cohort.reference_phase)
    settings = {"cohort": cohort.name, "split": options.split, **method.identity()}
    with suppress(JssrError):  # what cannot be read is reported with its case
        grid = first_grid(cohort, cases, reference)
        settings |= {"pixels": True} if grid.ndim == 2 and unknown_spacing(grid) else {}
    same_settings(out / SETTINGS, settings)
    found = run(cohort, cases, [method], out, RunOptions(workers=options.workers), on_case)
    found.check()
    write_csv(found.results, out / "results.csv")
    tables = _write_tables(out, found.results)
    if found.failed:
        first, count = found.failed[0], len(found.failed)
        raise JssrError(
            f"{count} {'pair' if count == 1 else 'pairs'} failed and are in no mean of {out}; the first: {first.case}, "
            f"{first.phase}: {first.reason}. The same command tries them again"
        )
    return Evaluation(found.results, tables)


def read_evaluation(folder: Path) -> Evaluation:
    """Read the results of an evaluation, and write `tables.md` and `report.html` again."""
    results = read_csv(folder / "results.csv")
    return Evaluation(results, _write_tables(folder, results))


def _write_tables(out: Path, results: list[CaseResult]) -> list[Summary]:
    settings = read_settings(out / SETTINGS)
    if not {"recipe", "cohort", "split"} <= settings.keys():
        raise JssrError(f"{out}: holds no evaluation, or its {SETTINGS} is damaged; run jssr evaluate")
    tables = summaries(results)
    notes = [f"{PIXELS}\n\n"] if settings.get("pixels") else []
    recipe, refined = settings["recipe"], f"{settings['recipe']}, refined"
    if any(r.method == refined for r in results):
        notes.append(f"`{recipe}`: without instance optimisation. `{refined}`: with it. ")
        same = (
            f"The row `{recipe}` of `jssr benchmark` is `{refined}` here."
            if settings.get("system") == "discrete"
            else ""
        )
        notes.append(f"{same}\n\n")
    with atomic_path(out / "tables.md") as temporary:
        temporary.write_text("".join(notes) + markdown(*tables), encoding="utf-8")
    aligned = [r for r in results if r.method not in SEGMENTOR]
    title = f"{settings['recipe']} on {settings['cohort']}, {settings['split']}"
    write_evaluation_report(
        out / "report.html", title=title, results=aligned, summaries=tables, pictures=out / PICTURES,
        provenance=settings,
    )  # fmt: skip
    return tables


@dataclass(frozen=True)
class EvaluatedSystem(Method):
    """A system of ours in each of its states, with the rows of its segmentor."""

    model: Model
    refine: int
    rigid: bool
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        recipe = self.model.recipe
        return {
            "system": recipe.network.system,
            "recipe": recipe.name,
            "weights": self.model.header.get("checksum"),
            "descriptor": recipe.inference.descriptor,
            "refine": self.refine,
            "rigid": self.rigid,
            **self.knobs,
        }

    def phases(self, cohort: Cohort, case: Case, fixed: str) -> tuple[str, list[str]]:
        """A system of two modalities was trained for one phase of each."""
        wanted = self.model.recipe.preprocessing
        if wanted.moving is None or wanted.reference_phase is None:
            return super().phases(cohort, case, fixed)
        if not {wanted.reference_phase, wanted.moving} <= set(case.images):
            raise CohortError(
                f"{cohort.root}: {self.model.source} moves {wanted.moving} onto {wanted.reference_phase}, and case "
                f"{case.id} has {', '.join(case.images)}"
            )
        return wanted.reference_phase, [wanted.moving]

    def measure(self, pair: Pair, done: Sequence[CaseResult]) -> list[CaseResult]:
        if "displacement" not in self.model.system.outputs:
            return self._segmentor_alone(pair)
        cohort, case, model = pair.cohort, pair.case, self.model
        study = study_of(cohort, case)
        alone = model.system.reads_structure or bool(self.knobs.get("rigid_labels"))
        known = known_of(study, pair.fixed, pair.moving, alone)
        one = register(
            pair.scan(pair.fixed), pair.scan(pair.moving), checkpoint=model, refine=self.refine, rigid=self.rigid,
            device=model.device, deterministic=model.deterministic, **self.knobs, **known,
        )  # fmt: skip
        _draw(pair, one)
        names = {"network": self.name, "refined": f"{self.name}, refined"}
        rows = []
        for found in state_results(case.id, pair.moving, one):
            if found.method == "network" and model.recipe.network.system == "rigid":
                continue  # the state "rigid" once more
            name = names.get(found.method, found.method)
            rows.append(CaseResult(case.id, pair.moving, name, found.values, found.seconds, found.peak_mb))
        if model.structures and study.structures:
            labels = _known_labels(pair, {pair.moving: one.moving, pair.fixed: one.fixed})
            rows += _segmentor(pair, one.work, labels)
        return rows

    def _segmentor_alone(self, pair: Pair) -> list[CaseResult]:
        """The rows of a system without a register."""
        fixed, moving = pair.scan(pair.fixed), pair.scan(pair.moving)
        labels = _known_labels(pair, {pair.moving: moving, pair.fixed: fixed})
        if not labels:
            return []
        prepared = prepare(self.model, fixed, moving, rigid=self.rigid)
        return _segmentor(pair, solve(self.model, prepared, 0, Stopwatch()), labels)


def _draw(pair: Pair, one: Registration) -> None:
    """The picture of a pair, for the report."""
    plane: Plane = "image" if one.fixed.grid.ndim == 2 else "axial"
    picture = montage(pair.moving, one.fixed, placed(one.moving, one.fixed.grid), one.moved, plane)
    file = pair.out / PICTURES / picture_name(pair.case.id, pair.moving)
    make_folder(file.parent)
    file.write_bytes(picture)


def _known_labels(pair: Pair, scans: Mapping[str, Volume]) -> dict[str, Volume]:
    """The label maps of those of some scans that have one, by phase."""
    files = pair.case.labels
    found = {p: labels_of(pair.cohort.path(files[p]), scan) for p, scan in scans.items() if p in files}
    return {phase: labels for phase, labels in found.items() if labels is not None}


def _segmentor(pair: Pair, work: Working, known: Mapping[str, Volume]) -> list[CaseResult]:
    """How well the segmentor finds the organs of a moving and of the fixed scan, where they are known, on the network's
    grid."""
    prepared, model, found = work.pair, work.model, work.alignment
    rows: list[CaseResult] = []

    def judge(phase: str, row: str, classes: Tensor, goal: Volume) -> None:
        structures = pair.cohort.structures()
        values = evaluate_segmentation(classes[0].numpy(), goal, model.structures, structures)
        rows.append(CaseResult(pair.case.id, phase, row, values))

    if found.moving_segmentation is None:
        return rows
    if pair.moving in known:
        with model.computing(prepared.grid):
            plain = model.system.segment_moving(prepared.moving.to(model.device)).float().cpu()
        goal = resample(known[pair.moving], prepared.grid, prepared.transform)
        judge(pair.moving, SEGMENTOR[0], largest_parts(plain, model.pieces).argmax(dim=1), goal)
        if found.synthesised is not None and not found.registered:
            judge(pair.moving, SEGMENTOR[1], found.moving_segmentation.argmax(dim=1), goal)
    if pair.fixed in known and found.fixed_segmentation is not None:
        goal = resample(known[pair.fixed], prepared.grid)
        judge(pair.fixed, SEGMENTOR[0], found.fixed_segmentation.argmax(dim=1), goal)
    return rows


def summaries(results: Sequence[CaseResult]) -> list[Summary]:
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
        judged = [("dice", first), ("dice", "mean"), *((one.key, first) for one in METRICS.values() if one.segmentor)]
        blocks += [summarise(own, *key, segmentor=True) for key in dict.fromkeys(judged)]
    return blocks
