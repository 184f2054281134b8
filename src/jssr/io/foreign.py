"""Transforms of other programs, each taken to ours: fixed space to moving space, LPS millimetres.

| program | file | what it says |
| --- | --- | --- |
| ITK, ANTs, Slicer | see `jssr.io.transforms` | the same as ours |
| elastix | `TransformParameters.N.txt` | the same, in parameters; it names the file that it starts from |
| FSL FLIRT | `.mat`, 4 x 4 text | moving to fixed, in FSL's millimetres of the two images |
| FSL FNIRT | `.nii.gz` | shifts in FSL's millimetres on the fixed grid, fixed to moving |
| NiftyReg | `.txt`, 4 x 4 | fixed to moving, RAS |
| NiftyReg | `.nii.gz`, NREG_TRANS | positions or shifts in RAS on the fixed grid, fixed to moving |

FSL's millimetres count from the corner of the image, x from the other end where voxels run to the right.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.errors import TransformError
from jssr.io.atomic import atomic_path
from jssr.io.header import check_file
from jssr.io.images import read_grid
from jssr.io.itk import quiet
from jssr.io.itk_elastix import field_of, itk_image, modules

__all__ = [
    "flirt_of",
    "is_elastix",
    "is_niftyreg_field",
    "niftyreg_of",
    "read_elastix",
    "read_flirt",
    "read_fnirt",
    "read_niftyreg",
    "read_niftyreg_field",
    "write_matrix",
]

Matrix = NDArray[np.float64]
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS to RAS, and back."""


def read_flirt(path: Path, fixed: Grid, moving: Grid) -> Affine:
    """FLIRT's matrix (`-omat`) between two images.

    Raises:
        TransformError: no 4 x 4 matrix, or a singular one.
    """
    back = _read_matrix(path)
    return Affine(moving.affine @ np.linalg.inv(_fsl(moving)) @ np.linalg.inv(back) @ _fsl(fixed) @ _inverse(fixed))


def flirt_of(affine: Affine, fixed: Grid, moving: Grid) -> Matrix:
    """FLIRT's matrix of an affine map between two images: what `flirt -applyxfm -init` takes."""
    whole = _fsl(moving) @ _inverse(moving) @ affine.matrix @ fixed.affine @ np.linalg.inv(_fsl(fixed))
    return np.asarray(np.linalg.inv(whole), dtype=np.float64)


def read_fnirt(path: Path, fixed: Grid, moving: Grid) -> Displacement:
    """FNIRT's field of relative shifts (`--fout`) on the fixed image's grid.

    Raises:
        TransformError: no field of three values on the fixed grid.
    """
    shifts = _values(path)
    if shifts.shape != (*fixed.shape, 3):
        raise TransformError(f"{path}: holds {shifts.shape}, a field on the fixed image has {(*fixed.shape, 3)}")
    index = np.stack(np.meshgrid(*[np.arange(s) for s in fixed.shape], indexing="ij"), axis=-1)
    there = _through(_fsl(fixed), index) + shifts
    landed = _through(moving.affine @ np.linalg.inv(_fsl(moving)), there)
    return Displacement.from_millimetres(landed - fixed.world(index), fixed)


def read_niftyreg(path: Path) -> Affine:
    """NiftyReg's matrix (`reg_aladin -aff`).

    Raises:
        TransformError: no 4 x 4 matrix, or a singular one.
    """
    return Affine(_RAS @ _read_matrix(path) @ _RAS)


def niftyreg_of(affine: Affine) -> Matrix:
    """NiftyReg's matrix of an affine map."""
    return np.asarray(_RAS @ affine.matrix @ _RAS, dtype=np.float64)


def is_niftyreg_field(path: Path) -> bool:
    """Whether a NIfTI's header says that it is NiftyReg's."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    return _header(path)[328:344].startswith(b"NREG_TRANS")


def read_niftyreg_field(path: Path) -> Displacement:
    """NiftyReg's deformation or displacement field (`reg_transform -def`, `-disp`).

    Raises:
        TransformError: another kind of its transforms (splines, velocities), or no three values at each voxel.
    """
    (kind,) = struct.unpack("<f", _header(path)[56:60])
    if kind not in (0.0, 1.0):
        raise TransformError(f"{path}: is NiftyReg's control points or velocity; make a field with reg_transform -def")
    vectors, grid = _values(path), read_grid(path)
    if vectors.shape != (*grid.shape, 3):
        raise TransformError(f"{path}: has {vectors.shape[-1]} values per voxel; a field has three")
    vectors = vectors * np.array([-1.0, -1.0, 1.0])
    index = np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)
    return Displacement.from_millimetres(vectors if kind == 1.0 else vectors - grid.world(index), grid)


def is_elastix(path: Path) -> bool:
    """Whether a text file is elastix's parameters of a transform."""
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as file:
        return b"(Transform " in file.read(65536)


