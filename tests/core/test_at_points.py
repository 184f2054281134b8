"""Fields at points on numpy: as computed by hand, and as on torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core import transform
from jssr.core.at_points import read_linear, solve_inverse, sparse_indices
from jssr.core.grid import Grid
from jssr.core.transform import Chain, Displacement


def bent(n):
    """A field of some millimetres on an oblique grid, and points in it and up to two voxels beyond."""
    turn, _ = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))
    grid = Grid.of((14, 12, 10)[:n], (1.5, 2.0, 3.5)[:n], (-40.0, 12.0, 300.0)[:n], turn)
    noise = torch.randn(1, n, *grid.shape, generator=torch.Generator().manual_seed(n))
    u = ff.smooth(noise, 3.0)[0]
    at = np.random.default_rng(n + 1).uniform(-2, np.array(grid.shape) + 1, (400, n))
    return Displacement(0.5 * u / u.std(), grid), at


def test_a_value_between_voxels_is_their_weighted_mean():
    values = np.array([[[0.0, 10.0], [20.0, 50.0]]], np.float32)
    at = np.array([[0.25, 0.5], [1.0, 1.0], [-3.0, 0.5], [5.0, 0.0]])
    # 0.75 * (0 + 10) / 2 + 0.25 * (20 + 50) / 2; a voxel itself; beyond the border.
    assert read_linear(values, at)[:, 0].tolist() == [12.5, 50.0, 5.0, 20.0]


def test_an_axis_of_one_voxel_is_constant():
    values = np.array([[[1.0, 3.0]]], np.float32)
    assert read_linear(values, np.array([[0.4, 0.5], [-2.0, 1.0]]))[:, 0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("n", [2, 3])
def test_points_go_where_torch_takes_them(n, monkeypatch):
    field, at = bent(n)
    points = field.grid.world(at)
    ours = field(points)
    monkeypatch.setattr(transform, "FEW", 0)
    assert np.abs(ours - field(points)).max() < 1e-4  # mm
    assert np.abs(ours - points).max() > 1


@pytest.mark.parametrize("n", [2, 3])
def test_the_inverse_at_points_is_that_of_torch(n):
    field, at = bent(n)
    inside = at[field.grid.contains(field.grid.world(at))]
    goal = field.grid.index(field(field.grid.world(inside)))
    linear = field.nearest_linear()
    assert ff.jacobian_determinant(field.u[None]).min() > 0
    ours = solve_inverse(field.read, goal, linear, 1e-6, 200, step=0.5)
    start = torch.from_numpy(goal.T).view(1, n, -1, *[1] * (n - 1))
    theirs = ff.solve_inverse(field.u[None], start, tolerance=1e-6, allowed=0.0, iterations=200, step=0.5)
    apart = (ours - theirs.view(n, -1).T.numpy()) @ field.grid.affine[:n, :n].T
    assert np.abs(apart).max() < 1e-4


def test_sparse_indices_span_the_grid():
    found = sparse_indices((100, 7))
    assert found[:, 0].max() == 100 - 100 % 4 - 4 and set(found[:, 1]) == set(range(7))
    assert len(found) == 25 * 7


@pytest.mark.parametrize("n", [2, 3])
def test_a_chain_that_begins_on_its_grid_is_one_field_without_resampling(n):
    field, _ = bent(n)
    chain = Chain(field, field)
    ours = chain.displacement(field.grid)
    theirs = ff.compose(field.u[None], field.u[None])
    assert (ours.u[None] - theirs).abs().max() < 1e-4
