#!/usr/bin/env bash
# One would guess: dcm2niix splits a series whose positions were scanned twice (arterial and venous CT) by position and time,
#   whatever the scanner's maker: the headers hold AcquisitionNumber, AcquisitionTime and TemporalPositionIdentifier.
# What happens: the same twelve slices, numbered position by position, become the right two volumes where Manufacturer is GE
#   or Philips. Where it is Siemens or Toshiba, InstanceNumber alone counts: the first volume holds the lower three
#   positions in both phases by turns, the second the upper three, and the third column of the affine is zero. The program
#   warns that it cannot tell the direction of slices, writes the file and ends with 0.
# Source: dcm2niix, nii_dicom_batch.cpp (ensureSequentialSlicePositions, swapDim3Dim4); which makers come there, seen in the output.
# Who is hurt: whoever converts dynamic or multi-phase series that a PACS has numbered anew: each "phase" is half a patient
#   in both phases, and the sform cannot be inverted.
# Seen with dcm2niix 1.0.20260724 (first voxel of each slice, 100s arterial, 200s venous; third column of the affine):
#   GE MEDICAL SYSTEMS [[100, 101, 102, 103, 104, 105], [200, 201, 202, 203, 204, 205]] [0, 0, 5]
#   Philips            the same
#   SIEMENS            [[100, 200, 101, 201, 102, 202], [103, 203, 104, 204, 105, 205]] [0, 0, 0]
#   TOSHIBA            the same as SIEMENS
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dcm2niix==1.0.20260724 nibabel==5.4.2 pydicom==3.0.1 numpy==2.2.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" venv/bin/python - <<'PYTHON'
import os
import subprocess

import nibabel
import numpy as np
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


GOOD = [[100, 101, 102, 103, 104, 105], [200, 201, 202, 203, 204, 205]]
MIXED = [[100, 200, 101, 201, 102, 202], [103, 203, 104, 204, 105, 205]]
EXPECTED = {"GE MEDICAL SYSTEMS": GOOD, "Philips": GOOD, "SIEMENS": MIXED, "TOSHIBA": MIXED}
for number, (maker, expected) in enumerate(EXPECTED.items()):
    two_phases(f"series{number}", maker, lambda phase, k: 2 * k + phase + 1)
    os.mkdir(f"out{number}")
    subprocess.run(["dcm2niix", "-f", "x", "-o", f"out{number}", f"series{number}"], check=True, stdout=subprocess.DEVNULL)
    image = nibabel.load(f"out{number}/x.nii")
    volumes = np.asarray(image.dataobj)[0, 0].T.tolist()
    column = [round(v) for v in image.affine[:3, 2].tolist()]
    print(maker, volumes, column)
    assert volumes == expected and column == [0, 0, 5 if expected is GOOD else 0], (maker, volumes, column)
PYTHON
