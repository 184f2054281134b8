"""What is peculiar to flat images: radiographs and slices, as PNG, JPEG, TIFF or DICOM."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from jssr.errors import ImageError, OutputError

__all__ = ["check_picture", "flattened", "grey"]


def grey(image: sitk.Image, path: Path) -> sitk.Image:
    """One value a pixel: of grey pictures saved as colour, the first of three equal channels.

    Raises:
        ImageError: a colour picture.
    """
    first, *others = (sitk.VectorIndexSelectionCast(image, k) for k in range(3))
    values = sitk.GetArrayViewFromImage(first)
    if any((values != sitk.GetArrayViewFromImage(other)).any() for other in others):
        raise ImageError(f"{path}: is a colour picture; a grey image is due, of one value per pixel")
    return first


def flattened(image: sitk.Image, path: Path, ndim: int) -> sitk.Image:
    """Take off axes of one voxel until `ndim` are left.

    Raises:
        ImageError: there are fewer, or the third of 3D has one voxel.
    """
    while image.GetDimension() > ndim:
        # A coronal slice has no axes in the plane of the first two: then the plane is its own.
        way = "SUBMATRIX" if image.GetDimension() > 3 else "GUESS"
        collapse = getattr(sitk.ExtractImageFilter, f"DIRECTIONCOLLAPSETO{way}")
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0], [0] * image.GetDimension(), collapse)
    size = image.GetSize()
    if image.GetDimension() < ndim or (ndim == 3 and size[2] == 1):
        raise ImageError(f"{path}: is 2D ({' x '.join(str(s) for s in size)}); a 3D image is due")
    return image


def check_picture(image: sitk.Image, path: Path) -> None:
    """Make sure that a PNG can hold an image.

    Raises:
        OutputError: it is not 2D, or not of 8 or 16 unsigned bits.
    """
    if image.GetDimension() != 2 or image.GetPixelID() not in (sitk.sitkUInt8, sitk.sitkUInt16):
        kind = image.GetPixelIDTypeAsString()
        raise OutputError(
            f"{path}: a PNG holds 2D images of 8 or 16 unsigned bits, this is {image.GetDimension()}D of {kind}; "
            "write .nii.gz or .nrrd"
        )
