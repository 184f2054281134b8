"""The label maps of a pair: read, put on their scans' grids, structures of one name under one number."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from jssr.core.notes import tell
from jssr.core.volume import Volume
from jssr.errors import GeometryError
from jssr.io.images import ImageLike, as_volume, is_object
from jssr.io.label_names import names_given, own_names
from jssr.preprocessing.prepare import check_labels
from jssr.registration.origin import frame_of


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of a pair, where they are known, and the names that each one's file has of its own."""

    fixed: Volume | None
    moving: Volume | None
    names: tuple[Mapping[int, str], Mapping[int, str]] = ({}, {})


def label_maps_of(
    fixed: ImageLike | None, moving: ImageLike | None, scans: tuple[Volume, Volume], structures: Any = None
) -> LabelMaps:
    """Both label maps of a pair, compared by value. The numbers of a DICOM object are its own: where one of the two is
    such an object, and they share names, the moving one's structures get the numbers of the fixed one's names.

    Args:
        fixed, moving: what was given; None for none.
        scans: the fixed and the moving scan.
        structures: as `structures_of` takes them; of a structure set those that it numbers are taken.

    Raises:
        ImageError, GeometryError: as `labels_of`.
    """
    numbers = _numbers_in(structures)
    first = None if fixed is None else labels_of(fixed, scans[0], numbers=numbers)
    names = {} if first is None else own_names(first.name)
    wanted = {names[n].casefold() for n in numbers if n in names}
    if wanted and _is_dicom(moving):
        numbers = {n for n, name in own_names(moving).items() if name.casefold() in wanted}
    second = None if moving is None else labels_of(moving, scans[1], numbers=numbers)
    found = LabelMaps(first, second, (names, {} if second is None else own_names(second.name)))
    known = first is not None and second is not None
    return _by_name(found) if known and (_is_dicom(fixed) or _is_dicom(moving)) else found


def labels_of(
    labels: ImageLike | None, image: Volume, what: str = "labels", numbers: Collection[int] = ()
) -> Volume | None:
    """A label map that lies on its image's grid; a mask is one of a single value, 1. Of DICOM objects contours are
    filled and frames are placed there.

    Args:
        labels: the label map.
        image: its scan.
        what: "labels" or "mask".
        numbers: of a structure set, those of the structures that count; none for all.

    Raises:
        ImageError, GeometryError: it cannot be read, is an image, or lies elsewhere.
    """
    if labels is None:
        return None
    found = _of_object(labels, image, numbers) or as_volume(labels, "labels", f"{image.name} {what}")
    if found.kind == "image":
        raise GeometryError(f"{found.name}: expected a label map, got an image")
    if found.kind == "mask":
        found = replace(found, data=found.data.to(torch.uint8), kind="labels")
    if not bool(found.data.any()):
        tell(f"{found.name}: is empty, every voxel of this label map is 0.")
    return check_labels(found, image)


def _of_object(labels: ImageLike, image: Volume, numbers: Collection[int]) -> Volume | None:
    if not _is_dicom(labels):
        return None
    from jssr.io.dicom.label_maps import labels_on

    return labels_on(Path(labels), image.grid, image.name, frame_of(image.name), numbers)


def _is_dicom(labels: object) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(labels, (str, os.PathLike)) and is_object(labels)


def _numbers_in(structures: Any) -> set[int]:
    """The label values that structures, or names of values, name."""
    if isinstance(structures, (str, os.PathLike)):
        return set(names_given(structures))
    if not isinstance(structures, Mapping):
        return set()
    if all(isinstance(key, Integral) for key in structures):
        return {int(key) for key in structures}
    listed = [v for v in structures.values() if isinstance(v, Iterable) and not isinstance(v, str)]
    return {int(value) for values in listed for value in values if isinstance(value, Integral)}


def _by_name(found: LabelMaps) -> LabelMaps:
    """With the moving map's structures under the numbers that their names have in the fixed one."""
    fixed, moving = ({name.casefold(): number for number, name in reversed(list(one.items()))} for one in found.names)
    if found.moving is None or not fixed.keys() & moving.keys():
        return found
    held = [int(v) for v in np.unique(found.moving.array) if v]
    taken = {*found.names[0], *([] if found.fixed is None else np.unique(found.fixed.array).tolist())}
    free = (n for n in range(1, len(taken) + len(held) + 2) if n not in taken)
    new: dict[int, int] = {}
    for number in held:
        own = fixed.get(found.names[1].get(number, "").casefold())
        new[number] = next(free) if own is None else own
    array = np.zeros(found.moving.array.shape, np.int32)
    for number, to in new.items():
        array[found.moving.array == number] = to
    names = {new.get(number, number): name for number, name in found.names[1].items() if number in new}
    moved = found.moving.with_data(torch.from_numpy(array)[None])
    return replace(found, moving=moved, names=(found.names[0], names))
