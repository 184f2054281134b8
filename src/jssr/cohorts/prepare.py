"""Preparing a cohort for training: every case on one grid of its own, as int16, with everything that is known moved
along. Cases are done one by one in worker processes; what is finished is not done again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jssr.cohorts.prepared import PREPARED, check_paired
from jssr.cohorts.store import Store
from jssr.core.grid import Grid, dims_in_words
from jssr.core.notes import tell
from jssr.core.processes import in_processes
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Chain
from jssr.core.volume import Points, Volume
from jssr.errors import CohortError, ImageError, JssrError
from jssr.io.cohort import Case, Cohort
from jssr.io.files import atomic_path, make_folder
from jssr.io.images import read_image, write_image
from jssr.io.points import read_points, write_points
from jssr.io.transforms import read_transform, write_displacement
from jssr.preprocessing.intensity import NO_DATA, Window, normalise
from jssr.preprocessing.placement import Ready, put, ready, working_grid
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import RigidResult, rigid_align
from jssr.preprocessing.start2d import grid_2d, seen_spacing, start_2d

CASE, PAIRED = "{}/case.json", "{}/paired.json"
"""In a case's folder: what was prepared, and what paired ground truth was made of it (`jssr.cohorts.paired`)."""
VERSION = 1
MR_SCALE = 1000
"""Scans without a unit are stored as their normalised value -1..1 times this."""
_BEYOND = 200.0
"""HU kept on both sides of the window, so that a recipe may widen it and augmentation has room."""


@dataclass(frozen=True)
class PrepareOptions:
    """How a cohort is prepared.

    Attributes:
        spacing: mm, one number or one for each of the reference phase's axes.
        window: HU that the networks will see; None for cohorts without CT.
        rigid: align each scan to the reference phase first.
        pixels: along each side of the grid of radiographs, for which spacing and rigid do not matter; they start as
            `jssr.preprocessing.start2d` has it.
        dims: axes that scans may have.
        workers: processes. With 1 everything is done in this one.
        keep_going: leave out cases that fail instead of failing at the end.
    """

    spacing: Sequence[float] | float = 3.0
    window: Window | None = (-200.0, 200.0)
    rigid: bool = True
    pixels: int = 256
    dims: tuple[int, ...] = (2, 3)
    workers: int = 2
    keep_going: bool = False

    @property
    def steps(self) -> tuple[float, ...]:
        """mm along each axis."""
        return (float(self.spacing),) * 3 if isinstance(self.spacing, (int, float)) else tuple(map(float, self.spacing))

    def key(self, cohort: Cohort, case: Case) -> dict[str, Any]:
        """What the outcome of preparing a case depends on."""
        return {
            "version": VERSION,
            "spacing": self.steps,
            "window": self.window,
            "rigid": self.rigid,
            "pixels": self.pixels,
            "reference_phase": cohort.reference_phase,
            "modalities": {phase: cohort.modalities[phase] for phase in case.images if phase in cohort.modalities},
            "case": case.model_dump(mode="json"),
            "files": cohort.files_of(case),
        }


def prepare(
    cohort: Cohort,
    out: str | os.PathLike[str],
    options: PrepareOptions | None = None,
    on_case: Callable[[int, int, str], None] | None = None,
) -> Cohort:
    """Write a prepared copy of a cohort into a folder, and return it.

    Each case gets one grid: the reference phase's axes, `spacing` mm, cropped to the bodies and the common field of
    view. Every scan is read onto it through its rigid motion, as int16: CT in HU, clipped 200 HU beyond the window;
    other scans as 1000 times their normalised value; -32768 where a scan has no data. Labels, landmarks and truth are
    moved along: what remains between the prepared scans is what a network has to find. `prepared.json` keeps the rigid
    matrices. Cases finished there with the same options and files are kept.

    Raises:
        CohortError: cases that failed (after all others were done), with the first reason.
        OutputError: `out` cannot be written.
    """
    options, out = options or PrepareOptions(), make_folder(out)
    if out.resolve() == cohort.root.resolve():
        raise CohortError(f"{out}: is the cohort itself; choose another output folder")
    failed: dict[str, str] = {}
    job = partial(_prepared, cohort, out, options)
    for number, (case, problem) in enumerate(in_processes(job, cohort.cases, options.workers), start=1):
        if problem:
            failed[case.id] = problem
            tell(f"{case.id} was left out: {problem}")
        if on_case is not None:
            on_case(number, len(cohort.cases), case.id)
    kept = [case.id for case in cohort.cases if case.id not in failed]
    if failed and not (options.keep_going and kept):
        name, problem = next(iter(failed.items()))
        raise CohortError(f"{len(failed)} of {len(cohort.cases)} cases could not be prepared; {name}: {problem}")
    return _finish(cohort, out, options, kept, failed)


