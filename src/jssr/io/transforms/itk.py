"""ITK's transforms and displacement fields, which ANTs and 3D Slicer share: fixed to moving space, LPS millimetres.

| file | what | in memory |
| --- | --- | --- |
| `.nii.gz .nii .nrrd .mha` | vector image on the fixed grid, LPS millimetres (NIfTI intent 1007) | `Displacement` |
| `.tfm .txt .mat .xfm .h5` | ITK: rigid, similarity, affine, translation | `Affine` |
| the same | ITK: displacement field (`.h5` as a rule) | `Displacement` |
| the same | ITK: composite. ITK applies the LAST one added first | `Chain`, first applied first |

ITK keeps the vectors of intent 1007 as they are (no flip to RAS), so the numbers in the file are LPS.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from jssr.core.bridges import to_sitk
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import ImageError, OutputError, TransformError
from jssr.io.files import atomic_path
from jssr.io.header import check_file, nifti_affine
from jssr.io.itk import WRITABLE, placed, quiet, write_sitk
from jssr.io.transforms.base import Images

STEPS = np.float32(1024)  # a millimetre
AFFINE_FILES = (".tfm", ".txt", ".mat", ".xfm", ".h5", ".hdf5")


def write_displacement(displacement: Displacement, path: str | os.PathLike[str]) -> None:
    """Write a displacement as a float32 vector image in LPS millimetres (rounded to 1/1024 mm), atomically.

    `sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))`, given to `sitk.Resample` with the
    fixed image as reference, reproduces our moved image.

    Raises:
        OutputError: unknown ending, unwritable folder or full disk; what was at `path` stays.
    """
    # A multiple of 2**-10 mm, far below what matters: a third less to compress and to store.
    vectors = displacement.millimetres()  # in place from here: at full size each copy is as large as the file
    vectors *= STEPS
    np.rint(vectors, out=vectors)
    vectors /= STEPS
    image = to_sitk(np.moveaxis(vectors, -1, 0), displacement.grid)
    del vectors
    # Lands in NIfTI's `descrip`, at most 79 characters.
    image.SetMetaData("ITK_FileNotes", "displacement mm LPS, fixed grid: moved(p)=moving(p+u(p))")
    write_sitk(image, Path(path))


def write_affine(affine: Affine, path: str | os.PathLike[str]) -> None:
    """Write an affine (or rigid) transform as ITK's `AffineTransform`, atomically."""
    path = Path(path)
    if not path.name.lower().endswith(AFFINE_FILES):
        raise OutputError(f"{path}: unknown kind of transform file; end its name in .tfm")
    try:
        with atomic_path(path) as temporary, quiet():
            sitk.WriteTransform(affine.sitk(), str(temporary))
            sitk.ReadTransform(str(temporary))
    except RuntimeError as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error


def read_itk(path: Path, images: Images) -> Transform:
    """Read a transform or a displacement field that ITK reads."""
    if path.name.lower().endswith(WRITABLE):
        return _read_field(path)
    try:
        with quiet():
            found = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        kinds = "displacement.nii.gz, deformation.dcm, ITK's .tfm, .txt, .mat and .h5, elastix's and NiftyReg's files"
        others = "jssr convert --from reads FSL's"
        raise TransformError(f"{path}: is not a readable transform; expected {kinds}; {others}") from error
    return transform_of(found, path)


def _read_field(path: Path) -> Displacement:
    try:
        check_file(path)
        with quiet():
            image = placed(sitk.ReadImage(str(path)), nifti_affine(path))
    except (ImageError, RuntimeError) as error:
        detail = str(error) if isinstance(error, ImageError) else f"{path}: is not a readable image, or is truncated"
        raise TransformError(detail) from error
    return Displacement.from_sitk(image, name=str(path))


def transform_of(found: sitk.Transform, name: str | os.PathLike[str] = "transform") -> Transform:
    """A SimpleITK transform as one of ours."""
    kind = found.GetTransformEnum()
    if kind == sitk.sitkComposite:
        composite = sitk.CompositeTransform(found)
        count = composite.GetNumberOfTransforms()
        # ITK runs the last one added first.
        parts = [transform_of(composite.GetNthTransform(i), name) for i in reversed(range(count))]
        return parts[0] if count == 1 else Chain(*parts)
    if kind == sitk.sitkDisplacementField:
        return Displacement.from_sitk(sitk.DisplacementFieldTransform(found).GetDisplacementField(), name=str(name))
    if not found.IsLinear():
        kind_name = found.GetName()
        raise TransformError(f"{name}: ITK's {kind_name} is not read; use sitk.TransformToDisplacementField first")
    # The images of the origin and of the unit points give the matrix of any linear ITK transform, centre included.
    n = found.GetDimension()
    matrix = np.eye(n + 1)
    matrix[:n, n] = found.TransformPoint([0.0] * n)
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.array(found.TransformPoint(unit.tolist())) - matrix[:n, n]
    try:
        return Affine(matrix)
    except ValueError as error:
        raise TransformError(f"{name}: {error}") from error
