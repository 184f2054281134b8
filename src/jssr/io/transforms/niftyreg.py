"""NiftyReg: 4 x 4 text, and fields of positions or shifts, each fixed to moving in RAS."""

from __future__ import annotations

from pathlib import Path

from jssr.core.transform import Affine, Transform
from jssr.errors import TransformError
from jssr.io.transforms.base import (
    RAS,
    Images,
    from_ras,
    header_of,
    is_nifti,
    read_matrix,
    write_matrix,
)

NAME = b"NREG_TRANS"
KINDS = {
    2: "cubic spline control points",
    3: "velocity",
    4: "velocity",
    5: "spline velocity",
    6: "spline control points",
}
"""Values of `intent_p1` beside 0, positions, and 1, shifts (NiftyReg, `_reg_maths.h`)."""


def read_niftyreg(path: Path, images: Images) -> Transform:
    """NiftyReg's matrix (`reg_aladin -aff`) or field (`reg_transform -def`, `-disp`)."""
    if not is_nifti(path):
        return Affine(RAS @ read_matrix(path) @ RAS)
    header = header_of(path)
    if not header["intent_name"].item().startswith(NAME):
        raise TransformError(
            f"{path}: does not name NiftyReg in its header (intent_name NREG_TRANS): name another --from"
        )
    kind = int(header["intent_p1"])
    if kind not in (0, 1):
        raise TransformError(
            f"{path}: is NiftyReg's {KINDS.get(kind, f'kind {kind}')}; make a field with reg_transform -def"
        )
    return from_ras(path, absolute=kind == 0)


def write_niftyreg(affine: Affine, path: Path, images: Images) -> None:
    """Write NiftyReg's matrix."""
    write_matrix(RAS @ affine.matrix @ RAS, path)
