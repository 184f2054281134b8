"""`jssr check`: read every file of a cohort once, before hours of training do, and say what is wrong in words."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from jssr.cohorts.check_report import CheckReport, Estimate, Finding, Level, ScanFacts
from jssr.cohorts.check_use import Use, check_use
from jssr.cohorts.prepared import check_paired, modalities_of
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image
from jssr.io.points import read_points
from jssr.io.transforms import read_transform
from jssr.preprocessing.intensity import NO_DATA
from jssr.preprocessing.modality import decide_modality, modality_of
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import overlap
from jssr.recipes.config import Recipe

__all__ = ["check"]

_LITTLE_OVERLAP = 0.5
_FEW_VOXELS = 16


def check(
    cohort: Cohort,
    recipe: Recipe | None = None,
    spacing: Sequence[float] | float | None = None,
    on_case: Callable[[int, int, str], None] | None = None,
) -> CheckReport:
    """Check every file of a cohort; problems are collected, nothing is raised and nothing written.

    Args:
        cohort: as loaded; one scan at a time is in memory.
        recipe: also check that the cohort has what this recipe learns from.
        spacing: mm of the working grid, for the estimates; None takes the recipe's.
        on_case: called with how many cases are checked, of how many, and the last one.
    """
    counts = Counter(phase for case in cohort.cases for phase in case.images)
    report = CheckReport(cohort.name, len(cohort.cases), {p: counts[p] for p in cohort.phases})
    seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
    grids: list[Grid] = []
    kinds = modalities_of(cohort)  # intensities that preparation has scaled do not show the modality
    for number, case in enumerate(cohort.cases, start=1):
        grids += _check_case(cohort, case, report, seen, kinds)
        if on_case is not None:
            on_case(number, len(cohort.cases), case.id)
    report.findings += [*_copies(seen), *_phases(cohort), *_splits(cohort)]
    if recipe is not None:
        report.findings += check_use(cohort, Use.of(recipe), report)
        spacing = recipe.preprocessing.spacing if spacing is None else spacing
    if spacing is not None and grids and all(grid.ndim == 3 for grid in grids):
        report.estimate = _estimate(grids, spacing)
    return report


def _check_case(
    cohort: Cohort, case: Case, report: CheckReport, seen: dict[str, list[tuple[str, str]]], kinds: Mapping[str, str]
) -> list[Grid]:
    def add(level: Level, what: str) -> None:
        report.findings.append(Finding(level, case.id, what))

    reference_phase: Grid | None = None
    grids: list[Grid] = []
    names: dict[str, tuple[str, ...]] = {}
    seem: dict[str, tuple[str, str | None]] = {}  # what a scan and its paired ground truth look like
    usual = report.scans[0].shape if report.scans else ()
    for phase in sorted(case.images, key=lambda p: p != cohort.reference_phase):
        try:
            volume = cohort.scan(case, phase)
        except JssrError as error:
            add("error", str(error))
            continue
        if usual and len(usual) != volume.grid.ndim:
            add("error", f"{volume.name}: is {volume.grid.ndim}D, scans before it are {len(usual)}D")
            continue
        usual = volume.grid.shape
        reference_phase = volume.grid if phase == cohort.reference_phase else reference_phase
        grids.append(volume.grid)
        digest = hashlib.sha256(np.ascontiguousarray(volume.array).tobytes()).hexdigest()
        seen[f"{volume.grid.shape}{digest}"].append((case.id, phase))
        labels = _check_labels(cohort, case, phase, volume, report)
        volume, doubts = (
            (volume, ()) if phase in kinds else decide_modality(volume, cohort=cohort.modalities.get(phase))
        )
        for doubt in doubts:
            add("warning", doubt)
        modality = kinds.get(phase) or modality_of(volume)
        facts = _facts(case, phase, volume, reference_phase, labels, modality)
        report.scans.append(facts)
        for level, what in _oddities(facts, volume, reference_phase):
            add(level, what)
        names[phase] = _check_landmarks(cohort, case, phase, volume, report)
        seem[phase] = modality, _check_paired(cohort, case, phase, volume.grid, report)
        _check_truth(cohort, case, phase, reference_phase, report)
    named = {frozenset(n) for n in names.values() if n}
    if len(named) > 1:
        add("warning", "its phases have landmarks of different names; only common ones can be compared")
    if not kinds and len({own for own, _ in seem.values()}) > 1:
        for phase, (own, like) in seem.items():
            if own == like:
                add("warning", f"the paired ground truth of {phase} looks like {own.upper()}, as {phase} itself does")
    return grids


def _facts(
    case: Case, phase: str, volume: Volume, reference_phase: Grid | None, labels: tuple[int, ...], modality: str
) -> ScanFacts:
    known = volume.data[volume.data > NO_DATA] if bool((volume.data > NO_DATA).any()) else volume.data
    return ScanFacts(
        case.id,
        phase,
        volume.grid.shape,
        tuple(round(float(s), 4) for s in volume.grid.spacing),
        _axes(volume.grid),
        modality,
        float(known.min()),
        float(known.max()),
        _overlap(reference_phase, volume.grid) if reference_phase is not None else 1.0,
        labels,
    )


def _overlap(fixed: Grid, moving: Grid) -> float:
    """`overlap` in physical space; radiographs are put on one another wherever their headers have them."""
    return overlap(fixed, moving) if fixed.ndim == 3 else 1.0


def _oddities(facts: ScanFacts, volume: Volume, reference_phase: Grid | None) -> Iterator[tuple[Level, str]]:
    """What is unusual about a scan itself."""
    name = volume.name
    if reference_phase is not None and facts.overlap == 0 and _overlap(volume.grid, reference_phase) == 0:
        yield "error", f"{name}: its field of view does not overlap the reference phase's in physical space"
    elif facts.overlap < _LITTLE_OVERLAP:
        yield "warning", f"{name}: covers only {100 * facts.overlap:.0f} % of the reference phase's field of view"
    if reference_phase is not None and facts.axes != _axes(reference_phase):
        yield (
            "warning",
            f"{name}: its axes point to {facts.axes}, the reference phase's to {_axes(reference_phase)}; jssr prepare "
            "turns it",
        )
    if min(facts.shape) < _FEW_VOXELS:
        yield "warning", f"{name}: has only {min(facts.shape)} voxels along one axis"
    if max(facts.spacing) > 10:
        yield "warning", f"{name}: its voxels are {max(facts.spacing):g} mm apart along one axis"
    same = float((volume.data == volume.data.flatten()[0]).float().mean())
    if same > 0.95:
        yield "warning", f"{name}: {100 * same:.0f} % of its voxels have one value"


def _check_labels(cohort: Cohort, case: Case, phase: str, image: Volume, report: CheckReport) -> tuple[int, ...]:
    """The label values of a phase, background left out."""
    if phase not in case.labels:
        return ()
    try:
        labels = read_image(cohort.path(case.labels[phase]), "labels")
        check_labels(labels, image)
    except JssrError as error:
        report.findings.append(Finding("error", case.id, str(error)))
        return ()
    values = tuple(int(v) for v in torch.unique(labels.data).tolist() if v != 0)
    unknown = cohort.unnamed(values)
    if unknown:
        what = f"{labels.name}: holds the labels {unknown}, which label_names does not name; they count as background"
        report.findings.append(Finding("warning", case.id, what))
    if not values:
        report.findings.append(Finding("warning", case.id, f"{labels.name}: is background only"))
    return values


def _check_landmarks(cohort: Cohort, case: Case, phase: str, image: Volume, report: CheckReport) -> tuple[str, ...]:
    if phase not in case.landmarks:
        return ()
    path = cohort.path(case.landmarks[phase])
    try:
        points = read_points(path, image.grid.ndim)
    except JssrError as error:
        report.findings.append(Finding("error", case.id, str(error)))
        return ()
    outside = int((~image.grid.contains(points.xyz)).sum()) if len(points) else 0
    if outside:
        what = f"{path}: {outside} of {len(points)} points lie outside the image; are they LPS millimetres?"
        report.findings.append(Finding("error" if outside == len(points) else "warning", case.id, what))
    return points.names


def _check_paired(cohort: Cohort, case: Case, phase: str, grid: Grid, report: CheckReport) -> str | None:
    """What the paired ground truth of a scan looks like, "ct" or "mr"; None where there is none to look at."""
    if phase not in case.paired:
        return None
    file = cohort.path(case.paired[phase])
    try:
        like = read_image(file)
        check_paired(file, like.grid, phase, grid)
    except JssrError as error:
        report.findings.append(Finding("error", case.id, str(error)))
        return None
    return modality_of(like)


def _check_truth(cohort: Cohort, case: Case, phase: str, reference_phase: Grid | None, report: CheckReport) -> None:
    if phase not in case.truth:
        return
    path = cohort.path(case.truth[phase])
    try:
        truth = read_transform(path)
    except JssrError as error:
        report.findings.append(Finding("error", case.id, str(error)))
        return
    if (
        isinstance(truth, Displacement)
        and reference_phase is not None
        and not truth.grid.same_as(reference_phase, tolerance=0.05)
    ):
        what = f"{path}: lies on another grid than the reference image; truth leads from that one's grid to the scan"
        report.findings.append(Finding("warning", case.id, what))


def _copies(seen: dict[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    """Scans with the same voxels: within a case there is nothing to align, between cases someone copied a file."""
    for places in seen.values():
        for case in sorted({c for c, _ in places}):
            phases = [p for c, p in places if c == case]
            if len(phases) > 1:
                yield Finding("error", case, f"{' and '.join(phases)} are the same image: there is nothing to align")
        cases = sorted({c for c, _ in places})
        if len(cases) > 1:
            yield Finding("warning", cases[0], f"shares an identical image with {', '.join(cases[1:])}")


def _phases(cohort: Cohort) -> Iterator[Finding]:
    """Phases that only some cases have, and names that are probably one."""
    spelled: dict[str, list[str]] = defaultdict(list)
    for phase in cohort.phases:
        spelled[phase.strip().lower().replace("-", "_")].append(phase)
        lacking = [c.id for c in cohort.cases if phase not in c.images]
        if lacking:
            few = ", ".join(lacking[:3]) + (" ..." if len(lacking) > 3 else "")
            yield Finding("warning", "all", f"phase {phase} is missing in {len(lacking)} cases ({few})")
    for names in spelled.values():
        if len(names) > 1:
            yield Finding(
                "warning", "all", f"phases {' and '.join(names)} are probably one; rename them in cohort.json"
            )


def _splits(cohort: Cohort) -> Iterator[Finding]:
    if any(c.split for c in cohort.cases):
        if not cohort.split("train"):
            yield Finding("warning", "all", "no case is in the split train")
        without = [c.id for c in cohort.cases if not c.split]
        if without:
            yield Finding("warning", "all", f"{len(without)} cases have no split and are not used ({without[0]} ...)")


def _axes(grid: Grid) -> str:
    """Where the axes point, roughly: one of R/L, A/P, F/H each (to the patient's right, front, feet ...); nowhere in
    the patient, of a flat image."""
    if grid.ndim == 2:
        return ""
    letters = ("RL", "AP", "FH")
    out = ""
    for column in grid.direction.T:
        axis = int(np.argmax(np.abs(column)))
        out += letters[axis][int(column[axis] > 0)]
    return out


def _estimate(grids: list[Grid], spacing: Sequence[float] | float) -> Estimate:
    voxels = [grid.respaced(spacing).voxels for grid in grids]
    steps = tuple(float(s) for s in np.broadcast_to(np.asarray(spacing, dtype=float), (grids[0].ndim,)))
    # int16 image and uint8 classes for each voxel; 5 s a scan and core, two cores.
    return Estimate(steps, max(voxels), sum(voxels) * 3 / 2**30, len(grids) * 5 / 2 / 60)
