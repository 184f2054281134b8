"""The frame of an NRRD file's vectors, which SimpleITK leaves out: its measurement frame and its space.

Source: the NRRD format's definition, "measurement frame": the columns of the matrix that takes a vector's components to
the world space of the file, which need not be LPS.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jssr.errors import TransformError
from jssr.io.sizes import nrrd_fields
from jssr.io.transforms.base import Matrix

LPS_SPACES = ("left-posterior-superior", "lps")
RAS_SPACES = ("right-anterior-superior", "ras")
ENDINGS = (".nrrd", ".nhdr")


def to_lps(path: Path) -> Matrix | None:
    """What takes an NRRD file's vectors to LPS, (n, n); None where they are LPS already.

    Raises:
        TransformError: a frame that is singular, or vectors of another space without a frame.
    """
    with path.open("rb") as file:
        fields = nrrd_fields(file)
    space = fields.get("space", "").lower()
    vectors = re.findall(r"\(([^)]*)\)", fields.get("measurement frame", ""))
    try:
        frame = np.array([[float(v) for v in one.split(",")] for one in vectors], dtype=np.float64).T
    except ValueError as error:
        raise TransformError(f"{path}: its measurement frame is damaged ({error})") from error
    if not len(vectors):
        if space in ("", *LPS_SPACES) or fields.get("space dimension") == "2":
            return None
        raise TransformError(
            f"{path}: names no measurement frame, and its space is {space}: whether its vectors are LPS is not known; "
            "write it again in left-posterior-superior"
        )
    if space not in (*LPS_SPACES, *RAS_SPACES):
        raise TransformError(f"{path}: expected the space left-posterior-superior or RAS, got {space or 'none'}")
    if frame.ndim != 2 or frame.shape[0] != frame.shape[1] or not abs(np.linalg.det(frame)) > 1e-6:
        raise TransformError(f"{path}: its measurement frame is not invertible, {fields['measurement frame']}")
    turned = np.asarray((np.diag([-1.0, -1.0, 1.0]) if space in RAS_SPACES else np.eye(3)) @ frame, dtype=np.float64)
    return None if np.allclose(turned, np.eye(3), atol=1e-9) else turned


def turned(vectors: NDArray[np.floating], matrix: Matrix | None) -> NDArray[np.floating]:
    """Vectors (..., n) taken to LPS."""
    return vectors if matrix is None else vectors @ matrix.T
