#!/usr/bin/env bash
# One would guess: SimpleITK gives each file in LPS and turns the axes where a format has others, as it does with NIfTI; so a
#   NIfTI file written as MINC (.mnc) stays where it is.
# What happens: MINC's world is RAS (x grows to the right, y to the front), and SimpleITK takes its numbers for LPS, both
#   ways. A MINC file comes turned by 180 degrees about the long axis; a NIfTI file written as .mnc is turned for all other
#   programs. Read by SimpleITK again it looks right, and two MINC files lie to each other as they should.
# Source: ITK, Modules/IO/MINC/src/itkMINCImageIO.cxx (ITK 5.4). A later version of ITK turns the axes (ITK's pull request
#   4864).
# Who is hurt: whoever puts a MINC atlas (those of the MNI, those of mice) beside NIfTI or DICOM, or takes points of MINC's
#   world: left and right are exchanged, and front and back, which in a brain near the origin looks like a bad start.
# Seen with SimpleITK 2.5.2 and nibabel 5.3.2 (all in RAS: position of the first voxel; where the first axis points):
#   NIfTI file: nibabel [10, 20, 30], right; SimpleITK [10, 20, 30], right
#   the same as MINC file: nibabel [-10, -20, 30], left; SimpleITK [10, 20, 30], right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 nibabel==5.3.2 h5py==3.14.0 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

affine = np.eye(4)
affine[:3, 3] = 10, 20, 30
nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), "scan.nii.gz")
sitk.WriteImage(sitk.ReadImage("scan.nii.gz"), "scan.mnc")
for file, wanted, side in (("scan.nii.gz", [10, 20, 30], "right"), ("scan.mnc", [-10, -20, 30], "left")):
    theirs = nib.load(file).affine
    along = theirs[0, np.abs(theirs[0, :3]).argmax()]  # nibabel gives MINC's axes in the order z, y, x
    image = sitk.ReadImage(file)
    x, y, z = image.GetOrigin()
    first = [round(v) for v in theirs[:3, 3]], "right" if along > 0 else "left"
    second = [round(v) for v in (-x, -y, z)], "right" if -image.GetDirection()[0] > 0 else "left"
    name = "NIfTI file" if file.endswith("gz") else "the same as MINC file"
    print(f"{name}: nibabel {first[0]}, {first[1]}; SimpleITK {second[0]}, {second[1]}")
    assert first == (wanted, side) and second == ([10, 20, 30], "right"), (first, second)
PYTHON
