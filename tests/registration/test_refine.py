import torch

from jssr.core import field as ff
from jssr.registration.instance_optimisation import Features, refine


def _pair(shape=(24, 24, 24)):
    generator = torch.Generator().manual_seed(3)
    y = ff.smooth(torch.randn(1, 1, *shape, generator=generator), 2.5)
    u = ff.smooth(torch.randn(1, 3, *shape, generator=generator), 6.0)
    u = u / u.std() * 0.8
    x = ff.warp(y, ff.invert(u))
    return x / y.std(), y / y.std(), u


def test_no_steps_change_nothing():
    x, y, u = _pair()
    assert refine(u, [Features(x, y)], 0) is u


def test_it_recovers_half_of_a_known_smooth_field():
    x, y, u = _pair()
    inner = (slice(None), slice(None), *[slice(5, -5)] * 3)
    before = u[inner].norm(dim=1).mean()
    found = refine(torch.zeros_like(u), [Features(x, y)], 60, smoothness=0.3, rate=0.1)
    after = (found - u)[inner].norm(dim=1).mean()
    assert after < 0.5 * before


def test_it_is_deterministic_and_reports_its_steps():
    x, y, u = _pair((16, 16, 16))
    seen = []
    first = refine(torch.zeros_like(u), [Features(x, y)], 5, on_step=seen.append)
    assert torch.equal(first, refine(torch.zeros_like(u), [Features(x, y)], 5))
    assert seen == [0, 1, 2, 3, 4]
