#!/usr/bin/env bash
# One would guess: FNIRT's coefficients and FLIRT's matrix with which it began are a chain. A point x of the reference goes
#   to x + d(x) on the aligned image, then through the inverse of the matrix A: inv(A) (x + d(x)). convertwarp takes its
#   --premat so.
# What happens: a coefficient file that holds its matrix (fnirt --aff, the usual way) means the sum inv(A) x + d(x): the
#   shift is in the source's millimetres, and A does not turn or scale it. fslpy reads it so; its comments say that FSL's
#   fnirtfileutils does the same, and convertwarp the other.
# Source: fslpy, fsl/transform/nonlinear.py, coefficientFieldToDeformationField.
# Who is hurt: whoever takes such a file apart into FLIRT's matrix and a field without it, for convertwarp or for a program
#   of their own. The result is off by (inv(A) - I) d: nothing where A is near a small shift, millimetres where it turns
#   or scales, as from a child's or a mouse's brain to an atlas.
# Seen with fslpy 3.29.1 and nibabel 5.4.2 (A scales by 1.25; d is 10 mm along x everywhere; x = 8 mm):
#   fslpy, the file as it is: 16.4
#   fslpy, the field without A, then A's inverse: 14.4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fslpy==3.29.1 nibabel==5.4.2 numpy==2.2.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import nibabel as nib
import numpy as np
from fsl.data.image import Image
from fsl.transform import affine, fnirt

shape, knots = (16, 16, 16), 4
grid = np.diag([-1.0, 1.0, 1.0, 1.0])  # radiological: FSL's millimetres are the voxels' indices
nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), grid), "scan.nii.gz")
coefficients = np.zeros((7, 7, 7, 3), np.float32)
coefficients[..., 0] = 10  # equal coefficients of a B-spline: the same shift everywhere
image = nib.Nifti1Image(coefficients, None)
image.header.set_zooms((knots, knots, knots, 1))
image.header["intent_code"] = 2007  # FSL's cubic coefficients
image.header["intent_p1"], image.header["intent_p2"], image.header["intent_p3"] = 1, 1, 1  # the reference's voxels
qform = np.diag([float(knots)] * 3 + [1.0])
qform[:3, 3] = shape  # the reference's size
image.set_qform(qform, 1)
image.set_sform(np.diag([1.25, 1.25, 1.25, 1.0]), 1)  # FLIRT's matrix, source to reference
nib.save(image, "warp_coef.nii.gz")

scan = Image("scan.nii.gz")
warp = fnirt.readFnirt("warp_coef.nii.gz", src=scan, ref=scan)
x = np.array([[8.0, 8.0, 8.0]])
whole = warp.transform(x)[0, 0]
chain = affine.transform(warp.transform(x, premat=False), warp.refToSrcMat)[0, 0]
print(f"fslpy, the file as it is: {whole:.1f}")
print(f"fslpy, the field without A, then A's inverse: {chain:.1f}")
assert np.isclose(whole, 16.4, atol=1e-3) and np.isclose(chain, 14.4, atol=1e-3), (whole, chain)
PYTHON
