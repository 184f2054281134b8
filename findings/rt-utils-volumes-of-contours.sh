#!/usr/bin/env bash
# One would guess: the mask that rt-utils makes of a structure's contours has the volume within the contours, up to the
#   rounding of whole voxels, which takes away at the border as much as it adds; and so has the structure that it writes
#   of a mask.
# What happens: reading, the points of a contour are rounded to voxel centres, and each voxel that the line touches is
#   inside: some half a voxel too much all around. Writing, the contour runs through the centres of the outermost voxels:
#   half a voxel too little all around. Read again by rt-utils such a structure is exact, so a round trip shows nothing.
# Source: rt_utils, image_helper.py, get_slice_mask_from_slice_contour_data (numpy.around, then OpenCV's fillPoly, which
#   draws the border as well) and find_mask_contours (OpenCV's findContours). rt-utils' pull request 141 lets one ask for
#   contours along the voxels' edges.
# Who is hurt: whoever trains on masks that rt-utils made of a clinic's structures, measures volumes or doses in them, or
#   sends a network's masks to a planning system: small organs and tumours are a third too large one way, and a fifth
#   too small the other.
# Seen with rt-utils 1.2.7 and OpenCV 5.0.0.93 (spheres in voxels of 1 mm; contours are exact circles in each slice):
#   radius 20 mm: contours to mask 1.069 of the volume, mask to contours 0.947
#   radius 10 mm: contours to mask 1.151 of the volume, mask to contours 0.893
#   radius 5 mm: contours to mask 1.339 of the volume, mask to contours 0.784
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 pydicom==3.0.1 numpy==2.2.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps rt-utils==1.2.7  # asks for OpenCV with windows
cd "$folder"
mkdir ct
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

N, CENTRE = 64, 32
study, series, frame = generate_uid(), generate_uid(), generate_uid()
for z in range(N):
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
    d.PatientID = d.PatientName = d.StudyID = "sphere"
    d.PatientBirthDate = d.PatientSex = d.StudyDate = d.StudyTime = ""
    d.Modality, d.InstanceNumber = "CT", z + 1
    d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    d.PixelSpacing, d.SliceThickness = [1, 1], 1
    d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = N, N, 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.PixelData = np.zeros((N, N), np.int16).tobytes()
    d.save_as(f"ct/{z:02}.dcm", enforce_file_format=True)

turn = np.linspace(0, 2 * np.pi, 360, endpoint=False)
y, x, z = np.mgrid[:N, :N, :N]  # rt-utils' order: rows, columns, slices
for radius, more, less in ((20, 1.069, 0.947), (10, 1.151, 0.893), (5, 1.339, 0.784)):
    sphere = (x - CENTRE) ** 2 + (y - CENTRE) ** 2 + (z - CENTRE) ** 2 < radius**2
    made = RTStructBuilder.create_new(dicom_series_path="ct")
    made.add_roi(mask=sphere, name="sphere")
    contours = made.ds.ROIContourSequence[0].ContourSequence
    within = 0
    for contour in contours:
        a, b, _ = np.reshape(np.float64(contour.ContourData), (-1, 3)).T
        within += abs(a @ np.roll(b, 1) - b @ np.roll(a, 1)) / 2  # area of a polygon; slices are 1 mm apart
    assert (made.get_roi_mask_by_name("sphere") == sphere).all()  # the round trip
    for contour in contours:  # one in each slice: exact circles in place of rt-utils' own
        height = contour.ContourData[2]
        r = np.sqrt(radius**2 - (float(height) - CENTRE) ** 2)
        circle = np.stack([CENTRE + r * np.cos(turn), CENTRE + r * np.sin(turn), np.full(360, float(height))], 1)
        contour.ContourData, contour.NumberOfContourPoints = [f"{v:.4f}" for v in circle.ravel()], 360
    mask = made.get_roi_mask_by_name("sphere")
    ratios = mask.sum() / (4 / 3 * np.pi * radius**3), within / sphere.sum()
    print(f"radius {radius} mm: contours to mask {ratios[0]:.3f} of the volume, mask to contours {ratios[1]:.3f}")
    assert np.allclose(ratios, (more, less), atol=0.01), ratios
PYTHON
