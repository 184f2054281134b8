"""DICOM's registrations as transforms: matrices (PS3.3 C.20.2) and deformations (C.20.3), of any maker.

A Spatial Registration's matrices lead from the frame of reference of each item to the registered one, which is the
fixed space here: they are inverted. A Deformable Spatial Registration leads from the registered frame to its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage
from scipy.ndimage import distance_transform_edt

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import ImageError, TransformError
from jssr.io.dicom.files import class_name, opened, readable

Matrix = NDArray[np.float64]
Frames = tuple[str, str]
"""UIDs of the frames of reference of the fixed and the moving scan."""


def read_registration(path: Path, frames: Frames = ("", "")) -> Transform:
    """The transform from the registered (fixed) frame of reference to the source (moving) one, LPS millimetres.

    Args:
        path: the file.
        frames: UIDs of the frames of reference of the fixed and the moving scan, "" where one is not known. They choose
            where a file registers several frames; matrices are then combined for any two of them.

    Raises:
        TransformError: another kind of object, no moving item or several and none chosen, a matrix that is none,
            vectors that are defined nowhere, or a damaged file.
    """
    try:
        found = opened(path)
        if found.SOPClassUID not in (SpatialRegistrationStorage, DeformableSpatialRegistrationStorage):
            raise TransformError(f"{path}: is a {class_name(found)} of DICOM, expected a registration")
        with readable(path, "its registration"):
            if found.SOPClassUID == SpatialRegistrationStorage:
                return _linear(found, path, frames)
            return _deformable(found, path, frames[1])
        raise AssertionError
    except ImageError as error:
        raise TransformError(str(error)) from error


def frames_of(path: Path, frames: Frames = ("", "")) -> Frames | None:
    """The UIDs of the frames of reference of the fixed and the moving space, "" where several could be meant; None
    where the file is no registration. `frames` are as in `read_registration`."""
    try:
        found = opened(path)
    except ImageError:
        return None
    names = {
        SpatialRegistrationStorage: ("RegistrationSequence", "FrameOfReferenceUID"),
        DeformableSpatialRegistrationStorage: ("DeformableRegistrationSequence", "SourceFrameOfReferenceUID"),
    }
    if found.SOPClassUID not in names:
        return None
    sequence, name = names[found.SOPClassUID]
    registered = str(found.get("FrameOfReferenceUID") or "")
    there = [str(item.get(name) or "") for item in found.get(sequence) or ()]
    if frames[0] != frames[1] and all(frames) and {*frames} <= {registered, *there}:
        return frames if found.SOPClassUID == SpatialRegistrationStorage else (registered, frames[1])
    others = {uid for uid in there if uid != registered} or set(there)
    return registered, others.pop() if len(others) == 1 else ""


def _linear(found: Dataset, path: Path, frames: Frames) -> Affine:
    """The inverse of the moving item's matrix, after that of the fixed one."""
    registered = str(found.get("FrameOfReferenceUID") or "")
    items: list[tuple[str, Matrix]] = []
    for item in found.RegistrationSequence:  # a frame of several series may be there once for each
        uid, matrix = str(item.get("FrameOfReferenceUID") or ""), _chained(item, path)
        if matrix is None and uid not in ("", registered):
            raise TransformError(f"{path}: has no matrix of the frame {uid}, or is truncated; export again")
        matrix = np.eye(4) if matrix is None else matrix
        if not any(uid == known and np.allclose(matrix, other, atol=1e-6) for known, other in items):
            items.append((uid, matrix))
    chosen = _chosen(items, registered, frames)
    if chosen is None:
        chosen = _only_pair(items, registered, path)
    # A fixed point goes to the registered frame first: by the identity, but where a maker moves both.
    fixed, moving = chosen
    return Affine(np.linalg.inv(moving) @ fixed)


def _chosen(items: Sequence[tuple[str, Matrix]], registered: str, frames: Frames) -> tuple[Matrix, Matrix] | None:
    """The matrices of the two frames that are asked for; None where they do not choose."""
    there: dict[str, list[Matrix]] = {}
    for uid, matrix in items:
        there.setdefault(uid, []).append(matrix)
    there.setdefault(registered, [np.eye(4)])
    wanted = frames[0] if frames[0] in there else registered, frames[1]
    if wanted[0] == wanted[1] or not all(wanted) or any(len(there.get(uid, ())) != 1 for uid in wanted):
        return None
    return there[wanted[0]][0], there[wanted[1]][0]


def _only_pair(items: Sequence[tuple[str, Matrix]], registered: str, path: Path) -> tuple[Matrix, Matrix]:
    """The matrices of the registered frame and of the one other; items without a frame name images alone, and the
    identity among them is the fixed one."""
    own = [matrix for uid, matrix in items if uid == registered]
    others = [(uid, matrix) for uid, matrix in items if uid != registered]
    if len(others) > 1:
        others = [(uid, matrix) for uid, matrix in others if uid or not _still(matrix)]
    moved = [matrix for _, matrix in others]
    if not others:  # two series of one frame of reference: the one that stays has the identity
        moved = [matrix for matrix in own if not _still(matrix)]
        own = [matrix for matrix in own if _still(matrix)]
        moved = moved or own[1:] or own or [np.eye(4)]
    if len(moved) != 1:
        there = ", ".join(uid or "?" for uid, _ in others) or registered
        raise TransformError(
            f"{path}: registers {len(moved)} frames of reference to one ({there}), expected one: name the moving DICOM "
            "series (jssr convert --moving), whose frame of reference chooses"
        )
    return own[0] if own else np.eye(4), moved[0]


