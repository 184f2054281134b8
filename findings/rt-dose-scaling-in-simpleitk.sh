#!/usr/bin/env bash
# One would guess: SimpleITK reads an RT Dose in Gy, as it reads CT in HU: the numbers stored are multiplied by what the file
#   says they are to be multiplied by.
# What happens: RescaleSlope of a CT is applied, DoseGridScaling is not (DICOM PS3.3, C.8.8.3: the factor from stored
#   numbers to DoseUnits, Type 1C, with the pixels). The image holds the integers as they are stored. There is no warning.
# Source: GDCM takes DoseGridScaling as the slope of an RT Dose, unless it is told to take the rescale slope of any object.
#   ITK tells it so: itkGDCMImageIO.cxx, SetForceRescaleInterceptSlope(true).
# Who is hurt: whoever adds, warps or compares doses with SimpleITK or ITK. The factor is another one in each file, often
#   chosen so that the maximum fills the integers: plans of 40 and of 60 Gy then have the same maximum.
# Seen with SimpleITK 2.5.7, python-gdcm 3.2.6 and pydicom 3.0.2 (50000 is stored, DoseGridScaling is 0.001, so 50 Gy):
#   SimpleITK, CT with RescaleSlope 0.001: 50.0
#   SimpleITK, RT Dose: 50000
#   GDCM's slope 0.001; as ITK uses it 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 python-gdcm==3.2.6 pydicom==3.0.2 \
  numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import gdcm
import numpy as np
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset


def write(name, kind, frames, **tags):
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = kind, uid.generate_uid()
    d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [2, 2]
    d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.PixelData = np.full((frames, 4, 5), 50000, np.uint16).tobytes()
    for tag, value in tags.items():
        setattr(d, tag, value)
    d.save_as(name, enforce_file_format=True)
    return sitk.GetArrayFromImage(sitk.ReadImage(name)).max()


def slope():
    reader = gdcm.ImageReader()
    reader.SetFileName("dose.dcm")
    assert reader.Read()
    return reader.GetImage().GetSlope()


ct = write("ct.dcm", uid.CTImageStorage, 1, Modality="CT", RescaleIntercept=0, RescaleSlope=0.001)
print(f"SimpleITK, CT with RescaleSlope 0.001: {ct}")
dose = write(
    "dose.dcm", uid.RTDoseStorage, 2, Modality="RTDOSE", DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN",
    DoseGridScaling=0.001, NumberOfFrames=2, FrameIncrementPointer=0x3004000C, GridFrameOffsetVector=[0, 2],
)
print(f"SimpleITK, RT Dose: {dose}")
alone = slope()
gdcm.ImageHelper.SetForceRescaleInterceptSlope(True)
print(f"GDCM's slope {alone}; as ITK uses it {slope()}")
assert abs(ct - 50) < 1e-9 and dose == 50000 and alone == 0.001 and slope() == 1, (ct, dose, alone, slope())
PYTHON
