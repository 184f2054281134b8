"""`jssr check`: read every file of a cohort once, before hours of training do, and report what is wrong."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from jssr.cohorts.check_report import CheckReport, Estimate, Finding, Level, ScanFacts
from jssr.cohorts.check_use import check_use
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
from jssr.registration.masks import check_mask

T = TypeVar("T")

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
        grids += _CaseCheck(cohort, case, report, kinds).run(seen)
        if on_case is not None:
            on_case(number, len(cohort.cases), case.id)
    report.findings += [*_copies(seen), *_phases(cohort), *_splits(cohort)]
    if recipe is not None:
        report.findings += check_use(cohort, recipe, report)
        spacing = recipe.preprocessing.spacing if spacing is None else spacing
    if spacing is not None and grids and all(grid.ndim == 3 for grid in grids):
        report.estimate = _estimate(grids, spacing)
    return report


class _CaseCheck:
    """The files of one case, read one after the other; `prepared` is modality by phase, of a cohort that was
    prepared."""

    def __init__(self, cohort: Cohort, case: Case, report: CheckReport, prepared: Mapping[str, str]) -> None:
        self.cohort, self.case, self.report, self.prepared = cohort, case, report, prepared
        self.fixed: Grid | None = None
        self.looks: dict[str, tuple[str, str | None]] = {}  # of each scan, and of its paired ground truth

    def add(self, level: Level, what: str) -> None:
        self.report.findings.append(Finding(level, self.case.id, what))

    def tried(self, read: Callable[[], T]) -> T | None:
        """What is read, or None and a finding."""
        try:
            return read()
        except JssrError as error:
            self.add("error", str(error))
            return None

    def run(self, seen: dict[str, list[tuple[str, str]]]) -> list[Grid]:
        """Check every phase, the reference phase first."""
        grids: list[Grid] = []
        names: set[frozenset[str]] = set()
        usual = self.report.scans[0].shape if self.report.scans else ()
        for phase in sorted(self.case.images, key=lambda p: p != self.cohort.reference_phase):
            volume = self.tried(partial(self.cohort.scan, self.case, phase))
            if volume is None:
                continue
            if usual and len(usual) != volume.grid.ndim:
                self.add("error", f"{volume.name}: is {volume.grid.ndim}D, scans before it are {len(usual)}D")
                continue
            usual = volume.grid.shape
            self.fixed = volume.grid if phase == self.cohort.reference_phase else self.fixed
            grids.append(volume.grid)
            digest = hashlib.sha256(np.ascontiguousarray(volume.array).tobytes()).hexdigest()
            seen[f"{volume.grid.shape}{digest}"].append((self.case.id, phase))
            self._scan(phase, volume)
            names |= {frozenset(found) for found in [self._landmarks(phase, volume)] if found}
            self._truth(phase)
        if len(names) > 1:
            self.add("warning", "its phases have landmarks of different names; only common ones can be compared")
        self._compare_looks()
        return grids

    def _scan(self, phase: str, volume: Volume) -> None:
        labels = self._labels(phase, volume)
        self.tried(lambda: self._mask(phase, volume))
        modality = self.prepared.get(phase)
        if modality is None:
            volume, doubts = decide_modality(volume, cohort=self.cohort.modalities.get(phase))
            modality = modality_of(volume)
            for doubt in doubts:
                self.add("warning", doubt)
        data = volume.data[volume.data > NO_DATA]
        known = data if data.numel() else volume.data
        facts = ScanFacts(
            self.case.id, phase, volume.grid.shape, tuple(round(float(s), 4) for s in volume.grid.spacing),
            _axes(volume.grid), modality, float(known.min()), float(known.max()),
            1.0 if self.fixed is None else _overlap(self.fixed, volume.grid), labels,
        )  # fmt: skip
        self.report.scans.append(facts)
        for level, what in _oddities(facts, volume, self.fixed):
            self.add(level, f"{volume.name}: {what}")
        self.looks[phase] = modality, self._paired(phase, volume.grid)

    def _labels(self, phase: str, image: Volume) -> tuple[int, ...]:
        """The label values of a phase, without the background."""
        if phase not in self.case.labels:
            return ()
        file = self.cohort.path(self.case.labels[phase])
        labels = self.tried(lambda: check_labels(read_image(file, "labels"), image))
        if labels is None:
            return ()
        values = tuple(int(v) for v in torch.unique(labels.data).tolist() if v != 0)
        unknown = self.cohort.unnamed(values)
        if unknown:
            what = f"holds the labels {unknown}, which label_names does not name; they count as background"
            self.add("warning", f"{labels.name}: {what}")
        if not values:
            self.add("warning", f"{labels.name}: is background only")
        return values

    def _mask(self, phase: str, image: Volume) -> None:
        """Refuse a mask that `jssr register` would refuse."""
        if phase in self.case.masks:
            mask = check_labels(read_image(self.cohort.path(self.case.masks[phase]), "labels"), image)
            check_mask(mask, image, phase)

    def _landmarks(self, phase: str, image: Volume) -> tuple[str, ...]:
        """The names of a phase's landmarks."""
        if phase not in self.case.landmarks:
            return ()
        path = self.cohort.path(self.case.landmarks[phase])
        points = self.tried(partial(read_points, path, image.grid.ndim))
        if points is None:
            return ()
        outside = int((~image.grid.contains(points.xyz)).sum()) if len(points) else 0
        if outside:
            what = f"{path}: {outside} of {len(points)} points lie outside the image; are they LPS millimetres?"
            self.add("error" if outside == len(points) else "warning", what)
        return points.names

    def _paired(self, phase: str, grid: Grid) -> str | None:
        """What the paired ground truth of a scan looks like; None where there is none to look at."""
        if phase not in self.case.paired:
            return None
        file = self.cohort.path(self.case.paired[phase])

        def read() -> str:
            volume = read_image(file)
            check_paired(file, volume.grid, phase, grid)
            return modality_of(volume)

        return self.tried(read)

    def _truth(self, phase: str) -> None:
        path = self.cohort.path(self.case.truth[phase]) if phase in self.case.truth else None
        truth = self.tried(partial(read_transform, path)) if path else None
        if isinstance(truth, Displacement) and self.fixed and not truth.grid.same_as(self.fixed, tolerance=0.05):
            what = "lies on another grid than the reference image; truth leads from that one's grid to the scan"
            self.add("warning", f"{path}: {what}")

    def _compare_looks(self) -> None:
        several = not self.prepared and len({own for own, _ in self.looks.values()}) > 1
        for phase in [phase for phase, (own, like) in self.looks.items() if several and own == like]:
            looks = f"looks like {self.looks[phase][0].upper()}, as {phase} itself does"
            self.add("warning", f"the paired ground truth of {phase} {looks}")


