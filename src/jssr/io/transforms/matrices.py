"""Matrices in text of greedy, ITK-SNAP and c3d (RAS), and of AFNI (LPS): fixed to moving."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.errors import TransformError
from jssr.io.files import atomic_path
from jssr.io.transforms.base import RAS, Images, checked_matrix, read_matrix, read_numbers, write_matrix

AFNI_HEAD = "# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):"
OBLIQUE_DEGREES = 0.01


def read_greedy(path: Path, images: Images) -> Affine:
    """A matrix of greedy (`-a -o`), ITK-SNAP or `c3d_affine_tool`: fixed to moving, RAS millimetres."""
    return Affine(RAS @ read_matrix(path) @ RAS)


def write_greedy(affine: Affine, path: Path, images: Images) -> None:
    """Write a matrix for greedy, ITK-SNAP and `c3d_affine_tool`."""
    write_matrix(RAS @ affine.matrix @ RAS, path)


def read_afni(path: Path, images: Images) -> Affine:
    """A matrix of AFNI (`3dAllineate -1Dmatrix_save`, `.aff12.1D`): twelve numbers, base to source, LPS millimetres.

    Source: AFNI, help of 3dAllineate. It counts in the image's axes without their tilt: no oblique image will do.
    """
    _check_upright(path, images)
    numbers = read_numbers(path)
    rows = numbers.reshape(-1, 12) if numbers.shape[1] in (12, 4) and numbers.size % 12 == 0 else numbers[:0]
    if len(rows) != 1:
        count = f"{len(rows)} matrices" if len(rows) else f"{numbers.size} numbers"
        raise TransformError(f"{path}: expected one matrix of AFNI, 12 numbers, got {count}")
    return Affine(checked_matrix(np.vstack([rows[0].reshape(3, 4), [0, 0, 0, 1]]), path))


def write_afni(affine: Affine, path: Path, images: Images) -> None:
    """Write AFNI's matrix, as `3dAllineate -1Dmatrix_apply` takes it."""
    _check_upright(path, images)
    with atomic_path(path) as temporary:
        numbers = " ".join(f"{v:.10g}" for v in affine.matrix[:3].ravel())
        temporary.write_text(f"{AFNI_HEAD}\n{numbers}\n", encoding="utf-8")


def _check_upright(path: Path, images: Images) -> None:
    for name, grid in zip(("fixed", "moving"), images.both("AFNI's matrix"), strict=True):
        if _tilt(grid) > OBLIQUE_DEGREES:
            raise TransformError(
                f"{path}: AFNI's matrix leaves the tilt of an oblique image out, and the {name} image is tilted by "
                f"{_tilt(grid):.1f} degrees: make it upright with 3dWarp -deoblique first"
            )


def _tilt(grid: Grid) -> float:
    """The largest angle between an axis of the grid and the nearest one of the world, in degrees."""
    return float(np.degrees(np.arccos(np.clip(np.abs(grid.direction).max(axis=0), 0, 1))).max())
