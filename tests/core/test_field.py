"""Fields against closed forms, numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter, map_coordinates

from jssr.core import field as ff


def smooth_field(shape, largest, seed=0, width=4.0):
    """A smooth random field that is zero near the border: (1, n, *shape), largest component `largest` voxels."""
    rng = np.random.default_rng(seed)
    u = np.stack([gaussian_filter(rng.normal(size=shape), width, mode="constant") for _ in shape])
    for axis, size in enumerate(shape):
        window = np.sin(np.pi * np.arange(size) / (size - 1)) ** 2
        u = u * window.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return torch.from_numpy(u / np.abs(u).max() * largest)[None].float()


def linear_field(matrix, shift, shape):
    index = ff.identity(shape)
    n = len(shape)
    matrix = torch.as_tensor(np.asarray(matrix), dtype=torch.float32)
    shift = torch.as_tensor(np.asarray(shift), dtype=torch.float32).view(1, n, *([1] * n))
    return torch.einsum("ij,bj...->bi...", matrix, index) + shift


def inner(x, margin):
    return x[(..., *[slice(margin, -margin)] * (x.ndim - 2))]


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 5)])
def test_zero_field_is_the_identity(shape):
    image = torch.rand(2, 3, *shape)
    assert torch.allclose(ff.warp(image, torch.zeros(2, len(shape), *shape)), image, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_warp_pulls_along_the_named_axis(axis):
    image = torch.rand(1, 1, 6, 7, 8)
    u = torch.zeros(1, 3, 6, 7, 8)
    u[:, axis] = 2
    out = ff.warp(image, u)
    size = image.shape[axis + 2]
    expected = image.index_select(axis + 2, (torch.arange(size) + 2).clamp(max=size - 1))
    assert torch.allclose(out, expected, atol=1e-5)


def test_zero_padding_reads_zero_outside():
    image = torch.ones(1, 1, 5, 5)
    u = torch.zeros(1, 2, 5, 5)
    u[:, 0] = 3
    out = ff.warp(image, u, padding="zeros")[0, 0]
    assert torch.allclose(out[:2], torch.ones(2, 5), atol=1e-5)
    assert torch.allclose(out[2:], torch.zeros(3, 5), atol=1e-5)


def test_warp_is_scipys_linear_interpolation():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(9, 8, 7)).astype(np.float32)
    u = rng.uniform(-2, 2, size=(3, 9, 8, 7)).astype(np.float32)
    at = np.stack(np.meshgrid(*[np.arange(s) for s in image.shape], indexing="ij")) + u
    expected = map_coordinates(image, at, order=1, mode="nearest")
    out = ff.warp(torch.from_numpy(image)[None, None], torch.from_numpy(u)[None])[0, 0].numpy()
    assert np.abs(out - expected).max() < 1e-4


def test_nearest_takes_no_mean():
    image = torch.tensor([[[[0.0, 4.0, 8.0]] * 3]])
    u = torch.zeros(1, 2, 3, 3)
    u[:, 1] = 0.7
    assert ff.warp(image, u, mode="nearest")[0, 0, 0].tolist() == [4, 8, 8]


def test_compose_is_two_warps():
    grid = ff.identity((20, 21, 22))
    image = torch.sin(grid[:, :1] / 5) + torch.cos(grid[:, 1:2] / 6) * torch.sin(grid[:, 2:] / 7)
    outer, follow = smooth_field((20, 21, 22), 2.0, 1), smooth_field((20, 21, 22), 2.0, 2)
    once = ff.warp(image, ff.compose(outer, follow))
    twice = ff.warp(ff.warp(image, outer), follow)
    # Interpolating twice blurs: by the curvature of the image (at most 1/25 a voxel squared) times 1/8 an axis.
    assert (once - twice).abs().max() < 0.015


def test_compose_of_linear_maps_is_their_product():
    a, b = np.array([[0.05, 0.02], [-0.03, 0.04]]), np.array([[-0.02, 0.05], [0.01, 0.03]])
    shape = (30, 30)
    u = ff.compose(linear_field(a, (0.5, -0.2), shape), linear_field(b, (-0.4, 0.3), shape))
    # x -> b x + b0 first, then a: (1 + a)((1 + b) x + b0) + a0
    one = np.eye(2)
    matrix = (one + a) @ (one + b) - one
    shift = (one + a) @ np.array([-0.4, 0.3]) + np.array([0.5, -0.2])
    assert (inner(u - linear_field(matrix, shift, shape), 4)).abs().max() < 1e-4


def test_exponential_of_a_constant_is_that_constant():
    v = torch.tensor([1.5, -2.0, 0.25]).view(1, 3, 1, 1, 1).expand(1, 3, 10, 10, 10)
    assert torch.allclose(ff.exponentiate(v), v, atol=1e-5)


def test_exponential_of_a_linear_velocity_is_the_matrix_exponential():
    a = np.array([[0.1, 0.25, 0.0], [-0.25, -0.05, 0.1], [0.05, 0.0, 0.12]])
    shape, centre = (25, 25, 25), np.full(3, 12.0)
    u = ff.exponentiate(linear_field(a, -a @ centre, shape), squarings=7)
    flow = expm(a) - np.eye(3)
    expected = linear_field(flow, -flow @ centre, shape)
    # Scaling takes v / 128 for exp(v / 128): what is left of order |a|^2 / 256 times the distance from the centre.
    assert inner(u - expected, 6).abs().max() < 0.01


def test_exponentials_of_opposite_velocities_are_inverse():
    v = smooth_field((40, 40, 40), 3.0, 3, width=8.0)
    forth, back = ff.exponentiate(v), ff.exponentiate(-v)
    assert ff.compose(forth, back).abs().max() < 0.1
    assert forth.abs().max() > 2


def steepest(u):
    """The largest stretch of the field per voxel: the greatest spectral norm of its gradient."""
    v = u[0].numpy().astype(np.float64)
    gradient = np.stack([np.stack(np.gradient(part), axis=-1) for part in v], axis=-2)
    return np.linalg.norm(gradient, ord=2, axis=(-2, -1)).max()


@pytest.mark.parametrize(("shape", "largest", "width"), [((40, 36), 2.0, 6.0), ((48, 44, 40), 4.0, 8.0)])
def test_inverse_is_consistent_to_a_tenth_of_a_voxel(shape, largest, width):
    u = smooth_field(shape, largest, 4, width)
    assert 0.4 < steepest(u) < 0.51  # smooth, but no trifle
    w = ff.invert(u)
    assert ff.compose(u, w).abs().max() < 0.01  # at the voxels of w: solved
    assert ff.compose(w, u).abs().max() < 0.1  # between them: as well as w can be interpolated


def test_inverse_holds_at_its_voxels_for_steep_fields():
    u = smooth_field((30, 28, 26), 2.5, 4, 4.0)
    assert 0.7 < steepest(u) < 0.8
    assert ff.compose(u, ff.invert(u)).abs().max() < 0.01


def test_points_are_solved_against_a_field_with_a_known_inverse():
    # Pure shear u_x = 0.9 y: the inverse of (x + 0.9 y, y) is (x - 0.9 y, y), exact for linear reading.
    u = torch.zeros(1, 3, 12, 12, 4)
    u[:, 0] = 0.9 * ff.identity((12, 12, 4))[:, 1]
    goal = torch.tensor([[9.0, 8.0], [2.0, 5.5], [1.0, 2.0]]).view(1, 3, 2, 1, 1)
    found = ff.solve_inverse(u, goal, tolerance=1e-4, allowed=0.0).view(3, 2)
    assert torch.allclose(found, torch.tensor([[9 - 1.8, 8 - 4.95], [2.0, 5.5], [1.0, 2.0]]), atol=2e-4)


def test_inverse_of_a_shift_is_the_opposite_shift():
    u = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 12, 12)
    assert torch.allclose(ff.invert(u), -u, atol=1e-4)


def test_resize_of_a_linear_field_is_exact():
    a, b = np.array([[0.1, 0.02, 0.0], [0.05, -0.1, 0.03], [0.0, 0.01, 0.2]]), np.array([1.0, -2.0, 0.5])
    out = ff.resize_field(linear_field(a, b, (9, 7, 5)), (17, 13, 9))
    # Twice as fine: x_new = 2 x_old, u_new = 2 u_old = 2 (a x_new / 2 + b) = a x_new + 2 b
    assert (out - linear_field(a, 2 * b, (17, 13, 9))).abs().max() < 1e-4


def test_resize_scales_each_axis_by_its_own():
    out = ff.resize_field(torch.ones(1, 2, 5, 9), (9, 3))
    assert torch.allclose(out[0, 0], torch.full((9, 3), 2.0)) and torch.allclose(out[0, 1], torch.full((9, 3), 0.25))


@pytest.mark.parametrize("n", [2, 3])
def test_jacobian_of_a_linear_map_is_its_determinant(n):
    rng = np.random.default_rng(n)
    matrix = np.eye(n) + rng.uniform(-0.4, 0.4, (n, n))
    u = linear_field(matrix - np.eye(n), np.zeros(n), (6,) * n)
    assert np.allclose(ff.jacobian_determinant(u).numpy(), np.linalg.det(matrix), atol=1e-4)


def test_jacobian_is_numpys_determinant_of_forward_differences():
    u = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (2, 3, 6, 5, 4)).astype(np.float32))
    v = u.numpy().astype(np.float64)
    cells = (slice(None), slice(None), slice(0, -1), slice(0, -1), slice(0, -1))
    columns = [np.diff(v, axis=a + 2)[cells[: a + 2] + (slice(None),) + cells[a + 3 :]] for a in range(3)]
    matrix = np.stack(columns, axis=-1)  # (B, component, i, j, k, axis)
    expected = np.linalg.det(np.moveaxis(matrix, 1, -2) + np.eye(3))
    assert np.allclose(ff.jacobian_determinant(u).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(9, 5, 4), (2, 3, 3), (1, 3, 3), (7, 6)])
def test_a_jacobian_in_slabs_is_that_of_the_whole(shape, monkeypatch):
    u = torch.randn(2, len(shape), *shape, generator=torch.Generator().manual_seed(0))
    whole = ff.jacobian_determinant(u)
    monkeypatch.setattr(ff, "_SLAB", 2 * math.prod(shape[1:]))
    assert torch.equal(ff.jacobian_determinant(u), whole)
    assert whole.shape == (2, *[s - 1 for s in shape])


def test_a_fold_is_seen():
    u = torch.zeros(1, 2, 4, 4)
    u[0, 0, 2] = -1.5  # row 2 goes before row 1
    determinant = ff.jacobian_determinant(u)[0]
    assert (determinant[1] < 0).all() and (determinant[[0, 2]] > 0).all()


def test_smooth_is_scipys_gaussian():
    image = np.random.default_rng(6).normal(size=(15, 14, 13)).astype(np.float32)
    out = ff.smooth(torch.from_numpy(image)[None, None], (1.5, 0.0, 2.0))[0, 0].numpy()
    expected = gaussian_filter(image, (1.5, 0, 2.0), mode="nearest", truncate=3.0)
    assert np.abs(out - expected).max() < 1e-4


def test_bsplines_keep_lines_straight():
    """Cubic B-splines give back linear control points; knots are the middles of blocks of pixels."""
    spacing, control_points = 4, 7
    middles = torch.arange(control_points) * spacing + (spacing - 1) / 2
    points = torch.stack([0.5 * middles[:, None] - 2 + 0 * middles, 3 - 0.25 * middles + 0 * middles[:, None]])[None]
    field = ff.bspline_field(points, spacing, (28, 28))
    at = torch.arange(28.0)
    inner = slice(6, 22)  # further out the repeated knots bend it
    torch.testing.assert_close(field[0, 0, inner, 5], 0.5 * at[inner] - 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(field[0, 1, 5, inner], 3 - 0.25 * at[inner], atol=1e-4, rtol=0)


def test_bsplines_of_one_point():
    """The uniform cubic B-spline is 2/3 in its middle, 1/6 one knot off; between pixel centres here: +-1/2 pixel."""
    points = torch.zeros(1, 2, 7, 7)
    points[0, 0, 3, 3] = 1.0
    field = ff.bspline_field(points, 2, (14, 14))
    t = 0.25  # half a pixel of knots two pixels apart
    middle = 2 / 3 - t**2 + t**3 / 2
    assert field[0, 0, 6:8, 6:8].flatten().tolist() == pytest.approx([middle**2] * 4, abs=1e-5)
    assert field[0, 0].sum().item() == pytest.approx(4, abs=1e-4)  # a knot's share is its block
    assert field[0, 1].abs().max() == 0


def test_bsplines_are_computed_in_full_precision_whatever_the_networks_are():
    points = 20 * torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    known = ff.bspline_field(points, 8, (32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        found = ff.bspline_field(points, 8, (32, 32))
    assert found.dtype == torch.float32 and torch.equal(found, known)
