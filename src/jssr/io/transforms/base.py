"""What the formats of transforms share: matrices as text, vectors in NIfTI files, RAS and LPS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.errors import TransformError
from jssr.io.files import atomic_path
from jssr.io.header import check_file

Matrix = NDArray[np.float64]
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS to RAS, and back."""


@dataclass(frozen=True)
class Images:
    """The grids of the two images, as far as they are known."""

    fixed: Grid | None = None
    moving: Grid | None = None

    def both(self, what: str) -> tuple[Grid, Grid]:
        """Fixed and moving."""
        if self.fixed is None or self.moving is None:
            raise TransformError(f"{what} depends on both images: name them with --fixed and --moving")
        return self.fixed, self.moving

    def swapped(self) -> Images:
        """Those of the inverse."""
        return Images(self.moving, self.fixed)


def read_matrix(path: Path) -> Matrix:
    """4 x 4 text."""
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise TransformError(f"{path}: holds no 4 x 4 matrix of numbers ({error})") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 1e-12:
        raise TransformError(f"{path}: holds no invertible 4 x 4 matrix")
    return np.asarray(matrix, dtype=np.float64)


def write_matrix(matrix: Matrix, path: Path) -> None:
    """Write 4 x 4 text atomically, as FSL and NiftyReg read it."""
    with atomic_path(path) as temporary:
        np.savetxt(temporary, matrix, fmt="%.10g", delimiter="  ")


def vectors_of(path: Path, grid: Grid) -> Matrix:
    """(*grid.shape, 3) of a NIfTI whose last axis longer than one is the vectors."""
    import nibabel as nib

    try:
        check_file(path)
        array = np.asarray(nib.load(path).dataobj, dtype=np.float64)  # type: ignore[attr-defined]
    except Exception as error:
        raise TransformError(f"{path}: is not a readable image, or is truncated ({error})") from error
    array = array.reshape([s for axis, s in enumerate(array.shape) if axis < 3 or s > 1])
    if array.shape != (*grid.shape, 3):
        raise TransformError(f"{path}: holds {array.shape}, expected a field on the fixed grid, {(*grid.shape, 3)}")
    return array


def indices(grid: Grid) -> NDArray[np.int64]:
    """The index of each voxel, (*shape, ndim)."""
    return np.moveaxis(np.indices(grid.shape), 0, -1)
