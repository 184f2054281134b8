"""Image files by ITK: how they are written, and 2D ones (radiographs and slices; PNG, JPEG, TIFF or DICOM) read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from jssr.core.notes import tell
from jssr.core.volume import Modality
from jssr.errors import ImageError, OutputError
from jssr.io.files import atomic_path, pack_file
from jssr.io.header import check_file
from jssr.io.native import listening

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png")
DICOM_MODALITIES: dict[str, Modality] = {"CT": "ct", "MR": "mr", "US": "us"}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SPACINGS = {
    "0028|0030": "",
    "0018|1164": "at the detector (ImagerPixelSpacing)",
    "3002|0011": "at the image plane (ImagePlanePixelSpacing)",
}
"""DICOM's spacings of a 2D image by which is preferred, and where those that are not calibrated hold."""
_CALIBRATED = "0028|0a02"
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
_lock = threading.RLock()


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write a SimpleITK image atomically and make sure that all of it arrived."""
    if not path.name.lower().endswith(WRITABLE):
        raise OutputError(f"{path}: unknown kind of image file; end its name in one of {', '.join(WRITABLE)}")
    if path.name.lower().endswith(".png"):
        check_picture(image, path)
    values = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise OutputError(f"{path}: not written, what was computed for it holds NaN or infinity")
    try:
        with atomic_path(path) as temporary, quiet():
            if path.suffix.lower() == ".mhd":
                _write_meta(image, temporary, path)
            else:
                _write_checked(image, temporary)
    except (RuntimeError, ImageError) as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error


def _write_checked(image: sitk.Image, path: Path) -> None:
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        sitk.WriteImage(image, str(path), useCompression=True)
        return
    # Of `a.nii.gz.nii` and `c.img.nii` ITK writes `a.nii.gz` and `c.hdr`.
    plain = path.with_name(f"{path.name.replace('.', '-')}.nii")
    try:
        sitk.WriteImage(image, str(plain), useCompression=False)
        check_file(plain)  # ITK leaves a short NIfTI on a full disk without an error
        if name.endswith(".gz"):
            pack_file(plain, path)
        else:
            plain.replace(path)
    finally:
        plain.unlink(missing_ok=True)


def _write_meta(image: sitk.Image, header: Path, path: Path) -> None:
    """Write the header of a MetaImage to a temporary file, and its voxels beside `path`, where the header has them."""
    made, data = header.with_suffix(".zraw"), path.with_suffix(".zraw")
    try:
        sitk.WriteImage(image, str(header), useCompression=True)
        header.write_bytes(header.read_bytes().replace(made.name.encode(), data.name.encode()))
        made.replace(data)
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what ITK and its libraries write off the terminal; what matters of it is refused in words. Its own choice
    of a NIfTI file's place is not used (`placed`), so it need not refuse one. One thread at a time: these are settings
    of the whole process.

    Raises:
        RuntimeError: a library complained and went on (`jssr.io.native`).
    """
    with _lock:
        before, chosen = sitk.ProcessObject.GetGlobalWarningDisplay(), os.environ.get(_PERMISSIVE)
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        os.environ[_PERMISSIVE] = "YES"
        try:
            with listening():
                yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(before)
            if chosen is None:
                os.environ.pop(_PERMISSIVE, None)
            else:
                os.environ[_PERMISSIVE] = chosen


def placed(image: sitk.Image, affine: NDArray[np.float64] | None) -> sitk.Image:
    """An image that ITK read, where `nifti_affine` puts its file (4, 4, LPS mm); as it is without one, and a slice that
    does not lie along the first two axes, whose plane is its own."""
    n = image.GetDimension()
    m = min(n, 3)
    found = None if affine is None else part_of(affine, m)
    if found is None:
        return image
    axes = np.array(image.GetDirection()).reshape(n, n)
    length = np.linalg.norm(found[:m, :m], axis=0)
    axes[:m, :m] = found[:m, :m] / length
    image.SetSpacing([*length.tolist(), *image.GetSpacing()[m:]])
    image.SetOrigin([*found[:m, m].tolist(), *image.GetOrigin()[m:]])
    image.SetDirection(axes.ravel().tolist())
    return image


