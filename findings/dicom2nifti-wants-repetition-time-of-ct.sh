#!/usr/bin/env bash
# One would guess: dicom2nifti converts a CT series in which each position was scanned twice (arterial and venous) into 4D, or
#   says that it does not take such series.
# What happens: it finds the two volumes and their 4D order, and then reads RepetitionTime and EchoTime. CT has neither, so
#   an AttributeError ends the conversion after all voxels have been read. With any numbers there (2000 and 1 below) it
#   writes two right volumes.
# Source: dicom2nifti, convert_generic.py, four_d_to_nifti (set_tr_te, whatever the modality).
# Who is hurt: pipelines over multi-phase CT: the message speaks of MR, of a file that is a valid CT.
# Seen with dicom2nifti 2.6.2 and pydicom 3.0.1:
#   without RepetitionTime: AttributeError: 'FileDataset' object has no attribute 'RepetitionTime'
#   with both: (20, 16, 6, 2)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dicom2nifti==2.6.2 nibabel==5.4.2 pydicom==3.0.1 numpy==2.2.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" venv/bin/python - <<'PYTHON'
import glob
import os

import dicom2nifti
import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def two_phases(folder, maker, number):
    """One series of 6 slices at z = 0 to 25 mm, taken twice, 25 s apart: slice k holds 100 + k, then 200 + k."""
    os.makedirs(folder)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for phase in range(2):
        for k in range(6):
            d = Dataset()
            d.file_meta = FileMetaDataset()
            d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
            d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
            d.PatientName, d.PatientID, d.StudyID, d.AccessionNumber = "A", "1", "1", ""
            d.StudyDate = d.AcquisitionDate = d.ContentDate = "20200101"
            d.StudyTime = d.SeriesTime = "100000"
            d.AcquisitionTime = d.ContentTime = f"1000{20 + 25 * phase}"
            d.Modality, d.Manufacturer, d.SeriesNumber, d.PatientPosition = "CT", maker, 3, "HFS"
            d.ImageType, d.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "abdomen, two phases"
            d.AcquisitionNumber = d.TemporalPositionIdentifier = phase + 1
            d.NumberOfTemporalPositions = 2
            d.InstanceNumber = number(phase, k)
            d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10, -10, 5 * k]
            d.PixelSpacing, d.SliceThickness = [1, 1], 5
            d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 16, 20, 1, "MONOCHROME2"
            d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
            d.RescaleIntercept, d.RescaleSlope = 0, 1
            d.PixelData = np.full((16, 20), 100 * (phase + 1) + k, np.int16).tobytes()
            d.save_as(f"{folder}/{d.InstanceNumber:02d}.dcm", enforce_file_format=True)


two_phases("series", "SIEMENS", lambda phase, k: 6 * phase + k + 1)
said = ""
try:
    dicom2nifti.dicom_series_to_nifti("series", "a.nii")
except AttributeError as error:
    said = str(error)
print("without RepetitionTime:", said)
assert "RepetitionTime" in said, said
for name in glob.glob("series/*.dcm"):
    d = pydicom.dcmread(name)
    d.RepetitionTime, d.EchoTime = 2000, 1
    d.save_as(name)
dicom2nifti.dicom_series_to_nifti("series", "b.nii")
image = nibabel.load("b.nii")
volumes = np.asarray(image.dataobj)[0, 0]
print("with both:", image.shape)
assert image.shape == (20, 16, 6, 2), image.shape
assert volumes[:, 0].tolist() == list(range(100, 106)) and volumes[:, 1].tolist() == list(range(200, 206)), volumes
PYTHON
