"""The headers of the series that results belong to, with the patient's data or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pydicom
from pydicom.dataset import Dataset

from jssr.errors import ImageError
from jssr.io.dicom.series import SeriesInfo, check_one_patient

__all__ = ["Sources", "anonymised", "headers_of"]


@dataclass(frozen=True)
class Sources:
    """The series of a registration, as headers without pixels in the order of the slices.

    Attributes:
        fixed, moving: one data set a slice.
        fixed_info: where the fixed series' files are, for a copy of it that belongs to the results; None where the
            results belong to the series itself, as they do unless they are anonymous.
    """

    fixed: Sequence[Dataset]
    moving: Sequence[Dataset]
    fixed_info: SeriesInfo | None = None

    @classmethod
    def of(cls, fixed: SeriesInfo, moving: SeriesInfo, anonymise: bool = False) -> Sources:
        """Read both headers.

        Raises:
            ImageError: the series are of two patients, or a header lacks what results have to refer to.
        """
        check_one_patient((fixed, moving))
        headers = headers_of(fixed), headers_of(moving)
        if not anonymise:
            return cls(*headers)
        return cls(anonymised(headers[0]), anonymised(headers[1]), fixed)


def headers_of(series: SeriesInfo) -> list[Dataset]:
    """The headers of a series, slice by slice.

    Raises:
        ImageError: one lacks what results have to refer to.
    """
    if series.enhanced:
        raise ImageError(f"{series.paths[0]}: is a multi-frame file; DICOM results belong to series of single slices")
    found: list[Dataset] = [pydicom.dcmread(path, stop_before_pixels=True) for path in series.paths]
    for header, path in zip(found, series.paths, strict=True):
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"):
            if not header.get(name):
                raise ImageError(f"{path}: its header has no {name}, to which DICOM results have to refer")
    return found


def anonymised(headers: Sequence[Dataset]) -> list[Dataset]:
    """Headers without the patient's data, by the basic profile of DICOM PS3.15 annex E; in one process the same UID
    becomes the same new one."""
    from dicomanonymizer import anonymize_dataset

    for header in headers:
        anonymize_dataset(header, delete_private_tags=True)
        for element in header:
            if element.VR in ("DA", "DT", "TM"):
                element.value = ""  # the profile's own replacement, the year 1, is no date to many readers
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = f"PS3.15 basic profile, dicom-anonymizer {version('dicom-anonymizer')}"
    return list(headers)
