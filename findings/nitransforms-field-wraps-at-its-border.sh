#!/usr/bin/env bash
# One would guess: outside its field a DenseFieldTransform of nitransforms moves no point (ITK does so), or continues the
#   border.
# What happens: it depends on whether the points lie on voxel centres. Off the centres a point outside does not move. On a
#   centre just below the field's first voxel it lands where the field's LAST voxel goes: the index -1 is numpy's last.
# Source: nitransforms, nonlinear.py, DenseFieldTransform.map (the branch for points on the grid).
# Who is hurt: whoever maps landmarks or another image's voxel centres with it, where the two fields of view differ: points
#   beside the field jump to the other side of the patient.
# Seen with nitransforms 25.0.1 and SimpleITK 2.5.2 (a field of 1 mm voxels along x, u = 0, 1, ... 7 mm):
#   x = 2: nitransforms 4, ITK 4
#   x = -1.2: nitransforms -1.2, ITK -1.2
#   x = -1: nitransforms 14, ITK -1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nitransforms==25.0.1 SimpleITK==2.5.2 numpy==2.2.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
import SimpleITK as sitk
from nitransforms.nonlinear import DenseFieldTransform

vectors = np.zeros((5, 6, 8, 3))
vectors[..., 0] = np.arange(8)  # u along x, LPS, grows with x
sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), "field.nii.gz")
itk = sitk.DisplacementFieldTransform(sitk.ReadImage("field.nii.gz", sitk.sitkVectorFloat64))
theirs = DenseFieldTransform.from_filename("field.nii.gz", fmt="itk")
expected = {2.0: (4, 4), -1.2: (-1.2, -1.2), -1.0: (14, -1)}
for x, (wanted, wanted_itk) in expected.items():
    found = -float(theirs.map(np.array([[-x, -2.0, 2.0]]))[0, 0])  # RAS in and out
    found_itk = itk.TransformPoint((x, 2.0, 2.0))[0]
    print(f"x = {x:g}: nitransforms {found:g}, ITK {found_itk:g}")
    assert np.isclose(found, wanted, atol=1e-4) and np.isclose(found_itk, wanted_itk, atol=1e-4), (x, found, found_itk)
PYTHON
