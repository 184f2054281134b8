#!/usr/bin/env bash
# One would guess: WriteImage(image, name) writes a file of that name, or raises.
# What happens: of a name with two endings of the NIfTI family, SimpleITK writes another file and raises nothing. What of
#   that other name was there is lost: "scan.nii.nii.gz" replaces "scan.nii.gz", and "scan.hdr.nii.gz" makes "scan.hdr.gz".
#   A NIfTI library below takes the first ending off by itself, and chooses the kind of file by it.
# Source: seen; niftilib's nifti_makebasename strips whichever ending it finds.
# Who is hurt: whoever converts pairs (scan.hdr, scan.img) or adds ".nii.gz" to names that have an ending: the file that a
#   script then reads is missing, and the one it meant to keep is another image.
# Seen with SimpleITK 2.5.7 (an image of ones was in scan.nii.gz before each name was written with twos):
#   scan.nii.gz.nii: not there; scan.nii.gz holds 2
#   scan.nii.nii.gz: not there; scan.nii.gz holds 2
#   scan.img.nii: not there; new: scan.hdr
#   scan.hdr.nii.gz: not there; new: scan.hdr.gz
#   scan.v2.nii.gz: there
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.2.6
mkdir "$folder/scans"
cd "$folder/scans"
../venv/bin/python - <<'PYTHON'
import os

import SimpleITK as sitk

ones, twos = (sitk.Image(4, 4, 4, sitk.sitkInt16) + k for k in (1, 2))
told = []
for name in ("scan.nii.gz.nii", "scan.nii.nii.gz", "scan.img.nii", "scan.hdr.nii.gz", "scan.v2.nii.gz"):
    for old in os.listdir():
        os.remove(old)
    sitk.WriteImage(ones, "scan.nii.gz")
    sitk.WriteImage(twos, name)
    new = sorted(set(os.listdir()) - {"scan.nii.gz", name})
    held = sitk.ReadImage("scan.nii.gz")[0, 0, 0]
    line = f"{name}: {'there' if os.path.exists(name) else 'not there'}"
    line += "; scan.nii.gz holds 2" if held == 2 else ""
    line += f"; new: {', '.join(new)}" if new else ""
    told.append(line)
    print(line)
assert told == [
    "scan.nii.gz.nii: not there; scan.nii.gz holds 2",
    "scan.nii.nii.gz: not there; scan.nii.gz holds 2",
    "scan.img.nii: not there; new: scan.hdr",
    "scan.hdr.nii.gz: not there; new: scan.hdr.gz",
    "scan.v2.nii.gz: there",
]
PYTHON
