#!/usr/bin/env bash
# One would guess: plastimatch puts an RT Dose where its ImagePositionPatient and ImageOrientationPatient say, as it puts a
#   CT; and it reads the doses that it writes.
# What happens: it reads the direction cosines of a dose as the columns of a matrix whose rows they are. An oblique dose is
#   turned the other way about its first voxel; a coronal or sagittal one gets other axes. The numbers are right, in Gy. A
#   CT of the same orientation is read right, and a dose is written right, so that its own dose comes back turned.
# Source: what "plastimatch convert" writes of the two objects below. Debian's plastimatch 1.9.4 does the same.
# Who is hurt: whoever converts, resamples or evaluates doses on the grids of oblique, coronal or sagittal scans: the dose
#   lies millimetres to centimetres beside the anatomy. On axial grids nothing shows.
# Seen with plastimatch 1.10.0, pydicom 3.0.2 and SimpleITK 2.5.7 (voxel 3, 2, 1 is marked; mm in LPS):
#   CT, axes turned by 20 degrees: at [-2.9, -13.2, 32.5], plastimatch [-2.9, -13.2, 32.5]
#   dose, axial: at [-1.0, -16.0, 32.5], plastimatch [-1.0, -16.0, 32.5]
#   dose, axes turned by 20 degrees: at [-2.9, -13.2, 32.5], plastimatch [-0.2, -19.3, 32.5]
#   dose, coronal: at [-1.0, -17.5, 26.0], plastimatch [-1.0, -22.5, 34.0]
#   dose written by plastimatch: at [-2.9, -13.2, 32.5], plastimatch [-0.2, -19.3, 32.5]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check plastimatch==1.10.0 pydicom==3.0.2 SimpleITK==2.5.7 \
  numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

position, spacing, marked = np.array([-10.0, -20.0, 30.0]), np.array([3.0, 2.0, 2.5]), np.array([3, 2, 1])
study, series, frame = (uid.generate_uid() for _ in range(3))


def write(name, axes, first, planes, **tags):
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
    d.SOPInstanceUID = uid.generate_uid()
    d.PatientName, d.PatientID = "One", "1"
    d.ImageOrientationPatient = [f"{v:.10f}" for v in axes[:2].ravel()]
    d.ImagePositionPatient = [f"{v:.10f}" for v in first]
    d.PixelSpacing = [spacing[1], spacing[0]]
    d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.PixelData = planes.astype(np.uint16).tobytes()
    for tag, value in tags.items():
        setattr(d, tag, value)
    d.save_as(name, enforce_file_format=True)


def convert(*words):
    subprocess.run(["venv/bin/plastimatch", "convert", *map(str, words)], check=True, capture_output=True)


def place(name):
    image = sitk.ReadImage(str(name))
    array = sitk.GetArrayFromImage(image)
    z, y, x = np.unravel_index(array.argmax(), array.shape)
    return [round(v, 1) for v in image.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))]


def told(name, meant, found, expected):
    print(f"{name}: at {meant}, plastimatch {found}")
    assert found == expected, (found, expected)


cos, sin = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
grids = {"axial": np.eye(3), "axes turned by 20 degrees": np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]),
         "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])}  # fmt: skip
at = {name: [round(float(v), 1) for v in position + (marked * spacing) @ axes] for name, axes in grids.items()}
voxels = np.zeros((3, 4, 5))
voxels[1, 2, 3] = 1000
oblique = "axes turned by 20 degrees"
Path("ct").mkdir()
for z in range(3):
    first = position + z * spacing[2] * grids[oblique][2]
    write(f"ct/{z}.dcm", grids[oblique], first, voxels[z], SOPClassUID=uid.CTImageStorage, Modality="CT",
          InstanceNumber=z + 1, RescaleIntercept=0, RescaleSlope=1)  # fmt: skip
convert("--input", "ct", "--output-img", "ct.nrrd")
told(f"CT, {oblique}", at[oblique], place("ct.nrrd"), at[oblique])
turned = {"axial": at["axial"], oblique: [-0.2, -19.3, 32.5], "coronal": [-1.0, -22.5, 34.0]}
for name, axes in grids.items():
    write("dose.dcm", axes, position, voxels, SOPClassUID=uid.RTDoseStorage, Modality="RTDOSE", DoseUnits="GY",
          DoseType="PHYSICAL", DoseSummationType="PLAN", DoseGridScaling=0.01, NumberOfFrames=3,
          FrameIncrementPointer=0x3004000C, GridFrameOffsetVector=[0, 2.5, 5])  # fmt: skip
    convert("--input", "dose.dcm", "--output-dose-img", "dose.nrrd")
    assert abs(sitk.GetArrayFromImage(sitk.ReadImage("dose.nrrd")).max() - 10) < 1e-4  # Gy
    assert place("dose.dcm") == at[name]
    told(f"dose, {name}", at[name], place("dose.nrrd"), turned[name])
sitk.WriteImage(sitk.Cast(sitk.ReadImage("ct.nrrd"), sitk.sitkFloat32), "right.nrrd")
convert("--input", "ct", "--input-dose-img", "right.nrrd", "--output-dicom", "written")
(written,) = (path for path in Path("written").iterdir() if pydicom.dcmread(path).Modality == "RTDOSE")
convert("--input", written, "--output-dose-img", "back.nrrd")
told("dose written by plastimatch", place(written), place("back.nrrd"), turned[oblique])
assert place(written) == at[oblique]
PYTHON
