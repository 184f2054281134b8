"""What a run on a cohort would take: time, memory and disk, from the headers and from what is finished already."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from jssr.cohorts.batch import Plan
from jssr.cohorts.cluster import Workers
from jssr.cohorts.manifest import Results, read_manifest
from jssr.errors import JssrError
from jssr.io.images import read_grid
from jssr.io.patients import Patient

CPU_SECONDS = (12.0, 0.85)
MIBS = (1250.0, 180.0)
BYTES = (2.0e6, 12.5e6)
"""Of `discrete` with its report, for each scan: a fixed part, and a part for each million voxels of the pair's larger
scan. Seconds of the CPU and memory by `benchmarks/speed.py` (docs/benchmarks.md), less the start of a process; bytes of
a study of 128 x 128 x 75 voxels. Other systems and options differ by a half and more."""


@dataclass(frozen=True)
class Estimate:
    """What a run would do and take.

    Attributes:
        todo, kept, failed, replaced: ids of patients: to be done, done, failed for good, done of something else.
        seconds: on those workers, of the whole run; None where nothing can be said.
        memory_mib: of the largest patient, in one worker.
        disk_bytes: of all that would be written; free_bytes: of the disk.
        measured: whether seconds come from patients of this folder, not from the table of another machine.
    """

    todo: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[str, ...]
    replaced: tuple[str, ...]
    seconds: float | None
    memory_mib: float | None
    disk_bytes: float | None
    free_bytes: int
    measured: bool


def estimated(plan: Plan, results: Results, workers: Workers) -> Estimate:
    """The estimate of a plan. Only headers are read."""
    sizes = {one.id: size for one in plan.todo if (size := _voxels(one))}
    known = [one for one in plan.kept[:50] if _voxels(one)]
    done = [(sum(_voxels(one)), read_manifest(results.folder(one))) for one in known]
    rates = [found["seconds"] / size for size, found in done if found.get("seconds")]
    written = [_written(results.folder(one), found) / size for one, (size, found) in zip(known, done, strict=True)]
    seconds = disk = None
    if sizes:
        voxels = [size for some in sizes.values() for size in some]
        share, hands = len(plan.todo) / len(sizes), max(1, min(workers.count, len(plan.todo)))
        if rates:
            seconds = median(rates) * sum(voxels) * share / hands
        else:
            seconds = sum(_linear(CPU_SECONDS, size) for size in voxels) * share / (hands * workers.threads_each)
        disk = (median(written) * sum(voxels) if written else sum(_linear(BYTES, size) for size in voxels)) * share
    most = max((size for some in sizes.values() for size in some), default=None)
    todo, kept, failed, replaced = (
        tuple(one.id for one in some) for some in (plan.todo, plan.kept, plan.failed, plan.replaced)
    )
    above = next(p for p in (results.out, *results.out.absolute().parents) if p.exists())
    memory = None if most is None else _linear(MIBS, most)
    return Estimate(todo, kept, failed, replaced, seconds, memory, disk, shutil.disk_usage(above).free, bool(rates))


def _linear(parts: tuple[float, float], voxels: int) -> float:
    return parts[0] + parts[1] * voxels / 1e6


def _voxels(patient: Patient) -> list[int]:
    """Voxels of each scan that is aligned; nothing of one whose scans are found later."""
    sizes = []
    for path in patient.images.values():
        with suppress(JssrError, OSError):
            sizes.append(int(np.prod(read_grid(Path(path)).shape)))
    return [max(size, sizes[0]) for size in sizes[1:]] or sizes


def _written(folder: Path, manifest: Mapping[str, Sequence[str]]) -> float:
    """Bytes of a finished patient's files."""
    return float(sum((folder / name).stat().st_size for name in manifest.get("files", ())))
