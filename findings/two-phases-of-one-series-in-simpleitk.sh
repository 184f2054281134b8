#!/usr/bin/env bash
# One would guess: SimpleITK's ImageSeriesReader refuses a series in which each position was scanned twice (arterial and
#   venous CT), or splits it, at least with useSeriesDetails=True.
# What happens: both phases become one volume, one behind the other or slice by slice, in the order of InstanceNumber; the
#   distance between slices is the extent divided by the number of slices less one (2.27 mm, truly 5). Details of the
#   series change nothing. A warning says that sampling is not uniform; nothing is raised.
# Source: ITK, itkImageSeriesReader.hxx (spacing from first to last slice) and GDCM's sorters, which need positions to differ.
# Who is hurt: whoever reads multi-phase folders with it: the patient is there twice, in organs of half their height.
# Seen with SimpleITK 2.5.2 (first voxel of each slice, 100s arterial, 200s venous; spacing):
#   numbered phase by phase       [100 .. 105, 200 .. 205], 2.27
#   numbered position by position [100, 200, 101, 201 .. 105, 205], 2.27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 pydicom==3.0.1 numpy==2.2.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" venv/bin/python - <<'PYTHON'
import os

import numpy as np
import SimpleITK as sitk
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


first, second = list(range(100, 106)), list(range(200, 206))
turns = [v for pair in zip(first, second) for v in pair]
for name, number, expected in (
    ("phase by phase", lambda phase, k: 6 * phase + k + 1, first + second),
    ("position by position", lambda phase, k: 2 * k + phase + 1, turns),
):
    folder = name.replace(" ", "_")
    two_phases(folder, "SIEMENS", number)
    assert len(sitk.ImageSeriesReader.GetGDCMSeriesIDs(folder, True)) == 1
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder, "", True)
    image = sitk.ReadImage(files)
    slices = sitk.GetArrayFromImage(image)[:, 0, 0].tolist()
    print("numbered", name, slices, round(image.GetSpacing()[2], 2))
    assert slices == expected and round(image.GetSpacing()[2], 2) == 2.27, (slices, image.GetSpacing())
PYTHON
