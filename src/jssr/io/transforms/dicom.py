"""DICOM Deformable Spatial Registration: one grid and no matrices. Reading needs the extra `dicom`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jssr.io.transforms.base import Images

if TYPE_CHECKING:
    from jssr.core.transform import Displacement

__all__ = ["READERS", "read_dicom"]


def read_dicom(path: Path, images: Images | None = None) -> Displacement:
    """A deformation as `jssr register --dicom` writes it.

    Raises:
        TransformError: no such object, several grids, or matrices beside the grid.
        MissingExtraError: no pydicom.
    """
    from jssr.io.dicom.results import read_deformation

    return read_deformation(path)


READERS = {"dicom": read_dicom}
