"""Structures written as a DICOM RT Structure Set on the slices of a series, and a dose as an RT Dose in its frame."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTDoseStorage, RTStructureSetStorage

from jssr.core.volume import Volume
from jssr.io.dicom.contours import Structure
from jssr.io.dicom.files import quietly
from jssr.io.dicom.results import made, reference
from jssr.io.files import atomic_path

Array = NDArray[np.float64]
Contour = tuple[int | None, str, Array]
"""The index of its slice where it lies on one, its geometric type, (N, 3) LPS millimetres."""
_CONTOUR_DATA = Tag("ContourData")
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
STEPS = 2e9
"""Whole numbers up to the largest dose: they fit signed readers too."""


@quietly()
def write_structure_set(
    carried: Sequence[tuple[Structure, Sequence[Contour]]],
    source: Dataset,
    fixed: Sequence[Dataset],
    path: Path,
    number: int,
) -> None:
    """Write structures with their contours on the slices of the series `fixed`, completely or not at all.

    Args:
        carried: each structure (its number, name, colour and kind are kept) with its contours in the new place.
        source: the structure set they came from, which the new one names as its predecessor.
        fixed: headers of the series, slice by slice.
        path: the file.
        number: of the new series.
    """
    with atomic_path(path) as temporary:
        _StructureSet(carried, source, fixed, number).save_as(temporary, enforce_file_format=True)


class _RTObject(hd.base.SOPClass):
    """What both objects share: the patient and the study of the fixed series."""

    def __init__(self, kind: str, modality: str, fixed: Sequence[Dataset], number: int, description: str) -> None:
        place = fixed[0]
        super().__init__(
            study_instance_uid=place.StudyInstanceUID,
            sop_class_uid=kind,
            modality=modality,
            **made(number),
            # Without a limit of 64 KiB on the numbers of a contour, which explicit types have.
            transfer_syntax_uid=ImplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
            series_description=description,
        )
        self.copy_patient_and_study_information(place)
        self.OperatorsName = None
        self.FrameOfReferenceUID = place.FrameOfReferenceUID
        self.PositionReferenceIndicator = place.get("PositionReferenceIndicator")


class _StructureSet(_RTObject):
    """PS3.3 A.19."""

    def __init__(
        self,
        carried: Sequence[tuple[Structure, Sequence[Contour]]],
        source: Dataset,
        fixed: Sequence[Dataset],
        number: int,
    ) -> None:
        super().__init__(RTStructureSetStorage, "RTSTRUCT", fixed, number, "Structures carried by jssr")
        now = datetime.now()
        self.StructureSetLabel = f"{source.get('StructureSetLabel') or 'STRUCTURES'}"[:16]
        self.StructureSetDescription = "Carried from another series by registration (jssr)"
        self.StructureSetDate, self.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
        self.ApprovalStatus = "UNAPPROVED"
        self.PredecessorStructureSetSequence = [reference(source)]
        images = [reference(header) for header in fixed]
        self.ReferencedFrameOfReferenceSequence = [_frame(fixed, images)]
        self.StructureSetROISequence = [_roi(one, fixed[0].FrameOfReferenceUID) for one, _ in carried]
        self.ROIContourSequence = [_drawn(one, contours, images) for one, contours in carried]
        self.RTROIObservationsSequence = [_observed(k, one) for k, (one, _) in enumerate(carried, start=1)]


def _item(**attributes: Any) -> Dataset:
    out = Dataset()
    for name, value in attributes.items():
        setattr(out, name, value)
    return out


def _frame(fixed: Sequence[Dataset], images: list[Dataset]) -> Dataset:
    """The series that the contours lie on (C.8.8.5)."""
    series = _item(SeriesInstanceUID=fixed[0].SeriesInstanceUID, ContourImageSequence=images)
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=fixed[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=fixed[0].FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _roi(one: Structure, frame: str) -> Dataset:
    return _item(
        ROINumber=one.number,
        ReferencedFrameOfReferenceUID=frame,
        ROIName=one.name[:64],
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription="Carried by registration",
    )


def _drawn(one: Structure, contours: Sequence[Contour], images: list[Dataset]) -> Dataset:
    out = _item(ReferencedROINumber=one.number)
    if len(one.colour) == 3:
        out.ROIDisplayColor = list(one.colour)
    drawn = []
    for k, geometry, xyz in contours:
        contour = _item(ContourGeometricType=geometry, NumberOfContourPoints=len(xyz))
        contour[_CONTOUR_DATA] = _raw(xyz)
        if k is not None:
            contour.ContourImageSequence = [images[k]]
        drawn.append(contour)
    if drawn:
        out.ContourSequence = drawn
    return out


def _raw(xyz: Array) -> RawDataElement:
    """Contour Data as the file holds it: pydicom's own conversion takes a hundred times as long."""
    text = "\\".join(f"{v:.3f}" for v in xyz.ravel().tolist()).encode("ascii")
    text += b" " * (len(text) % 2)
    return RawDataElement(_CONTOUR_DATA, "DS", len(text), text, 0, True, True)


