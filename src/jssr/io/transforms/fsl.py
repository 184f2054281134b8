"""FSL. FLIRT's matrix maps the moving to the fixed image, FNIRT's field the other way round.

Both count in FSL's millimetres: from the corner of an image, x from the other end where voxels run to the right.
FNIRT's field (`--fout`, `convertwarp`) holds shifts or, with `--absout`, positions, and no header tells which. Its
coefficients (`--cout`) are cubic B-splines with a matrix of FLIRT before them. Source: fslpy, `fsl.transform.fnirt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jssr.core.grid import Grid
from jssr.core.nifti_header import sform_of
from jssr.core.transform import Affine, Displacement
from jssr.errors import TransformError
from jssr.io.transforms.base import (
    Images,
    Matrix,
    checked_matrix,
    header_of,
    holds_positions,
    indices,
    is_nifti,
    nifti_vectors,
    read_matrix,
    vector_shape,
    write_matrix,
)

if TYPE_CHECKING:
    from jssr.core.nifti_header import NiftiHeader

FIELD, CUBIC, DCT, QUADRATIC = 2006, 2007, 2008, 2009
INTENTS = (FIELD, CUBIC, DCT, QUADRATIC)
"""NIfTI intents that only FNIRT writes."""


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
    """FNIRT's coefficients, or its field, of which the content tells whether it holds shifts or positions."""
    fixed, _ = images.both("FNIRT's field")
    intent = _intent(path)
    if intent in (DCT, QUADRATIC):
        kind = "discrete cosine" if intent == DCT else "quadratic spline"
        raise TransformError(f"{path}: is FNIRT's {kind} coefficients: make a field with fnirtfileutils --withaff")
    if intent == CUBIC:
        return _read_coefficients(path, images)
    vectors = _field(path, fixed)
    here = Affine(_millimetres(fixed))(indices(fixed))
    positions = holds_positions(here, vectors)
    if positions is None:
        raise TransformError(
            f"{path}: its vectors may be shifts or positions, name --from fnirt-relative or fnirt-absolute"
        )
    return _displacement(vectors - here if positions else vectors, images)


def read_fnirt_relative(path: Path, images: Images) -> Displacement:
    """FNIRT's field of shifts (`--fout`, `convertwarp --relout`) on the fixed image's grid."""
    fixed, _ = images.both("FNIRT's field")
    return _displacement(_field(path, fixed), images)


def read_fnirt_absolute(path: Path, images: Images) -> Displacement:
    """FNIRT's field of positions (`convertwarp --absout`) on the fixed image's grid."""
    fixed, _ = images.both("FNIRT's field")
    return _displacement(_field(path, fixed) - Affine(_millimetres(fixed))(indices(fixed)), images)


def _intent(path: Path) -> int:
    if not is_nifti(path):
        raise TransformError(f"{path}: expected FNIRT's NIfTI file, .nii.gz")
    return int(header_of(path)["intent_code"])


def _field(path: Path, fixed: Grid) -> Matrix:
    """FSL's vectors on the fixed grid, as they are stored."""
    if _intent(path) in (CUBIC, DCT, QUADRATIC):
        raise TransformError(f"{path}: is FNIRT's coefficients and no field: name --from fnirt")
    header = header_of(path)
    shape, spacing = vector_shape(header), np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    if shape is not None and shape != fixed.shape:
        raise TransformError(f"{path}: holds {(*shape, 3)}, expected a field on the fixed grid, {(*fixed.shape, 3)}")
    vectors = nifti_vectors(path)
    if not np.allclose(spacing / spacing.mean(), fixed.spacing / fixed.spacing.mean(), rtol=1e-2):
        shown = " x ".join(f"{s:.4g}" for s in spacing)
        raise TransformError(f"{path}: its voxels are {shown} mm, those of the fixed image {fixed}: it is of another")
    return vectors


def _displacement(shifts: Matrix, images: Images, before: Matrix | None = None) -> Displacement:
    """A displacement of shifts in FSL's millimetres on the fixed grid.

    Args:
        before: FLIRT's matrix with which FNIRT began, moving to fixed; its inverse moves a point, and the shift of the
            same point is added to that (FNIRT, `add_affine_part`), in the moving image's millimetres.
    """
    fixed, moving = images.both("FNIRT's field")
    index = indices(fixed)
    start = _millimetres(fixed) if before is None else np.linalg.inv(before) @ _millimetres(fixed)
    there = Affine(start)(index) + shifts
    return Displacement.from_millimetres(Affine(_world(moving))(there) - fixed.world(index), fixed)


def _read_coefficients(path: Path, images: Images) -> Displacement:
    """Cubic B-splines: control points every few voxels of the fixed image, shifts in FSL's millimetres."""
    fixed, _ = images.both("FNIRT's coefficients")
    header = header_of(path)
    coefficients = nifti_vectors(path)
    _check_fixed(path, header, fixed)
    step = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    every = [_weights(n, s, c) for n, s, c in zip(fixed.shape, step, coefficients.shape, strict=False)]
    weights = [w for w in every if w is not None]
    if len(weights) < len(every):
        raise TransformError(
            f"{path}: its {coefficients.shape[:3]} control points do not cover the fixed image {fixed.shape}"
        )
    x, y, z = weights
    shifts = np.einsum("ia,jb,kc,abcd->ijkd", x, y, z, coefficients, optimize=True)
    return _displacement(shifts, images, checked_matrix(sform_of(header), path))


def _check_fixed(path: Path, header: NiftiHeader, fixed: Grid) -> None:
    """Make sure that coefficients are of this fixed image: they name its voxels and their number."""
    spacing = [float(header[f"intent_p{axis}"]) for axis in (1, 2, 3)]
    shape = [int(round(float(header[f"qoffset_{axis}"]))) for axis in "xyz"]
    if shape != list(fixed.shape) or not np.allclose(spacing, fixed.spacing, rtol=1e-2):
        shown = " x ".join(f"{s:.4g}" for s in spacing)
        raise TransformError(f"{path}: is of a fixed image of {tuple(shape)} voxels of {shown} mm, got {fixed}")


def _weights(voxels: int, step: float, control_points: int) -> Matrix | None:
    """What each control point adds to each voxel along one axis, (voxels, control points); None if some are missing."""
    at = np.arange(voxels) / step
    first = np.floor(at + 1e-9).astype(int)
    t = at - first
    out = np.zeros((voxels, control_points + 4))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    if first[-1] + 2 >= control_points:
        return None
    for offset, values in enumerate(basis):
        out[np.arange(voxels), first + offset] += values / 6
    return out[:, :control_points]


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
