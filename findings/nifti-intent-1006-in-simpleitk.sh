#!/usr/bin/env bash
# One would guess: NIfTI's intents 1006 (DISPVECT) and 1007 (VECTOR) are two names for a vector image. Both files below
#   hold the same numbers, so every reader gives the same vectors.
# What happens: SimpleITK turns the signs of x and y of intent 1006 when it reads (NIfTI's RAS to ITK's LPS), and leaves
#   intent 1007 as it is. nibabel gives the stored numbers of both. What SimpleITK has read from 1006 cannot be written to
#   NIfTI again: the writer refuses.
# Source: ITK, Modules/IO/NIFTI/src/itkNiftiImageIO.cxx, "ConvertRASVectors" and "ConvertRASDisplacementVectors" (ITK 5.4).
# Who is hurt: whoever saves a displacement field for ITK, ANTs or 3D Slicer with nibabel and picks the intent that the
#   standard names for displacements. The field then points to the wrong side, left-right and front-back.
# Seen with SimpleITK 2.5.2 and nibabel 5.3.2:
#   1006 (-1.0, -2.0, 3.0)
#   1007 (1.0, 2.0, 3.0)
#   1006 written again: refused
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

vectors = np.tile(np.float32([1, 2, 3]), (4, 5, 6, 1, 1))  # X, Y, Z, 1, 3: NIfTI's layout of a vector image
seen = {}
for intent in (1006, 1007):
    image = nib.Nifti1Image(vectors, np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.header["intent_code"] = intent
    nib.save(image, f"{intent}.nii.gz")
    assert np.asarray(nib.load(f"{intent}.nii.gz").dataobj)[1, 1, 1, 0].tolist() == [1, 2, 3]
    seen[intent] = sitk.ReadImage(f"{intent}.nii.gz").GetPixel(1, 1, 1)
    print(intent, seen[intent])
assert seen == {1006: (-1.0, -2.0, 3.0), 1007: (1.0, 2.0, 3.0)}, seen
try:
    sitk.WriteImage(sitk.ReadImage("1006.nii.gz"), "again.nii.gz")
except RuntimeError as error:
    assert "RAS conversion requires" in str(error), error
    print("1006 written again: refused")
else:
    raise SystemExit("1006 written again: no longer refused")
PYTHON
