#!/usr/bin/env bash
# One would guess: highdicom's get_volume_from_series sorts axial slices from the feet to the head, as SimpleITK's
#   ImageSeriesReader does, so array[0] is the lowest slice and the origin is its position.
# What happens: array[0] is the HIGHEST slice. The array's axes are slices, rows, columns, and highdicom orders the slices
#   so that these three are right-handed. Rows run to the back and columns to the left, so slices must run to the feet.
#   The affine says so (its first column is negative), and its index order is that of the array, not ITK's.
# Source: highdicom, spatial.py, get_volume_positions (handedness=RIGHT_HANDED unless told otherwise).
# Who is hurt: whoever puts the array beside one of SimpleITK, or gives it a grid of spacing and origin of their own: the
#   patient is upside down, and left and right look right.
# Seen with highdicom 0.26.1, pydicom 3.0.1 and SimpleITK 2.5.2 (slices at z = 0, 1, 2, 3 mm hold 0, 1, 2, 3):
#   highdicom [3, 2, 1, 0], step of the first axis [0, 0, -1]
#   SimpleITK [0, 1, 2, 3]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.26.1 pydicom==3.0.1 SimpleITK==2.5.2 numpy==2.2.6
cd "$folder"
mkdir series
venv/bin/python - <<'PYTHON'
import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

study, series, frame = generate_uid(), generate_uid(), generate_uid()
slices = []
for z in range(4):
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
    d.Modality, d.InstanceNumber = "CT", z + 1
    d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    d.PixelSpacing, d.SliceThickness = [0.7, 0.7], 1
    d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.RescaleIntercept, d.RescaleSlope = 0, 1
    d.PixelData = np.full((4, 5), z, np.int16).tobytes()
    d.save_as(f"series/{z}.dcm", enforce_file_format=True)
    slices.append(pydicom.dcmread(f"series/{z}.dcm"))
volume = highdicom.get_volume_from_series(slices)
first = [round(v) for v in volume.array[:, 0, 0]]
step = [round(v) for v in volume.affine[:3, 0]]
print("highdicom", first, "step of the first axis", step)
image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("series"))
other = [round(v) for v in sitk.GetArrayFromImage(image)[:, 0, 0].tolist()]
print("SimpleITK", other)
assert first == [3, 2, 1, 0] and step == [0, 0, -1], (first, step)
assert other == [0, 1, 2, 3], other
PYTHON
