#!/usr/bin/env bash
# One would guess: if a NIfTI file has a valid sform, readers take it, and the qform is a fallback.
# What happens: nibabel does so. SimpleITK takes the qform, unless the sform's code is 1 ("scanner") or the qform has none.
#   With the usual pair of codes after a coregistration (qform 1 "scanner", sform 2 "aligned") the two readers put one
#   file in two places, without a warning.
# Source: nibabel, "get_best_affine" (sform first); ITK, Modules/IO/NIFTI/src/itkNiftiImageIO.cxx,
#   "SetImageIOOrientationFromNIfTI". The standard's nifti1.h leaves the choice to the program.
# Who is hurt: whoever registers with an ITK tool and reads the result with nibabel, where an earlier tool has written its
#   alignment into the sform alone. Landmarks and fields are then off by that alignment.
# Seen with SimpleITK 2.5.2 and nibabel 5.3.2 (origin in RAS; the qform's is 0, 0, 0, the sform's 10, 20, 30):
#   qform 1, sform 1: nibabel [10, 20, 30], SimpleITK [10, 20, 30]
#   qform 1, sform 2: nibabel [10, 20, 30], SimpleITK [0, 0, 0]
#   qform 1, sform 4: nibabel [10, 20, 30], SimpleITK [0, 0, 0]
#   qform 2, sform 2: nibabel [10, 20, 30], SimpleITK [0, 0, 0]
#   qform 0, sform 2: nibabel [10, 20, 30], SimpleITK [10, 20, 30]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 nibabel==5.3.2 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

sform = np.eye(4)
sform[:3, 3] = 10, 20, 30
expected = {(1, 1): "s", (1, 2): "q", (1, 4): "q", (2, 2): "q", (0, 2): "s"}
for (qcode, scode), taken in expected.items():
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_qform(np.eye(4), qcode)
    image.set_sform(sform, scode)
    nib.save(image, "scan.nii.gz")
    x, y, z = sitk.ReadImage("scan.nii.gz").GetOrigin()
    ours = [round(v) for v in (-x, -y, z)]  # LPS to RAS
    theirs = [round(v) for v in nib.load("scan.nii.gz").affine[:3, 3]]
    print(f"qform {qcode}, sform {scode}: nibabel {theirs}, SimpleITK {ours}")
    assert theirs == [10, 20, 30], theirs
    assert ours == ([10, 20, 30] if taken == "s" else [0, 0, 0]), ours
PYTHON
