"""Arrays and grids to SimpleITK, nibabel and numpy with an affine, and back.

Both libraries are imported when they are used. In memory everything is LPS, as ITK has it; nibabel's affines are RAS.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jssr.core.grid import Grid, GridError
from jssr.core.nifti import place_of
from jssr.core.notes import tell
from jssr.errors import ImageError

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK as sitk

Space = Literal["RAS", "LPS"]


def affine_in(affine: ArrayLike, space: Space) -> NDArray[np.float64]:
    """An LPS affine as one of `space`, or the other way round: the first two world axes change their sign.

    Raises:
        ValueError: another space.
    """
    if space not in ("RAS", "LPS"):
        raise ValueError(f'expected space "RAS" (nibabel) or "LPS" (ITK, DICOM), got {space!r}')
    out = np.array(affine, dtype=np.float64)
    if space == "RAS":
        out[:2] *= -1
    return out


def grid_with(shape: tuple[int, ...], affine: ArrayLike, space: Space, name: str = "image") -> Grid:
    """The grid of an array of `shape` (2 or 3 axes); of a 2D array the affine may be 3 x 3 or 4 x 4.

    Raises:
        ImageError: an affine of another size, singular or shearing, or a shape that is no image's.
    """
    n = len(shape)
    try:
        if np.iscomplexobj(affine):
            raise ValueError("it is complex")
        matrix = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name}: expected an affine of {n + 1} x {n + 1} numbers: {error}") from None
    if n == 2 and matrix.shape == (4, 4):
        if (np.abs(matrix[:2, :2]).max(axis=0) == 0).any():
            raise ImageError(f"{name}: expected an axial slice with a 4 x 4 affine: give any other slice one of 3 x 3")
        matrix = matrix[np.ix_([0, 1, 3], [0, 1, 3])]
    if matrix.shape != (n + 1, n + 1):
        raise ImageError(f"{name}: expected an affine of {n + 1} x {n + 1} for {n}D, got shape {matrix.shape}")
    try:
        return Grid(shape, affine_in(matrix, space))
    except GridError as error:
        raise ImageError(f"{name}: {error}") from error


def grid_of(image: sitk.Image, name: str | os.PathLike[str] = "image") -> Grid:
    """Where a SimpleITK image lies.

    Raises:
        ImageError: a geometry that cannot be an image's.
    """
    try:
        return Grid.of(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    except GridError as error:
        raise ImageError(f"{name}: {error}") from error


def to_sitk(array: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """Make a SimpleITK image of an array (C, *grid.shape); several channels become a vector image."""
    import SimpleITK as sitk

    channels_last = np.moveaxis(array, 0, -1)
    several = array.shape[0] > 1
    axes = tuple(range(grid.ndim))[::-1]
    ordered = channels_last.transpose(*axes, grid.ndim) if several else channels_last[..., 0].T
    image = sitk.GetImageFromArray(np.ascontiguousarray(ordered), isVector=several)
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def to_nibabel(array: NDArray[np.generic], grid: Grid) -> nib.Nifti1Image:
    """Make a NIfTI image, affine RAS, of an array of the grid's shape."""
    import nibabel as nib

    affine = affine_in(grid.affine, "RAS")
    if grid.ndim == 2:
        flat, affine = affine, np.eye(4)
        affine[np.ix_([0, 1, 3], [0, 1, 3])] = flat
    out = nib.Nifti1Image(array, affine, dtype=array.dtype)
    out.header.set_xyzt_units("mm")
    return out


def to_vectors(vectors: NDArray[np.float32], grid: Grid) -> nib.Nifti1Image:
    """Make a NIfTI vector image (intent 1007) of (*grid.shape, n), as ITK writes them: the vectors stay LPS."""
    room = vectors.reshape(*grid.shape, *[1] * (4 - grid.ndim), grid.ndim)
    out = to_nibabel(room, grid)
    out.header.set_intent(1007)
    return out


def from_nibabel(image: Any) -> tuple[NDArray[np.generic], NDArray[np.float64], str]:
    """Voxels, affine (RAS) and name of a nibabel image; trailing axes of one voxel are left out, down to 2D."""
    if not hasattr(image, "dataobj") or not hasattr(image, "affine"):
        raise ImageError(f"expected a nibabel image, got {type(image).__name__}")
    array = np.asanyarray(image.dataobj)
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    name = str(image.get_filename() or "nibabel image")
    return array, _nifti_affine(image, name), name


def _nifti_affine(image: Any, name: str) -> NDArray[np.float64]:
    """The affine (RAS) of a nibabel image: the one that was set, else by the rule for files."""
    from nibabel.nifti1 import Nifti1Header

    affine, header = np.asarray(image.affine, dtype=np.float64), image.header
    if not isinstance(header, Nifti1Header) or not np.allclose(affine, header.get_best_affine(), atol=1e-4):
        return affine
    found, words = place_of(header, name)
    tell(*words)
    return affine_in(found, "RAS")
