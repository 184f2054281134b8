from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core import separable


def turned(axes, steps, origin):
    matrix = np.zeros((4, 4))
    for k, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        matrix[axis, k] = step
    matrix[:3, 3], matrix[3, 3] = origin, 1
    return matrix


@pytest.mark.parametrize(
    "matrix",
    [
        turned((0, 1, 2), (0.4, 0.7, 1.3), (-1.0, 0.2, -0.5)),
        turned((0, 1, 2), (-0.4, 0.7, -0.3), (8.0, -2.0, 6.0)),
        turned((2, 0, 1), (0.5, 0.6, 0.7), (0.1, 0.2, 0.3)),
        turned((0, 1, 2), (0.4, 0.7, 1.3), (90.0, 0.0, 0.0)),
    ],
)
def test_axis_by_axis_is_voxel_by_voxel(matrix):
    image = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    assert separable.parallel(matrix) is not None
    axes = [torch.arange(size, dtype=torch.float32) for size in (6, 10, 5)]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")).view(3, -1).double()
    at = (torch.from_numpy(matrix[:3, :3]) @ index + torch.from_numpy(matrix[:3, 3:])).float().view(1, 3, 6, 10, 5)
    assert torch.allclose(separable.positions(matrix, (6, 10, 5)), at, atol=1e-5)
    assert torch.allclose(separable.read(image, matrix, (6, 10, 5)), ff.sample(image[None], at)[0], atol=1e-5)


def test_oblique_axes_are_read_voxel_by_voxel():
    matrix = turned((0, 1, 2), (0.4, 0.7, 1.3), (0.0, 0.0, 0.0))
    matrix[0, 1] = 0.1
    image = torch.rand(1, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    assert separable.parallel(matrix) is None
    at = separable.positions(matrix, (6, 5, 4))
    assert torch.equal(separable.read(image, matrix, (6, 5, 4)), ff.sample(image[None], at)[0])


def test_a_plane_and_an_axis_of_one_voxel():
    plane = torch.arange(12.0).view(1, 4, 3)
    matrix = np.array([[0.5, 0, 0], [0, 1.0, -0.5], [0, 0, 1]])
    by_hand = [[0.0, 0.5, 1.5], [1.5, 2.0, 3.0]]
    assert separable.read(plane, matrix, (2, 3))[0].tolist() == by_hand
    flat = torch.arange(4.0).view(1, 4, 1, 1)
    there = separable.read(flat, turned((0, 1, 2), (1.0, 1.0, 1.0), (0.5, 0, 0)), (3, 2, 2))
    assert torch.equal(there, torch.tensor([0.5, 1.5, 2.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
