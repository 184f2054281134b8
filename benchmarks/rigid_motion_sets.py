"""Scans under known rigid motions, for `benchmarks/rigid_motions.py`: which scans, which motions, and their pairs.

A pair is a fixed scan and a moved one. The moved one shows the body of the fixed scan, in the same or in another
contrast, after a rigid motion of the patient that the fixed scan's header knows nothing of. It is read by linear
interpolation on a grid of its own, with noise of its own, in one of two ways, by turns:

- upright: the patient has moved under a scanner that has not. What the scan does not show is without data.
- turned: the grid moves with the patient, as after an exported header with another position; voxels are 1.15 times as
  long, and up to 4 degrees and half a voxel off those of the scan.

Scipy alone reads the scans, so that two checkouts of the package get the same voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.io.images import read_image
from jssr.phantom.study import make_study
from jssr.preprocessing.modality import decide_modality

Array = NDArray[np.float64]

CLASSES = {
    "small": (5.0, 10.0),
    "medium": (15.0, 30.0),
    "large": (30.0, 60.0),
    "cropped": (15.0, 30.0),
    "far": (180.0, 120.0),
}
"""Class to the most degrees and mm; half of each is the least, of "small" and "cropped" nothing is. No patient moves as
in "far": a header with another orientation looks like that, and its grids are turned ones."""
CROP = (0.5, 0.75)
"""Share of the field of view along the patient that a cropped scan keeps."""
FARTHEST = 1 / 3
"""Of the shortest side of the scan's field of view: no shift is longer."""
NOISE_HU, NOISE, BIAS = 20.0, 0.03, 0.25
"""Standard deviation in CT; elsewhere a share of the 99th percentile, and a ramp of brightness, so much either way."""
COARSER, JITTER = 1.15, 4.0
POINTS = 600
PHANTOM_SHAPE, PHANTOM_MM = (144, 112, 72), 3.0

Pair = tuple[Volume, Volume]


def _same(place: str, data: Path) -> Pair:
    scan = decide_modality(read_image(data / place))[0]
    return scan, scan


def _two(places: tuple[str, str], data: Path) -> Pair:
    fixed, scan = (decide_modality(read_image(data / place))[0] for place in places)
    return fixed, scan


def _phantom(seed: int, data: Path) -> Pair:
    """CT, and T1 MR of the same state on the same grid."""
    study = make_study(seed, 0, phases=("venous", "t1"), shape=PHANTOM_SHAPE, reference_mm=PHANTOM_MM, paired=True)
    fixed, scan = (decide_modality(v)[0] for v in (study.images["venous"], study.paired["venous"]))
    return fixed, scan


@dataclass(frozen=True)
class Subject:
    """A body: how its two scans, which lie on each other, are read, and whether constants may be chosen on it."""

    name: str
    shows: str
    read: Callable[[Path], Pair]
    tuning: bool


