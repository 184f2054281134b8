"""What one DICOM file holds, by its SOP class: a stack of frames, a segmentation, a dose, or what is no image.

A file is looked at before any reader gets it, because a reader that knows only pixels passes over what makes them an
image: the place of each frame, the number of each segment, the factor of a dose.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydicom import uid as uids
from pydicom.dataset import Dataset

from jssr.core.grid import Grid
from jssr.core.volume import Kind, Volume
from jssr.errors import ImageError
from jssr.io.dicom import dose, frames, segments
from jssr.io.dicom.files import class_name, opened
from jssr.io.dicom.series import ENHANCED

log = logging.getLogger(__name__)

SEGMENTATIONS = (uids.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""The second is the Label Map Segmentation Storage, which pydicom 3.0 has no name for."""
STACKS = (
    *ENHANCED, uids.XRay3DAngiographicImageStorage, uids.XRay3DCraniofacialImageStorage,
    uids.BreastTomosynthesisImageStorage,
)  # fmt: skip
"""Classes whose every frame has its place."""
REGISTRATIONS = (uids.SpatialRegistrationStorage, uids.DeformableSpatialRegistrationStorage)


def is_structures(found: Dataset) -> bool:
    return bool(found.SOPClassUID == uids.RTStructureSetStorage)


def is_dose(found: Dataset) -> bool:
    return bool(found.SOPClassUID == uids.RTDoseStorage)


def is_segmentation(found: Dataset) -> bool:
    return found.SOPClassUID in SEGMENTATIONS


def read_object(path: str | os.PathLike[str], kind: Kind = "image") -> Volume:
    """Read one DICOM file as a volume: enhanced CT, MR and PET, a segmentation, a dose in gray, a structure set.

    Args:
        path: the file. A structure set needs the series that it refers to in the same folder.
        kind: a segmentation and a structure set are "labels" or a "mask", a dose is an "image".

    Raises:
        ImageError: another kind of object (it is named), another `kind`, or a damaged file.
    """
    path = Path(path)
    found = opened(path)
    if found.SOPClassUID in STACKS:
        return frames.read_frames(found, path, kind)
    if is_segmentation(found):
        _expect(kind, ("labels", "mask"), path, "a segmentation")
        made = segments.read_segments(path)
        _tell(made.warnings)
        return made.volume_as(kind)
    if is_dose(found):
        _expect(kind, ("image",), path, "a dose")
        read = dose.dose_of(found, path)
        _tell(read.warnings)
        return read.volume
    if is_structures(found):
        _expect(kind, ("labels", "mask"), path, "a structure set")
        raise ImageError(
            f"{path}: holds contours, expected a label map: make one with jssr warp, and --reference for its scan"
        )
    raise ImageError(f"{path}: is a {class_name(found)} of DICOM, expected an image: {_instead(found)}")


def is_carried(path: str | os.PathLike[str]) -> bool:
    """Whether a DICOM file is carried as an object of its own: a segmentation, a structure set or a dose."""
    found = opened(path, pixels=False)
    return is_segmentation(found) or is_structures(found) or is_dose(found)


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """What a DICOM file is read as: "labels" (a segmentation, a structure set) or "image"."""
    found = opened(path, pixels=False)
    return "labels" if is_segmentation(found) or is_structures(found) else "image"


def grid_of_object(path: str | os.PathLike[str]) -> Grid:
    """Where the volume of a DICOM file lies.

    Raises:
        ImageError: as `read_object`.
    """
    path = Path(path)
    found = opened(path)
    if is_segmentation(found):
        return segments.read_segments(path).volume.grid
    if is_dose(found):
        return dose.dose_of(found, path).volume.grid
    return read_object(path).grid


def _tell(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        log.warning(warning)


def _expect(kind: Kind, fitting: tuple[Kind, ...], path: Path, what: str) -> None:
    if kind not in fitting:
        raise ImageError(f"{path}: is {what}, expected kind {kind}, got {fitting[0]}: name it where {fitting[0]} go")


def _instead(found: Dataset) -> str:
    if found.SOPClassUID in REGISTRATIONS:
        return "name it as a transform"
    if int(found.get("NumberOfFrames") or 1) > 1:
        return "its frames have no place of their own; name the series of its slices"
    return "name the series that it belongs to"
