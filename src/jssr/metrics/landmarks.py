"""How far corresponding landmarks are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.core.transform import Affine, Transform
from jssr.core.volume import Points
from jssr.errors import PointsError


def tre(fixed: Points, moving: Points, transform: Transform | None = None) -> NDArray[np.float64]:
    """Target registration error of each landmark that both scans have, in millimetres, in the order of `fixed`.

    Args:
        fixed: landmarks of the fixed image, LPS millimetres.
        moving: those of the moving image; they are matched by name.
        transform: fixed to moving space; None is the initial state.

    Raises:
        PointsError: no name is in both, or one side has a name twice.
    """
    for points, side in ((fixed, "fixed"), (moving, "moving")):
        if len(set(points.names)) < len(points.names):
            twice = next(name for name in points.names if points.names.count(name) > 1)
            raise PointsError(f"two {side} landmarks have the name {twice!r}; they are matched by name")
    where = dict(zip(moving.names, moving.xyz, strict=True))
    common = [i for i, name in enumerate(fixed.names) if name in where]
    if not common:
        raise PointsError("the fixed and the moving landmarks have no name in common")
    goal = np.stack([where[fixed.names[i]] for i in common])
    mapped = (transform or Affine.identity(fixed.xyz.shape[1]))(fixed.xyz[common])
    return np.asarray(np.linalg.norm(mapped - goal, axis=1))
