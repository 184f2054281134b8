"""The compiled loops of full size do what the same functions do with torch and numpy."""

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core import kernels
from jssr.core.full_inverse import FullInverse
from jssr.core.full_size import STEP_MM, FullTransform
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.core.voxel_kernels import file_order
from jssr.registration.full_size import _pulled

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="the loops are not compiled")


def _grid(shape, spacing, degrees=0.0, origin=(3.0, -5.0, 8.0)):
    turn = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag(spacing)
    affine[:3, 3] = origin
    return Grid(shape, affine)


def _transform(degrees=0.0):
    own = _grid((12, 11, 9), (4.0, 4.0, 4.0), degrees)
    u = ff.smooth(torch.randn(1, 3, 12, 11, 9, generator=torch.Generator().manual_seed(1)) * 2, 1.5)[0]
    rigid = np.eye(4)
    rigid[:3, :3] = [[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1]]
    rigid[:3, 3] = (2.0, -1.0, 3.0)
    return FullTransform(Displacement(u, own), Affine(rigid))


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_displacements_are_alike(monkeypatch, degrees):
    fixed, found = _grid((23, 19, 31), (1.9, 2.1, 1.1), 5.0), _transform(degrees)
    one = found.on(fixed)
    monkeypatch.setattr(kernels, "library", lambda: None)
    other = found.on(fixed)
    apart = (torch.tensor(fixed.affine[:3, :3]).float() @ (one - other)[0].flatten(1)).abs()
    # A sum that lies between two steps may be rounded to either.
    assert apart.max() < 1.01 * STEP_MM
    assert (apart > 1e-3).float().mean() < 0.01
    assert one.abs().max() > 1


def test_a_shift_moves_the_image_by_as_many_voxels():
    grid = _grid((8, 7, 6), (1.0, 2.0, 3.0))
    data = torch.rand(1, 8, 7, 6, generator=torch.Generator().manual_seed(2))
    still = Displacement(torch.zeros(3, 3, 3, 3), _grid((3, 3, 3), (4.0, 6.0, 8.0)))
    shift = np.eye(4)
    shift[:3, 3] = (2.0, 0.0, -3.0)
    u, moved, seen = _pulled(FullTransform(still, Affine(shift)), Volume(data, grid), -1.0, grid)
    assert torch.equal(u[:, 0, 0, 0], torch.tensor([2.0, 0.0, -1.0]))
    assert torch.equal(moved[0, :6, :, 1:], data[0, 2:, :, :-1])
    assert (moved[0, 6:] == -1).all() and not seen[0, 6:].any() and not seen[0, :, :, 0].any()


def test_images_are_pulled_alike(monkeypatch):
    grid, moving = _grid((23, 19, 31), (1.9, 2.1, 1.1), 5.0), _grid((20, 21, 17), (2.0, 2.0, 2.0), -10.0)
    scan = Volume(torch.rand(1, *moving.shape, generator=torch.Generator().manual_seed(3)), moving)
    u, one, seen = _pulled(_transform(), scan, 0.0, grid)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "library", lambda: None)
        _, other, there = _pulled(_transform(), scan, 0.0, grid)
    both = seen & there
    assert (seen == there).float().mean() > 0.999
    assert both.float().mean() > 0.3
    # The displacements may differ by a step of rounding.
    assert (one - other)[both].abs().max() < 0.02
    assert (one - other)[both].abs().mean() < 1e-4


def test_inverses_lead_back_at_every_voxel():
    found, grid = _transform(), _grid((25, 23, 20), (2.0, 2.0, 1.8), 3.0)
    inverse = FullInverse(found.field, found.rigid, None, grid)
    at = inverse.on(grid)
    goal = np.linalg.inv(found.field.grid.affine) @ np.linalg.inv(found.rigid.matrix) @ grid.affine
    there = torch.from_numpy(goal[:3, :3]).float() @ ff.identity(grid.shape)[0].flatten(1)
    there += torch.from_numpy(goal[:3, 3:]).float()
    miss = (at + ff.sample(found.field.u[None], at))[0].flatten(1) - there
    assert float(miss.abs().max()) * 4.0 < 0.03  # mm


def test_the_order_of_a_file_is_the_first_axis_first():
    u = np.random.default_rng(4).normal(size=(3, 5, 4, 6)).astype(np.float32)
    linear = np.array([[2.0, 0.5, 0], [0, 1.5, 0], [0, 0.25, 3.0]])
    part = u[..., 2:4]
    found = file_order(part, linear, 1024.0)
    expected = np.rint(np.einsum("ij,jxyz->izyx", linear * 1024, part.astype(np.float64))) / 1024
    assert found.shape == (3, 2, 4, 5)
    assert np.abs(found - expected).max() <= 1 / 1024
    assert (found != expected).mean() < 0.02
