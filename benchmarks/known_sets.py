"""Sets of real scans whose motion is known, because it was made: legs in CT and MR, an abdominal CT, head templates."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from known_motion import Motion, lattice, moved_scan, residual
from real_case import TEST, VALIDATION, case, save

from jssr.api.phantoms import make_phantom
from jssr.core.resampling import resample
from jssr.core.volume import Volume
from jssr.io.cohort import Case, Cohort, Split
from jssr.io.images import read_image, write_image
from jssr.io.points import write_points

MISALIGNED = "STS_019"
"""Misaligned by 15 mm in the source."""
PATIENTS, MOST_RESIDUAL_MM = 10, 3.2
LEGS = Motion(bend_mm=5.0, grain_mm=30.0, shift_mm=6.0, degrees=4.0)
ABDOMEN: tuple[tuple[str, Split, Motion], ...] = (
    ("rms5_a", VALIDATION, Motion(5.0, 30.0)),
    ("rms9_a", VALIDATION, Motion(9.0, 40.0)),
    ("rms5_b", TEST, Motion(5.0, 40.0)),
    ("rms9_b", TEST, Motion(9.0, 35.0)),
)
HEAD: tuple[tuple[str, Split, Motion], ...] = (
    ("map_a", VALIDATION, Motion(4.0, 30.0, 8.0, 6.0)),
    ("map_b", TEST, Motion(5.0, 25.0, 8.0, 6.0)),
)
NOISE_HU, MARGIN = 8.0, 4
BODY_HU = -300.0
SOFT_HU = (-200.0, 300.0)


def sts_ctmr(data: Path, out: Path) -> None:
    """CT (fixed) and T1 MR of soft-tissue sarcomas, the MR moved by a known map; every other patient is judged.

    CT and MR share a frame, with a residual that is estimated here: patients above `MOST_RESIDUAL_MM` are left out.
    """
    source, cases = data / "sts_ctmr", []
    for number, patient in enumerate(sorted(p for p in source.iterdir() if p.is_dir() and p.name != MISALIGNED)):
        ct, mr = (read_image(patient / f"{part}.nii.gz") for part in ("ct", "mr_t1"))
        apart = residual(ct, mr, SOFT_HU)
        used = apart <= MOST_RESIDUAL_MM and len(cases) < PATIENTS
        print(f"{patient.name}: residual {apart:.1f} mm{'' if used else ', not used'}", flush=True)
        if not used:
            continue
        rng = np.random.default_rng((0, number))
        above = (-200.0, float(np.percentile(mr.array, 40)))
        away = LEGS.draw(mr, above[1], rng)
        folder = out / patient.name
        folder.mkdir(parents=True)
        write_image(ct, folder / "ct.nii.gz")
        write_image(resample(mr, mr.grid, away), folder / "mr.nii.gz")
        for phase in ("ct", "mr"):
            labels = read_image(patient / f"{phase}_gtv.nii.gz", "labels")
            moved = labels if phase == "ct" else resample(labels, labels.grid, away)
            write_image(moved, folder / f"{phase}_labels.nii.gz")
        _write_lattice(folder, ("ct", "mr"), lattice(ct, mr, mr.grid, away, above))
        split = VALIDATION if len(cases) % 2 == 0 else TEST
        cases.append(case(patient.name, split, ("ct", "mr"), labels=True, landmarks=True))
    save(out, cases, "ct", {1: "tumour"}, {"ct": "ct", "mr": "mr"})


def totalseg_map(data: Path, out: Path) -> None:
    """An abdominal CT under known smooth maps, with noise of its own: one patient, other maps in each split."""
    ct = read_image(data / "totalseg" / "ct.nii.gz")
    save(out, [_mapped(out, ct, ct, *one, noise=NOISE_HU, above=BODY_HU) for one in ABDOMEN], "fixed",
         modalities={"fixed": "ct", "moving": "ct"})  # fmt: skip


def templates(data: Path, out: Path) -> None:
    """The average T1 (fixed) and T2 of the head, which share a grid; the T2 is moved by known maps."""
    t1, t2 = (read_image(data / "mni_templates" / f"avg152{part}.nii.gz") for part in ("T1", "T2"))
    body = 0.15 * float(np.percentile(t1.array, 99))
    noise = 0.005 * float(np.percentile(t2.array, 99))
    save(out, [_mapped(out, t1, t2, *one, noise=noise, above=body) for one in HEAD], "fixed",
         modalities={"fixed": "mr", "moving": "mr"})  # fmt: skip


def _mapped(
    out: Path, fixed: Volume, scan: Volume, name: str, split: Split, motion: Motion, *, noise: float, above: float
) -> Case:
    """A case of a fixed scan and of `scan` moved by a map drawn from the case's name."""
    rng = np.random.default_rng(list(name.encode()))
    away = motion.draw(scan, above, rng)
    # The moving scan ends earlier, so that what lies beyond the border is not seen.
    grid = scan.grid.cropped([MARGIN] * 3, [s - 2 * MARGIN for s in scan.grid.shape])
    folder = out / name
    folder.mkdir(parents=True)
    moved = moved_scan(scan, grid, away, noise, rng)
    write_image(fixed, folder / "fixed.nii.gz")
    write_image(moved, folder / "moving.nii.gz", np.float32)
    # Landmarks lie on the body of both: below the threshold is air, in this scan and in that.
    _write_lattice(folder, ("fixed", "moving"), lattice(fixed, scan, grid, away, (above, float(scan.data.min()))))
    return case(name, split, ("fixed", "moving"), landmarks=True)


def _write_lattice(folder: Path, phases: tuple[str, str], points: tuple) -> None:
    for phase, some in zip(phases, points, strict=True):
        write_points(some, folder / f"{phase}_landmarks.csv")


def recoloured(data: Path, out: Path) -> None:
    """Studies of `jssr phantom --from` the real CT: real anatomy, made contrast and motion."""
    files = data / "totalseg" / "ct.nii.gz", data / "totalseg" / "ct_seg117_model.nii.gz"
    made = make_phantom(out, 2, 11, workers=1, ct_and_labels=files)
    cases = [one.model_copy(update={"split": split}) for one, split in zip(made.cases, (VALIDATION, TEST), strict=True)]
    known = Cohort.load(out)
    known.model_copy(update={"cases": cases}).save(out)
    for left in ("preview",):
        shutil.rmtree(out / left, ignore_errors=True)