SUBJECTS = (
    Subject("HCC_007", "CT of the abdomen", partial(_same, "hcc_tace_ct/HCC_007_1997-12-27/venous.nii.gz"), True),
    Subject("pair18a", "MR of the liver", partial(_same, "eth_liver_mr/pair18a/fixed.nii.gz"), True),
    Subject("STS_018", "T1 MR of a limb", partial(_same, "sts_ctmr/STS_018/mr_t1.nii.gz"), True),
    Subject("phantom 71", "CT and T1 MR", partial(_phantom, 71), True),
    Subject("HCC_015", "CT of the abdomen", partial(_same, "hcc_tace_ct/HCC_015_1998-11-01/venous.nii.gz"), False),
    Subject("pair23a", "MR of the liver", partial(_same, "eth_liver_mr/pair23a/fixed.nii.gz"), False),
    Subject("STS_026", "T1 MR of a limb", partial(_same, "sts_ctmr/STS_026/mr_t1.nii.gz"), False),
    Subject("totalseg", "CT of the trunk, 3 mm", partial(_same, "totalseg/ct.nii.gz"), False),
    Subject(
        "templates", "T1 and T2 MR of the head",
        partial(_two, ("mni_templates/avg152T1.nii.gz", "mni_templates/avg152T2.nii.gz")), False,
    ),
    Subject("phantom 72", "CT and T1 MR", partial(_phantom, 72), False),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A pair whose motion is known: `points` (N, 3) of the fixed body and where they lie in the moving scan, LPS mm."""

    subject: str
    kind: str
    seed: int
    fixed: Volume
    moving: Volume
    points: Array
    goals: Array


def cases(
    data: Path, seeds: Sequence[int], subjects: Sequence[Subject] = SUBJECTS, kinds: Sequence[str] = tuple(CLASSES)
) -> Iterator[Case]:
    """Every subject in every class of motion, once for each seed."""
    for number, subject in enumerate(SUBJECTS):
        if subject not in subjects:
            continue
        fixed, scan = subject.read(data)
        points = body_points(fixed)
        for kind_number, kind in enumerate(CLASSES):
            for seed in seeds if kind in kinds else ():
                rng = np.random.default_rng((seed, number, kind_number))
                motion = draw(kind, scan.grid, rng)
                turned = kind == "far" or (seed + kind_number) % 2 == 1
                moving = moved(scan, motion, turned, kind == "cropped", rng)
                goals = points @ motion[:3, :3].T + motion[:3, 3]
                yield Case(subject.name, kind, seed, fixed, moving, points, goals)


def body_points(scan: Volume) -> Array:
    """Voxels of the body, evenly spaced among all of them: (`POINTS`, 3), LPS mm."""
    data = np.asarray(scan.array)
    above = -300.0 if scan.modality == "ct" else 0.15 * float(np.percentile(data, 99))
    index = np.argwhere(data > above)
    return scan.grid.world(index[np.linspace(0, len(index) - 1, POINTS).astype(int)])


def draw(kind: str, grid: Grid, rng: np.random.Generator) -> Array:
    """A rigid motion of a class about the middle of a grid: (4, 4), LPS mm."""
    degrees, mm = CLASSES[kind]
    least = 0.0 if kind in ("small", "cropped") else 0.5
    mm = min(mm, FARTHEST * float((grid.spacing * grid.shape).min()))
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    turn, shift = rng.uniform(least, 1, 2) * (np.radians(degrees), mm)
    return _about(grid.centre, Rotation.from_rotvec(axis * turn).as_matrix(), way * shift)


def _about(middle: Array, turn: Array, shift: Array) -> Array:
    out = np.eye(4)
    out[:3, :3] = turn
    out[:3, 3] = middle - turn @ middle + shift
    return out


def moved(scan: Volume, motion: Array, turned: bool, cropped: bool, rng: np.random.Generator) -> Volume:
    """A scan after a motion, on a grid of its own, with noise of its own."""
    grid = scan.grid
    if turned:
        spacing = grid.spacing * COARSER
        shape = np.maximum(1, np.floor(np.array(grid.shape) / COARSER)).astype(int).tolist()
        jitter = Rotation.from_rotvec(np.radians(JITTER) * rng.uniform(-1, 1, 3) / 3**0.5).as_matrix()
        direction = motion[:3, :3] @ jitter @ grid.direction
    else:
        spacing, shape, direction = grid.spacing, list(grid.shape), grid.direction
    centre = motion[:3, :3] @ grid.centre + motion[:3, 3] + direction @ (rng.uniform(-0.5, 0.5, 3) * spacing)
    origin = centre - direction @ ((np.array(shape) - 1) / 2 * spacing)
    own = Grid.of(shape, spacing.tolist(), origin.tolist(), direction)
    if cropped:
        along = int(np.argmax(np.abs(grid.direction[2])))
        kept = max(2, int(round(shape[along] * rng.uniform(*CROP))))
        first = int(rng.integers(0, shape[along] - kept + 1))
        own = own.cropped([first if a == along else 0 for a in range(3)],
                          [kept if a == along else s for a, s in enumerate(shape)])  # fmt: skip
    return _read(scan, own, np.linalg.inv(motion), rng)


def _read(scan: Volume, grid: Grid, back: Array, rng: np.random.Generator) -> Volume:
    """A scan on `grid` where the matrix `back` leads, with noise; CT without data is -2000, MR 0."""
    to = np.linalg.inv(scan.grid.affine) @ back @ grid.affine
    data = np.asarray(scan.array, dtype=np.float32)
    ct = scan.modality == "ct"
    values = ndimage.affine_transform(
        data, to[:3, :3], to[:3, 3], grid.shape, np.float32, order=1, mode="constant", cval=np.nan
    )
    top = float(np.percentile(data, 99))
    noise = rng.normal(0.0, NOISE_HU if ct else NOISE * top, values.shape).astype(np.float32)
    if not ct:
        ends = 1 + BIAS * rng.uniform(-1, 1, (3, 2))
        for axis, (a, b) in enumerate(ends):
            ramp = np.linspace(a, b, values.shape[axis], dtype=np.float32)
            values = values * ramp.reshape([-1 if k == axis else 1 for k in range(3)])
    values = values + noise if ct else np.abs(values + noise)
    values = np.nan_to_num(values, nan=-2000.0 if ct else 0.0)
    return Volume(torch.from_numpy(values)[None], grid, name="moving", modality=scan.modality)