def _overlap(fixed: Grid, moving: Grid) -> float:
    """`overlap` in physical space; radiographs are put on one another wherever their headers have them."""
    return overlap(fixed, moving) if fixed.ndim == 3 else 1.0


def _oddities(facts: ScanFacts, volume: Volume, fixed: Grid | None) -> Iterator[tuple[Level, str]]:
    """What is unusual about a scan itself."""
    if fixed is not None and facts.overlap == 0 and _overlap(volume.grid, fixed) == 0:
        yield "error", "its field of view does not overlap the reference phase's in physical space"
    elif facts.overlap < _LITTLE_OVERLAP:
        yield "warning", f"covers only {100 * facts.overlap:.0f} % of the reference phase's field of view"
    if fixed is not None and facts.axes != _axes(fixed):
        turned = f"its axes point to {facts.axes}, the reference phase's to {_axes(fixed)}; jssr prepare turns it"
        yield "warning", turned
    if min(facts.shape) < _FEW_VOXELS:
        yield "warning", f"has only {min(facts.shape)} voxels along one axis"
    if max(facts.spacing) > 10:
        yield "warning", f"its voxels are {max(facts.spacing):g} mm apart along one axis"
    same = float((volume.data == volume.data.flatten()[0]).float().mean())
    if same > 0.95:
        yield "warning", f"{100 * same:.0f} % of its voxels have one value"


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
            what = f"phases {' and '.join(names)} are probably one; rename them in cohort.json"
            yield Finding("warning", "all", what)


def _splits(cohort: Cohort) -> Iterator[Finding]:
    splits = {c.split for c in cohort.cases}
    if splits - {""} and "train" not in splits:
        yield Finding("warning", "all", "no case is in the split train")
    without = [c.id for c in cohort.cases if not c.split]
    if splits - {""} and without:
        yield Finding("warning", "all", f"{len(without)} cases have no split and are not used ({without[0]} ...)")


def _axes(grid: Grid) -> str:
    """Where the axes point, roughly: one of R/L, A/P, F/H each; nowhere in the patient, of a flat image."""
    if grid.ndim == 2:
        return ""
    most = [(int(np.argmax(np.abs(column))), column) for column in grid.direction.T]
    return "".join(("RL", "AP", "FH")[axis][int(column[axis] > 0)] for axis, column in most)


def _estimate(grids: list[Grid], spacing: Sequence[float] | float) -> Estimate:
    voxels = [grid.respaced(spacing).voxels for grid in grids]
    steps = tuple(float(s) for s in np.broadcast_to(np.asarray(spacing, dtype=float), (grids[0].ndim,)))
    # int16 image and uint8 classes for each voxel; 5 s a scan and core, two cores.
    return Estimate(steps, max(voxels), sum(voxels) * 3 / 2**30, len(grids) * 5 / 2 / 60)
