"""The headers of the series that results belong to, with the patient's data or without."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from jssr.errors import ImageError
from jssr.io.dicom.files import quietly
from jssr.io.dicom.geometry import stack_of
from jssr.io.dicom.series import SeriesInfo, check_one_patient

_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
ACQUISITION = (
    "AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "BodyPartExamined", "ProtocolName", "ScanOptions",
    "ContrastBolusAgent", "ContrastBolusRoute", "ContrastBolusStartTime", "ContrastBolusVolume",
    "KVP", "ExposureTime", "XRayTubeCurrent", "Exposure", "FilterType", "ConvolutionKernel", "RotationDirection",
    "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "SequenceName", "RepetitionTime", "EchoTime",
    "InversionTime", "NumberOfAverages", "ImagingFrequency", "EchoNumbers", "MagneticFieldStrength", "EchoTrainLength",
    "FlipAngle", "DeidentificationMethod", "PatientIdentityRemoved",
)  # fmt: skip
"""What is still true of a scan once it was moved."""
KEPT = frozenset(ACQUISITION + _PATIENT_AND_STUDY + (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "Manufacturer", "ManufacturerModelName",
    "SeriesNumber", "InstanceNumber", "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "PatientPosition", "Laterality", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
))  # fmt: skip
"""What an anonymous header keeps, once the profile has gone through it."""
KINDS = (CTImageStorage, MRImageStorage)
"""What a moved scan can be written as."""


@dataclass(frozen=True)
class Sources:
    """The series of a registration, as headers without pixels in the order of the slices.

    Attributes:
        fixed, moving: one data set a slice.
        series: what both are and where their files lie.
        anonymous: the headers are without the patient's data and have new UIDs. A copy of the fixed series under its
            new header then belongs to the results.
    """

    fixed: Sequence[Dataset]
    moving: Sequence[Dataset]
    series: tuple[SeriesInfo, SeriesInfo]
    anonymous: bool = False

    @classmethod
    def of(cls, fixed: SeriesInfo, moving: SeriesInfo, anonymise: bool = False) -> Sources:
        """Read both headers."""
        check_one_patient((fixed, moving))
        headers = headers_of(fixed), headers_of(moving)
        tilt = stack_of(fixed.slices, str(fixed.paths[0].parent)).angle
        if tilt:
            raise ImageError(
                f"{fixed.paths[0].parent}: was taken with a tilted gantry ({tilt:.1f} degrees); DICOM results lie on "
                "the fixed series' slices, which are not upright: leave DICOM out, or take another fixed series"
            )
        if headers[1][0].SOPClassUID not in KINDS:
            kind = headers[1][0].get("Modality", "?")
            raise ImageError(f"{moving.paths[0]}: a moved {kind} scan cannot be written as DICOM; CT and MR can")
        if not anonymise:
            return cls(*headers, (fixed, moving))
        return cls(anonymised(headers[0]), anonymised(headers[1]), (fixed, moving), anonymous=True)


@quietly()
def headers_of(series: SeriesInfo) -> list[Dataset]:
    """The headers of a series, slice by slice, in Unicode, with what every object must say of patient and study, even
    if it is nothing."""
    if series.enhanced:
        raise ImageError(f"{series.paths[0]}: is a multi-frame file; DICOM results belong to series of single slices")
    found: list[Dataset] = [pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in series.paths]
    instances = {str(header.get("SOPInstanceUID")) for header in found}
    if len(instances) < len(found) and all(header.get("SOPInstanceUID") for header in found):
        raise ImageError(
            f"{series.paths[0].parent}: slices of this series share a SOP Instance UID, by which results refer to "
            "them: export it again"
        )
    for header, path in zip(found, series.paths, strict=True):
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"):
            if not header.get(name):
                raise ImageError(f"{path}: its header has no {name}, to which DICOM results have to refer")
        if header.FrameOfReferenceUID != found[0].FrameOfReferenceUID:
            raise ImageError(f"{path}: lies in another frame of reference than the slices before it")
        _completed(header)
    return found


def _completed(header: Dataset) -> None:
    """Texts in Unicode, and every attribute of patient and study there, as the standard wants (type 2). Dates and times
    that are none become empty."""
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    for element in header:
        if element.VR == "PN" and element.value:
            element.value = str(element.value)
    if any("CodingSchemeDesignator" not in item for item in header.get("ProcedureCodeSequence") or ()):
        del header.ProcedureCodeSequence  # a code without its scheme, as some archives have it, is none
    for name in _PATIENT_AND_STUDY:
        value = str(header.get(name) or "")
        form = {"Date": r"\d{8}", "Time": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"}.get(name[-4:])
        if not value or (form is not None and not re.fullmatch(form, value)):
            setattr(header, name, "")


@quietly()
def anonymised(headers: Sequence[Dataset]) -> list[Dataset]:
    """Headers without the patient's data, by the basic profile of DICOM PS3.15 annex E; in one process the same UID
    becomes the same new one.

    dicom-anonymizer looks at the outermost level only, and knows no overlays or retired elements. So what is not needed
    to show the scan goes altogether, sequences and private elements first.
    """
    from dicomanonymizer import anonymize_dataset

    for header in headers:
        anonymize_dataset(header, delete_private_tags=True)
        for element in list(header):
            if element.keyword not in KEPT or element.VR == "SQ":
                del header[element.tag]
            elif element.VR in ("DA", "DT", "TM"):
                element.value = ""  # the profile's own replacement, the year 1, is no date to many readers
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = f"PS3.15 basic profile, dicom-anonymizer {version('dicom-anonymizer')}"
        _completed(header)
    return list(headers)


def identity_removed(header: Dataset) -> bool:
    """Whether a header says that it is without the patient's identity."""
    return str(header.get("PatientIdentityRemoved") or "").strip().upper() == "YES"


def anonymous_source(source: Dataset) -> Dataset:
    """What a carried object may know of the structure set or dose it came from: its class, what kind of dose it is, and
    the new UIDs of it and its plan, which are those of `anonymised`. Labels, comments and private elements are gone."""
    from dicomanonymizer.simpledicomanonymizer import get_UID

    out = Dataset()
    for name in ("SOPClassUID", "DoseUnits", "DoseType", "DoseSummationType", "TissueHeterogeneityCorrection"):
        if source.get(name):
            setattr(out, name, source.get(name))
    out.SOPInstanceUID = get_UID(str(source.SOPInstanceUID))
    plans = []
    for plan in source.get("ReferencedRTPlanSequence") or ():
        plans.append(Dataset())
        plans[-1].ReferencedSOPClassUID = plan.ReferencedSOPClassUID
        plans[-1].ReferencedSOPInstanceUID = get_UID(str(plan.ReferencedSOPInstanceUID))
    if plans:
        out.ReferencedRTPlanSequence = plans
    return out
