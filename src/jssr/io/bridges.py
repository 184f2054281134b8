"""Whatever points or a transform may be given as, to what the library works with (scans: `jssr.io.images`)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import SimpleITK as sitk

from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Points
from jssr.errors import PointsError, TransformError
from jssr.io.images import expected_kind
from jssr.io.points import read_points
from jssr.io.transforms import read_transform
from jssr.io.transforms.itk import transform_of

PointsLike = Points | str | os.PathLike[str] | Any
"""A path (CSV), `Points`, or an array (N, n) of LPS millimetres."""
TransformLike = Transform | str | os.PathLike[str] | sitk.Transform | Any
"""A path, a `Transform`, a SimpleITK transform or vector image (mm), or a homogeneous LPS matrix."""


def as_points(points: PointsLike, name: str = "points") -> Points:
    """Landmarks as `Points`.

    Raises:
        PointsError: they cannot be read, or are no (N, 2) or (N, 3) finite numbers.
    """
    if isinstance(points, Points):
        return points
    if isinstance(points, (str, os.PathLike)):
        return read_points(points)
    try:
        xyz = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise PointsError(
            expected_kind(points, name, "a path, Points, or an array (N, 3) of LPS millimetres")
        ) from None
    if xyz.ndim != 2 or xyz.shape[1] not in (2, 3) or not np.isfinite(xyz).all():
        raise PointsError(f"{name}: expected (N, 3) or (N, 2) finite LPS millimetres, got shape {xyz.shape}")
    return Points(xyz)


def as_transform(transform: TransformLike, name: str = "transform") -> Transform:
    """A transform from fixed to moving space.

    Raises:
        TransformError: it cannot be read, or is of a kind that cannot be used.
    """
    if isinstance(transform, Transform):
        return transform
    if isinstance(transform, (str, os.PathLike)):
        return read_transform(transform)
    if isinstance(transform, sitk.Transform):
        return transform_of(transform, name)
    if isinstance(transform, sitk.Image):
        return Displacement.from_sitk(transform, name=name)
    try:
        return Affine(np.asarray(transform, dtype=np.float64))
    except (TypeError, ValueError):
        raise TransformError(
            expected_kind(transform, name, "a path, Transform, SimpleITK transform or (n + 1, n + 1) matrix")
        ) from None
