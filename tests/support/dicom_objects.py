"""DICOM objects made with pydicom alone: enhanced scans, doses, structure sets and registrations."""

from __future__ import annotations

import numpy as np
from dicom_series import COMMON, FRAME, PATIENT, STUDY
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DeformableSpatialRegistrationStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RTDoseStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
    generate_uid,
)

CONTENT = {
    "ContentDate": "20200102", "ContentTime": "101000", "ContentLabel": "REG", "ContentDescription": "",
    "ContentCreatorName": "",
}  # fmt: skip


def item(**tags):
    """A data set of these attributes; lists of data sets become sequences."""
    out = Dataset()
    for name, value in tags.items():
        if value is not None:
            setattr(out, name, value)
    return out


def new(kind, modality, **tags):
    """An object of one class with the patient and the study of `dicom_series`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.SOPClassUID, out.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    about = {"SeriesInstanceUID": generate_uid(), "Modality": modality, "InstanceNumber": 1, "SeriesNumber": 9}
    place = ("AcquisitionDate", "AcquisitionTime", "Laterality", "PatientPosition", "SeriesDescription")
    for name, value in {**COMMON, **PATIENT, **about, **tags}.items():
        if value is not None and (name not in place or name in tags):
            setattr(out, name, value)
    return out


def save(made, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def numbers(values):
    return [f"{float(v):.10g}" for v in np.ravel(values)]


def pixels(columns, rows, bits, signed=0, stored=None):
    stored = stored or bits
    return {
        "Columns": columns, "Rows": rows, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits, "BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": signed,
    }  # fmt: skip


def enhanced(path, values, grid, order, slopes=None, intercept=0.0, heights=None, per_frame=True, **bits):
    """An enhanced CT of stored numbers (columns, rows, slices) on `grid`; its frames lie in the file in `order`."""
    out = new(EnhancedCTImageStorage, "CT", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    for name, value in pixels(*values.shape[:2], 16, **bits).items():
        setattr(out, name, value)
    out.NumberOfFrames, organization = len(order), generate_uid()
    out.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    out.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057)
    ]
    column, row, step = grid.spacing
    out.SharedFunctionalGroupsSequence = [item(
        PixelMeasuresSequence=[item(PixelSpacing=numbers([row, column]), SliceThickness=f"{step:g}")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=numbers(grid.direction[:, :2].T))],
    )]  # fmt: skip
    groups = []
    for k in order:
        height = k if heights is None else heights[k]
        groups.append(item(
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=int(k) + 1,
                                       DimensionIndexValues=[1, int(k) + 1])],
            PlanePositionSequence=[item(ImagePositionPatient=numbers(grid.world((0, 0, height))))],
            PixelValueTransformationSequence=[item(
                RescaleSlope=f"{1.0 if slopes is None else slopes[k]:g}", RescaleIntercept=f"{intercept:g}",
                RescaleType="HU")],
        ))  # fmt: skip
    if per_frame:
        out.PerFrameFunctionalGroupsSequence = groups
    kind = "<i2" if bits.get("signed") else "<u2"
    out.PixelData = np.stack([values[..., k].T for k in order]).astype(np.int64).astype(kind).tobytes()
    return save(out, path)


def dose(path, gray, grid, scaling=1e-4, offsets=None, order=None, bits=32, **tags):
    """An RT Dose of `gray` (columns, rows, planes) on `grid`, its planes in the file in `order`."""
    column, row, step = grid.spacing
    planes = np.arange(grid.shape[2]) if order is None else np.asarray(order)
    start = grid.world((0, 0, int(planes[0])))
    given = (planes - planes[0]) * step if offsets is None else offsets
    out = new(RTDoseStorage, "RTDOSE", DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN",
              DoseGridScaling=f"{scaling:.8g}", NumberOfFrames=len(planes), FrameIncrementPointer=0x3004000C,
              GridFrameOffsetVector=numbers(given), ImagePositionPatient=numbers(start),
              ImageOrientationPatient=numbers(grid.direction[:, :2].T), PixelSpacing=numbers([row, column]),
              SliceThickness="", OperatorsName="", **pixels(*grid.shape[:2], bits))  # fmt: skip
    out.PixelData = np.rint(gray[..., planes].T / scaling).astype(f"<u{bits // 8}").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(out, name)
        else:
            setattr(out, name, value)
    return save(out, path)


def structure_set(path, structures, series, frame=FRAME, **tags):
    """An RT Structure Set: name to a list of (geometric type, (N, 3) points), drawn on the series of the headers
    `series`."""
    images = [item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in series]

    def image_of(points):
        normal = np.cross(series[0].ImageOrientationPatient[:3], series[0].ImageOrientationPatient[3:])
        apart = [abs(float((points[0] - np.array(s.ImagePositionPatient, float)) @ normal)) for s in series]
        return images[int(np.argmin(apart))]

    out = new(RTStructureSetStorage, "RTSTRUCT", StructureSetLabel="PLAN", StructureSetDate="", StructureSetTime="",
              OperatorsName="")  # fmt: skip
    out.ReferencedFrameOfReferenceSequence = [item(
        FrameOfReferenceUID=frame,
        RTReferencedStudySequence=[item(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=STUDY,
            RTReferencedSeriesSequence=[item(
                SeriesInstanceUID=series[0].SeriesInstanceUID, ContourImageSequence=images)],
        )],
    )]  # fmt: skip
    out.StructureSetROISequence = [
        item(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=name, ROIGenerationAlgorithm="MANUAL")
        for n, name in enumerate(structures, start=1)
    ]
    out.ROIContourSequence = [
        item(ReferencedROINumber=n, ROIDisplayColor=[255, 10 * n, 0], ContourSequence=[
            item(ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=numbers(points),
                 ContourImageSequence=[image_of(points)])
            for kind, points in contours
        ])
        for n, contours in enumerate(structures.values(), start=1)
    ]  # fmt: skip
    out.RTROIObservationsSequence = [
        item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        for n in range(1, len(structures) + 1)
    ]
    for name, value in tags.items():
        setattr(out, name, value)
    return save(out, path)


def spatial(path, matrices, registered=FRAME):
    """A Spatial Registration: frame of reference to the matrices that lead from it to the registered one, in turn."""
    out = new(SpatialRegistrationStorage, "REG", FrameOfReferenceUID=registered, **CONTENT)
    out.RegistrationSequence = [
        item(FrameOfReferenceUID=frame, MatrixRegistrationSequence=[item(MatrixSequence=[
            item(FrameOfReferenceTransformationMatrixType="AFFINE", FrameOfReferenceTransformationMatrix=numbers(m))
            for m in several
        ])])
        for frame, several in matrices
    ]  # fmt: skip
    return save(out, path)


def deformable(path, grid, vectors, before=None, after=None, registered=FRAME, source="1.2.3.99"):
    """A Deformable Spatial Registration: (*grid.shape, 3) millimetres between two matrices."""
    out = new(DeformableSpatialRegistrationStorage, "REG", FrameOfReferenceUID=registered, **CONTENT)
    field = item(
        ImagePositionPatient=numbers(grid.origin),
        ImageOrientationPatient=numbers(grid.direction[:, :2].T),
        GridDimensions=list(grid.shape),
        GridResolution=[float(s) for s in grid.spacing],
        VectorGridData=np.ascontiguousarray(vectors.transpose(2, 1, 0, 3)).astype("<f4").tobytes(),
    )
    one = item(SourceFrameOfReferenceUID=source, RegistrationTypeCodeSequence=[])
    one.DeformableRegistrationGridSequence = [field]
    for name, matrix in (("Pre", before), ("Post", after)):
        if matrix is not None:
            setattr(one, f"{name}DeformationMatrixRegistrationSequence", [item(
                FrameOfReferenceTransformationMatrixType="AFFINE", FrameOfReferenceTransformationMatrix=numbers(matrix)
            )])  # fmt: skip
    out.DeformableRegistrationSequence = [item(SourceFrameOfReferenceUID=registered), one]
    return save(out, path)
