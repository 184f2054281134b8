#!/usr/bin/env bash
# One would guess: highdicom's Image gives the frames of an enhanced CT the numbers that pydicom's pixel_array gives: of 16
#   allocated and 12 stored bits the upper four say nothing (DICOM PS3.5, 8.1.1), and bit 11 is the sign.
# What happens: highdicom takes the number of stored bits from BitsAllocated, so the four bits count and bit 15 is the sign.
#   Where a scanner leaves them 0, each negative number comes back 4096 too large. There is no warning.
# Source: highdicom, image.py, where self.bits_stored is image.get('BitsAllocated', ...); decode_frame is given it.
# Who is hurt: whoever reads signed 12-bit enhanced CT (or MR) with get_frame, get_frames or get_volume: air becomes denser
#   than bone, water of -1 HU becomes 4095 HU. Where a scanner extends the sign into the upper bits, nothing shows.
# Seen with highdicom 0.28.2, pydicom 3.0.1 and SimpleITK 2.5.2 (stored are -1000, -1, 0 and 1000 in 12 bits):
#   pydicom [-1000, -1, 0, 1000]
#   SimpleITK [-1000, -1, 0, 1000]
#   highdicom, get_frame [3096, 4095, 0, 1000]
#   highdicom, get_volume [3096, 4095, 0, 1000]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.1 SimpleITK==2.5.2 numpy==2.2.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**values):
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


d = item(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), Modality="CT")
d.file_meta = FileMetaDataset()
d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
d.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
d.NumberOfFrames, d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 2, 2, 2, 1, "MONOCHROME2"
d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 1
numbers = [-1000, -1, 0, 1000]
d.PixelData = (np.array(numbers * 2, np.int16).view(np.uint16) & 0x0FFF).tobytes()  # two frames, upper bits 0
d.SharedFunctionalGroupsSequence = [
    item(
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=1, SpacingBetweenSlices=1)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="HU")],
    )
]
d.PerFrameFunctionalGroupsSequence = [
    item(
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
        FrameContentSequence=[item(StackID="1", InStackPositionNumber=z + 1, DimensionIndexValues=[z + 1])],
    )
    for z in range(2)
]
d.save_as("enhanced.dcm", enforce_file_format=True)
image = highdicom.imread("enhanced.dcm")
found = {
    "pydicom": pydicom.dcmread("enhanced.dcm").pixel_array,
    "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage("enhanced.dcm")),
    "highdicom, get_frame": image.get_frame(1),
    "highdicom, get_volume": image.get_volume().array,
}
for reader, array in found.items():
    first = [round(v) for v in array.ravel()[:4].tolist()]
    print(reader, first)
    assert first == ([3096, 4095, 0, 1000] if reader.startswith("highdicom") else numbers), first
PYTHON
