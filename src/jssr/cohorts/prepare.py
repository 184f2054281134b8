"""Preparing a cohort for training: every case on one grid of its own, as int16, with everything that is known moved
along. Cases are done one by one in worker processes; what is finished is not done again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from jssr.core.grid import Grid, dims_in_words
from jssr.core.processes import in_processes
from jssr.core.transform import Affine, Chain, resample
from jssr.core.volume import Points, Volume
from jssr.errors import CohortError, ImageError, JssrError
from jssr.io.atomic import atomic_path, make_folder
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.io.points import read_points, write_points
from jssr.io.transforms import read_transform, write_displacement
from jssr.preprocessing.intensity import NO_DATA, Window, normalise
from jssr.preprocessing.placement import Ready, put, ready, working_grid
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import RigidResult, rigid_align
from jssr.preprocessing.start2d import flat_grid, flat_start, seen_spacing

__all__ = ["MR_SCALE", "PREPARED", "Settings", "prepare_cohort"]

log = logging.getLogger(__name__)

PREPARED = "prepared.json"
COUNTERPARTS = "counterparts.json"
"""In a case's folder: what was made of the pair (`jssr.cohorts.paired`)."""
VERSION = 1
MR_SCALE = 1000
"""Scans without a unit are stored as their normalised value -1..1 times this."""
_BEYOND = 200.0
"""HU kept on both sides of the window, so that a recipe may widen it and augmentation has room."""


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of preparing a case."""

    spacing: tuple[float, float, float]
    window: Window | None
    rigid: bool
    flat: int = 256
    dims: tuple[int, ...] = (2, 3)

    def fingerprint(self, cohort: Cohort, case: Case) -> str:
        """Changes when the settings, the case's entry or one of its files change."""
        told: list[Any] = [
            VERSION,
            self.spacing,
            self.window,
            self.rigid,
            cohort.reference_phase,
            case.model_dump(mode="json"),
        ]
        told += [self.flat] if self.flat != Settings.flat else []  # what was prepared before there were pictures stays
        told += cohort.files_of(case)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def prepare_cohort(
    cohort: Cohort,
    out: str | os.PathLike[str],
    spacing: Sequence[float] | float,
    window: Window | None = (-200.0, 200.0),
    rigid: bool = True,
    workers: int = 2,
    progress: bool = True,
    keep_going: bool = False,
    flat: int = 256,
    dims: tuple[int, ...] = (2, 3),
) -> Cohort:
    """Write a prepared copy of a cohort.

    Each case gets one grid: the reference phase's axes, `spacing` mm, cropped to the bodies and the common field of
        view. Every
    scan is read onto it through its rigid motion, as int16: CT in HU, clipped 200 HU beyond the window; other scans as
    1000 times their normalised value; -32768 where a scan has no data. Labels, landmarks and truth are moved along:
    what remains between the prepared scans is what a network has to find. `prepared.json` keeps the rigid matrices.

    Args:
        cohort: a labelled cohort of one phase will do as well.
        out: the new cohort's folder; cases finished there with the same settings and files are kept.
        spacing: mm, one number or one for each of the reference phase's axes.
        window: HU that the networks will see; None for cohorts without CT.
        rigid: align each scan to the reference phase first.
        workers: processes. With 1 everything is done in this one.
        progress: show a bar.
        keep_going: leave out cases that fail instead of failing at the end.
        flat: pixels along each side of the grid of radiographs, for which spacing and rigid do not matter; they start
            as `jssr.preprocessing.start2d` has it.
        dims: axes that scans may have.

    Returns:
        the new cohort.

    Raises:
        CohortError: cases that failed (after all others were done), with the first reason.
        OutputError: `out` cannot be written.
    """
    out = make_folder(out)
    if out.resolve() == cohort.root.resolve():
        raise CohortError(f"{out}: is the cohort itself; choose another output folder")
    steps = (spacing,) * 3 if isinstance(spacing, (int, float)) else tuple(spacing)
    settings = Settings(tuple(float(s) for s in steps), window, rigid, flat, dims)  # type: ignore[arg-type]
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for case, record, problem in _run(cohort, out, settings, workers, progress):
        if record is None:
            failed[case.id] = problem
            log.warning("%s was left out: %s", case.id, problem)
        else:
            done[case.id] = record
    if failed and not (keep_going and done):
        name, problem = next(iter(failed.items()))
        raise CohortError(f"{len(failed)} of {len(cohort.cases)} cases could not be prepared; {name}: {problem}")
    return _finish(cohort, out, settings, done, failed)


