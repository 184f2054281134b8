"""Images and label maps: NIfTI, NRRD, MetaImage and whatever else SimpleITK reads, and DICOM folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import DTypeLike, NDArray

from jssr.core.bridges import grid_of, grid_with, to_sitk
from jssr.core.grid import Grid, GridError
from jssr.core.late import array_of, held, is_computed, last_slabs
from jssr.core.notes import tell
from jssr.core.stack import Sheared, sheared
from jssr.core.volume import Kind, Modality, Volume, checked_volume
from jssr.errors import ImageError, JssrError
from jssr.io.files import names_series
from jssr.io.header import check_file, nifti_affine, read_plain, sop_class
from jssr.io.itk import DICOM_MODALITIES, flattened, grey, is_minc, placed, quiet, spaced, upright_minc, write_sitk
from jssr.io.slabs import write_slabs

_MODALITY, _SOP_CLASS, _FRAMES, _IMAGE_TYPE = "0008|0060", "0008|0016", "0028|0008", "0008|0008"
_DICOM_CLASSES = "1.2.840.10008."
_PIXELS_ONLY = {
    f"{_DICOM_CLASSES}5.1.4.1.1.{n}"
    for n in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "3.1", "4", "6", "6.1", "7", "7.1", "7.2", "7.3"),
        *("7.4", "12.1", "12.2", "20", "77.1.1", "77.1.4", "128", "481.1"),
    )
}
"""DICOM's classes of one image, which ITK reads rightly as long as it is one frame: radiographs, slices of CT, MR and
PET, ultrasound, screenshots. All other classes go by what they are (`jssr.io.dicom.objects`)."""
ImageLike = Volume | str | os.PathLike[str] | sitk.Image | tuple[Any, Any] | Any
"""A path (file, DICOM folder), a `Volume`, a SimpleITK image, a nibabel image, or (array, RAS affine)."""


def as_volume(image: ImageLike, kind: Kind = "image", name: str | None = None) -> Volume:
    """An image, label map or mask as a `Volume`.

    Args:
        image: a path, a `Volume` (returned as it is), a SimpleITK image, a nibabel image, or (array, affine RAS).
        kind: what it is, where it is no `Volume`.
        name: what to call it in messages; paths keep theirs.

    Raises:
        ImageError: it cannot be read or used, or is nothing of the above.
    """
    if isinstance(image, Volume):
        return image
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, kind)
    if isinstance(image, sitk.Image):
        return Volume.from_sitk(image, kind, name=name or "SimpleITK image")
    if hasattr(image, "dataobj") and hasattr(image, "affine"):
        return Volume.from_nibabel(image, kind, name=name)
    if isinstance(image, tuple) and len(image) == 2:
        return Volume.from_numpy(image[0], image[1], kind, name=name or "array")
    expected = "a path, Volume, SimpleITK or nibabel image, or (array, affine)"
    raise ImageError(expected_kind(image, name or "image", expected))


def as_grid(image: ImageLike | Grid) -> Grid:
    """Where an image lies; of a file only the header is read."""
    if isinstance(image, Grid):
        return image
    if isinstance(image, (str, os.PathLike)) and Path(image).is_file():
        return read_grid(image)
    if isinstance(image, tuple) and len(image) == 2:
        return grid_with(np.shape(image[0]), image[1], "RAS")
    return as_volume(image).grid


def expected_kind(given: object, name: str, expected: str) -> str:
    """The words of an error: what was expected, and of what type it is."""
    return f"{name}: expected {expected}, got {type(given).__name__}"


def read_image(
    path: str | os.PathLike[str], kind: Kind = "image", ndim: int | None = None, series: str | None = None
) -> Volume:
    """Read an image or a label map with its place in the patient.

    Args:
        path: a file, a folder that holds one DICOM series, or `folder/SERIES_UID`.
        kind: "image" gives float32 in the file's own numeric range; "labels" keeps the integer type (uint16, uint32 and
            uint64 are widened to what torch computes with; whole numbers stored as floats become int32, or int64 where
            that is too small); "mask" is true where labels would not be 0.
        ndim: 3, or 2 for radiographs and slices, where only that will do; None takes the file as it is. One frame of a
            4D file, or one slice of a 3D file, is taken as the image itself. Of colour files whose channels are all
            the same (grey pictures saved as RGB) one is taken; radiographs stored inverted (MONOCHROME1) come turned
            back. Of DICOM files, enhanced CT, MR and PET are read by the place of each frame, a segmentation as a label
            map of its segments, a dose in gray.
        series: which DICOM series of a folder to read (its UID, or the beginning of it).

    Returns:
        Volume of shape (1, *grid.shape), grid in LPS millimetres, named by its path; of DICOM with its modality.

    Raises:
        ImageError: missing, unreadable or truncated file; empty folder; other dimension; several channels; NaN or
            infinity; an image of one value; spacing that is not positive; labels that are not whole numbers; a DICOM
            file that is no image, or whose frames have no place of their own.
    """
    path = Path(path)
    if is_object(path):
        from jssr.io.dicom.objects import read_object

        return _of_ndim(read_object(path, kind), path, ndim)
    if path.is_dir() or (not path.is_file() and names_series(path)):
        from jssr.io.dicom.read import read_series
        from jssr.io.dicom.series import single_image

        folder, uid = (path, series) if path.is_dir() else (path.parent, path.name)
        alone = single_image(folder, uid)
        if alone is not None:
            return read_image(alone, kind, ndim)
        volume = read_series(folder, uid)
        return replace(
            _checked(volume.array, volume.grid, path, kind, ndim or 3), modality=volume.modality, origins=volume.origins
        )
    plain = read_plain(path, kind) if ndim in (None, 3) else None
    if plain is not None:
        return plain
    reader = _open(path, header_only=False)
    ndim = ndim or (2 if all(s == 1 for s in reader.GetSize()[2:]) else 3)
    image = flattened(_read(reader, path, ndim), str(path), ndim)
    array = sitk.GetArrayViewFromImage(image).T
    tilt = _tilt(image)
    if tilt is None:
        found = _checked(array, grid_of(image, path), path, kind, ndim)
    else:
        array = tilt.upright(array, float(array.min()) if kind == "image" else 0.0, kind == "image")
        found = _checked(array, tilt.stack.grid(), path, kind, ndim)
        tell(*((tilt.stack.words(str(path)),) if tilt.stack.drift.any() else ()))
    tag = reader.GetMetaData(_MODALITY).strip() if reader.HasMetaDataKey(_MODALITY) else ""
    return found.known_as("header", modality=_modality_of(tag, ndim))


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read where an image file lies, from its header alone.

    Raises:
        ImageError: missing or unreadable file, or a geometry that cannot be an image's.
    """
    if is_object(path):
        from jssr.io.dicom.objects import grid_of_object

        return grid_of_object(path)
    reader = _open(Path(path))
    n = 2 if all(s == 1 for s in reader.GetSize()[2:]) else 3
    every = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:n, :n]
    if n == 2 or is_minc(Path(path).name):  # as reading has it
        return read_image(path, "labels" if stored_dtype(path).kind in "iu" else "image", n).grid
    affine = nifti_affine(Path(path), tilted=True)
    if affine is None:
        affine = _affine(reader.GetSpacing()[:n], reader.GetOrigin()[:n], every)
    try:
        tilt = sheared(reader.GetSize()[:n], affine)
        return Grid(reader.GetSize()[:n], affine) if tilt is None else tilt.stack.grid()
    except GridError as error:
        raise ImageError(f"{path}: {error}") from error


