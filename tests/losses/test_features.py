import pytest
import torch

from jssr.core import field as ff
from jssr.losses.features import FeatureDistance, Information, Rows


def _pair(shape, channels, seed=1):
    generator = torch.Generator().manual_seed(seed)
    moving, fixed = (torch.rand(1, channels, *shape, generator=generator) for _ in range(2))
    # Some positions lie outside, where the border repeats and the gradient is none.
    u = (torch.randn(1, len(shape), *shape, generator=generator) * 2).requires_grad_()
    return moving, fixed, u


def _rows(image):
    return image[0].movedim(0, -1).contiguous()


@pytest.mark.parametrize("outlier", [None, 0.7])
@pytest.mark.parametrize(("shape", "channels"), [((7, 6, 5), 4), ((9, 8), 3), ((6, 1, 5), 2)])
def test_value_and_gradient_are_those_of_the_plain_formula(shape, channels, outlier):
    moving, fixed, u = _pair(shape, channels)
    where = tuple(slice(s // 4, None, 2) for s in shape)
    at = (ff.identity(shape, u) + u)[(slice(None), slice(None), *where)]
    goal = ((ff.sample(moving, at) - fixed[(slice(None), slice(None), *where)]) ** 2).sum(1).flatten()
    goal = goal if outlier is None else goal * outlier / (goal + outlier)
    chosen = torch.arange(goal.numel())[::2]
    (slope,) = torch.autograd.grad(goal[chosen].sum(), u)
    found = FeatureDistance(_rows(moving), _rows(fixed), outlier)(at.detach()[0].flatten(1).t()[chosen], where, chosen)
    assert torch.allclose(found.value, goal[chosen], atol=1e-5)
    expected = slope[(slice(None), slice(None), *where)][0].flatten(1).t()[chosen]
    assert torch.allclose(found.slope, expected, atol=1e-4)
    assert expected.abs().max() > 0.05


def test_many_points_are_read_in_pieces():
    moving = torch.rand(1, 2, 30, 30, 30, generator=torch.Generator().manual_seed(2))
    at = ff.identity(moving.shape[2:], moving)[0].flatten(1).t() + 0.25
    found = FeatureDistance(_rows(moving), _rows(moving))(at, (slice(None),) * 3, torch.arange(27000))
    goal = ((ff.sample(moving, at.t().view(1, 3, 30, 30, 30)) - moving) ** 2).sum(1).flatten()
    assert found.value.shape == (27000,)
    assert torch.allclose(found.value, goal, atol=1e-5)


def test_features_in_half_precision_are_read_nearly_as_well():
    moving, fixed = (_rows(image) for image in _pair((8, 8, 8), 3)[:2])
    at = ff.identity((8, 8, 8))[0].flatten(1).t() * 0.9
    every = (slice(None),) * 3, torch.arange(512)
    a, b = (FeatureDistance(m, f)(at, *every) for m, f in ((moving, fixed), (moving.half(), fixed.half())))
    assert torch.allclose(a.value, b.value, atol=5e-3)
    assert torch.allclose(a.slope, b.slope, atol=1e-2)


def test_information_is_large_where_one_image_tells_the_other():
    moving, fixed, _ = _pair((16, 16, 16), 1)
    at, every = ff.identity((16, 16, 16))[0].flatten(1).t(), ((slice(None),) * 3, torch.arange(4096), torch.ones(4096))
    told = Information(-fixed * 2 + 1, fixed * 2 - 1)(at, *every)
    # Uniform in 32 bins, each spread over five: between log(32 / 8) and log(32 / 4).
    assert -2.1 < float(told.value) < -1.4
    nothing = Information(moving * 2 - 1, fixed * 2 - 1)(at, *every)
    assert float(nothing.value) > -0.15


def test_the_slope_of_information_is_its_derivative():
    generator = torch.Generator().manual_seed(3)
    fixed = ff.smooth(torch.rand(1, 1, 14, 14, 14, generator=generator), 1.5)
    fixed = (fixed - fixed.mean()) / fixed.abs().max()
    information = Information(fixed.square() * 2 - 0.5, fixed)
    at = ff.identity((14, 14, 14))[0].flatten(1).t() * 0.8 + 1.3
    every = (slice(None),) * 3, torch.arange(len(at)), torch.ones(len(at))
    slopes = information(at, *every).slope
    direction = slopes / slopes.norm(dim=1).max()  # a voxel at most: shorter ones drown in float32's rounding
    slope = float((slopes * direction).sum())
    step = 0.03
    ahead, behind = (float(information(at + s * direction, *every).value) for s in (step, -step))
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=0.1)


def test_rows_beyond_the_border_repeat_it_and_have_no_slope():
    rows = Rows(torch.arange(5.0).view(1, 1, 5, 1))
    values, slopes = rows.read(torch.tensor([[1.5, 0.0], [-3.0, 0.0], [9.0, 2.0]]))
    assert values[:, 0].tolist() == [1.5, 0.0, 4.0]
    assert slopes[0][:, 0].tolist() == [1.0, 0.0, 0.0]
    assert slopes[1].abs().max() == 0
