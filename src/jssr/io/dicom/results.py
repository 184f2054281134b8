"""A registration's results as DICOM objects: segmentations (PS3.3 A.51) and the deformation (A.39.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import DeformableSpatialRegistrationStorage, ExplicitVRLittleEndian, generate_uid

from jssr._version import __version__
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.io.dicom.files import quietly
from jssr.io.dicom.moved import MAKER

FIELD_MM = 3.0
"""Distance of the deformation's vectors, at least: fields are smooth, and a vector a voxel of a CT is 300 MB."""
_CODES: dict[str, str] = {
    "liver": "Liver", "spleen": "Spleen", "kidney": "Kidney", "pancreas": "Pancreas", "aorta": "Aorta",
    "gallbladder": "Gallbladder", "stomach": "Stomach", "bladder": "Bladder", "prostate": "Prostate",
    "rectum": "Rectum", "lung": "Lung", "heart": "Heart", "vertebra": "Vertebra", "spine": "Spine",
    "femoral": "FemoralHead", "cava": "InferiorVenaCava", "portal": "PortalVein", "adrenal": "AdrenalGland",
    "duodenum": "Duodenum", "bone": "Bone", "muscle": "Muscle",
}  # fmt: skip
"""What a structure's name has in it, and its SNOMED keyword."""
_LESION = ("tumour", "tumor", "lesion", "metastasis", "gtv")


@quietly()
def write_segmentation(
    labels: Volume, names: Mapping[int, str], source: Sequence[Dataset], path: Path, system: str, number: int
) -> None:
    """Write a label map on the grid of a series with the headers `source` as its DICOM segmentation, a new series of
    this `number` made by `system` ("jssr"); one without any label is not written."""
    here = [value for value in sorted(names) if bool((labels.data == value).any())]
    if not here:
        return
    numbered = np.zeros(labels.grid.shape, np.uint8)
    for position, value in enumerate(here, start=1):
        numbered[labels.array == value] = position
    hd.seg.Segmentation(
        source_images=list(source),
        pixel_array=np.ascontiguousarray(numbered.transpose(2, 1, 0)),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(i, names[value], system) for i, value in enumerate(here, start=1)],
        **made(number),
        content_label="ORGANS",
        series_description=f"Segmentation by {system}",
    ).save_as(path, enforce_file_format=True)


def made(number: int) -> dict[str, Any]:
    """What every new object says of its series and its maker."""
    new = {"series_instance_uid": generate_uid(), "sop_instance_uid": generate_uid(), "series_number": number}
    maker = {"manufacturer": MAKER, "manufacturer_model_name": MAKER, "software_versions": __version__}
    return {**new, **maker, "instance_number": 1, "device_serial_number": "0"}


def _segment(number: int, name: str, system: str) -> hd.seg.SegmentDescription:
    found = next((word for word in _CODES if word in name.lower()), "")
    category, kind = codes.SCT.AnatomicalStructure, getattr(codes.SCT, _CODES[found]) if found else codes.SCT.Tissue
    if any(word in name.lower() for word in _LESION):
        category, kind = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=system, version=__version__, family=Code("123109", "DCM", "Artificial Intelligence")
        ),
    )


def field_grid(grid: Grid, spacing: float = FIELD_MM) -> Grid:
    """The grid of the deformation's vectors: from the first to the last voxel centre of the fixed grid along each axis,
    about `spacing` mm apart, or as far as the voxels."""
    reach = (np.array(grid.shape) - 1) * grid.spacing
    shape = np.maximum(2, np.ceil(reach / np.maximum(grid.spacing, spacing) - 1e-6).astype(int) + 1)
    steps = np.where(reach > 0, reach / (shape - 1), grid.spacing)
    return Grid.of(tuple(shape.tolist()), steps.tolist(), grid.origin.tolist(), grid.direction)


@quietly()
def write_deformation(
    displacement: Displacement, fixed: Sequence[Dataset], moving: Sequence[Dataset], path: Path, number: int
) -> Displacement:
    """Write the full transform as a Deformable Spatial Registration and return the field as the file holds it.

    The fixed series' frame of reference is the registered one: a point p of it lies at p + u(p) in the moving series
    (PS3.3 C.20.3.1.1), as in our own files. `number` is that of the new series.
    """
    coarse = displacement.displacement(field_grid(displacement.grid))
    _Deformation(coarse, fixed, moving, number).save_as(path, enforce_file_format=True)
    return coarse


class _Deformation(hd.base.SOPClass):
    """PS3.3 A.39.2."""

    def __init__(self, u: Displacement, fixed: Sequence[Dataset], moving: Sequence[Dataset], number: int) -> None:
        place = fixed[0]
        super().__init__(
            study_instance_uid=place.StudyInstanceUID,
            sop_class_uid=DeformableSpatialRegistrationStorage,
            modality="REG",
            **made(number),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
            series_description="Deformation from the fixed to the moving series",
        )
        self.copy_patient_and_study_information(place)
        self.FrameOfReferenceUID = place.FrameOfReferenceUID
        self.PositionReferenceIndicator, self.Laterality = place.get("PositionReferenceIndicator"), None
        self.ContentLabel, self.ContentDescription, self.ContentCreatorName = "DEFORMATION", None, None
        item = Dataset()
        item.SourceFrameOfReferenceUID = moving[0].FrameOfReferenceUID
        item.ReferencedImageSequence = [reference(header) for header in moving]
        item.RegistrationTypeCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.ImageContentBasedAlignment)]
        item.DeformableRegistrationGridSequence = [_vectors(u)]
        self.DeformableRegistrationSequence = [item]
        self._refer(moving)

    def _refer(self, moving: Sequence[Dataset]) -> None:
        """Common Instance Reference (C.12.2): the moving series, in this study or another."""
        series = Dataset()
        series.SeriesInstanceUID = moving[0].SeriesInstanceUID
        series.ReferencedInstanceSequence = [reference(header) for header in moving]
        if moving[0].StudyInstanceUID == self.StudyInstanceUID:
            self.ReferencedSeriesSequence = [series]
            return
        study = Dataset()
        study.StudyInstanceUID = moving[0].StudyInstanceUID
        study.ReferencedSeriesSequence = [series]
        self.StudiesContainingOtherReferencedInstancesSequence = [study]


def _vectors(u: Displacement) -> Dataset:
    """A grid of vectors, mm, x fastest (C.20.3.1.3)."""
    out = Dataset()
    out.ImagePositionPatient = [f"{v:.9g}" for v in u.grid.origin]
    out.ImageOrientationPatient = [f"{v:.9g}" for v in u.grid.direction[:, :2].T.ravel()]
    out.GridDimensions = list(u.grid.shape)
    out.GridResolution = [float(s) for s in u.grid.spacing]
    vectors = u.millimetres().transpose(2, 1, 0, 3)  # from (x, y, z, 3) to z slowest
    out.VectorGridData = np.ascontiguousarray(vectors.astype("<f4")).tobytes()
    return out


def reference(header: Dataset) -> Dataset:
    """An item that refers to one object."""
    out = Dataset()
    out.ReferencedSOPClassUID, out.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return out