def _finish(
    cohort: Cohort, out: Path, settings: Settings, done: dict[str, dict[str, Any]], failed: dict[str, str]
) -> Cohort:
    kept = [c for c in cohort.cases if c.id in done]
    cases = [Case.model_validate(_with_counterparts(done[c.id], out)["case"]) for c in kept]
    told = {
        "version": VERSION,
        "spacing": settings.spacing,
        "window": settings.window,
        "rigid": settings.rigid,
        "flat": settings.flat,
        "no_data": NO_DATA,
        "source": cohort.name,
        "cases": {c.id: {k: v for k, v in done[c.id].items() if k not in ("case", "fingerprint")} for c in kept},
        "left_out": failed,
    }
    with atomic_path(out / PREPARED) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    prepared = cohort.model_copy(update={"cases": cases, "root": out})
    prepared.save()
    return prepared


def _with_counterparts(record: dict[str, Any], out: Path) -> dict[str, Any]:
    """A case's record with the counterparts that were made of it earlier, if any."""
    case = record["case"]
    with suppress(OSError, ValueError, KeyError):
        paired = json.loads((out / case["id"] / COUNTERPARTS).read_text(encoding="utf-8"))["paired"]
        first, second = paired
        told = record["phases"]
        case["paired"], record["paired"] = paired, {first: told[second], second: told[first]}
    return record


