"""Transforms in and out, one file a format; `jssr.io.formats` names them.

In memory every transform maps points of the FIXED space to the MOVING space, LPS millimetres.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import OutputError, TransformError
from jssr.io.formats import FORMATS_READ, FORMATS_WRITTEN, check_format
from jssr.io.header import sop_class
from jssr.io.images import expected_kind
from jssr.io.itk import WRITABLE
from jssr.io.transforms import elastix, fsl, niftyreg
from jssr.io.transforms.base import Images
from jssr.io.transforms.itk import read_itk, transform_of, write_affine, write_displacement

TransformLike = Transform | str | os.PathLike[str] | sitk.Transform | Any
"""A path, a `Transform`, a SimpleITK transform or vector image (mm), or a homogeneous LPS matrix."""


def _read_dicom(path: Path, images: Images) -> Transform:
    from jssr.io.dicom.spatial import read_registration

    return read_registration(path)


READERS: dict[str, Callable[[Path, Images], Transform]] = {
    "itk": read_itk,
    "elastix": elastix.read_elastix,
    "flirt": fsl.read_flirt,
    "fnirt": fsl.read_fnirt,
    "niftyreg": niftyreg.read_niftyreg,
    "dicom": _read_dicom,
}
Writer = Callable[[Affine, Path, Images], None]
WRITERS: dict[str, Writer] = {"flirt": fsl.write_flirt, "niftyreg": niftyreg.write_niftyreg}
RECOGNISED = {"elastix": elastix.recognises, "niftyreg": niftyreg.recognises}
"""Formats whose files are known by their content."""


def read_transform(path: str | os.PathLike[str]) -> Transform:
    """Read a transform: of elastix or NiftyReg, known by its content; else of ITK, ANTs, 3D Slicer, DICOM or `jssr`.

    Raises:
        TransformError: missing, unreadable or truncated file, an image instead of a field, NaN, or a kind of ITK
            transform that has no counterpart here (B-spline, kernel).
    """
    return read_any(path)


def read_any(path: str | os.PathLike[str], of: str = "auto", images: Images | None = None) -> Transform:
    """Read a transform of any of `FORMATS_READ`.

    Args:
        path: a file.
        of: name of its format; "auto" is as `read_transform`.
        images: grids of the two images, which FSL's formats depend on.

    Raises:
        TransformError: no such file or format, not of this format, or an image is not known.
    """
    check_format(of, FORMATS_READ)
    path = Path(path)
    if not path.is_file():
        raise TransformError(f"{path}: no such file")
    if of == "auto":
        ending = "dicom" if path.suffix.lower() == ".dcm" or sop_class(path) else "itk"
        of = next((name for name, recognises in RECOGNISED.items() if recognises(path)), ending)
    return READERS[of](path, images or Images())


def write_any(
    transform: Transform, path: str | os.PathLike[str], to: str = "itk", images: Images | None = None
) -> None:
    """Write a transform: a field where the name's ending is an image's, else a matrix.

    Args:
        transform: what to write.
        path: the file.
        to: name of the format, one of those that are written.
        images: the fixed grid is that of the field (by default the displacement's own); FSL needs both.

    Raises:
        TransformError: no such format, a field as a matrix, or a grid that is not known.
        OutputError: unknown ending, or it cannot be written.
    """
    check_format(to, FORMATS_WRITTEN)
    images, path = images or Images(), Path(path)
    linear = as_affine(transform)
    if to != "itk":
        if linear is None:
            raise TransformError(f"{path}: only matrices are written for {to}, and this transform bends")
        WRITERS[to](linear, path, images)
    elif path.name.lower().endswith(WRITABLE):
        first = transform.parts[0] if isinstance(transform, Chain) else transform
        grid = images.fixed or (first.grid if isinstance(first, Displacement) else None)
        if grid is None:
            raise TransformError(f"{path}: a field needs a grid: name the image on whose grid it lies with --fixed")
        write_displacement(transform.displacement(grid), path)
    elif linear is None:
        raise OutputError(f"{path}: this transform bends; write it as a field, with a name that ends in .nii.gz")
    else:
        write_affine(linear, path)


def as_affine(transform: Transform) -> Affine | None:
    """The one affine transform that a transform is to 0.001 mm, None of any other."""
    parts = transform.parts if isinstance(transform, Chain) else (transform,)
    out = Affine.identity(transform.ndim)
    for part in parts:
        linear = _linear(part) if isinstance(part, Displacement) else part
        if not isinstance(linear, Affine):
            return None
        out = Affine(linear.matrix @ out.matrix)
    return out


def _linear(field: Displacement) -> Affine | None:
    """The affine transform that a field is on its grid, as of a rigid step that was written as a field."""
    to_mm = field.grid.affine
    found = Affine(to_mm @ field.nearest_linear() @ np.linalg.inv(to_mm))
    off = found.displacement(field.grid).millimetres() - field.millimetres()
    return found if np.abs(off).max() < 1e-3 else None


def as_transform(transform: TransformLike, name: str = "transform") -> Transform:
    """A transform from fixed to moving space."""
    if isinstance(transform, Transform):
        return transform
    if isinstance(transform, (str, os.PathLike)):
        return read_transform(transform)
    if isinstance(transform, sitk.Transform):
        return transform_of(transform, name)
    if isinstance(transform, sitk.Image):
        return Displacement.from_sitk(transform, name=name)
    try:
        return Affine(np.asarray(transform, dtype=np.float64))
    except (TypeError, ValueError):
        expected = "a path, Transform, SimpleITK transform or (n + 1, n + 1) matrix"
        raise TransformError(expected_kind(transform, name, expected)) from None
