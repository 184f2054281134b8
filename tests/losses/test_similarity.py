import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from jssr.losses.similarity import (
    box_mean,
    joint_mask,
    l1,
    lncc,
    mutual_information,
    normalised_mutual_information,
    sample_information,
    ssim,
    ssim_inside,
)


def test_l1_is_the_masked_mean():
    a = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    b = torch.zeros_like(a)
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert l1(a, b).item() == pytest.approx(2.5)
    assert l1(a, b, mask).item() == pytest.approx(2.0)


@pytest.mark.parametrize("size", [3, 5, 9])
def test_box_mean_is_scipys_uniform_filter(size):
    image = torch.randn(1, 2, 11, 9, 13, generator=torch.Generator().manual_seed(0))
    ours = box_mean(image, size)
    theirs = np.stack([uniform_filter(c.numpy().astype(np.float64), size, mode="nearest") for c in image[0]])
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 12, 10), (14, 11)])
def test_box_mean_has_the_same_value_and_gradient_in_training(shape):
    image = torch.randn(2, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    learned = image.clone().requires_grad_()
    torch.testing.assert_close(box_mean(learned, 7), box_mean(image, 7))
    assert torch.autograd.gradcheck(lambda i: box_mean(i, 7), learned)


def test_box_mean_works_in_two_dimensions():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert box_mean(image, 3)[0, 0, 1, 1].item() == pytest.approx(5.0)  # mean of 0 1 2 4 5 6 8 9 10


def test_lncc_ignores_gain_offset_and_sign_but_not_noise():
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, 1, 1, 20, 20, 20, generator=generator)
    assert lncc(a, 3 * a + 7).item() < 1e-3
    assert lncc(a, -a).item() < 1e-3
    assert lncc(a, noise).item() > 0.97  # the squared correlation of 729 independent pairs averages 1/728


def test_lncc_of_flat_images_is_finite_with_gradient():
    a = torch.zeros(1, 1, 8, 8, 8, requires_grad=True)
    lncc(a, torch.zeros_like(a)).backward()
    assert a.grad is not None and torch.isfinite(a.grad).all()


def test_joint_mask_is_the_product_of_those_present():
    a, b = torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
    assert joint_mask(None, None) is None
    assert joint_mask(a, None) is not None
    assert joint_mask(a, b).flatten().tolist() == [1.0, 0.0, 0.0]


def test_mutual_information_of_grey_steps_is_that_of_their_counts():
    steps = torch.linspace(-1, 1, 4)
    a = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]).view(1, 1, 2, 2, 2)
    b = torch.tensor([3, 3, 2, 2, 1, 1, 0, 1]).view(1, 1, 2, 2, 2)
    # By hand: a's steps have 1/4 each, b's 3/8 (1), 2/8 (2, 3), 1/8 (0); of a's step 3 half lies in 0, half in 1.
    pairs = [
        (2 / 8, 1 / 4, 2 / 8),
        (2 / 8, 1 / 4, 2 / 8),
        (2 / 8, 1 / 4, 3 / 8),
        (1 / 8, 1 / 4, 1 / 8),
        (1 / 8, 1 / 4, 3 / 8),
    ]
    expected = sum(p * np.log(p / (q * r)) for p, q, r in pairs)
    assert mutual_information(steps[a], steps[b], bins=4).item() == pytest.approx(expected, abs=1e-5)
    # Half of the voxels, of which one image tells all of the other: one bit.
    mask = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]).view(1, 1, 2, 2, 2)
    assert mutual_information(steps[a], steps[b], mask, bins=4).item() == pytest.approx(np.log(2), abs=1e-5)


def test_mutual_information_has_a_gradient_that_raises_it():
    a = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    b = (-a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1).requires_grad_()
    before = mutual_information(a, b)
    (slope,) = torch.autograd.grad(before, b)
    assert mutual_information(a, b + 0.5 * slope / slope.abs().max()) > before


def test_normalised_mutual_information_runs_from_one_to_two():
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.rand(2, 1, 1, 64, 64, generator=generator) * 2 - 1
    steps = ((a + 1) * 15.5).round() / 15.5 - 1  # in the middles of 32 bins: no bin shares a value with another
    assert normalised_mutual_information(steps, steps).item() == pytest.approx(2, abs=1e-4)
    assert normalised_mutual_information(steps, -steps).item() == pytest.approx(2, abs=1e-4)
    assert normalised_mutual_information(a, noise).item() < 1.1


def test_ssim_is_scikit_images():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 1, 40, 36, generator=generator) * 2 - 1
    b = 0.7 * a + 0.3 * b
    ours = ssim(a, b).item()
    theirs = structural_similarity(
        ((a + 1) / 2)[0, 0].numpy(), ((b + 1) / 2)[0, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ssim(a, a).item() == pytest.approx(1)


def test_information_of_samples_worked_out_by_hand():
    # Two values each; of eight pairs 3 agree low, 3 agree high, 2 differ.
    a = torch.tensor([-1, -1, -1, -1, 1, 1, 1, 1.0])
    b = torch.tensor([-1, -1, -1, 1, 1, 1, 1, -1.0])
    expected = 2 * (3 / 8) * np.log((3 / 8) / (1 / 4)) + 2 * (1 / 8) * np.log((1 / 8) / (1 / 4))
    assert sample_information(a, b, bins=64) == pytest.approx(expected)
    assert sample_information(a, a, bins=64) == pytest.approx(np.log(2))
    assert sample_information(a, -a, bins=64) == pytest.approx(np.log(2))  # an inverted contrast tells as much


def test_ssim_is_its_definition_over_windows_that_lie_inside():
    made = torch.Generator().manual_seed(0)
    a = torch.rand(1, 1, 14, 13, 12, generator=made) * 2 - 1
    b = 0.7 * a + 0.3 * (torch.rand(1, 1, 14, 13, 12, generator=made) * 2 - 1)
    inside = torch.ones_like(a, dtype=torch.bool)
    inside[..., :3] = False
    p, q = ((image[0, 0].double().numpy() + 1) / 2 for image in (a, b))

    def mean(image):
        return uniform_filter(image, 7)[3:-3, 3:-3, 6:-3]  # windows that touch no masked voxel

    mu, nu = mean(p), mean(q)
    variances, covariance = mean(p * p) - mu**2 + mean(q * q) - nu**2, mean(p * q) - mu * nu
    c1, c2 = 0.01**2, 0.03**2
    whole = (2 * mu * nu + c1) * (2 * covariance + c2) / ((mu**2 + nu**2 + c1) * (variances + c2))
    assert ssim_inside(a, b, inside) == pytest.approx(whole.mean(), abs=1e-4)
    assert ssim_inside(a, a, inside) == pytest.approx(1.0)


def test_information_of_equal_and_of_unrelated_values():
    a = (torch.arange(24_000) % 24).float() / 12 - 1 + 1 / 24
    surplus = 23 * 23 / (2 * 24_000)
    assert sample_information(a, a, bins=24, few=True) == pytest.approx(np.log(24) - surplus, abs=1e-6)
    shuffled = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(0))]
    assert sample_information(a, shuffled, bins=24, few=True) < 0.003
