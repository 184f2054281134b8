"""Grids against hand-worked places and SimpleITK's own geometry."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid, GridError


def test_world_by_hand():
    # Axis i runs towards -y, axis j towards +x: a quarter turn about z.
    grid = Grid.of((4, 5, 6), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    assert np.allclose(grid.world((1, 1, 1)), (12, 19, 33))
    assert np.allclose(grid.index((12, 19, 33)), (1, 1, 1))
    assert np.allclose(grid.spacing, (1, 2, 3))
    assert np.allclose(grid.centre, (10 + 4, 20 - 1.5, 30 + 7.5))
    assert grid.voxels == 120


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    index=st.tuples(*[st.floats(-5, 60)] * 3),
)
def test_world_is_itks(angles, spacing, index):
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    grid = Grid.of((8, 7, 6), spacing, (-30.0, 12.0, 800.0), axes)
    image = sitk.Image([8, 7, 6], sitk.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetOrigin((-30.0, 12.0, 800.0))
    image.SetDirection(axes.ravel().tolist())
    expected = image.TransformContinuousIndexToPhysicalPoint(index)
    assert np.allclose(grid.world(index), expected, atol=1e-6)
    assert np.allclose(grid.index(expected), index, atol=1e-6)


def test_resized_keeps_the_outermost_centres():
    grid = Grid.of((5, 9, 4), (2, 1, 3), (1, 2, 3))
    other = grid.resized((9, 5, 4))
    assert np.allclose(other.spacing, (1, 2, 3))
    assert np.allclose(other.corners(), grid.corners())


def test_respaced_covers_the_same_box():
    grid = Grid.of((10, 10, 6), (2, 2, 5), (0, 0, 0))
    other = grid.respaced((1, 4, 5))
    assert other.shape == (20, 5, 6)
    assert np.allclose(other.centre, grid.centre)
    assert np.allclose(other.origin, (-0.5, 1, 0))  # box of voxel edges from -1 to 19 in x and y


def test_cropped_starts_at_the_voxel():
    grid = Grid.of((10, 10, 10), (2, 3, 4), (100, 0, 0))
    part = grid.cropped((2, -1, 0), (3, 12, 10))
    assert np.allclose(part.origin, (104, -3, 0))
    assert part.shape == (3, 12, 10)


def test_contains_ends_at_the_outermost_centres():
    grid = Grid.of((3, 3), (2, 2), (0, 0))
    assert grid.contains([[0, 0], [4, 4], [4.1, 0], [-0.1, 0]]).tolist() == [True, True, False, False]


def test_same_as_tells_a_tenth_of_a_voxel():
    grid = Grid.of((6, 6, 6), 2.0)
    assert grid.same_as(Grid.of((6, 6, 6), 2.0, (1e-4, 0, 0)))
    assert not grid.same_as(Grid.of((6, 6, 6), 2.0, (0.2, 0, 0)))
    assert not grid.same_as(Grid.of((6, 6, 7), 2.0))


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((4, 4, 4), np.diag([1.0, 0.0, 1.0, 1.0]), "spacing must be positive"),
        ((4, 4, 4), np.eye(3), "4 x 4"),
        ((4, 4, 4), np.full((4, 4), np.nan), "finite"),
        ((4, 4), np.array([[1.0, 0.3, 0], [0, 1, 0], [0, 0, 1]]), "perpendicular"),
        ((4,), np.eye(2), "2 or 3 axes"),
        ((4, 0), np.eye(3), "at least one voxel"),
    ],
)
def test_impossible_geometry_is_refused(shape, affine, words):
    with pytest.raises(GridError, match=words):
        Grid(shape, affine)


def test_negative_spacing_is_refused():
    with pytest.raises(GridError, match="spacing must be positive"):
        Grid.of((4, 4, 4), (1, -1, 1))


def test_distance_from_the_outermost_voxels():
    grid = Grid.of((5, 5, 5), (2.0, 3.0, 4.0), (10.0, 0.0, 0.0))
    points = [[10.0, 0, 0], [18.0, 12.0, 16.0], [7.0, 0, -4.0], [14.0, 14.0, 8.0]]
    np.testing.assert_allclose(grid.distance(points), [0.0, 0.0, 5.0, 2.0])
