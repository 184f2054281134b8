"""Two oblique, anisotropic grids of different shape, an affine map between them, and files of vectors on one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.io.transforms.base import Images, indices

TILT = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])
FIXED = Grid.of((9, 8, 7), (2.0, 2.5, 3.0), (-7, 5, 11), TILT)
MOVING = Grid.of((10, 9, 8), (1.8, 2.6, 2.9), (-9, 3, 9), TILT)
IMAGES = Images(FIXED, MOVING)
FLIP = np.array([-1.0, -1.0, 1.0])
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AT = FIXED.world(indices(FIXED))


def some_affine() -> Affine:
    """A map that turns, scales and shears a little."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.98, 0.1, 0.02], [-0.12, 1.03, 0.05], [0.01, -0.04, 0.97]]
    matrix[:3, 3] = 3, -7, 5
    return Affine(matrix)


def waves(grid: Grid = FIXED) -> NDArray[np.float64]:
    """Smooth shifts, LPS millimetres, (*shape, 3)."""
    at = grid.world(indices(grid))
    return np.stack([np.sin(at[..., 1] / 9), 2 * np.cos(at[..., 2] / 7), np.sin(at[..., 0] / 8)], axis=-1)


def vector_file(path: Path, vectors: NDArray[np.float64], grid: Grid = FIXED, axes: int = 5, **header: object) -> Path:
    """A NIfTI of vectors (*shape, 3) as they are, in its fourth or fifth axis; `header` are its fields."""
    shaped = vectors.astype(np.float32)
    made = nib.Nifti1Image(shaped[:, :, :, None] if axes == 5 else shaped, RAS @ grid.affine)
    made.header.set_xyzt_units("mm")
    for key, value in header.items():
        made.header[key] = value
    nib.save(made, path)
    return path
