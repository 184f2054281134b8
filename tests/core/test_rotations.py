"""Rotations by hand, and those of scipy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jssr.core.rotations import rotation_matrices, rotation_vector


def test_a_quarter_turn_about_z_takes_x_to_y():
    turn = rotation_matrices(np.array([[0, 0, np.pi / 2], [0, 0, 0]]))
    np.testing.assert_allclose(turn[0], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    assert np.array_equal(turn[1], np.eye(3))
    np.testing.assert_allclose(rotation_vector(turn[0]), [0, 0, np.pi / 2], atol=1e-15)
    assert not rotation_vector(np.eye(3)).any()


@pytest.mark.parametrize("angle", [1e-9, 1e-3, 1.0, 2.0, 3.14, np.pi - 1e-6])
def test_they_are_those_of_scipy(angle):
    axes = np.random.default_rng(4).normal(size=(50, 3))
    vectors = axes / np.linalg.norm(axes, axis=1, keepdims=True) * angle
    matrices = rotation_matrices(vectors)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)
    found = np.array([rotation_vector(matrix) for matrix in matrices])
    np.testing.assert_allclose(found, vectors, rtol=1e-7)


def test_a_half_turn_has_one_axis_and_either_sign():
    axis = np.array([2.0, -1.0, 2.0]) / 3
    found = rotation_vector(rotation_matrices(axis[None] * np.pi)[0])
    assert np.linalg.norm(found) == pytest.approx(np.pi)
    np.testing.assert_allclose(np.outer(found, found) / np.pi**2, np.outer(axis, axis), atol=1e-12)
