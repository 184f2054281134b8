"""NiftyReg: 4 x 4 text, and fields of positions or shifts, each fixed to moving in RAS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jssr.core.transform import Affine, Displacement, Transform
from jssr.errors import ImageError, TransformError
from jssr.io.header import nifti_header
from jssr.io.images import read_grid
from jssr.io.transforms.base import RAS, Images, indices, read_matrix, vectors_of, write_matrix


def recognises(path: Path) -> bool:
    """Whether a file is a NIfTI whose header names NiftyReg."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    try:
        return bool(nifti_header(path)["intent_name"].item().startswith(b"NREG_TRANS"))
    except ImageError:
        return False


def read_niftyreg(path: Path, images: Images) -> Transform:
    """NiftyReg's matrix (`reg_aladin -aff`) or field (`reg_transform -def`, `-disp`)."""
    if not recognises(path):
        return Affine(RAS @ read_matrix(path) @ RAS)
    kind = float(nifti_header(path)["intent_p1"])
    if kind not in (0.0, 1.0):
        raise TransformError(f"{path}: is NiftyReg's control points or velocity; make a field with reg_transform -def")
    grid = read_grid(path)
    vectors = vectors_of(path, grid) * np.diag(RAS)[:3]
    return Displacement.from_millimetres(vectors if kind == 1.0 else vectors - grid.world(indices(grid)), grid)


def write_niftyreg(affine: Affine, path: Path, images: Images) -> None:
    """Write NiftyReg's matrix."""
    write_matrix(RAS @ affine.matrix @ RAS, path)
