"""2D images: radiographs and slices, as PNG, JPEG, TIFF or DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from jssr.errors import ImageError, OutputError

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_PIXEL_SPACING = "0028|0030"


def grey(image: sitk.Image, path: Path) -> sitk.Image:
    """One value a pixel: of grey pictures saved as colour, the first of three equal channels.

    Raises:
        ImageError: a colour picture.
    """
    first, *others = (sitk.VectorIndexSelectionCast(image, k) for k in range(3))
    values = sitk.GetArrayViewFromImage(first)
    if any((values != sitk.GetArrayViewFromImage(other)).any() for other in others):
        raise ImageError(f"{path}: is a colour picture; expected a grey image, one value per pixel")
    return first


def spaced(image: sitk.Image, reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """A flat image with its spacing as far as it has one: the dots per inch of a picture file are for printers, so that
    its pixels count as 1; some radiographs have their spacing in a tag that ITK ignores.

    Args:
        reader: that read the image; it has the DICOM tags.
    """
    n = image.GetDimension()
    if path.name.lower().endswith(_PICTURES):
        image.SetSpacing([1.0] * n)
        image.SetOrigin([0.0] * n)
    elif reader.HasMetaDataKey(_PIXEL_SPACING) and image.GetSpacing()[:2] == (1.0, 1.0):
        rows, _, columns = reader.GetMetaData(_PIXEL_SPACING).strip().partition("\\")
        if rows and columns and min(float(rows), float(columns)) > 0:
            image.SetSpacing([float(columns), float(rows), *image.GetSpacing()[2:]])
    return image


def flattened(image: sitk.Image, name: str | Path, ndim: int) -> sitk.Image:
    """Take off axes of one voxel until `ndim` are left.

    Raises:
        ImageError: there are fewer, or the third of 3D has one voxel.
    """
    while image.GetDimension() > ndim:
        # A slice that is not parallel to the first two axes has a plane of its own.
        within = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:-1, :-1]
        how = "SUBMATRIX" if np.allclose(within.T @ within, np.eye(len(within)), atol=1e-3) else "IDENTITY"
        collapse = getattr(sitk.ExtractImageFilter, f"DIRECTIONCOLLAPSETO{how}")
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0], [0] * image.GetDimension(), collapse)
    size = image.GetSize()
    if image.GetDimension() < ndim or (ndim == 3 and size[2] == 1):
        raise ImageError(f"{name}: is 2D ({' x '.join(str(s) for s in size)}); expected a 3D image")
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
