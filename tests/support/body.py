"""A body given by formula, so that a scan of it on any grid, after any motion, is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Points, Volume, volume_of
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.io.points import write_points
from jssr.io.transforms import write_displacement

LIVER, SPLEEN = 1, 2


def organs(p: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Labels at world points (..., 3): liver on the patient's right (-x), spleen on the left."""

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.bool_]:
        return np.asarray((((p - np.array(centre)) / np.array(radii)) ** 2).sum(-1) < 1)

    out = np.zeros(p.shape[:-1], np.uint8)
    out[ball((-50, -10, 30), (60, 55, 50))] = LIVER
    out[ball((75, 30, 40), (30, 28, 40))] = SPLEEN
    return out


def hounsfield(p: NDArray[np.float64], enhanced: bool) -> NDArray[np.float32]:
    x, y, z = np.moveaxis(p, -1, 0)
    hu = np.full(x.shape, -1000.0, np.float32)
    hu[(x / 150) ** 2 + (y / 100) ** 2 < 1] = -100
    hu[(x / 132) ** 2 + (y / 84) ** 2 < 1] = 40
    spine = np.hypot(x, y - 60) < 20
    hu[spine] = np.where(np.sin(z[spine] / 6) > 0, 300, 60)
    hu[((x - 30) / 35) ** 2 + ((y + 45) / 22) ** 2 + ((z + 20) / 30) ** 2 < 1] = -700
    labels = organs(p)
    hu[labels == LIVER] = 110 if enhanced else 60
    hu[labels == SPLEEN] = 160 if enhanced else 45
    return hu


def points_of(grid: Grid) -> NDArray[np.float64]:
    return grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1))


def scan(grid: Grid, motion: Affine | None = None, enhanced: bool = True, seed: int = 0) -> Volume:
    """A scan of the body after `motion` (reference phase space to this scan's space): value(q) = body(motion^-1 q)."""
    p = points_of(grid)
    p = p if motion is None else motion.inverse()(p)
    noise = np.random.default_rng(seed).normal(0, 12, grid.shape).astype(np.float32)
    return volume_of(hounsfield(p, enhanced) + noise, grid, name=f"scan {seed}")


def labels_of(grid: Grid, motion: Affine | None = None) -> Volume:
    p = points_of(grid)
    return volume_of(organs(p if motion is None else motion.inverse()(p)), grid, "labels")


def turned(degrees: float, shift: tuple[float, float, float], axis: int = 2) -> Affine:
    """A rotation about a world axis through the origin, then a shift (mm)."""
    a, b = [i for i in range(3) if i != axis]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    matrix[:3, 3] = shift
    return Affine(matrix)


def middle_grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    """A grid centred on the world's origin."""
    return Grid.of(shape, spacing, tuple(-(np.array(shape) - 1) / 2 * np.array(spacing)))


MOTION = turned(6.0, (9.0, -7.0, 12.0))
ANCHOR_GRID = middle_grid((64, 48, 40), (5.0, 5.0, 5.0))
OTHER_GRID = middle_grid((60, 46, 30), (5.5, 5.0, 6.0))
LANDMARKS = Points(np.array([[-50.0, -10, 30], [75, 30, 40], [0, 60, 0]]), ("liver", "spleen", "spine"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # small arrays: a second thread only waits


@pytest.fixture(scope="session")
def study() -> tuple[Volume, Volume]:
    """Fixed and moving scan of one body, the moving one turned and shifted by MOTION, on another grid."""
    return scan(ANCHOR_GRID), scan(OTHER_GRID, MOTION, enhanced=False, seed=1)


def write_case(folder: Path, name: str, split: str = "train", motion: Affine = MOTION, seed: int = 0) -> Case:
    """Write a two-phase case with labels, landmarks and truth."""
    fixed, moving = scan(ANCHOR_GRID, seed=seed), scan(OTHER_GRID, motion, False, seed + 1)
    write_image(fixed, folder / f"{name}/venous.nii.gz", "int16")
    write_image(moving, folder / f"{name}/arterial.nii.gz", "int16")
    write_image(labels_of(ANCHOR_GRID), folder / f"{name}/venous_labels.nii.gz")
    write_image(labels_of(OTHER_GRID, motion), folder / f"{name}/arterial_labels.nii.gz")
    write_points(LANDMARKS, folder / f"{name}/venous.csv")
    write_points(Points(motion(LANDMARKS.xyz), LANDMARKS.names), folder / f"{name}/arterial.csv")
    write_displacement(motion.displacement(ANCHOR_GRID), folder / f"{name}/truth.nii.gz")
    phases = ("venous", "arterial")
    return Case(
        id=name,
        split=split,  # type: ignore[arg-type]
        images={p: f"{name}/{p}.nii.gz" for p in phases},
        labels={p: f"{name}/{p}_labels.nii.gz" for p in phases},
        landmarks={p: f"{name}/{p}.csv" for p in phases},
        truth={"arterial": f"{name}/truth.nii.gz"},
    )


def write_cohort(folder: Path, cases: list[Case]) -> Cohort:
    cohort = Cohort(
        name="toy", reference_phase="venous", cases=cases, label_names={LIVER: "liver", SPLEEN: "spleen"},
        regions={"organs": ["liver", "spleen"]}, root=folder,
    )  # fmt: skip
    cohort.save()
    return cohort


@pytest.fixture(scope="session")
def raw_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two cases as a scanner would leave them. Read only."""
    folder = tmp_path_factory.mktemp("raw")
    return write_cohort(folder, [write_case(folder, "a"), write_case(folder, "b", "test", turned(-4, (0, 6, -9)), 5)])


@pytest.fixture
def make_case() -> Callable[..., Case]:
    return write_case


@pytest.fixture
def make_cohort() -> Callable[[Path, list[Case]], Cohort]:
    return write_cohort
