"""What the formats of transforms share: matrices as text, vectors in NIfTI files, RAS and LPS."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.transform import Displacement
from jssr.errors import ImageError, TransformError
from jssr.io.files import atomic_path
from jssr.io.header import check_file, nifti_header
from jssr.io.images import read_grid

if TYPE_CHECKING:
    from jssr.core.nifti_header import NiftiHeader

Matrix = NDArray[np.float64]
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS to RAS, and back."""
FLIP = np.array([-1.0, -1.0, 1.0])
"""The same of vectors."""
UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
"""NIfTI's units of length other than millimetres, and how many millimetres each is."""
SAMPLES = 24
"""Voxels along each axis, at most, that tell positions from shifts."""
LIKELY = 0.4
"""The largest stretch, as a logarithm, that a map of one patient is believed."""


@dataclass(frozen=True)
class Images:
    """The grids of the two images, as far as they are known, and what they were given as: DICOM has a frame of
    reference."""

    fixed: Grid | None = None
    moving: Grid | None = None
    given: tuple[object, object] = (None, None)

    def both(self, what: str) -> tuple[Grid, Grid]:
        """Fixed and moving."""
        if self.fixed is None or self.moving is None:
            raise TransformError(f"{what} depends on both images: name them with --fixed and --moving")
        return self.fixed, self.moving

    def swapped(self) -> Images:
        """Those of the inverse."""
        return Images(self.moving, self.fixed, self.given[::-1])


def is_number(word: str) -> bool:
    """Whether a word of a text file is one."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_numbers(path: Path) -> Matrix:
    """The numbers of a text file, one row a line; what follows a # is left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no numbers, which the caller refuses
            return np.loadtxt(path, ndmin=2, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise TransformError(f"{path}: holds no matrix of numbers ({error})") from error


def read_matrix(path: Path) -> Matrix:
    """4 x 4 text."""
    return checked_matrix(read_numbers(path), path)


def checked_matrix(matrix: Matrix, path: Path) -> Matrix:
    """A matrix that is an affine map of 3D; any other is refused."""
    if matrix.shape != (4, 4):
        raise TransformError(f"{path}: holds no invertible 4 x 4 matrix, its numbers are {matrix.shape}")
    if not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 1e-12:
        raise TransformError(f"{path}: holds no invertible 4 x 4 matrix, it is singular or not finite")
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise TransformError(f"{path}: expected 0 0 0 1 as the last row of its matrix, got {matrix[3].tolist()}")
    return matrix


def write_matrix(matrix: Matrix, path: Path) -> None:
    """Write text atomically, one row a line, as FSL, NiftyReg and greedy read it."""
    with atomic_path(path) as temporary:
        np.savetxt(temporary, matrix, fmt="%.10g", delimiter="  ")


def is_nifti(path: Path) -> bool:
    """Whether a file's name is a NIfTI's."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def header_of(path: Path) -> NiftiHeader:
    """The header of a NIfTI file."""
    try:
        return nifti_header(path)
    except ImageError as error:
        raise TransformError(str(error)) from error


def vector_shape(header: NiftiHeader) -> tuple[int, ...] | None:
    """The spatial shape of a NIfTI field of three components, in its fourth or fifth axis; None of any other image."""
    size = [int(s) for s in header["dim"][1 : 1 + int(header["dim"][0])]]
    trailing = [s for s in size[3:] if s > 1]
    return tuple(size[:3]) if len(size) in (4, 5) and trailing == [3] else None


def millimetres_of(path: Path, header: NiftiHeader) -> float:
    """How many millimetres the header's unit of length is. The standard names it for the grid alone."""
    name, factor = UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    if name:
        tell(f"{path}: its vectors are taken as {name}, the unit of its grid.")
    return factor


def beyond_itk(path: Path) -> bool:
    """Whether a NIfTI field holds whole numbers, or numbers that are multiplied or shifted.

    Of vectors ITK 5.4 scales a third, or fails.
    """
    header = header_of(path)
    if int(header["datatype"]) not in (16, 64):  # float32, float64
        return True
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    return math.isfinite(slope) and (slope, shift) not in ((0, 0), (1, 0))


def nifti_vectors(path: Path) -> Matrix:
    """The vectors of a NIfTI field as they are stored, (*shape, 3), in millimetres.

    Raises:
        TransformError: unreadable, truncated, NaN, or no field of three components in 3D.
    """
    import nibabel as nib
    from nibabel.imageglobals import logger

    header = header_of(path)
    shape = vector_shape(header)
    if shape is None:
        size = tuple(int(s) for s in header["dim"][1 : 1 + int(header["dim"][0])])
        raise TransformError(f"{path}: holds {size}, expected a field of 3 components in 3D, (x, y, z, 1, 3)")
    try:
        check_file(path)
        with _unsaid(logger):  # what nibabel mends in a header, whose place is ours to read
            array = np.asarray(nib.load(path).dataobj, dtype=np.float64)  # type: ignore[attr-defined]
    except ImageError as error:
        raise TransformError(str(error)) from error
    except Exception as error:
        raise TransformError(f"{path}: is not a readable image, or is truncated ({error})") from error
    return array.reshape(*shape, 3) * millimetres_of(path, header)


@contextmanager
def _unsaid(logger: logging.Logger) -> Iterator[None]:
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def field_grid(path: Path) -> Grid:
    """The grid of a NIfTI field, from its header."""
    try:
        return read_grid(path)
    except ImageError as error:
        raise TransformError(str(error)) from error


def from_ras(path: Path, absolute: bool) -> Displacement:
    """A NIfTI field of RAS millimetres on its own grid: positions, or shifts."""
    grid = field_grid(path)
    vectors = nifti_vectors(path) * FLIP
    return Displacement.from_millimetres(vectors - grid.world(indices(grid)) if absolute else vectors, grid)


def stretch(here: Matrix, there: Matrix) -> float:
    """How far a map is from a rigid one: the largest logarithm of a stretch of the matrix nearest to it.

    Args:
        here, there: the grid's points and where they land, (*shape, n).
    """
    every = tuple(slice(None, None, max(1, s // SAMPLES)) for s in here.shape[:-1])
    source, target = (v[every].reshape(-1, v.shape[-1]) for v in (here, there))
    matrix = np.linalg.lstsq(source - source.mean(axis=0), target - target.mean(axis=0), rcond=None)[0]
    return float(np.abs(np.log(np.maximum(np.linalg.svd(matrix, compute_uv=False), 1e-9))).max())


def holds_positions(here: Matrix, vectors: Matrix) -> bool | None:
    """Whether vectors are positions or shifts, by which makes a map that stretches little; None where both or none do.

    A program's header seldom tells. Shifts taken for positions shrink all to a point, positions taken for shifts double
    all lengths.
    """
    as_positions, as_shifts = stretch(here, vectors), stretch(here, here + vectors)
    best, other = sorted((as_positions, as_shifts))
    return None if best > LIKELY or best > 0.6 * other else as_positions < as_shifts


def indices(grid: Grid) -> NDArray[np.int64]:
    """The index of each voxel, (*shape, ndim)."""
    return np.moveaxis(np.indices(grid.shape), 0, -1)
