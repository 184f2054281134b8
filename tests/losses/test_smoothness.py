import pytest
import torch

from jssr.core.field import identity
from jssr.losses.smoothness import bending, diffusion


def test_diffusion_of_a_linear_field():
    # u_0 = 0.5 i: along axis 0 its difference is 0.5, the other two components and axes have none.
    # VoxelMorph: mean over components and voxels (0.25 / 3), mean over the three axes (/ 3).
    u = torch.zeros(1, 3, 6, 6, 6)
    u[:, 0] = 0.5 * identity((6, 6, 6))[:, 0]
    assert diffusion(u).item() == pytest.approx(0.25 / 9)


def test_diffusion_of_a_shift_is_zero():
    assert diffusion(torch.full((1, 2, 5, 5), 3.0)).item() == 0.0


def test_bending_of_a_quadratic_and_of_an_affine_field():
    i = identity((7, 7, 7))
    u = torch.zeros(1, 3, 7, 7, 7)
    u[:, 0] = 0.5 * i[:, 0] ** 2  # second difference 1 in one of three components
    assert bending(u).item() == pytest.approx(1 / 3, rel=1e-5)
    u[:, 0] = i[:, 0] * i[:, 1]  # mixed difference 1, counted twice
    assert bending(u).item() == pytest.approx(2 / 3, rel=1e-5)
    u[:, 0] = 0.3 * i[:, 0] - 0.2 * i[:, 2] + 4
    assert bending(u).item() == pytest.approx(0, abs=1e-9)
