#!/usr/bin/env bash
# One would guess: SimpleITK applies scl_slope and scl_inter of a NIfTI file to a displacement field as it does to a scan; the
#   standard excepts only RGB.
# What happens: of a float32 vector image (dim[0] = 5, intent 1007) as many numbers are scaled as there are voxels, so the first
#   third of the voxels is right, and of the rest the stored numbers come out. Nothing is said. A scalar image with the same
#   slope is right, and so is nibabel.
# Source: NIfTI-1.1, nifti1.h ("Data scaling"); ITK, itkNiftiImageIO.cxx (as many numbers are rescaled as there are voxels).
# Who is hurt: whoever reads fields that were written with a slope: the lower slices move as they should, the upper ones do not.
# Seen with SimpleITK 2.5.2 and nibabel 5.4.2 (2 mm to the left and 4 mm forward, stored as 4 and -8 with scl_slope 0.5):
#   scalar 2.0; of 60 vectors 20 are (2, -4, 0) and 40 are (4, -8, 0); nibabel 60 are (2, -4, 0)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 nibabel==5.4.2 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK as sitk


def write(name, data, vector):
    """float32 numbers as they are, with a slope of 0.5 beside them."""
    image = nibabel.Nifti1Image(data, np.eye(4))
    if vector:
        image.header.set_intent("vector")
    image.header.set_slope_inter(0.5, 0)
    image.to_filename(name)
    with open(name, "r+b") as file:  # nibabel writes numbers divided by the slope: put the stored ones themselves there
        file.seek(352)
        file.write(data.astype("<f4").tobytes(order="F"))


field = np.zeros((5, 4, 3, 1, 3), np.float32)
field[..., 0], field[..., 1] = 4, -8
write("scan.nii", field[..., 0, 0].copy(), vector=False)
write("field.nii", field, vector=True)
scalar = sitk.ReadImage("scan.nii").GetPixel(1, 1, 1)
vectors = sitk.GetArrayFromImage(sitk.ReadImage("field.nii")).reshape(-1, 3)
others = np.asarray(nibabel.load("field.nii").dataobj).reshape(-1, 3)
counts = [int((v == want).all(axis=1).sum()) for v in (vectors, others) for want in ((2, -4, 0), (4, -8, 0))]
print("scalar", scalar, "right and stored: SimpleITK", counts[:2], "nibabel", counts[2:])
assert scalar == 2 and counts == [20, 40, 60, 0], (scalar, counts)
assert (vectors[:20] == (2, -4, 0)).all(), vectors
PYTHON
