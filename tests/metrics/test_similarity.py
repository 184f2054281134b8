import math

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from jssr.metrics.entries import Images
from jssr.metrics.pair import evaluate_pair
from jssr.metrics.similarity import mutual_information, structural_similarity


def _pair(shape=(14, 13, 12)):
    made = torch.Generator().manual_seed(0)
    a = torch.rand(1, 1, *shape, generator=made) * 2 - 1
    return a, (a * 0.7 + 0.3 * (torch.rand(1, 1, *shape, generator=made) * 2 - 1))


def test_mutual_information_worked_out_by_hand():
    # Two values each; of eight pairs 3 agree low, 3 agree high, 2 differ.
    a = np.array([-1, -1, -1, -1, 1, 1, 1, 1.0])
    b = np.array([-1, -1, -1, 1, 1, 1, 1, -1.0])
    expected = 2 * (3 / 8) * np.log((3 / 8) / (1 / 4)) + 2 * (1 / 8) * np.log((1 / 8) / (1 / 4))
    assert mutual_information(a, b) == pytest.approx(expected)
    assert mutual_information(a, a) == pytest.approx(np.log(2))
    assert mutual_information(a, -a) == pytest.approx(np.log(2))  # an inverted contrast tells as much


def test_ssim_is_its_definition_over_windows_that_lie_inside():
    a, b = _pair()
    inside = torch.ones_like(a, dtype=torch.bool)
    inside[..., :3] = False
    p, q = ((image[0, 0].double().numpy() + 1) / 2 for image in (a, b))

    def mean(image):
        return uniform_filter(image, 7)[3:-3, 3:-3, 6:-3]  # windows that touch no masked voxel

    mu, nu = mean(p), mean(q)
    variances, covariance = mean(p * p) - mu**2 + mean(q * q) - nu**2, mean(p * q) - mu * nu
    c1, c2 = 0.01**2, 0.03**2
    whole = (2 * mu * nu + c1) * (2 * covariance + c2) / ((mu**2 + nu**2 + c1) * (variances + c2))
    assert structural_similarity(a, b, inside) == pytest.approx(whole.mean(), abs=1e-4)
    assert structural_similarity(a, a, inside) == pytest.approx(1.0)


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