def _finish(cohort: Cohort, out: Path, options: PrepareOptions, kept: Sequence[str], failed: dict[str, str]) -> Cohort:
    records = {id: _with_paired(Store(out, CASE).result(id), out) for id in kept}
    described = {
        "version": VERSION,
        "spacing": options.steps,
        "window": options.window,
        "rigid": options.rigid,
        "flat": options.pixels,
        "no_data": NO_DATA,
        "source": cohort.name,
        "cases": {id: {k: v for k, v in record.items() if k != "case"} for id, record in records.items()},
        "left_out": failed,
    }
    with atomic_path(out / PREPARED) as temporary:
        temporary.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    cases = [Case.model_validate(record["case"]) for record in records.values()]
    prepared = cohort.model_copy(update={"cases": cases, "root": out})
    prepared.save()
    return prepared


def _with_paired(record: dict[str, Any], out: Path) -> dict[str, Any]:
    """A case's record with the paired ground truth that was made of it earlier, if any."""
    case = record["case"]
    made = Store(out, PAIRED).result(case["id"])
    if made and made["paired"]:
        first, second = made["paired"]
        phases = record["phases"]
        case["paired"], record["paired"] = made["paired"], {first: phases[second], second: phases[first]}
    return record


def _prepared(cohort: Cohort, out: Path, options: PrepareOptions, case: Case) -> str:
    """Prepare a case unless it is there already. What is wrong with its files is returned in words."""
    store, key = Store(out, CASE), options.key(cohort, case)
    if store.find(case.id, key) is not None:
        return ""
    store.forget(case.id)
    Store(out, PAIRED).forget(case.id)  # it was made of what is now made anew
    try:
        record = _prepare_case(cohort, case, out, options)
    except JssrError as error:
        return str(error)
    store.keep(case.id, key, record, files=[*record["case"]["images"].values(), *record["case"]["paired"].values()])
    return ""


def _prepare_case(cohort: Cohort, case: Case, out: Path, options: PrepareOptions) -> dict[str, Any]:
    begin = time.perf_counter()
    fixed = cohort.scan(case, cohort.reference_phase)
    n = fixed.grid.ndim
    if n not in options.dims:
        takes = dims_in_words(options.dims)
        raise ImageError(f"{fixed.name}: is {n}D; this recipe is for {takes} images (--recipe names another)")
    square = grid_2d(fixed.grid, options.pixels) if n == 2 else None
    scans: dict[str, Ready] = {}
    rigid: dict[str, RigidResult] = {}
    labels: dict[str, Volume] = {}
    for phase in sorted(case.images, key=lambda p: p != cohort.reference_phase):
        moved = phase != cohort.reference_phase
        volume = cohort.scan(case, phase, n) if moved else fixed
        if phase in case.labels:
            labels[phase] = check_labels(read_image(cohort.path(case.labels[phase]), "labels"), volume)
        transform = Affine.identity(n)
        if moved and square is not None:
            transform = start_2d(fixed.grid, volume.grid)
        elif moved and options.rigid:
            rigid[phase] = rigid_align(fixed, volume)
            transform = rigid[phase].transform
        spacing = options.steps if square is None else seen_spacing(square, transform)
        scans[phase] = _ready(volume, spacing, options, transform)
    first, *others = scans.values()
    grid, warnings = working_grid(first, others, options.steps) if square is None else (square, [])
    writer = _Writer(cohort, case, grid, out)
    for phase, scan in scans.items():
        writer.write(phase, scan, labels.get(phase))
    paired = {phase: writer.write_paired(phase, scans[phase], options) for phase in case.paired}
    return {
        "case": {**case.model_dump(mode="json"), **writer.entry},
        "shape": grid.shape,
        "seconds": round(time.perf_counter() - begin, 2),
        "warnings": warnings,
        "phases": {phase: _described(scan, rigid.get(phase)) for phase, scan in scans.items()},
        "paired": {phase: _described(scan, None) for phase, scan in paired.items()},
    }