def _run(
    cohort: Cohort, out: Path, settings: Settings, workers: int, progress: bool
) -> Iterator[tuple[Case, dict[str, Any] | None, str]]:
    """Do all cases, in whatever order they finish: the case, its record or None, and what went wrong."""
    bar = Progress(
        TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        disable=not progress, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("preparing", total=len(cohort.cases))
        job = partial(_attempt, cohort, out, settings)
        for case, outcome in in_processes(job, cohort.cases, workers):
            yield (case, *outcome)
            bar.advance(task)


def _attempt(cohort: Cohort, out: Path, settings: Settings, case: Case) -> tuple[dict[str, Any] | None, str]:
    """Prepare a case unless it is there already; user's errors come back as words."""
    marker = out / case.id / "case.json"
    fingerprint = settings.fingerprint(cohort, case)
    with suppress(OSError, ValueError):
        old = json.loads(marker.read_text(encoding="utf-8"))
        written = [*old["case"]["images"].values(), *old["case"].get("paired", {}).values()]
        if old["fingerprint"] == fingerprint and all((out / p).is_file() for p in written):
            return old, ""
    try:
        marker.unlink(missing_ok=True)
        (out / case.id / COUNTERPARTS).unlink(missing_ok=True)  # they were made of what is now made anew
        record = {**_prepare_case(cohort, case, out, settings), "fingerprint": fingerprint}
        with atomic_path(marker) as temporary:  # last: a case with a marker is whole
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return record, ""
    except JssrError as error:
        return None, str(error)


def _prepare_case(cohort: Cohort, case: Case, out: Path, settings: Settings) -> dict[str, Any]:
    begin = time.perf_counter()
    phases = [cohort.reference_phase, *(p for p in case.images if p != cohort.reference_phase)]
    scans: dict[str, Ready] = {}
    rigid: dict[str, RigidResult] = {}
    labels: dict[str, Volume] = {}
    reference_phase = read_image(cohort.image(case, cohort.reference_phase))
    n = reference_phase.grid.ndim
    if n not in settings.dims:
        told = dims_in_words(settings.dims)
        raise ImageError(f"{reference_phase.name}: is {n}D; this recipe is for {told} images (--recipe names another)")
    square = flat_grid(reference_phase.grid, settings.flat) if n == 2 else None
    for phase in phases:
        volume = reference_phase if phase == cohort.reference_phase else read_image(cohort.image(case, phase), ndim=n)
        if phase in case.labels:
            labels[phase] = check_labels(read_image(cohort.path(case.labels[phase]), "labels"), volume)
        if settings.rigid and phase != cohort.reference_phase and square is None:
            rigid[phase] = rigid_align(reference_phase, volume)
        transform = rigid[phase].transform if phase in rigid else Affine.identity(n)
        if square is not None and phase != cohort.reference_phase:
            transform = flat_start(reference_phase.grid, volume.grid)
        spacing = settings.spacing if square is None else seen_spacing(square, transform)
        try:
            scans[phase] = ready(volume, spacing, settings.window, transform)
        except ValueError as error:
            raise ImageError(f"{volume.name}: {error}") from error
    first = scans[cohort.reference_phase]
    others = [scans[p] for p in phases[1:]]
    grid, warnings = working_grid(first, others, settings.spacing) if square is None else (square, [])
    entry: dict[str, Any] = {"images": {}, "labels": {}, "landmarks": {}, "truth": {}, "paired": {}}
    for phase in phases:
        _write_phase(cohort, case, phase, scans[phase], labels.get(phase), grid, out, entry)
    paired = {p: _write_paired(cohort, case, p, scans[p], grid, out, entry, settings) for p in case.paired}
    return {
        "case": {**case.model_dump(mode="json"), **entry},
        "shape": grid.shape,
        "seconds": round(time.perf_counter() - begin, 2),
        "warnings": warnings,
        "phases": {phase: _told(scans[phase], rigid.get(phase)) for phase in phases},
        "paired": {phase: _told(scan, None) for phase, scan in paired.items()},
    }


def _told(scan: Ready, rigid: RigidResult | None) -> dict[str, Any]:
    """What prepared.json keeps of a scan: matrix of reference-space to scan-space points, LPS mm."""
    told: dict[str, Any] = {
        "matrix": scan.transform.matrix.tolist(),
        "modality": scan.modality,
        "limits": scan.limits,
        "scale": None if scan.modality == "ct" else MR_SCALE,
    }
    if rigid:
        told |= {
            "information": {"before": rigid.before, "after": rigid.metric},
            "accepted": rigid.accepted,
            "warnings": rigid.warnings,
        }
    return told


def _write_phase(
    cohort: Cohort,
    case: Case,
    phase: str,
    scan: Ready,
    known: Volume | None,
    grid: Grid,
    out: Path,
    entry: dict[str, Any],
) -> None:
    """Write one scan and what belongs to it, and enter the paths."""
    stem = f"{case.id}/{phase}"
    image, mask = put(scan, grid)
    write_image(Volume(_stored(image, mask, scan)[0], grid), out / f"{stem}.nii.gz", "int16")
    entry["images"][phase] = f"{stem}.nii.gz"
    if known is not None:
        labels = resample(known, grid, scan.transform)
        kept = labels.data * mask[0].to(labels.data.dtype)
        write_image(labels.with_data(kept), out / f"{stem}_labels.nii.gz")
        entry["labels"][phase] = f"{stem}_labels.nii.gz"
    back = scan.transform.inverse()
    if phase in case.landmarks:
        points = read_points(cohort.path(case.landmarks[phase]), grid.ndim)
        write_points(Points(back(points.xyz), points.names), out / f"{stem}_landmarks.csv")
        entry["landmarks"][phase] = f"{stem}_landmarks.csv"
    if phase in case.truth:
        # The truth leads into the scan's own space; the rigid motion is undone after it.
        truth = read_transform(cohort.path(case.truth[phase]))
        write_displacement(Chain(truth, back).displacement(grid), out / f"{stem}_displacement.nii.gz")
        entry["truth"][phase] = f"{stem}_displacement.nii.gz"


def _write_paired(
    cohort: Cohort,
    case: Case,
    phase: str,
    beside: Ready,
    grid: Grid,
    out: Path,
    entry: dict[str, Any],
    settings: Settings,
) -> Ready:
    """Write a scan's counterpart of the other modality as the scan itself was: its motion is the scan's."""
    volume = read_image(cohort.path(case.paired[phase]))
    if not volume.grid.same_as(read_image(cohort.image(case, phase)).grid, tolerance=0.05):
        raise ImageError(f"{volume.name}: lies on another grid than the {phase} scan whose counterpart it is")
    try:
        scan = ready(volume, settings.spacing, settings.window, beside.transform)
    except ValueError as error:
        raise ImageError(f"{volume.name}: {error}") from error
    image, mask = put(scan, grid)
    write_image(Volume(_stored(image, mask, scan)[0], grid), out / f"{case.id}/{phase}_paired.nii.gz", "int16")
    entry["paired"][phase] = f"{case.id}/{phase}_paired.nii.gz"
    return scan


def _stored(image: Tensor, mask: Tensor, scan: Ready) -> Tensor:
    """Whole numbers for the file, `NO_DATA` where there is none."""
    if scan.modality != "ct":
        values = normalise(image, scan.limits) * MR_SCALE
    else:
        values = image.clamp(scan.limits[0] - _BEYOND, scan.limits[1] + _BEYOND)
    return torch.where(mask > 0, values.round(), float(NO_DATA))
