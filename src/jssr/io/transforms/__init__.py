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

from jssr.core.at_points import sparse_indices
from jssr.core.grid import GridError
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import TransformError
from jssr.io.formats import FORMATS_READ, FORMATS_WRITTEN, check_format, split_format
from jssr.io.images import expected_kind
from jssr.io.itk import WRITABLE
from jssr.io.transforms import elastix, fsl, matrices, minc, niftyreg, spm, x5
from jssr.io.transforms.base import Images
from jssr.io.transforms.itk import (
    read_itk,
    transform_of,
    write_itk,
)
from jssr.io.transforms.itk import (
    write_affine as write_affine,
)
from jssr.io.transforms.itk import (
    write_displacement as write_displacement,
)
from jssr.io.transforms.recognise import format_of

TransformLike = Transform | str | os.PathLike[str] | sitk.Transform | Any
"""A path, a `Transform`, a SimpleITK transform or vector image (mm), or a homogeneous LPS matrix."""


EXACT = 1e-3
"""mm by which a map may be off the affine transform that it is taken for."""


def _read_dicom(path: Path, images: Images) -> Transform:
    from jssr.io.dicom.read import frame_at
    from jssr.io.dicom.spatial import read_registration

    return read_registration(path, (frame_at(images.given[0]), frame_at(images.given[1])))


READERS: dict[str, Callable[[Path, Images], Transform]] = {
    "itk": read_itk,
    "nifti": spm.read_nifti,
    "elastix": elastix.read_elastix,
    "flirt": fsl.read_flirt,
    "fnirt": fsl.read_fnirt,
    "fnirt-relative": fsl.read_fnirt_relative,
    "fnirt-absolute": fsl.read_fnirt_absolute,
    "niftyreg": niftyreg.read_niftyreg,
    "spm": spm.read_spm,
    "greedy": matrices.read_greedy,
    "afni": matrices.read_afni,
    "minc": minc.read_minc,
    "x5": x5.read_x5,
    "dicom": _read_dicom,
}
BENT = "leave out --to, and write the field as .nii.gz, which ITK, ANTs, greedy and 3D Slicer read"
MATRIX_WRITERS: dict[str, Callable[[Affine, Path, Images], None]] = {
    "flirt": fsl.write_flirt,
    "niftyreg": niftyreg.write_niftyreg,
    "greedy": matrices.write_greedy,
    "afni": matrices.write_afni,
    "minc": minc.write_minc,
}
"""Formats in which matrices are written."""
WRITERS: dict[str, Callable[[Transform, Path, Images], None]] = {
    "elastix": elastix.write_elastix,
    "x5": x5.write_x5,
}
"""Formats in which fields are written as well."""
ENDINGS = {".xfm": "minc", x5.ENDING: "x5"}
"""Endings that mean one format, whatever `--to` is by default."""


IDENTITY = "identity"
"""In place of a file: the transform that moves nothing, as to bring a DICOM object to a label map."""


def read_transform(path: str | os.PathLike[str], images: Images | None = None) -> Transform:
    """Read a transform whose format its content tells: of ITK, ANTs, 3D Slicer, elastix, DICOM, `jssr` and others.

    Raises:
        TransformError: missing, unreadable or truncated file, an image instead of a field, NaN, or a format that its
            content does not tell.
    """
    return read_any(path, images=images)


def read_named(given: str | os.PathLike[str], of: str = "auto", images: Images | None = None) -> Transform:
    """Read a transform; "flirt:start.mat" names its format in place of `of`, and "identity" is none."""
    images = images or Images()
    if os.fspath(given) == IDENTITY and not Path(given).exists():
        grid = images.fixed or images.moving
        return Affine.identity(3 if grid is None else grid.ndim)
    found, file = split_format(os.fspath(given))
    if found == "auto" or Path(given).is_file():
        return read_any(given, of, images)
    return read_any(file, found, images)


