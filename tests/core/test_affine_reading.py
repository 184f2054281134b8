"""Images read through an affine transform, beside scipy and torch, and where they have data."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jssr.core import affine_reading
from jssr.core.grid import Grid
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Affine
from jssr.core.volume import Volume

SIZE, SHAPE = (9, 8, 7), (6, 10, 5)
STRAIGHT = np.array([[1.4, 0, 0, -0.7], [0, 0.9, 0, 0.3], [0, 0, 1.2, 0.6], [0, 0, 0, 1.0]])
MIRRORED = np.array([[-1.4, 0, 0, 8.2], [0, 0.9, 0, 0.3], [0, 0, -1.2, 6.0], [0, 0, 0, 1.0]])


def oblique():
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.2, -0.3, 0.4]).as_matrix() * 1.1
    matrix[:3, 3] = 1.0, 2.0, -1.0
    return matrix


def places(matrix, shape=SHAPE):
    index = np.indices(shape).reshape(len(shape), -1)
    return matrix[:-1, :-1] @ index + matrix[:-1, -1:]


@pytest.mark.parametrize("matrix", [STRAIGHT, MIRRORED, oblique(), np.eye(4)])
def test_an_image_is_read_as_scipy_reads_it(matrix):
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, *SIZE)).astype(np.float32))
    found = affine_reading.read(image, matrix, SHAPE)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[channel].double().numpy(), places(matrix), order=1, mode="nearest")
        np.testing.assert_allclose(found[channel].numpy().ravel(), expected, atol=2e-5)


@pytest.mark.parametrize("matrix", [STRAIGHT, MIRRORED, oblique()])
def test_what_lies_inside_is_told_voxel_by_voxel(matrix):
    at = places(matrix)
    expected = ((at >= -0.5) & (at <= np.array(SIZE)[:, None] - 0.5)).all(axis=0)
    found = affine_reading.inside(matrix, SIZE, SHAPE)
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(found.numpy().ravel(), expected)


def test_all_inside_is_none_and_nothing_inside_is_a_mask():
    assert affine_reading.inside(np.eye(4), SIZE, (3, 3, 3)) is None
    away = np.eye(4)
    away[2, 3] = 100.0
    assert not affine_reading.inside(away, SIZE, (3, 3, 3)).any()


def test_the_edge_of_an_image_belongs_to_it():
    half = np.eye(4)
    half[0, 3] = -0.5
    found = affine_reading.inside(half, (2, 2, 2), (4, 2, 2))
    assert found is not None and found[:, 0, 0].tolist() == [True, True, True, False]  # -0.5, 0.5, 1.5, 2.5


def test_pictures_and_single_slices():
    image = torch.arange(12.0).view(1, 3, 4)
    matrix = np.array([[0.5, 0, 0.5], [0, 1.0, 0], [0, 0, 1]])
    assert affine_reading.read(image, matrix, (2, 4))[0].tolist() == [[2, 3, 4, 5], [4, 5, 6, 7]]
    one = torch.full((1, 5, 4, 1), 3.0)
    assert (affine_reading.read(one, STRAIGHT, SHAPE) == 3).all()


def test_a_volume_on_its_own_grid_is_a_copy():
    volume = Volume(torch.rand(1, 3, 4, 5), Grid.of((3, 4, 5)))
    found = resample(volume, volume.grid)
    assert torch.equal(found.data, volume.data)
    found.data.zero_()
    assert volume.data.max() > 0


def test_each_channel_has_its_own_value_outside():
    volume = Volume(torch.ones(2, 3, 3, 3), Grid.of((3, 3, 3)))
    shifted = Affine(np.array([[1, 0, 0, 2.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    found = resample(volume, volume.grid, shifted, fill=[-5.0, 0.0])
    assert found.data[:, :, 1, 1].tolist() == [[1, -5, -5], [1, 0, 0]]
    assert coverage(volume.grid, volume.grid, shifted)[0, :, 1, 1].tolist() == [True, False, False]
