#!/usr/bin/env bash
# One would guess: SimpleITK reads a linear .xfm of MINC (FreeSurfer's talairach.xfm is one) as it means transforms: points
#   of the fixed to points of the moving scan, LPS. What it writes as .xfm moves a scan in mincresample as in SimpleITK.
# What happens: MINC's matrix takes points of the moving (input) scan to the fixed (output), RAS. SimpleITK takes its twelve
#   numbers as they are, without the inverse and without turning the axes, and writes them so. The two faults hide one
#   another where a shift is to the side or to the front: x and y are right, z and rotations are not.
# Source: mincresample's manual, "input world" to "output world"; ITK, Modules/IO/TransformMINC/src/itkMINCTransformIO.cxx.
# Who is hurt: whoever resamples by SimpleITK with a transform of MINC or FreeSurfer, or gives one to them: the scan moves
#   the wrong way, and small rotations look like a poor registration.
# Seen with SimpleITK 2.5.2 and, where the script found it, mincresample of Debian's minc-tools 2.3.00 (RAS; the matrix takes
#   the moving point 10, 20, 30 to the fixed point 12, 20, 24):
#   fixed [12, 20, 24] should come from [10, 20, 30]; SimpleITK [10, -26, -16]
#   written: a fixed to moving shift of 1, 2, 3 LPS is [1, 2, -3] in MINC; SimpleITK [1, 2, 3]
#   mincresample puts the voxel of [10, 20, 30] at [12, 20, 24]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 nibabel==5.3.2 h5py==3.14.0 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

RAS = np.array([-1.0, -1.0, 1.0])  # to LPS and back
rows = np.array([[1.0, 0, 0, 2], [0, 0, -1, 50], [0, 1, 0, 4]])  # a quarter turn about x, and a shift
text = "\n".join(" ".join(f"{v:g}" for v in row) for row in rows)
Path("turn.xfm").write_text(f"MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform =\n{text};\n")
moving = np.array([10.0, 20.0, 30.0])
fixed = rows[:, :3] @ moving + rows[:, 3]
found = RAS * sitk.ReadTransform("turn.xfm").TransformPoint((RAS * fixed).tolist())


def shown(values):
    return [round(float(v)) for v in values]


print(f"fixed {shown(fixed)} should come from {shown(moving)}; SimpleITK {shown(found)}")
assert shown(fixed) == [12, 20, 24] and shown(found) == [10, -26, -16], found

shift = sitk.AffineTransform(3)
shift.SetTranslation((1.0, 2.0, 3.0))
sitk.WriteTransform(shift, "shift.xfm")
numbers = Path("shift.xfm").read_text().split("Linear_Transform =")[1].replace(";", "").split()
written = shown(numbers[3::4])
print(f"written: a fixed to moving shift of 1, 2, 3 LPS is {shown(-RAS * [1, 2, 3])} in MINC; SimpleITK {written}")
assert written == [1, 2, 3], written

if shutil.which("mincresample"):
    image = sitk.Image([41, 41, 41], sitk.sitkFloat32)
    image.SetOrigin((0, 0, 10))
    image[10, 20, 20] = 1.0
    sitk.WriteImage(image, "moving.mnc")  # SimpleITK writes MINC's RAS numbers as they are: the voxel is at 10, 20, 30
    options = ["-quiet", "-transformation", "turn.xfm", "-like", "moving.mnc"]
    subprocess.run(["mincresample", *options, "moving.mnc", "moved.mnc"], check=True)
    moved = nib.load("moved.mnc")
    array = np.asarray(moved.dataobj)
    index = np.unravel_index(array.argmax(), array.shape)
    there = shown(nib.affines.apply_affine(moved.affine, index))
    print(f"mincresample puts the voxel of {shown(moving)} at {there}")
    assert there == [12, 20, 24], there
PYTHON