def _affine(spacing: Sequence[float], origin: Sequence[float], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel index to LPS mm, of ITK's three."""
    n = len(spacing)
    out = np.eye(n + 1)
    out[:n, :n], out[:n, n] = direction * spacing, origin
    return out


def _tilt(image: sitk.Image) -> Sheared | None:
    """The slices of an image that a tilted gantry sheared; None of any other one."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)
    return sheared(image.GetSize(), _affine(image.GetSpacing(), image.GetOrigin(), direction)) if n == 3 else None


def stored_dtype(path: str | os.PathLike[str]) -> np.dtype[np.generic]:
    """The number type a file holds (after its slope and intercept), from its header alone: int16 for most CT."""
    if is_object(path):
        return np.dtype(np.float32)  # each frame may have its own slope
    name = sitk.GetPixelIDValueAsString(_open(Path(path)).GetPixelID())
    words = name.removeprefix("vector of ").split()
    if words[-1] == "float":
        return np.dtype("float64" if words[0].startswith("64") else "float32")
    sign = "u" if "unsigned" in words else ""
    return np.dtype(f"{sign}int{words[0].partition('-')[0]}")


def is_object(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a DICOM file that is more, or other, than the pixels of one image."""
    path = Path(path)
    found = sop_class(path) if path.is_file() else None
    return found is not None and found.startswith(_DICOM_CLASSES) and found not in _PIXELS_ONLY


def write_image(volume: Volume, path: str | os.PathLike[str], like_dtype: DTypeLike | None = None) -> None:
    """Write an image or a label map atomically; the ending chooses the format, everything is compressed but `.nii`.

    Args:
        volume: (C, *shape); more than one channel becomes a vector image.
        path: ends in .nii.gz, .nii, .nrrd, .mha or .mhd; or in .png for a 2D image of 8 or 16 unsigned bits.
        like_dtype: number type to store; integers are rounded and clipped to their range. Default: the volume's own
            (int64 labels as int32 where they fit, bool as uint8: few viewers read the wide types).

    Raises:
        OutputError: unknown ending, unwritable folder or full disk; what was at `path` stays.
    """
    path = Path(path)
    if is_computed(volume, "data") and path.name.lower().endswith(".nii.gz"):
        found = held(volume, "data")
        dtype = np.dtype(found.dtype if like_dtype is None else like_dtype)
        like = np.zeros((found.shape[0], *[1] * volume.grid.ndim), dtype)
        write_slabs(path, volume.grid, like, (_cast(slab, dtype) for slab in last_slabs(volume, "data")))
        return
    array = array_of(volume, "data")
    array = array.astype(_stored_type(array)) if like_dtype is None else _cast(array, np.dtype(like_dtype))
    write_sitk(to_sitk(array, volume.grid), path)


def _modality_of(tag: str, ndim: int) -> Modality | None:
    """What DICOM's Modality says of a scan of so many axes; None where that decides nothing here (a slice of CT)."""
    if ndim == 2:
        return "radiograph" if tag in ("CR", "DX", "RF", "XA", "MG") else None
    return DICOM_MODALITIES.get(tag)


def _open(path: Path, header_only: bool = True) -> sitk.ImageFileReader:
    """A reader that has read the header, after the checks that need no voxels."""
    if not path.exists():
        raise ImageError(f"{path}: no such file")
    check_file(path, header_only)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _translated(path, error) from error
    _check_frames(reader, path)
    return reader


def _check_frames(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse several frames of a DICOM file: their places, slopes and order are not in the header that ITK reads. And
    refuse Siemens' mosaics, which are many slices in one picture."""
    if reader.HasMetaDataKey(_IMAGE_TYPE) and "MOSAIC" in reader.GetMetaData(_IMAGE_TYPE).upper():
        raise ImageError(f"{path}: is a mosaic of slices, expected one image: convert it with dcm2niix")
    if reader.HasMetaDataKey(_SOP_CLASS) and reader.HasMetaDataKey(_FRAMES):
        frames = reader.GetMetaData(_FRAMES).strip()
        if frames not in ("", "0", "1"):
            raise ImageError(
                f"{path}: is a DICOM file of {frames} frames without a place of their own, expected one image: name "
                "the folder of its series, or convert it with a program of its maker"
            )


def _of_ndim(volume: Volume, path: Path, ndim: int | None) -> Volume:
    if ndim not in (None, 3):
        raise ImageError(f"{path}: is 3D ({_times(volume.grid.shape)}); expected a {ndim}D image")
    return volume


def _read(reader: sitk.ImageFileReader, path: Path, ndim: int) -> sitk.Image:
    count, size = reader.GetNumberOfComponents(), reader.GetSize()
    if count > 1 and path.name.lower().endswith(".seg.nrrd"):
        raise ImageError(
            f"{path}: its segments lie in {count} layers, as they overlap: export them from 3D Slicer as one label map"
        )
    if count > 1 and (ndim == 3 or count not in (3, 4)):
        raise ImageError(f"{path}: has {count} values per voxel (colour or vectors); expected one")
    part = "volume" if ndim == 3 else "slice"
    if len(size) > ndim and any(s > 1 for s in size[ndim:]):
        raise ImageError(f"{path}: is {len(size)}D ({_times(size)}); expected {ndim}D: extract one {part}")
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:
        raise _translated(path, error) from error
    image = placed(grey(image, path) if count > 1 else image, nifti_affine(path, tilted=True))
    image = upright_minc(image) if is_minc(path.name) else image
    return spaced(image, reader, path) if all(s == 1 for s in size[2:]) else image


def _checked(values: NDArray[np.generic], grid: Grid, path: Path, kind: Kind, ndim: int) -> Volume:
    if grid.ndim != ndim:
        raise ImageError(f"{path}: is {grid.ndim}D ({_times(grid.shape)}); expected a {ndim}D image")
    return checked_volume(values, grid, kind, str(path))


def _stored_type(array: NDArray[np.generic]) -> np.dtype[np.generic]:
    if array.dtype == np.bool_:
        return np.dtype(np.uint8)
    if array.dtype == np.int64 and np.abs(array).max(initial=0) < 2**31:
        return np.dtype(np.int32)
    return np.dtype(np.float32) if array.dtype == np.float16 else array.dtype


def _cast(array: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    if not np.issubdtype(dtype, np.integer) or np.issubdtype(array.dtype, np.integer):
        return array.astype(dtype)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    # In float64: the ends of int32 are not float32 numbers, and clipping to them would overflow.
    return np.clip(np.rint(array.astype(np.float64)), limits.min, limits.max).astype(dtype)


def _translated(path: Path, error: RuntimeError) -> JssrError:
    said = str(error)
    if "Zero-valued spacing" in said or "spacing" in said.lower() and "negative" in said.lower():
        return ImageError(f"{path}: has a spacing that is not positive; correct its header or export it again")
    if "orthonormal" in said or "Non-orthogonal" in said:
        return ImageError(f"{path}: its axes are not perpendicular (shear or gantry tilt); resample it first")
    return ImageError(
        f"{path}: is not a readable image, or is truncated; NIfTI, NRRD, MHA files and DICOM folders are read, and "
        "grey pictures (PNG, JPEG, TIFF)"
    )


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
