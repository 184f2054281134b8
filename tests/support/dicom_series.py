"""A volume written as a DICOM series with pydicom alone, slice by slice, for what reads and writes DICOM."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

STUDY, FRAME = "1.3.6.1.4.1.99999.7.1001", "1.3.6.1.4.1.99999.7.2002"
PATIENT = {"PatientID": "ID-4711", "PatientName": "Doe^Jane", "PatientBirthDate": "19610203", "PatientSex": "F"}
COMMON = {
    "StudyInstanceUID": STUDY, "FrameOfReferenceUID": FRAME, "StudyDate": "20200102", "StudyTime": "101000",
    "StudyID": "77", "AccessionNumber": "A-99", "ReferringPhysicianName": "Who^Doctor", "Manufacturer": "Maker",
    "InstitutionName": "Town Hospital", "AcquisitionDate": "20200102", "AcquisitionTime": "101500.25",
    "PositionReferenceIndicator": "", "Laterality": "", "PatientPosition": "HFS", "SeriesNumber": 3,
    "SeriesDescription": "venous",
}  # fmt: skip


def write_volume(folder, volume, modality="CT", **tags):
    """One file a slice of `volume`, whole numbers; further attributes in `tags`, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    series = tags.pop("SeriesInstanceUID", generate_uid())
    values = np.rint(volume.array).astype(np.int16)
    grid = volume.grid
    for k in range(grid.shape[2]):
        kind = CTImageStorage if modality == "CT" else MRImageStorage
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = kind, meta.MediaStorageSOPInstanceUID, series
        ds.Modality, ds.InstanceNumber = modality, k + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Columns, ds.Rows = grid.shape[:2]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            ds.RescaleSlope, ds.RescaleIntercept, ds.KVP, ds.AcquisitionNumber = "1", "0", "120", 1
        else:
            ds.ScanningSequence, ds.SequenceVariant, ds.EchoTime, ds.RepetitionTime = "GR", "NONE", "2.3", "5"
            ds.ScanOptions, ds.MRAcquisitionType, ds.EchoTrainLength = "", "3D", 1
        column, row, step = grid.spacing
        ds.PixelSpacing, ds.SliceThickness = [f"{row:.8g}", f"{column:.8g}"], f"{step:.8g}"
        ds.ImageOrientationPatient = [f"{v:.10g}" for v in grid.direction[:, :2].T.ravel()]
        ds.ImagePositionPatient = [f"{v:.8g}" for v in grid.world((0, 0, k))]
        for name, value in {**COMMON, **PATIENT, **tags}.items():
            if value is not None:
                setattr(ds, name, value)
        ds.PixelData = np.ascontiguousarray(values[..., k].T).tobytes()
        ds.save_as(folder / f"{series[-6:]}_{k:03d}.dcm", enforce_file_format=True)
    return folder