def part_of(affine: NDArray[np.float64], n: int) -> NDArray[np.float64] | None:
    """Of an affine (4, 4) that of the first `n` axes; None of two that do not lie along the first two of the world."""
    kept = [*range(n), 3]
    out = affine[np.ix_(kept, kept)]
    if n == 2 and not np.allclose(np.linalg.norm(out[:2, :2], axis=0), np.linalg.norm(affine[:3, :2], axis=0)):
        return None
    return out


def grey(image: sitk.Image, path: Path) -> sitk.Image:
    """One value a pixel: of grey pictures saved as colour, the first of three equal channels."""
    first, *others = (sitk.VectorIndexSelectionCast(image, k) for k in range(3))
    values = sitk.GetArrayViewFromImage(first)
    if any((values != sitk.GetArrayViewFromImage(other)).any() for other in others):
        raise ImageError(f"{path}: is a colour picture; expected a grey image, one value per pixel")
    return first


def spaced(image: sitk.Image, reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """A flat image with its spacing as far as it has one: the dots per inch of a picture file are for printers, so that
    its pixels count as 1. Of radiographs PixelSpacing counts, which ITK ignores; without it the spacing at the
    detector, and that is told (PS3.3 10.7.1.1: both are the same where nothing was calibrated).

    Args:
        reader: that read the image; it has the DICOM tags.
    """
    n = image.GetDimension()
    if path.name.lower().endswith(_PICTURES):
        image.SetSpacing([1.0] * n)
        image.SetOrigin([0.0] * n)
        return image
    given = {tag: found for tag in _SPACINGS if (found := _pair(reader, tag)) is not None}
    if not given:
        return image
    tag, (row, column) = next(iter(given.items()))
    image.SetSpacing([column, row, *image.GetSpacing()[2:]])
    same = not _SPACINGS[tag] and given.get("0018|1164") == (row, column) and not reader.HasMetaDataKey(_CALIBRATED)
    where = _SPACINGS["0018|1164"] if same else _SPACINGS[tag]
    if where:
        tell(
            f"{path}: its spacing of {column:g} x {row:g} mm is that {where}, not calibrated: the body is smaller, by "
            "the magnification of the projection."
        )
    return image


def _pair(reader: sitk.ImageFileReader, tag: str) -> tuple[float, float] | None:
    """Distance of rows and of columns in a DICOM tag; None where it has no two numbers above 0."""
    parts = reader.GetMetaData(tag).split("\\") if reader.HasMetaDataKey(tag) else []
    try:
        row, column = (float(part) for part in parts)
    except ValueError:
        return None
    return (row, column) if np.isfinite([row, column]).all() and min(row, column) > 0 else None


def is_minc(name: str) -> bool:
    """Whether a file's name is MINC's."""
    return name.lower().endswith(".mnc")


def upright_minc(image: sitk.Image) -> sitk.Image:
    """A MINC image in LPS: SimpleITK gives MINC's RAS numbers as they are, which turns the patient by 180 degrees."""
    n = image.GetDimension()
    flip = np.diag([-1.0, -1.0, *[1.0] * (n - 2)])
    image.SetOrigin((flip @ np.array(image.GetOrigin())).tolist())
    image.SetDirection((flip @ np.array(image.GetDirection()).reshape(n, n)).ravel().tolist())
    return image


def flattened(image: sitk.Image, name: str, ndim: int) -> sitk.Image:
    """Take off axes of one voxel until `ndim` are left."""
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
    """Make sure that a PNG can hold an image."""
    if image.GetDimension() != 2 or image.GetPixelID() not in (sitk.sitkUInt8, sitk.sitkUInt16):
        kind = image.GetPixelIDTypeAsString()
        raise OutputError(
            f"{path}: a PNG holds 2D images of 8 or 16 unsigned bits, this is {image.GetDimension()}D of {kind}; "
            "write .nii.gz or .nrrd"
        )
