"""Transforms converted from other programs and to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jssr.api.session import PathLike
from jssr.api.transforms import file_of, is_path
from jssr.core.grid import Grid
from jssr.core.transform import Chain, Transform
from jssr.errors import JssrError, TransformError
from jssr.io.files import check_path
from jssr.io.formats import FORMATS_WRITTEN, check_format
from jssr.io.images import ImageLike, as_grid
from jssr.io.overwrite import check_not_input
from jssr.io.transforms import Images, TransformLike, as_transform, read_named, write_any
from jssr.io.transforms.elastix import field_beside

__all__ = ["convert"]


def convert(
    transforms: TransformLike | Sequence[TransformLike],
    *,
    written_by: str = "auto",
    to: str = "itk",
    fixed: ImageLike | Grid | None = None,
    moving: ImageLike | Grid | None = None,
    inverse: bool = False,
    out: PathLike | None = None,
) -> Transform:
    """Bring transforms of other programs into one, or to other programs: `jssr convert`.

    Args:
        transforms: one or a list; a point of the fixed space goes through the first one first. ANTs writes a warp and
            an affine: in this order. "flirt:start.mat" names the format of one file.
        written_by: format of the files, one of `jssr.io.formats.FORMATS_READ`: "auto", "itk", "elastix", "flirt", ...
        to: format of `out`, one of `jssr.io.formats.FORMATS_WRITTEN`: "itk", "elastix", "flirt", ...; a name in .xfm
            or .x5 chooses MINC or X5.
        fixed, moving: the images: for FSL and AFNI, as the grid of a field, and for ITK's B-splines to be sampled on.
        inverse: invert it; a field then lies on the moving grid.
        out: file to write: a field (.nii.gz .nrrd .mha), ITK's transform (.h5 .tfm .txt; .mat for matrices alone), or
            what `to` names.

    Returns:
        The transform from the fixed to the moving space (inverted, the other way round), LPS millimetres.

    Raises:
        TransformError: a file that cannot be read, transforms of 2D and 3D, an image that is needed and not named, or
            a field where only a matrix can be written. OutputError: the file cannot be written.
    """
    check_format(to, FORMATS_WRITTEN)
    check_path(out)
    if not isinstance(inverse, bool):
        raise JssrError(f"inverse: expected True or False, got {inverse!r}")
    if to != "itk" and out is None:
        raise TransformError(f"format {to!r} is one of files: name the file with out=")
    named = list(transforms) if isinstance(transforms, (list, tuple)) and not _is_matrix(transforms) else [transforms]
    if not named:
        raise TransformError("expected one transform or a list of them, got an empty list")
    check_not_input(out, *map(file_of, named), fixed, moving)
    if out is not None and to == "elastix":  # writes the field beside its text
        check_not_input(field_beside(Path(out)), *map(file_of, named), fixed, moving)
    grids = [None if image is None else as_grid(image) for image in (fixed, moving)]
    images = Images(grids[0], grids[1], (fixed, moving))
    parts = [read_named(one, written_by, images) if is_path(one) else as_transform(one, images=images) for one in named]
    shown = ", ".join(str(one) for one in named if is_path(one)) or "transforms"
    if len({part.ndim for part in parts}) > 1:
        raise TransformError(f"{shown}: are of 2D and of 3D")
    if any(grid is not None and grid.ndim != parts[0].ndim for grid in (images.fixed, images.moving)):
        raise TransformError(
            f"{shown}: expected images of {parts[0].ndim}D, as the transform is, with --fixed and --moving"
        )
    found = parts[0] if len(parts) == 1 else Chain(*parts)
    if inverse:
        found, images = found.inverse(images.moving), images.swapped()
    if out is not None:
        write_any(found, out, to, images)
    return found


def _is_matrix(transforms: Sequence[Any]) -> bool:
    """Whether a list is one matrix by its rows, and not a list of transforms."""
    return len(transforms) > 0 and all(
        isinstance(row, (list, tuple)) and len(row) > 0 and np.isscalar(row[0]) and not isinstance(row[0], str)
        for row in transforms
    )