def _ready(volume: Volume, spacing: Sequence[float] | float, options: PrepareOptions, transform: Affine) -> Ready:
    try:
        return ready(volume, spacing, options.window, transform)
    except ValueError as error:
        raise ImageError(f"{volume.name}: {error}") from error


def _described(scan: Ready, rigid: RigidResult | None) -> dict[str, Any]:
    """What prepared.json keeps of a scan: matrix of reference-space to scan-space points, LPS mm."""
    described: dict[str, Any] = {
        "matrix": scan.transform.matrix.tolist(),
        "modality": scan.modality,
        "limits": scan.limits,
        "scale": None if scan.modality == "ct" else MR_SCALE,
    }
    if rigid:
        information = {"before": rigid.before, "after": rigid.metric}
        described |= {"information": information, "accepted": rigid.accepted, "warnings": rigid.warnings}
    return described


class _Writer:
    """Writes what is prepared of a case; `entry` holds the paths by kind and phase, as a cohort has them."""

    def __init__(self, cohort: Cohort, case: Case, grid: Grid, out: Path) -> None:
        self.cohort, self.case, self.grid, self.out = cohort, case, grid, out
        kinds = ("images", "labels", "landmarks", "truth", "paired")
        self.entry: dict[str, dict[str, str]] = {kind: {} for kind in kinds}

    def _path(self, kind: str, phase: str, ending: str) -> Path:
        self.entry[kind][phase] = f"{self.case.id}/{phase}{ending}"
        return self.out / self.entry[kind][phase]

    def write(self, phase: str, scan: Ready, known: Volume | None) -> None:
        """One scan and what belongs to it."""
        cohort, case, grid = self.cohort, self.case, self.grid
        mask = self._write_scan(scan, self._path("images", phase, ".nii.gz"))
        if known is not None:
            labels = resample(known, grid, scan.transform)
            kept = labels.data * mask[0].to(labels.data.dtype)
            write_image(labels.with_data(kept), self._path("labels", phase, "_labels.nii.gz"))
        back = scan.transform.inverse()
        if phase in case.landmarks:
            points = read_points(cohort.path(case.landmarks[phase]), grid.ndim)
            moved = Points(back(points.xyz), points.names)
            write_points(moved, self._path("landmarks", phase, "_landmarks.csv"))
        if phase in case.truth:
            # The truth leads into the scan's own space; the rigid motion is undone after it.
            truth = Chain(read_transform(cohort.path(case.truth[phase])), back).displacement(grid)
            write_displacement(truth, self._path("truth", phase, "_displacement.nii.gz"))

    def write_paired(self, phase: str, beside: Ready, options: PrepareOptions) -> Ready:
        """Paired ground truth of a scan, as the scan itself was prepared: its motion is the scan's."""
        file = self.cohort.path(self.case.paired[phase])
        volume = read_image(file)
        check_paired(file, volume.grid, phase, read_image(self.cohort.image(self.case, phase)).grid)
        scan = _ready(volume, options.steps, options, beside.transform)
        self._write_scan(scan, self._path("paired", phase, "_paired.nii.gz"))
        return scan

    def _write_scan(self, scan: Ready, file: Path) -> Tensor:
        """A scan on the grid as whole numbers, `NO_DATA` where there is none; returns where there is some."""
        image, mask = put(scan, self.grid)
        if scan.modality != "ct":
            values = normalise(image, scan.limits) * MR_SCALE
        else:
            values = image.clamp(scan.limits[0] - _BEYOND, scan.limits[1] + _BEYOND)
        stored = torch.where(mask > 0, values.round(), float(NO_DATA))
        write_image(Volume(stored[0], self.grid), file, "int16")
        return mask