def read_any(path: str | os.PathLike[str], of: str = "auto", images: Images | None = None) -> Transform:
    """Read a transform of any of `FORMATS_READ`.

    Args:
        path: a file.
        of: name of its format; "auto" is as `read_transform`.
        images: grids of the two images, which FSL's and AFNI's formats depend on; the fixed one is that on which
            ITK's B-splines are sampled.

    Raises:
        TransformError: no such file or format, not of this format, or an image is not known.
    """
    check_format(of, FORMATS_READ)
    path = Path(path)
    if not path.is_file():
        raise TransformError(f"{path}: no such file")
    try:
        return READERS[format_of(path) if of == "auto" else of](path, images or Images())
    except GridError as error:
        raise TransformError(f"{path}: {error}") from error
    except (OSError, UnicodeError) as error:
        raise TransformError(f"{path}: cannot be read ({error})") from error


def write_any(
    transform: Transform, path: str | os.PathLike[str], to: str = "itk", images: Images | None = None
) -> None:
    """Write a transform: a field where the name's ending is an image's, else a file of transforms.

    Args:
        transform: what to write.
        path: the file.
        to: name of the format, one of those that are written; a name in .xfm or .x5 chooses MINC or X5.
        images: the fixed grid is that of the field (by default the displacement's own); FSL and AFNI need both.

    Raises:
        TransformError: no such format, a field as a matrix, or a grid that is not known.
        OutputError: unknown ending, or it cannot be written.
    """
    check_format(to, FORMATS_WRITTEN)
    images, path = images or Images(), Path(path)
    to = ENDINGS.get(path.suffix.lower(), to) if to == "itk" else to
    if to != "itk" and transform.ndim != 3 and to != "elastix":
        raise TransformError(f"{path}: {to} holds 3D transforms, and this one is {transform.ndim}D")
    linear = as_affine(transform)
    if to in MATRIX_WRITERS:
        if linear is None:
            raise TransformError(f"{path}: only matrices are written for {to}, and this transform bends: {BENT}")
        MATRIX_WRITERS[to](linear, path, images)
    elif to in WRITERS:
        WRITERS[to](linear or _on_grid(transform, path, images), path, images)
    elif path.name.lower().endswith(WRITABLE):
        write_displacement(_on_grid(transform, path, images), path)
    else:
        write_itk(linear or transform, path)


def _on_grid(transform: Transform, path: Path, images: Images) -> Displacement:
    """A transform as one displacement: on the fixed grid, else on its own."""
    first = transform.parts[0] if isinstance(transform, Chain) else transform
    grid = images.fixed or (first.grid if isinstance(first, Displacement) else None)
    if grid is None:
        raise TransformError(f"{path}: a field needs a grid: name the image on whose grid it lies with --fixed")
    return (
        transform
        if isinstance(transform, Displacement) and transform.grid.same_as(grid)
        else transform.displacement(grid)
    )


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
    some = field.grid.world(sparse_indices(field.grid.shape))
    if np.abs(found(some) - field(some)).max() > EXACT:  # most fields end here
        return None
    off = found.displacement(field.grid).millimetres() - field.millimetres()
    return found if np.abs(off).max() < EXACT else None


def as_transform(transform: TransformLike, name: str = "transform", images: Images | None = None) -> Transform:
    """A transform from fixed to moving space; `images` as for `read_any`."""
    if isinstance(transform, Transform):
        return transform
    if isinstance(transform, (str, os.PathLike)):
        return read_named(transform, images=images)
    if isinstance(transform, sitk.Transform):
        return transform_of(transform, name, images)
    if isinstance(transform, sitk.Image):
        return Displacement.from_sitk(transform, name=name)
    try:
        return Affine(np.asarray(transform, dtype=np.float64))
    except (TypeError, ValueError):
        expected = "a path, Transform, SimpleITK transform or (n + 1, n + 1) matrix"
        raise TransformError(expected_kind(transform, name, expected)) from None
