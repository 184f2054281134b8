"""Whatever a scan, a label map, points or a transform may be given as, to what the library works with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from jssr.core.bridges import grid_with
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Kind, Points, Volume
from jssr.errors import ImageError, PointsError, TransformError
from jssr.io.images import read_grid, read_image
from jssr.io.points import read_points
from jssr.io.transforms import read_transform, transform_of

__all__ = ["ImageLike", "PointsLike", "TransformLike", "as_grid", "as_points", "as_transform", "as_volume"]

ImageLike = Volume | str | os.PathLike[str] | sitk.Image | tuple[Any, Any] | Any
"""A path (file, DICOM folder), a `Volume`, a SimpleITK image, a nibabel image, or (array, RAS affine)."""
PointsLike = Points | str | os.PathLike[str] | Any
"""A path (CSV), `Points`, or an array (N, n) of LPS millimetres."""
TransformLike = Transform | str | os.PathLike[str] | sitk.Transform | Any
"""A path, a `Transform`, a SimpleITK transform or vector image (mm), or a homogeneous LPS matrix."""


def as_volume(image: ImageLike, kind: Kind = "image", name: str | None = None) -> Volume:
    """An image, label map or mask as a `Volume`.

    Args:
        image: a path, a `Volume` (returned as it is), a SimpleITK image, a nibabel image, or (array, affine RAS).
        kind: what it is, where it is no `Volume`.
        name: what to call it in messages; paths keep theirs.

    Raises:
        ImageError: it cannot be read or used, or is nothing of the above.
    """
    if isinstance(image, Volume):
        return image
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, kind)
    if isinstance(image, sitk.Image):
        return Volume.from_sitk(image, kind, name=name or "SimpleITK image")
    if hasattr(image, "dataobj") and hasattr(image, "affine"):
        return Volume.from_nibabel(image, kind, name=name)
    if isinstance(image, tuple) and len(image) == 2:
        return Volume.from_numpy(image[0], image[1], kind, name=name or "array")
    raise ImageError(_unknown(image, name or "image", "a path, Volume, SimpleITK or nibabel image, or (array, affine)"))


def as_grid(image: ImageLike | Grid) -> Grid:
    """Where an image lies; of a file only the header is read.

    Raises:
        ImageError: as `as_volume`.
    """
    if isinstance(image, Grid):
        return image
    if isinstance(image, (str, os.PathLike)) and Path(image).is_file():
        return read_grid(image)
    if isinstance(image, tuple) and len(image) == 2:
        return grid_with(np.shape(image[0]), image[1], "RAS")
    return as_volume(image).grid


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
        raise PointsError(_unknown(points, name, "a path, Points, or an array (N, 3) of LPS millimetres")) from None
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
            _unknown(transform, name, "a path, Transform, SimpleITK transform or (n + 1, n + 1) matrix")
        ) from None


def _unknown(given: object, name: str, expected: str) -> str:
    return f"{name}: expected {expected}, got {type(given).__name__}"
