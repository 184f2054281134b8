import pytest
import torch

from jssr.core import field as ff
from jssr.losses.features import FeatureDistance


@pytest.mark.parametrize(("shape", "channels"), [((7, 6, 5), 4), ((9, 8), 3), ((6, 1, 5), 2)])
def test_value_and_gradient_are_those_of_the_plain_formula(shape, channels):
    generator = torch.Generator().manual_seed(1)
    moving = torch.rand(1, channels, *shape, generator=generator)
    fixed = torch.rand(1, channels, *shape, generator=generator)
    # Some positions lie outside, where the border repeats and the gradient is none.
    u = (torch.randn(1, len(shape), *shape, generator=generator) * 2).requires_grad_()
    chosen = torch.rand(shape, generator=generator) > 0.3
    at = ff.identity(shape, u) + u
    goal = ((ff.sample(moving, at) - fixed) ** 2).sum(1)[0][chosen]
    (slope,) = torch.autograd.grad(goal.square().sum(), u)
    at = ff.identity(shape, u) + u
    found = FeatureDistance(moving, fixed, chosen)(at[0].flatten(1)[:, chosen.flatten()].t())
    assert torch.allclose(found, goal, atol=1e-5)
    (other,) = torch.autograd.grad(found.square().sum(), u)
    assert torch.allclose(other, slope, atol=1e-4)
    assert slope.abs().max() > 0.1


def test_many_points_are_read_in_pieces():
    moving = torch.rand(1, 2, 30, 30, 30, generator=torch.Generator().manual_seed(2))
    chosen = torch.ones(30, 30, 30, dtype=torch.bool)
    at = ff.identity(moving.shape[2:], moving)[0].flatten(1).t() + 0.25
    found = FeatureDistance(moving, moving, chosen)(at)
    goal = ((ff.sample(moving, at.t().view(1, 3, 30, 30, 30)) - moving) ** 2).sum(1).flatten()
    assert found.shape == (27000,)
    assert torch.allclose(found, goal, atol=1e-5)
