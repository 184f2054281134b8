import numpy as np
import pytest
import SimpleITK as sitk
import torch

from jssr.core import field as ff
from jssr.nets.residual import ResidualGenerator, VGGCritic, activation, otsu, soft_mask


def images(size=24):
    return torch.rand(3, 2, 1, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stem", [1, 2])
def test_what_the_generator_makes(stem):
    torch.manual_seed(0)
    net = ResidualGenerator(width=6, blocks=2, dilations=(1, 2), stem=stem)
    found = net(*images())
    assert found.image.shape == (2, 1, 24, 24) and found.image.abs().max() <= 1
    assert found.field.shape == (2, 2, 24, 24) and found.field.dtype == torch.float32
    assert [f.shape for f in found.features] == [(2, 6, 24 // stem, 24 // stem)] * 5  # one and two a block


@pytest.mark.parametrize("size", [32, 30])
def test_a_field_of_control_points_is_smooth(size):
    """Between the middles of two blocks of 8 pixels, 3.5 and 11.5, a cubic B-spline is one polynomial of degree 3."""
    torch.manual_seed(0)
    net = ResidualGenerator(width=6, blocks=1, stem=2, control_points=8)
    torch.nn.init.normal_(net.field.weight)
    field = net(*images(size)).field.detach().double()
    assert field.shape == (2, 2, size, size)
    steps = field.diff(n=4, dim=2)[:, :, 4:8]  # those whose five pixels lie in 4..11
    assert steps.abs().max() < 1e-3 * field.diff(n=3, dim=2)[:, :, 4:9].abs().max()
    rough = ResidualGenerator(width=6, blocks=1, stem=2)
    torch.nn.init.normal_(rough.field.weight)
    field = rough(*images(size)).field.detach().double()
    assert field.diff(n=4, dim=2)[:, :, 4:8].abs().max() > 0.1 * field.abs().max()


@pytest.mark.parametrize("size", [32, 30])
def test_a_turn_goes_on_to_the_border(size):
    """Pixels that all say an affine field, a turn with a zoom, are spread to that field, to the last of them."""
    p = ff.identity((32, 32))
    known = torch.cat([0.8 * p[:, :1] - 0.6 * p[:, 1:] + 3, 0.6 * p[:, :1] + 0.8 * p[:, 1:] - 9], dim=1) - p
    net = ResidualGenerator(width=4, blocks=1, stem=2, control_points=8)
    votes = torch.nn.functional.avg_pool2d(known, 2)  # the middles of the blocks that the votes are of
    torch.testing.assert_close(net._spread(votes, (size, size)), known[:, :, :size, :size], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("control_points", "stem"), [(7, 2), (5, 1), (6, 4), (2, 4)])
def test_knots_that_fit_no_blocks_are_refused(control_points, stem):
    with pytest.raises(ValueError, match="multiple of stem"):
        ResidualGenerator(width=4, blocks=1, stem=stem, control_points=control_points)


def test_the_papers_generator_and_discriminator():
    net, critic = ResidualGenerator(), VGGCritic()
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    assert {c.out_channels for c in convolutions[:33]} == {64}  # the entry and two in each of 16 blocks
    judged = [m for m in critic.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in judged] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in judged] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [m.out_features for m in critic.modules() if isinstance(m, torch.nn.Linear)] == [1024, 1]


def test_dilations_widen_the_view():
    """With dilations 1, 2, 4 the two convolutions of each block see 2, 4, 8 pixels further, entry and head one each."""
    torch.manual_seed(0)
    for dilations, reach in (((1,), 8), ((1, 2, 4), 16)):
        net = ResidualGenerator(width=3, blocks=3, dilations=dilations, batch_norm=False)
        for layer in (net.entry, *(one for block in net.blocks for one in (block.first, block.second))):
            layer[1] = layer[2] = torch.nn.Identity()  # statistics would see the whole image, ReLUs may hide parts
        floating = torch.rand(1, 1, 41, 41, requires_grad=True)
        net(torch.rand(1, 1, 41, 41), floating, torch.zeros(1, 1, 41, 41)).field[0, 0, 20, 20].backward()
        rows = (floating.grad[0, 0].abs().sum(dim=1) > 0).nonzero()
        assert (rows.min().item(), rows.max().item()) == (20 - reach, 20 + reach)


def test_an_image_does_not_fade_in_the_discriminator():
    """Eight layers keep the size of what they are given to a factor of three; PyTorch's own start does not."""
    torch.manual_seed(0)
    critic = VGGCritic()
    image = torch.randn(2, 1, 32, 32)
    depth = max(k for k, layer in enumerate(critic.net) if isinstance(layer, torch.nn.Conv2d))
    without_bias = critic.net[: depth + 1](image) - critic.net[: depth + 1](torch.zeros_like(image))
    assert 1 / 3 < without_bias.std() < 3


def test_the_discriminator_takes_any_size():
    critic = VGGCritic(width=4)
    for size in (32, 50):
        assert critic(torch.zeros(2, 1, size, size)).shape == (2, 1)


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
    assert torch.equal(both[0] > found[0], both[1] > found[1])
    assert (both[0] > found[0]).sum() == 16


def test_the_soft_mask_is_the_hard_one_with_a_gradient():
    image = two_levels().requires_grad_()
    assert torch.equal(soft_mask(image) > 0.5, image > otsu(image))
    assert otsu(image).item() == pytest.approx(0.55, abs=0.01)  # half-way, where Otsu leaves it open
    soft = soft_mask(image, softness=0.3)
    soft[..., 2:6, 2:6].sum().backward()
    assert (image.grad[..., 2:6, 2:6] > 0).all() and (image.grad[..., 0, 0] == 0).all()
    torch.testing.assert_close(soft_mask(two_levels()), (two_levels() > otsu(two_levels())).float(), atol=1e-3, rtol=0)


def test_an_image_of_one_value_has_no_mask():
    flat = torch.full((1, 1, 4, 4), 3.0)
    assert not (flat > otsu(flat)).any()
    assert torch.isfinite(soft_mask(flat)).all() and (soft_mask(flat) <= 0.5).all()
