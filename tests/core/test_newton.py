from __future__ import annotations

import pytest
import torch

from jssr.core import field as ff
from jssr.core import newton


@pytest.mark.parametrize("shape", [(7, 6, 5), (9, 8), (6, 1, 5)])
def test_reading_gives_what_sampling_gives_and_its_derivative(shape):
    n = len(shape)
    u = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    at = (torch.rand(n, 200, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2) * torch.tensor(shape).view(n, 1)
    value, slopes = newton.read_with_slopes(u, at)

    def sampled(p):
        return ff.sample(u[None], p.view(1, n, -1, *[1] * (n - 1))).view(2, -1)

    assert torch.allclose(value, sampled(at), atol=1e-5)
    apart = 1e-3
    for axis, slope in enumerate(slopes):
        step = torch.zeros_like(at)
        step[axis] = apart
        same = ((at - step).floor() == (at + step).floor()).all(dim=0)  # within one cell the slope is one
        by_hand = (sampled(at + step) - sampled(at - step)) / (2 * apart)
        if shape[axis] > 1:
            assert torch.allclose(slope[:, same], by_hand[:, same], atol=5e-3)
        else:
            assert not slope.any()


def test_it_settles_where_the_field_is_steeper_than_a_fixed_point_stands():
    # u(x) = 1.5 (x - 10): p + u(p) = goal at p = 10 + (goal - 10) / 2.5. A fixed point of step 1 moves away by 1.5.
    u = torch.zeros(3, 21, 4, 4)
    u[0] = (1.5 * (torch.arange(21.0) - 10)).view(-1, 1, 1)
    goal = torch.tensor([[3.0, 10.0, 14.0], [1.0, 2.0, 1.5], [0.5, 1.0, 2.0]])
    found = newton.solve(u, goal, goal, 1e-4)
    assert torch.allclose(found[0], 10 + (goal[0] - 10) / 2.5, atol=1e-3)
    assert torch.allclose(found[1:], goal[1:], atol=1e-3)


def test_in_2d_a_turn_by_a_right_angle_is_taken_back():
    x, y = torch.meshgrid(torch.arange(11.0) - 5, torch.arange(11.0) - 5, indexing="ij")
    u = torch.stack([-y - x, x - y])  # (x, y) to (-y, x) about the middle
    found = newton.solve(u, torch.tensor([[6.0], [8.0]]), torch.tensor([[6.0], [8.0]]), 1e-4)
    # The point (3, -1) from the middle turns to (1, 3).
    assert torch.allclose(found, torch.tensor([[8.0], [4.0]]), atol=1e-3)


def test_where_the_field_folds_it_comes_as_near_as_it_can():
    u = torch.zeros(3, 20, 4, 4)
    u[0] = (-3 * torch.arange(20.0)).view(-1, 1, 1)  # every point goes to below 0
    goal = torch.tensor([[15.0], [1.0], [1.0]])
    found = newton.solve(u, goal, goal.clone(), 1e-3, iterations=8)
    assert torch.isfinite(found).all()
    off = (goal - found - newton.read_with_slopes(u, found)[0]).abs().max()
    assert off <= (goal - goal - newton.read_with_slopes(u, goal)[0]).abs().max()
