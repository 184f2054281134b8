"""A multi-frame file whose every frame has its place, by highdicom: enhanced CT, MR and PET, and their like."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from jssr.core.grid import Grid
from jssr.core.volume import Kind, Volume, checked_volume
from jssr.errors import ImageError
from jssr.io.dicom.files import in_words, quietly
from jssr.io.itk import DICOM_MODALITIES


def read_frames(found: Dataset, path: Path, kind: Kind = "image", where: str | None = None) -> Volume:
    """The frames of one evenly spaced stack, each with its own slope and intercept, sorted along the patient.

    Args:
        found: the data set with its pixels; it may be changed.
        path: what the volume is called.
        kind: as in `read_image`.
        where: what the file is called in messages.

    Raises:
        ImageError: several stacks or time points, uneven or tilted frames, colour, or damaged pixels.
    """
    where = where or str(path)
    if "PerFrameFunctionalGroupsSequence" not in found:
        raise ImageError(f"{where}: its frames have no place of their own; expected per-frame functional groups")
    clean_bits(found, where)
    without_references(found)
    try:
        with quietly():
            stack = hd.Image.from_dataset(found, copy=False).get_volume(
                dtype=np.float32, apply_real_world_transform=False, apply_presentation_lut=False,
                apply_voi_transform=False,
            )  # fmt: skip
    except Exception as error:  # highdicom, pydicom and the decoders each have their own
        raise ImageError(f"{where}: its frames are no one evenly spaced stack ({in_words(error)})") from error
    if stack.number_of_channel_dimensions:
        raise ImageError(f"{where}: is in colour; expected one value per voxel")
    array, grid = upright(stack)
    volume = checked_volume(array, grid, kind, str(path))
    return volume.known_as("header", modality=DICOM_MODALITIES.get(str(found.get("Modality"))))


def upright(stack: hd.Volume) -> tuple[NDArray[np.generic], Grid]:
    """Array and grid of a highdicom volume, (columns, rows, slices), right-handed."""
    array = stack.array.reshape(stack.array.shape[:3]).transpose(2, 1, 0)  # from slices, rows, columns, one channel
    affine = np.array(stack.affine[:, [2, 1, 0, 3]], dtype=np.float64)
    if np.linalg.det(affine[:3, :3]) < 0:  # slices counted downwards
        array = array[..., ::-1]
        affine[:3, 3] += (stack.array.shape[0] - 1) * affine[:3, 2]
        affine[:3, 2] *= -1
    return np.ascontiguousarray(array), Grid(tuple(array.shape), affine)


def without_references(found: Dataset) -> None:
    """Leave out what the frames were made from, in place: no voxel needs it, and highdicom 0.28 refuses a reference to
    several frames at once, as Siemens writes it in reformats."""
    shared = list(found.get("SharedFunctionalGroupsSequence") or ())
    for group in [*shared, *(found.get("PerFrameFunctionalGroupsSequence") or ())]:
        for name in ("DerivationImageSequence", "ReferencedImageSequence"):
            if name in group:
                delattr(group, name)


def clean_bits(found: Dataset, where: str) -> None:
    """Fill the bits above the stored ones with the sign (signed) or zeros, in place; compressed pixels are unpacked.

    They mean nothing (PS3.5 8.1.1), and some scanners leave the sign out of them or put overlays in. highdicom 0.28
    reads them as part of the number: -1000 in 12 bits becomes 3096.
    """
    stored, allocated = int(found.get("BitsStored") or 0), int(found.get("BitsAllocated") or 0)
    if "PixelData" not in found or not 0 < stored < allocated or allocated not in (8, 16, 32):
        return
    try:
        if found.file_meta.TransferSyntaxUID.is_encapsulated:
            found.decompress(generate_instance_uid=False)
        signed = int(found.get("PixelRepresentation") or 0) == 1
        unused = np.array(int(found.get("HighBit", stored - 1)) + 1 - stored), np.array(allocated - stored)
        values = np.frombuffer(found.PixelData, f"<{'i' if signed else 'u'}{allocated // 8}")
        raised = np.left_shift(values, (unused[1] - unused[0]).astype(values.dtype))
        found.PixelData = np.right_shift(raised, unused[1].astype(values.dtype)).tobytes()
        found.HighBit, found.BitsStored = allocated - 1, allocated
    except Exception as error:
        raise ImageError(
            f"{where}: its pixels cannot be read; truncated, or of an unknown coding ({in_words(error)})"
        ) from error
