"""DICOM's registrations as transforms: matrices (PS3.3 C.20.2) and deformations (C.20.3), of any maker.

A Spatial Registration's matrices lead from the frame of reference of each item to the registered one, which is the
fixed space here: they are inverted. A Deformable Spatial Registration leads from the registered frame to its source.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import ImageError, TransformError
from jssr.io.dicom.files import class_name, opened, readable

Matrix = NDArray[np.float64]


def read_registration(path: Path) -> Transform:
    """The transform from the registered (fixed) frame of reference to the source (moving) one, LPS millimetres.

    Raises:
        TransformError: another kind of object, no moving item or several, a matrix that is none, vectors that are not
            defined everywhere, or a damaged file.
    """
    try:
        found = opened(path)
        if found.SOPClassUID not in (SpatialRegistrationStorage, DeformableSpatialRegistrationStorage):
            raise TransformError(f"{path}: is a {class_name(found)} of DICOM, expected a registration")
        with readable(path, "its registration"):
            if found.SOPClassUID == SpatialRegistrationStorage:
                return _linear(found, path)
            return _deformable(found, path)
        raise AssertionError
    except ImageError as error:
        raise TransformError(str(error)) from error


def frames_of(path: Path) -> tuple[str, str] | None:
    """The UIDs of the frames of reference of the fixed and the moving space, "" where several could be meant; None
    where the file is no registration."""
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
    fixed = str(found.get("FrameOfReferenceUID") or "")
    there = [str(item.get(name) or "") for item in found.get(sequence) or ()]
    others = {uid for uid in there if uid != fixed} or set(there)
    return fixed, others.pop() if len(others) == 1 else ""


def _linear(found: Dataset, path: Path) -> Affine:
    """The inverse of the one item's matrix that is not that of the registered frame itself."""
    items = [(str(item.get("FrameOfReferenceUID") or ""), _chained(item, path)) for item in found.RegistrationSequence]
    registered = str(found.get("FrameOfReferenceUID") or "")
    own = [matrix for uid, matrix in items if uid == registered]
    others = [matrix for uid, matrix in items if uid != registered]
    if not others:  # two series of one frame of reference: the one that stays has the identity
        others = [matrix for matrix in own if not np.allclose(matrix, np.eye(4), atol=1e-9)]
        own = [matrix for matrix in own if np.allclose(matrix, np.eye(4), atol=1e-9)]
        others = others or own[1:] or own
    if len(others) != 1:
        raise TransformError(
            f"{path}: registers {len(others)} frames of reference to one; expected one moving frame: export one pair"
        )
    fixed = own[0] if own else np.eye(4)
    # A fixed point goes to the registered frame first: by the identity, but where a maker moves both.
    return Affine(np.linalg.inv(others[0]) @ fixed)


def _chained(item: Dataset, path: Path) -> Matrix:
    """The matrices of an item in one; the first one is applied first."""
    out = np.eye(4)
    for registration in item.MatrixRegistrationSequence:
        for one in registration.MatrixSequence:
            out = _matrix(one, path) @ out
    return out


def _matrix(item: Dataset, path: Path) -> Matrix:
    values = np.array(item.FrameOfReferenceTransformationMatrix, dtype=np.float64)
    if values.size != 16 or not np.isfinite(values).all():
        raise TransformError(f"{path}: expected matrices of 16 finite numbers, got {values.size}; export it again")
    out = values.reshape(4, 4)
    if not np.allclose(out[3], (0, 0, 0, 1), atol=1e-9) or abs(np.linalg.det(out)) < 1e-12:
        raise TransformError(f"{path}: holds a matrix that cannot be inverted, or is no affine one; export it again")
    return out


def _deformable(found: Dataset, path: Path) -> Transform:
    items = list(found.get("DeformableRegistrationSequence") or ())
    bent = [item for item in items if item.get("DeformableRegistrationGridSequence")]
    if len(bent) != 1:
        raise TransformError(
            f"{path}: {len(bent) or 'no'} deformation grids; expected a Deformable Spatial Registration with one"
        )
    before, after = _around(bent[0], "Pre", path), _around(bent[0], "Post", path)
    field = _field(bent[0].DeformableRegistrationGridSequence[0], path)
    parts: list[Transform] = [before] if before is not None else []
    parts.append(field)
    parts += [after] if after is not None else []
    for item in items:
        moved = item is not bent[0] and [_around(item, name, path) for name in ("Pre", "Post")]
        if moved and any(one is not None for one in moved):
            raise TransformError(f"{path}: moves the fixed frame of reference too; expected one moving frame alone")
    return parts[0] if len(parts) == 1 else Chain(*parts)


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
    if vectors.size != 3 * int(np.prod(shape)) or not np.isfinite(vectors).all():
        raise TransformError(f"{path}: its vectors do not fill its grid, or are not defined everywhere")
    place = Grid.of(shape, list(map(float, grid.GridResolution)), list(map(float, grid.ImagePositionPatient)), axes)
    return Displacement.from_millimetres(vectors.reshape(*shape[::-1], 3).transpose(2, 1, 0, 3), place)
