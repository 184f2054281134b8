"""A moved scan as a DICOM series: the moving scan's appearance and acquisition, the fixed scan's place, patient, study
and frame of reference, so that a viewer lays it over the fixed series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, generate_uid

from jssr._version import __version__
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.dicom.files import quietly
from jssr.io.dicom.headers import ACQUISITION
from jssr.io.dicom.series import SeriesInfo

MAKER = "jssr"
_MAY_BE_EMPTY = {
    CTImageStorage: ("KVP", "AcquisitionNumber"),
    MRImageStorage: ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
}
"""Attributes that the standard wants present, with a value or not (type 2)."""


class _MovedSlice(hd.base.SOPClass):
    """One slice, PS3.3 A.3 (CT) or A.4 (MR): (rows, columns) pixels at the `place` of a fixed slice's header, of the
    `kind` of a moving slice's header, with further attributes that all slices share."""

    def __init__(self, pixels: NDArray[np.int16], place: Dataset, kind: Dataset, index: int, shared: dict[str, Any]):
        super().__init__(
            study_instance_uid=place.StudyInstanceUID,
            series_instance_uid=shared["SeriesInstanceUID"],
            series_number=shared["SeriesNumber"],
            sop_instance_uid=generate_uid(),
            sop_class_uid=kind.SOPClassUID,
            instance_number=index + 1,
            modality=kind.Modality,
            manufacturer=str(kind.get("Manufacturer") or "") or None,
            manufacturer_model_name=str(kind.get("ManufacturerModelName") or "") or None,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
        )
        self.copy_patient_and_study_information(place)
        for name in ACQUISITION:
            if name in kind:
                self[name] = kind[name]
        for name in _MAY_BE_EMPTY[kind.SOPClassUID]:
            if name not in self:
                setattr(self, name, None)
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
            self[name] = place[name]
        for name in ("SliceThickness", "PatientPosition", "PositionReferenceIndicator", "Laterality"):
            # Of a part of the body that is named and is no paired one, a side must not be there.
            if name != "Laterality" or name in place or "BodyPartExamined" not in self:
                setattr(self, name, place.get(name))
        self.Rows, self.Columns = pixels.shape
        self.SamplesPerPixel, self.PhotometricInterpretation = 1, "MONOCHROME2"
        self.BitsAllocated, self.BitsStored, self.HighBit, self.PixelRepresentation = 16, 16, 15, 1
        for name, value in shared.items():
            setattr(self, name, value)
        self.PixelData = np.ascontiguousarray(pixels.astype("<i2")).tobytes()


@quietly()
def write_moved(
    moved: Volume, fixed: Sequence[Dataset], moving: Sequence[Dataset], folder: Path, description: str
) -> list[Dataset]:
    """Write a moved scan, one file a slice, and return what was written.

    Args:
        moved: on the fixed series' grid, in the moving scan's intensities. CT is written in HU; an MR whose values
            do not suit integers is scaled; its derivation holds the factor.
        fixed, moving: headers of the two series.
        folder: exists.
        description: of the new series.
    """
    kind = moving[len(moving) // 2]
    columns, rows, n = moved.grid.shape
    if (n, rows, columns) != (len(fixed), fixed[0].Rows, fixed[0].Columns):
        raise ImageError(f"the moved image on {moved.grid} does not lie on the slices of the fixed series")
    values, scale = _as_int16(moved.array, kind.SOPClassUID == CTImageStorage)
    attributes = _shared(kind, description, scale)
    made: list[Dataset] = []
    for index, place in enumerate(fixed):
        one = _MovedSlice(values[..., index].T, place, kind, index, attributes)
        one.save_as(folder / f"{index + 1:04d}.dcm", enforce_file_format=True)
        del one.PixelData  # held by the file; the headers are what others refer to
        made.append(one)
    return made


def _as_int16(values: NDArray[Any], ct: bool) -> tuple[NDArray[np.int16], float]:
    """Values as int16, and the factor that they were multiplied by: 1 where that loses little."""
    low, high = float(values.min()), float(values.max())
    fits = low >= -32768 and high <= 32767
    scale = 1.0 if ct or (fits and high - low > 1000) else 4095.0 / max(abs(low), abs(high), 1e-12)
    return np.rint(values * scale).clip(-32768, 32767).astype(np.int16), scale


def series_number(kind: Dataset, more: int = 1000) -> int:
    """A number for a new series beside the moving one's."""
    try:
        return int(kind.get("SeriesNumber") or 0) % 1_000_000 + more
    except (TypeError, ValueError, OverflowError):
        return more


def _shared(kind: Dataset, description: str, scale: float) -> dict[str, Any]:
    """What all slices of the new series share."""
    scaled = "" if scale == 1 else f"; values times {scale:.6g}"
    usual = series_number(kind)
    attributes: dict[str, Any] = {
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": usual,
        "SeriesDescription": description.replace("\\", " ")[:64],
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL" if kind.SOPClassUID == CTImageStorage else "OTHER"],
        "DerivationDescription": f"Series {kind.SeriesInstanceUID} aligned and resampled{scaled}",
        "DerivationCodeSequence": [hd.sr.CodedConcept.from_code(codes.DCM.SpatialResampling)],
        "ContributingEquipmentSequence": [
            hd.ContributingEquipment(MAKER, codes.DCM.ModifyingEquipment, software_versions=__version__)
        ],
    }
    if kind.SOPClassUID == CTImageStorage:
        attributes |= {"RescaleIntercept": "0", "RescaleSlope": "1", "RescaleType": "HU"}
    centre, width = (np.atleast_1d(kind.get(name) or []) for name in ("WindowCenter", "WindowWidth"))
    if len(centre) and len(width) and scale == 1:
        attributes |= {"WindowCenter": f"{float(centre[0]):.6g}", "WindowWidth": f"{float(width[0]):.6g}"}
    return attributes


@quietly()
def copy_series(series: SeriesInfo, headers: Sequence[Dataset], folder: Path) -> None:
    """Write a series' pixels, as they are, under other headers of the same slices."""
    for index, (path, header) in enumerate(zip(series.paths, headers, strict=True)):
        source = pydicom.dcmread(path, force=True)
        header = Dataset(header)
        header[0x7FE00010] = source[0x7FE00010]
        header.file_meta = pydicom.dataset.FileMetaDataset()
        implied = ImplicitVRLittleEndian if source.original_encoding[0] else ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = source.file_meta.get("TransferSyntaxUID") or implied
        header.save_as(folder / f"{index + 1:04d}.dcm", enforce_file_format=True)
