import pytest
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.preprocessing.prepare import PreparedImage
from jssr.registration.relation import RELATED, are_related, local_contrast, positive_share

SHAPE = (40, 36, 32)


def _scan(seed):
    texture = ff.smooth(torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(seed)), 2.0)
    return (texture / texture.abs().max()) * 0.9


def _prepared(image):
    return PreparedImage(image, torch.ones_like(image), Grid.of(SHAPE, 2.0), (-1.0, 1.0))


def _share(one, other, u=None):
    nothing = torch.zeros(1, 3, *SHAPE)
    return positive_share(_prepared(one), _prepared(other), nothing if u is None else u)


def test_a_scan_is_related_to_itself_and_its_negative_is_not():
    one = _scan(1)
    assert _share(one, one) == 1.0
    assert _share(one, -one) == 0.0
    nothing = torch.zeros(1, 3, *SHAPE)
    assert are_related(_prepared(one), _prepared(one), nothing)
    assert not are_related(_prepared(one), _prepared(-one), nothing)


def test_gain_brightness_and_a_motion_that_was_not_found_change_little():
    one = _scan(2)
    assert _share(one, 0.4 * one - 0.3) > 0.95
    assert _share(one, torch.roll(one, (2, -2, 1), (2, 3, 4))) > 0.9


def test_scans_that_have_nothing_in_common_win_half_of_the_blocks():
    shares = [_share(_scan(seed), _scan(seed + 50)) for seed in (3, 4, 5)]
    assert sum(shares) / 3 == pytest.approx(0.5, abs=0.08)
    assert max(shares) < RELATED


def test_the_moving_scan_is_read_through_the_displacement():
    one = _scan(6)
    far = torch.roll(one, 8, 2)  # further than a block looks
    u = torch.zeros(1, 3, *SHAPE)
    u[:, 0] = 8
    assert _share(one, far, u) > 0.95 > _share(one, far) + 0.1


def test_without_data_in_common_scans_are_not_related():
    one = _prepared(_scan(7))
    nothing = PreparedImage(one.image, torch.zeros_like(one.mask), one.grid, one.limits)
    assert positive_share(one, nothing, torch.zeros(1, 3, *SHAPE)) == 0.0


def test_the_local_contrast_forgets_brightness_and_gain():
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4
    mask = torch.ones_like(image)
    found = local_contrast(image, mask)
    assert torch.allclose(found, local_contrast(2 * image - 0.7, mask), atol=0.25)
    inner = found[..., 5:-5, 5:-5, 5:-5]
    assert abs(float(inner.mean())) < 0.1
    assert float(inner.std()) == pytest.approx(0.9, abs=0.15)  # the least deviation takes some of it
    mask[:, :, 8:] = 0
    assert local_contrast(image, mask)[:, :, 8:].abs().max() == 0
