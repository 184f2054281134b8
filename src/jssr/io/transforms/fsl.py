"""FSL. FLIRT's matrix maps the moving to the fixed image, FNIRT's field the other way round.

Both count in FSL's millimetres: from the corner of an image, x from the other end where voxels run to the right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.io.transforms.base import Images, Matrix, indices, read_matrix, vectors_of, write_matrix


def read_flirt(path: Path, images: Images) -> Affine:
    """FLIRT's matrix (`-omat`) between two images."""
    fixed, moving = images.both("FLIRT's matrix")
    return Affine(_world(moving) @ np.linalg.inv(read_matrix(path)) @ np.linalg.inv(_world(fixed)))


def flirt_of(affine: Affine, fixed: Grid, moving: Grid) -> Matrix:
    """FLIRT's matrix of an affine transform between two images: what `flirt -applyxfm -init` takes."""
    matrix = np.linalg.inv(_world(moving)) @ affine.matrix @ _world(fixed)
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def write_flirt(affine: Affine, path: Path, images: Images) -> None:
    """Write FLIRT's matrix."""
    write_matrix(flirt_of(affine, *images.both("FLIRT's matrix")), path)


def read_fnirt(path: Path, images: Images) -> Displacement:
    """FNIRT's field of relative shifts (`--fout`) on the fixed image's grid."""
    fixed, moving = images.both("FNIRT's field")
    shifts = vectors_of(path, fixed)
    index = indices(fixed)
    there = Affine(_millimetres(fixed))(index) + shifts
    return Displacement.from_millimetres(Affine(_world(moving))(there) - fixed.world(index), fixed)


def _millimetres(grid: Grid) -> Matrix:
    """Voxels to FSL's millimetres."""
    out = np.diag([*grid.spacing, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:  # right-handed in RAS
        out[0, 0] *= -1
        out[0, 3] = (grid.shape[0] - 1) * grid.spacing[0]
    return out


def _world(grid: Grid) -> Matrix:
    """FSL's millimetres to LPS."""
    return np.asarray(grid.affine @ np.linalg.inv(_millimetres(grid)), dtype=np.float64)
