#!/usr/bin/env bash
# One would guess: a NIfTI file with scl_slope 0 is read as it is stored: by the standard a slope of 0 means that nothing is
#   scaled, and scl_inter goes with it.
# What happens: SimpleITK takes a slope of 0 for 1 and still adds scl_inter. nibabel leaves both out, so the same CT differs by
#   the intercept between the two.
# Source: NIfTI-1.1, nifti1.h ("Data scaling"); ITK, itkNiftiImageIO.cxx (a slope near 0 is set to 1, the intercept kept).
# Who is hurt: whoever mixes tools of ITK and of nibabel on files of writers that fill in one of the two: Hounsfield units are
#   off by a constant, which no picture with its own window shows.
# Seen with SimpleITK 2.5.2 and nibabel 5.4.2 (voxels of 5, scl_slope 0, scl_inter 7): SimpleITK 12.0, nibabel 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 nibabel==5.4.2 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct

import nibabel
import numpy as np
import SimpleITK as sitk

nibabel.Nifti1Image(np.full((4, 4, 4), 5, np.int16), np.eye(4)).to_filename("ct.nii")
with open("ct.nii", "r+b") as file:
    file.seek(112)
    file.write(struct.pack("<ff", 0, 7))
theirs, other = sitk.ReadImage("ct.nii").GetPixel(1, 1, 1), int(np.asarray(nibabel.load("ct.nii").dataobj)[1, 1, 1])
print("SimpleITK", theirs, "nibabel", other)
assert theirs == 12 and other == 5, (theirs, other)
PYTHON