def _observed(number: int, one: Structure) -> Dataset:
    return _item(
        ObservationNumber=number, ReferencedROINumber=one.number, RTROIInterpretedType=one.interpreted,
        ROIInterpreter=None,
    )  # fmt: skip


@quietly()
def write_dose(dose: Volume, source: Dataset, fixed: Sequence[Dataset], path: Path, number: int, rigid: bool) -> None:
    """Write a dose in gray as an RT Dose in the frame of reference of the series `fixed`, completely or not at all.

    Args:
        dose: on any grid.
        source: the header of the dose it came from, whose units, type, summation, comment and plan it keeps.
        fixed: headers of the series.
        path: the file.
        number: of the new series.
        rigid: whether it was carried by a rigid transform; the object says so.
    """
    with atomic_path(path) as temporary:
        _Dose(dose, source, fixed, number, rigid).save_as(temporary, enforce_file_format=True)


class _Dose(_RTObject):
    """PS3.3 A.18."""

    def __init__(self, dose: Volume, source: Dataset, fixed: Sequence[Dataset], number: int, rigid: bool) -> None:
        super().__init__(RTDoseStorage, "RTDOSE", fixed, number, "Dose carried by jssr")
        values, grid = dose.array.astype(np.float64), dose.grid
        signed = bool(values.min() < 0)
        scaling = f"{max(float(np.abs(values).max()), 1e-9) / STEPS:.9e}"
        column, row, step = grid.spacing
        self.ImagePositionPatient = [f"{v:.9g}" for v in grid.origin]
        self.ImageOrientationPatient = [f"{v:.9g}" for v in grid.direction[:, :2].T.ravel()]
        self.PixelSpacing, self.SliceThickness = [f"{row:.9g}", f"{column:.9g}"], f"{step:.9g}"
        self.Columns, self.Rows, self.NumberOfFrames = grid.shape
        self.SamplesPerPixel, self.PhotometricInterpretation = 1, "MONOCHROME2"
        self.BitsAllocated, self.BitsStored, self.HighBit = 32, 32, 31
        self.PixelRepresentation = int(signed)
        self.FrameIncrementPointer = 0x3004000C
        self.GridFrameOffsetVector = [f"{step * k:.9g}" for k in range(grid.shape[2])]
        self.DoseGridScaling = scaling
        for name, usual in (("DoseUnits", "GY"), ("DoseType", "PHYSICAL"), ("DoseSummationType", "PLAN")):
            setattr(self, name, source.get(name) or usual)
        for name in ("DoseComment", "TissueHeterogeneityCorrection", "ReferencedRTPlanSequence"):
            if source.get(name):
                setattr(self, name, source.get(name))
        self.SpatialTransformOfDose = "RIGID" if rigid else "NON_RIGID"
        setattr(self, "ReferencedSpatialRegistrationSequence", [])  # noqa: B010 (mypy: a list of what)
        stored = np.rint(values / float(scaling))
        self.PixelData = np.ascontiguousarray(stored.T).astype("<i4" if signed else "<u4").tobytes()
