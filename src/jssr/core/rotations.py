"""Rotations as matrices and as vectors, on numpy: scipy's, in 3D, which take 0.4 s to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rotation_matrices(vectors: Floats) -> Floats:
    """Rotations (N, 3, 3) about the axes of vectors (N, 3) by their lengths, radians (Rodrigues' formula)."""
    angle = np.linalg.norm(vectors, axis=1)
    x, y, z = (vectors / np.where(angle > 0, angle, 1.0)[:, None]).T
    none = np.zeros_like(x)
    cross = np.array([[none, -z, y], [z, none, -x], [-y, x, none]]).transpose(2, 0, 1)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross))


def rotation_vector(matrix: Floats) -> Floats:
    """The axis of a rotation (3, 3), as long as its angle, 0 to pi radians: (3,)."""
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    sine, cosine = float(np.linalg.norm(skew)), float(np.trace(matrix) - 1) / 2
    axis = skew / max(sine, 1e-300)
    if cosine < 0:  # near a half turn the difference says little of the axis a, the sum is (1 - cosine) * a a^T
        outer = (matrix + matrix.T) / 2 - cosine * np.eye(3)
        axis = outer[int(np.diag(outer).argmax())]
        axis = axis / np.linalg.norm(axis) * (-1.0 if axis @ skew < 0 else 1.0)
    return np.asarray(axis * np.arctan2(sine, cosine))
