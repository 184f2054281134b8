#!/usr/bin/env bash
# One would guess: SimpleITK gives an NRRD file's vectors in the axes in which it gives the grid, LPS. It turns the grid of
#   a file in RAS, and so the vectors, as it does with NIfTI's displacements; and the field "measurement frame", the
#   matrix from stored components to the file's space, is applied.
# What happens: the grid is turned, the vectors stay as they are stored. The frame goes into the metadata, where Python
#   reads only "[UNKNOWN_PRINT_CHARACTERISTICS]". Written as it was read, the file has its frame; after any filter the
#   metadata are gone, and the frame with them: the same numbers now mean other vectors.
# Source: ITK, Modules/IO/NRRD/src/itkNrrdImageIO.cxx (ITK 5.4), which turns the frame with the space and stores it.
# Who is hurt: whoever makes a transform of a displacement field in NRRD with RAS or with a frame of its own, or takes the
#   directions of diffusion from one: left-right and front-back are exchanged where the grid looks right.
# Seen with SimpleITK 2.5.2 and pynrrd 1.1.3 (stored is 1, 2, 3; the file's origin is 10, 20, 30):
#   RAS, frame I: LPS [-1, -2, 3] at [-10, -20, 30], SimpleITK [1, 2, 3] at [-10, -20, 30]
#   LPS, frame diag(-1, -1, 1): LPS [-1, -2, 3] at [10, 20, 30], SimpleITK [1, 2, 3] at [10, 20, 30]
#   metadata '[UNKNOWN_PRINT_CHARACTERISTICS]'; after Cast the written file's frame is None
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.2 pynrrd==1.1.3 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nrrd
import numpy as np
import SimpleITK as sitk

stored, turn = np.array([1.0, 2.0, 3.0]), np.diag([-1.0, -1.0, 1.0])
vectors = np.tile(np.float32(stored)[:, None, None, None], (1, 4, 5, 6))
cases = {
    "RAS, frame I": ("right-anterior-superior", np.eye(3), turn),
    "LPS, frame diag(-1, -1, 1)": ("left-posterior-superior", turn, np.eye(3)),
}
for name, (space, frame, to_lps) in cases.items():
    header = {
        "space": space,
        "kinds": ["vector", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full((1, 3), np.nan), np.eye(3)]),
        "space origin": np.array([10.0, 20.0, 30.0]),
        "measurement frame": frame,
    }
    nrrd.write("field.nrrd", vectors, header)
    meant = [[round(v) for v in to_lps @ w] for w in (frame @ stored, header["space origin"])]
    image = sitk.ReadImage("field.nrrd")
    known = image.GetMetaData("NRRD_measurement frame").strip()
    cast = sitk.Cast(image, sitk.sitkVectorFloat64)
    sitk.WriteImage(cast, "cast.nrrd")
    lost = nrrd.read_header("cast.nrrd").get("measurement frame")
    origin = cast.GetOrigin()
    middle = [o + d for o, d in zip(origin, to_lps @ np.ones(3))]
    transform = sitk.DisplacementFieldTransform(cast)
    shift = [round(b - a) for a, b in zip(middle, transform.TransformPoint(middle))]
    found = [shift, [round(v) for v in origin]]
    print(f"{name}: LPS {meant[0]} at {meant[1]}, SimpleITK {found[0]} at {found[1]}")
    assert meant[0] == [-1, -2, 3] and found == [[1, 2, 3], meant[1]], (meant, found)
print(f"metadata {known!r}; after Cast the written file's frame is {lost}")
assert "UNKNOWN" in known and lost is None, (known, lost)
PYTHON
