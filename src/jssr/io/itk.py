"""Image files written by ITK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from jssr.errors import ImageError, OutputError
from jssr.io.files import atomic_path, pack_file
from jssr.io.header import check_file
from jssr.io.radiographs import check_picture


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write a SimpleITK image atomically and make sure that all of it arrived.

    Raises:
        OutputError: unknown ending, NaN, unwritable folder or full disk.
    """
    if not path.name.lower().endswith(WRITABLE):
        raise OutputError(f"{path}: unknown kind of image file; end its name in one of {', '.join(WRITABLE)}")
    if path.name.lower().endswith(".png"):
        check_picture(image, path)
    values = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise OutputError(f"{path}: not written, what was computed for it holds NaN or infinity")
    try:
        with atomic_path(path) as temporary, quiet():
            _write_checked(image, temporary)
    except (RuntimeError, ImageError) as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error


def _write_checked(image: sitk.Image, path: Path) -> None:
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        sitk.WriteImage(image, str(path), useCompression=True)
        return
    packed = name.endswith(".gz")
    plain = path.with_name(path.name[: -len(".gz")]) if packed else path
    try:
        sitk.WriteImage(image, str(plain), useCompression=False)
        check_file(plain)  # ITK leaves a short NIfTI on a full disk without an error
        if packed:
            pack_file(plain, path)
    finally:
        if packed:
            plain.unlink(missing_ok=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters of them is checked here and refused in words."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png")