def read_elastix(path: Path) -> Displacement:
    """elastix's result with everything that it starts from, as a displacement on the fixed grid that it names.

    Raises:
        TransformError: it cannot be read, or names a start that is not there.
    """
    maps = _elastix_maps(path)
    chosen = modules()[0].elastixParameterObject.New()
    for one in maps:
        chosen.AddParameterMap(one)
    grid = _elastix_grid(maps[-1], path)
    try:
        field = field_of(chosen, itk_image(np.zeros(grid.shape), grid), grid.ndim)
    except RuntimeError as error:
        raise TransformError(f"{path}: elastix makes no field of it ({str(error).splitlines()[-1]})") from error
    return Displacement.from_millimetres(field, grid)


def write_matrix(matrix: Matrix, path: Path) -> None:
    """Write 4 x 4 text atomically, as FSL and NiftyReg read it.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join("  ".join(f"{v:.10g}" for v in row) for row in matrix) + "\n", encoding="utf-8")


def _fsl(grid: Grid) -> Matrix:
    """Voxels to FSL's millimetres: from the corner, x turned where the voxels' axes are right-handed in RAS."""
    out = np.diag([*grid.spacing, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        out[0, 0] *= -1
        out[0, 3] = (grid.shape[0] - 1) * grid.spacing[0]
    return out


def _inverse(grid: Grid) -> Matrix:
    return np.asarray(np.linalg.inv(grid.affine), dtype=np.float64)


def _through(matrix: Matrix, points: NDArray[np.floating[Any] | np.integer[Any]]) -> Matrix:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)


def _read_matrix(path: Path) -> Matrix:
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise TransformError(f"{path}: holds no 4 x 4 matrix of numbers ({error})") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 1e-12:
        raise TransformError(f"{path}: holds no invertible 4 x 4 matrix")
    return np.asarray(matrix, dtype=np.float64)


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(348).ljust(348, b"\0")
    except (OSError, EOFError) as error:
        raise TransformError(f"{path}: cannot be read ({error})") from error


def _values(path: Path) -> Matrix:
    """(*spatial, values) of a NIfTI whose last axis longer than one is the values."""
    image = _image(path)
    array = sitk.GetArrayFromImage(image)
    n = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        return np.asarray(array.transpose(*range(n)[::-1], n), dtype=np.float64)
    squeezed = array.T.reshape([s for k, s in enumerate(array.T.shape) if k < 3 or s > 1])
    return np.asarray(squeezed, dtype=np.float64)


def _image(path: Path) -> sitk.Image:
    try:
        check_file(path)
        with quiet():
            return sitk.ReadImage(str(path))
    except Exception as error:
        raise TransformError(f"{path}: is not a readable image, or is truncated ({error})") from error


def _elastix_maps(path: Path) -> list[dict[str, tuple[str, ...]]]:
    """The parameter maps from the first transform to the last, each file read by SimpleITK."""
    maps: list[dict[str, tuple[str, ...]]] = []
    seen: set[Path] = set()
    while True:
        if not path.is_file() or path.resolve() in seen:
            raise TransformError(f"{path}: elastix's transform starts from a file that is not there, or from itself")
        seen.add(path.resolve())
        found = _parsed(path)
        start = found.pop("InitialTransformParametersFileName", found.pop("InitialTransformParameterFileName", ("",)))
        found["InitialTransformParameterFileName"] = ("NoInitialTransform",)
        maps.insert(0, found)
        if start[0] in ("", "NoInitialTransform"):
            return maps
        here = Path(start[0])
        path = here if here.is_file() else path.parent / here.name


def _parsed(path: Path) -> dict[str, tuple[str, ...]]:
    """elastix's `(Key value "value" ...)` lines."""
    out: dict[str, tuple[str, ...]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.partition("//")[0].strip()
        if text.startswith("(") and text.endswith(")"):
            key, _, rest = text[1:-1].partition(" ")
            out[key] = tuple(v.strip('"') for v in rest.split())
    if "Transform" not in out or "TransformParameters" not in out:
        raise TransformError(f"{path}: is not a transform of elastix")
    return out


def _elastix_grid(found: dict[str, tuple[str, ...]], path: Path) -> Grid:
    try:
        size, spacing, origin = ([float(v) for v in found[key]] for key in ("Size", "Spacing", "Origin"))
        n = len(size)
        direction = [float(v) for v in found.get("Direction", tuple(np.eye(n).ravel().astype(str)))]
        # elastix writes the direction column by column.
        return Grid.of([int(s) for s in size], spacing, origin, np.array(direction).reshape(n, n).T)
    except (KeyError, ValueError) as error:
        raise TransformError(f"{path}: does not say where its fixed image lies ({error})") from error
