import math

import pytest
import torch

from jssr.metrics.entries import Images
from jssr.metrics.pair import evaluate_pair


def _pair(shape=(14, 13, 12)):
    made = torch.Generator().manual_seed(0)
    a = torch.rand(1, 1, *shape, generator=made) * 2 - 1
    return a, (a * 0.7 + 0.3 * (torch.rand(1, 1, *shape, generator=made) * 2 - 1))


def similarities(fixed, moved, mask):
    return evaluate_pair(images=Images(fixed, moved, mask > 0.5))


def test_what_lies_outside_the_mask_does_not_count():
    a, b = _pair()
    mask = torch.ones_like(a)
    mask[:, :, :2] = 0
    before = similarities(a, b, mask)
    changed = b.clone()
    changed[:, :, :2] = 1.0
    assert similarities(a, changed, mask) == pytest.approx(before)
    assert similarities(a, changed, torch.ones_like(a)) != pytest.approx(before)
    assert all(math.isnan(v) for v in similarities(a, b, torch.zeros_like(a)).values())