def _still(matrix: Matrix) -> bool:
    return bool(np.allclose(matrix, np.eye(4), atol=1e-6))


def _chained(item: Dataset, path: Path) -> Matrix | None:
    """The matrices of an item in one, the first one applied first; None where it has none."""
    out: Matrix | None = None
    for registration in item.get("MatrixRegistrationSequence") or ():
        for one in registration.get("MatrixSequence") or ():
            out = _matrix(one, path) @ (np.eye(4) if out is None else out)
    return out


def _matrix(item: Dataset, path: Path) -> Matrix:
    values = np.array(item.FrameOfReferenceTransformationMatrix, dtype=np.float64)
    if values.size != 16 or not np.isfinite(values).all():
        raise TransformError(f"{path}: expected matrices of 16 finite numbers, got {values.size}; export it again")
    out = values.reshape(4, 4)
    if not np.allclose(out[3], (0, 0, 0, 1), atol=1e-9) or abs(np.linalg.det(out)) < 1e-12:
        raise TransformError(f"{path}: holds a matrix that cannot be inverted, or is no affine one; export it again")
    return out


def _deformable(found: Dataset, path: Path, frame: str) -> Transform:
    registered = str(found.get("FrameOfReferenceUID") or "")
    items = list(found.get("DeformableRegistrationSequence") or ())
    moving = [item for item in items if _has_grid(item)]
    if not moving:  # matrices alone
        moving = [item for item in items if _matrices(item, path)]
        moving = moving or [item for item in items if str(item.get("SourceFrameOfReferenceUID") or "") != registered]
    if len(moving) > 1 and frame != registered:
        wanted = [item for item in moving if str(item.get("SourceFrameOfReferenceUID") or "") == frame]
        moving = wanted or moving
    if len(moving) != 1:
        raise TransformError(
            f"{path}: deforms {len(moving) or 'no'} frames of reference to one; expected one: name the moving DICOM "
            "series (jssr convert --moving), whose frame of reference chooses"
        )
    fixed = [item for item in items if str(item.get("SourceFrameOfReferenceUID") or "") == registered]
    if any(_has_grid(item) or _matrices(item, path) for item in fixed if item is not moving[0]):
        raise TransformError(f"{path}: moves the fixed frame of reference too; expected one moving frame alone")
    before, after = _around(moving[0], "Pre", path), _around(moving[0], "Post", path)
    parts: list[Transform] = [before] if before is not None else []
    parts += [_field(moving[0].DeformableRegistrationGridSequence[0], path)] if _has_grid(moving[0]) else []
    parts += [after] if after is not None else []
    return parts[0] if len(parts) == 1 else Chain(*parts) if parts else Affine(np.eye(4))


def _has_grid(item: Dataset) -> bool:
    grid = item.get("DeformableRegistrationGridSequence")
    return bool(grid) and bool(np.all(np.array(grid[0].get("GridDimensions") or 0)))


def _matrices(item: Dataset, path: Path) -> bool:
    """Whether an item's matrices move anything."""
    return any(_around(item, name, path) is not None for name in ("Pre", "Post"))


def _around(item: Dataset, name: str, path: Path) -> Affine | None:
    """The matrix before or after the deformation; None for the identity."""
    given = list(item.get(f"{name}DeformationMatrixRegistrationSequence") or ())
    matrix = np.eye(4)
    for one in given:
        matrix = _matrix(one, path) @ matrix
    return None if np.allclose(matrix, np.eye(4), atol=1e-6) else Affine(matrix)


def _field(grid: Dataset, path: Path) -> Displacement:
    """The vectors of a grid, x fastest (C.20.3.1.3)."""
    shape = tuple(int(n) for n in grid.GridDimensions)
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    vectors = np.frombuffer(grid.VectorGridData, "<f4")
    if vectors.size != 3 * int(np.prod(shape)):
        raise TransformError(f"{path}: its {vectors.size} numbers do not fill its grid of {shape}; export again")
    vectors = _everywhere(vectors.reshape(*shape[::-1], 3), path)
    place = Grid.of(shape, list(map(float, grid.GridResolution)), list(map(float, grid.ImagePositionPatient)), axes)
    return Displacement.from_millimetres(vectors.transpose(2, 1, 0, 3), place)


def _everywhere(vectors: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Vectors that are not defined (NaN, C.20.3.1.3) continued by the nearest ones that are; the user is told."""
    there = np.isfinite(vectors).all(axis=-1)
    if there.all():
        return vectors
    if not there.any():
        raise TransformError(f"{path}: none of its vectors is defined; export the registration again")
    nearest = distance_transform_edt(~there, return_distances=False, return_indices=True)
    tell(
        f"{path}: {100 * float((~there).mean()):.3g} % of its vectors are not defined (NaN): "
        "the nearest ones continue there, do not rely on places outside what was registered."
    )
    return vectors[tuple(nearest)]
