"""What a system is given to work on, read and checked before the work: scans, label maps, landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from jssr.core.grid import dims_in_words
from jssr.core.volume import Points, Volume
from jssr.errors import GeometryError, ImageError, PointsError
from jssr.io.bridges import ImageLike, PointsLike, as_points, as_volume
from jssr.metrics.landmarks import tre
from jssr.preprocessing.prepare import check_labels
from jssr.preprocessing.rigid import OverlapError, overlap
from jssr.registration.measures import Truth
from jssr.registration.model import Model

__all__ = ["Image", "Landmarks", "check_dims", "check_overlap", "image_of", "labels_of", "points_of", "truth_of"]

_KINDS = {"labels": "label map", "mask": "mask"}

Image = ImageLike
Landmarks = PointsLike


def image_of(image: Image, name: str = "image") -> Volume:
    """Read, or check as reading checks.

    Raises:
        ImageError: it cannot be read or used.
    """
    found = as_volume(image, name=name)
    if found is not image:
        return found
    if found.data.shape[0] != 1:
        raise ImageError(f"{found.name}: has {found.data.shape[0]} channels; an image of one is due")
    if found.kind != "image":
        raise ImageError(f"{found.name}: is a {_KINDS[found.kind]}; an image is due")
    data = found.data.float()
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{found.name}: holds NaN or infinite voxels; replace them")
    if low == high:
        raise ImageError(f"{found.name}: every voxel is {low:g}; there is nothing to see in this image")
    return replace(found, data=data)


def labels_of(labels: Image | None, image: Volume) -> Volume | None:
    """A label map that lies on its image's grid; a mask is one of a single value, 1.

    Raises:
        ImageError, GeometryError: it cannot be read, is an image, or lies elsewhere.
    """
    if labels is None:
        return None
    found = as_volume(labels, "labels", f"{image.name} labels")
    if found.kind == "image":
        raise GeometryError(f"{found.name}: is an image; a label map is due")
    if found.kind == "mask":
        found = replace(found, data=found.data.to(torch.uint8), kind="labels")
    return check_labels(found, image)


def points_of(points: Landmarks | None, image: Volume) -> Points | None:
    """Landmarks of an image.

    Raises:
        PointsError: they cannot be read, or are of another dimension.
    """
    found = None if points is None else as_points(points, f"{image.name} landmarks")
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
    marks = points_of(fixed_landmarks, y), points_of(moving_landmarks, x)
    if marks[0] is not None and marks[1] is not None:
        tre(marks[0], marks[1])  # what is wrong with them is said before the work
    return Truth(labels_of(fixed_labels, y), labels_of(moving_labels, x), *marks, structures)


def check_dims(model: Model, image: Volume) -> None:
    if image.grid.ndim == 2 and min(image.grid.shape) < 2:
        raise ImageError(f"{image.name}: is {' x '.join(map(str, image.grid.shape))} pixels, a line and no image")
    known = model.recipe.preprocessing.dims
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
