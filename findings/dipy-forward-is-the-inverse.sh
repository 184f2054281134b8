#!/usr/bin/env bash
# One would guess: mapping.forward of dipy's SymmetricDiffeomorphicRegistration is the displacement field that
#   mapping.transform(moving) reads the moving scan through, as mapping.backward is that of transform_inverse.
# What happens: the returned map is an inverse (mapping.is_inverse is True), so transform reads through mapping.BACKWARD, and
#   mapping.forward is its inverse. get_forward_field() gives the one that is used; the attribute, and the first of the two
#   fields in the file of write_mapping, do not.
# Source: dipy, align/imwarp.py (SymmetricDiffeomorphicRegistration sets is_inverse; get_forward_field and transform look at it).
# Who is hurt: whoever exports mapping.forward to ITK, ANTs or a table of landmarks: the motion has the wrong sign, which for
#   a small field looks like a field that does nothing right.
# Seen with dipy 1.12.1: a blob that lies 6 mm to the right in the moving scan; x in mm at the blob of the static scan:
#   is_inverse True; forward -6, backward 6, get_forward_field 6; written first -6
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dipy==1.12.1 nibabel==5.4.2 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
from dipy.align import write_mapping
from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
from dipy.align.metrics import SSDMetric

SHAPE, AT = (40, 40, 24), (20, 20, 12)
affine = np.diag([2.0, 2, 3, 1])


def blob(centre):
    squares = (np.indices(SHAPE).T - np.array(centre)) ** 2 / np.array([50, 50, 20])
    return 100 * np.exp(-squares.sum(-1).T / 2)


static, moving = blob(AT), blob((23, 20, 12))
method = SymmetricDiffeomorphicRegistration(metric=SSDMetric(3), level_iters=[50, 30, 10])
mapping = method.optimize(static, moving, static_grid2world=affine, moving_grid2world=affine)
left = np.abs(mapping.transform(moving) - static).max() / np.abs(moving - static).max()
write_mapping(mapping, "mapping.nii.gz")
written = np.asarray(nibabel.load("mapping.nii.gz").dataobj)[AT][0]
fields = {"forward": mapping.forward[AT], "backward": mapping.backward[AT],
          "get_forward_field": mapping.get_forward_field()[AT], "written": np.ravel(written)}
x = {name: round(float(np.ravel(field)[0])) for name, field in fields.items()}
print("is_inverse", mapping.is_inverse, x, "unlike after transform, of before:", round(float(left), 2))
assert mapping.is_inverse and left < 0.3, (mapping.is_inverse, left)
assert x == {"forward": -6, "backward": 6, "get_forward_field": 6, "written": -6}, x
PYTHON
