import numpy as np
import pytest
import SimpleITK as sitk
import torch

from jssr.losses.activation import activation, hard_mask, otsu, soft_mask


def two_levels(low=0.2, high=0.9):
    image = torch.full((1, 1, 8, 8), low)
    image[..., 2:6, 2:6] = high
    return image


def test_activation_scales_every_map_and_leaves_constant_ones_out():
    maps = torch.zeros(1, 3, 2, 2)
    maps[0, 0] = torch.tensor([[0.0, 5.0], [10.0, 10.0]])  # 0, 0.5, 1, 1
    maps[0, 1] = torch.tensor([[-1.0, -1.0], [1.0, 0.0]])  # 0, 0, 1, 0.5
    maps[0, 2] = 7.0
    other = torch.tensor([[[[0.0, 0.0], [0.0, 2.0]]]])  # 0, 0, 0, 1
    expected = (torch.tensor([[0.0, 0.5], [2.0, 1.5]]) / 3 + torch.tensor([[0.0, 0.0], [0.0, 1.0]])) / 2
    torch.testing.assert_close(activation([maps, other])[0, 0], expected)


def test_otsu_is_itks():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.3, 0.08, 3000), rng.normal(0.7, 0.1, 1096)]).reshape(64, 64)
    ours = otsu(torch.from_numpy(values).float()[None, None]).item()
    theirs = sitk.OtsuThresholdImageFilter()
    theirs.SetNumberOfHistogramBins(256)
    theirs.Execute(sitk.GetImageFromArray(values))
    assert ours == pytest.approx(theirs.GetThreshold(), abs=0.01)


def test_each_image_of_a_batch_has_its_own_threshold():
    both = torch.cat([two_levels(), two_levels(10.0, 20.0)])
    found = otsu(both)
    assert found.shape == (2, 1, 1, 1)
    assert 0.2 <= found[0].item() < 0.9 and 10 <= found[1].item() < 20
    assert torch.equal(hard_mask(both)[0], hard_mask(both)[1])
    assert hard_mask(both)[0].sum() == 16


def test_the_soft_mask_is_the_hard_one_with_a_gradient():
    image = two_levels().requires_grad_()
    assert torch.equal(soft_mask(image) > 0.5, hard_mask(image))
    assert otsu(image).item() == pytest.approx(0.55, abs=0.01)  # half-way, where Otsu leaves it open
    soft = soft_mask(image, softness=0.3)
    soft[..., 2:6, 2:6].sum().backward()
    assert (image.grad[..., 2:6, 2:6] > 0).all() and (image.grad[..., 0, 0] == 0).all()
    torch.testing.assert_close(soft_mask(two_levels()), hard_mask(two_levels()).float(), atol=1e-3, rtol=0)


def test_an_image_of_one_value_has_no_mask():
    flat = torch.full((1, 1, 4, 4), 3.0)
    assert not hard_mask(flat).any()
    assert torch.isfinite(soft_mask(flat)).all() and (soft_mask(flat) <= 0.5).all()
