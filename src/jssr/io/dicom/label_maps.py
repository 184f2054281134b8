"""A structure set or a segmentation as a label map on the grid of the scan that it was drawn on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.transform import Affine
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.dicom.carried import CarriedStructure, Route, carry_structures, label_map
from jssr.io.dicom.contours import StructureSet, read_structures
from jssr.io.dicom.files import opened, readable
from jssr.io.dicom.objects import is_segmentation, is_structures
from jssr.io.dicom.segments import names_of
from jssr.io.dicom.segments_on import segments_on


def labels_on(path: Path, grid: Grid, scan: str, frame: str = "", numbers: Collection[int] = ()) -> Volume | None:
    """The label map of a DICOM object on the grid of a scan; None of an object that holds none there.

    Contours are filled on the grid. The frames of a segmentation are put where they lie, if that is on the grid; slices
    that it leaves out are empty. Where structures overlap, the smaller one takes the voxel.

    Args:
        path: a structure set or a segmentation.
        grid: of the scan.
        scan: its name, for messages.
        frame: UID of its frame of reference, "" where it is not known.
        numbers: of the structures that count, as far as the structure set has them; none for all.

    Raises:
        ImageError: a damaged object, or two structures of the same voxels. GeometryError: no structure has contours, or
            none reaches the scan.
    """
    found = opened(path)
    if is_structures(found):
        return _structures_on(path, grid, scan, frame, numbers)
    if not is_segmentation(found) or grid.ndim != 3:
        return None
    _tell_frame(path, str(found.get("FrameOfReferenceUID") or ""), scan, frame)
    return segments_on(found, path, grid)


def names_in(path: Path) -> dict[int, str]:
    """Value to name of the label map that `labels_on` makes of an object; empty of any other one."""
    found = opened(path, pixels=False)
    if is_structures(found):
        return {one.number: one.name for one in _numbered(read_structures(path)).structures}
    if not is_segmentation(found):
        return {}
    with readable(path, "its segments"):
        return names_of(found, path)


def _tell_frame(path: Path, own: str, scan: str, frame: str) -> None:
    """Tell where an object does not lie in the frame of reference of its scan."""
    if not own:
        tell(f"{path}: names no frame of reference; whether it lies in the space of {scan} is not known.")
    elif frame and frame != own:
        tell(f"{path}: lies in the frame of reference {own}, and {scan} in {frame}: check that they belong together.")


def _structures_on(path: Path, grid: Grid, scan: str, frame: str, numbers: Collection[int]) -> Volume:
    if grid.ndim != 3:
        raise ImageError(f"{path}: holds contours in 3D, and {scan} is {grid.ndim}D: name labels of a 2D image")
    found = _numbered(read_structures(path), told=True)
    _tell_frame(path, found.frame, scan, frame)
    kept = tuple(one for one in found.structures if one.number in numbers) or found.structures
    carried = carry_structures(replace(found, structures=kept), Route(Affine.identity(3), "fixed", grid, scan))
    _check_apart(carried, path)
    labels, told = label_map(carried, grid, str(path))
    alone = [one.structure.name for one in carried if one.contours and one.inside is None and not one.structure.closed]
    tell(
        *found.warnings,
        *(f"{path}: {said}" for one in carried for said in one.warnings),
        *(f"{path}: {name}: holds points alone; a label map has none" for name in alone),
        *told,
    )
    return labels


def _numbered(found: StructureSet, told: bool = False) -> StructureSet:
    """With numbers above 0, which is the background of a label map."""
    taken = {one.number for one in found.structures}
    free = (n for n in range(1, 2 * len(taken) + 2) if n not in taken)
    structures = []
    for one in found.structures:
        kept = one if one.number > 0 else replace(one, number=next(free))
        if told and kept is not one:
            tell(f"{found.name}: structure {one.name!r} has the number {one.number}; in its label map {kept.number}.")
        structures.append(kept)
    return replace(found, structures=tuple(structures))


def _check_apart(carried: Iterable[CarriedStructure], path: Path) -> None:
    """Refuse two structures of the same voxels: none is the smaller one, which would take them."""
    seen: dict[int, list[CarriedStructure]] = {}
    for one in carried:
        if one.inside is None or not one.inside[0].any():
            continue
        for other in seen.setdefault(int(one.inside[0].sum()), []):
            if np.array_equal(_voxels(one), _voxels(other)):
                both = " and ".join(f"{s.structure.name!r} ({s.structure.number})" for s in (other, one))
                raise ImageError(
                    f"{path}: structures {both} hold the same voxels, and a label map holds only one of them: name the "
                    "numbers of those that count with --label-names"
                )
        seen[int(one.inside[0].sum())].append(one)


def _voxels(one: CarriedStructure) -> NDArray[np.int64]:
    """The indices of its voxels, (N, 3)."""
    return np.zeros((0, 3), np.int64) if one.inside is None else np.argwhere(one.inside[0]) + one.inside[1]
