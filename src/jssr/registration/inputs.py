"""What a system is given to work on, read and checked before the work: scans, label maps, landmarks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jssr.core.grid import dims_in_words
from jssr.core.volume import Points, Volume
from jssr.errors import GeometryError, ImageError, PointsError
from jssr.io.images import read_image
from jssr.io.points import read_points
from jssr.metrics.measures import tre
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import OverlapError, overlap
from jssr.registration.measures import Truth
from jssr.registration.model import Model

__all__ = ["Image", "Landmarks", "check_dims", "check_overlap", "image_of", "labels_of", "truth_of"]

Image = Volume | str | os.PathLike[str]
Landmarks = Points | str | os.PathLike[str]


def image_of(image: Image) -> Volume:
    """Read, or check as reading checks."""
    if not isinstance(image, Volume):
        return read_image(image)
    if image.data.shape[0] != 1:
        raise ImageError(f"{image.name}: has {image.data.shape[0]} channels; an image of one is due")
    if image.kind == "labels":
        raise ImageError(f"{image.name}: is a label map; an image is due")
    data = image.data.float()
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{image.name}: holds NaN or infinite voxels; replace them")
    if low == high:
        raise ImageError(f"{image.name}: every voxel is {low:g}; there is nothing to see in this image")
    return replace(image, data=data)


def labels_of(labels: Image | None, image: Volume) -> Volume | None:
    if labels is None:
        return None
    found = labels if isinstance(labels, Volume) else read_image(labels, kind="labels")
    if found.kind != "labels":
        raise GeometryError(f"{found.name}: is an image; a label map is due")
    return check_labels(found, image)


def _points(points: Landmarks | None, image: Volume) -> Points | None:
    found = points if points is None or isinstance(points, Points) else read_points(points)
    if found is not None and found.xyz.shape[1] != image.grid.ndim:
        raise PointsError(f"{image.name}: is {image.grid.ndim}D, its landmarks have {found.xyz.shape[1]} coordinates")
    return found


def truth_of(
    y: Volume,
    x: Volume,
    fixed_labels: Image | None,
    moving_labels: Image | None,
    fixed_landmarks: Landmarks | None,
    moving_landmarks: Landmarks | None,
    structures: Mapping[str, Sequence[int]] | None,
) -> Truth:
    if (fixed_labels is None) != (moving_labels is None):
        raise GeometryError("labels of one scan only: give those of the fixed and of the moving image, or neither")
    if (fixed_landmarks is None) != (moving_landmarks is None):
        raise PointsError("landmarks of one scan only: give those of the fixed and of the moving image, or neither")
    marks = _points(fixed_landmarks, y), _points(moving_landmarks, x)
    if marks[0] is not None and marks[1] is not None:
        tre(marks[0], marks[1])  # what is wrong with them is said before the work
    return Truth(labels_of(fixed_labels, y), labels_of(moving_labels, x), *marks, structures)


def check_dims(model: Model, image: Volume) -> None:
    if image.grid.ndim == 2 and min(image.grid.shape) < 2:
        raise ImageError(f"{image.name}: is {' x '.join(map(str, image.grid.shape))} pixels, a line and no image")
    known = model.recipe.dims
    if image.grid.ndim not in known:
        takes = f"{model.recipe.name} ({model.source}) takes {dims_in_words(known)} images"
        raise ImageError(f"{image.name}: is {image.grid.ndim}D; {takes}")


def check_overlap(y: Volume, x: Volume, centred: bool) -> None:
    if y.grid.ndim != x.grid.ndim:
        raise ImageError(f"{y.name} is {y.grid.ndim}D and {x.name} is {x.grid.ndim}D; two images of a kind are due")
    if y.grid.ndim == 2:
        return  # wherever their headers put them, they start on one another
    if not centred and overlap(y.grid, x.grid) == 0 and overlap(x.grid, y.grid) == 0:
        raise OverlapError(
            f"{x.name}: its field of view does not overlap that of {y.name} in physical space; are they scans of one "
            "patient? If only the headers disagree, start from the bodies' centres (initial='centre', --initial centre)"
        )
