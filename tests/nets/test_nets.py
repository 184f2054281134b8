import pytest
import torch

from jssr.nets.blocks import pad_to_multiple
from jssr.nets.convolutions import Conv3d, ConvTranspose3d
from jssr.nets.patchgan import PatchGAN
from jssr.nets.phnn import PHNN, CoHeMIS
from jssr.nets.unet import UNet
from jssr.nets.vnet import VNet, _laid_out

ODD = (19, 17, 13)


def test_pad_to_multiple_repeats_the_border_and_cuts_back():
    image = torch.arange(15.0).view(1, 1, 5, 3)
    padded, cut = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 8, 4)
    assert padded[0, 0, 7, 3] == image[0, 0, 4, 2]
    assert torch.equal(padded[cut], image)


@pytest.mark.parametrize("batch", [1, 2])
def test_any_size_and_batch(batch):
    x, y = torch.rand(2, batch, 1, *ODD)
    assert PHNN(2, 3, (4, 4, 4), (1, 1, 1))(torch.cat([x, y], 1)).shape == (batch, 3, *ODD)
    assert PHNN(2, 3, (4, 4), (1, 1), stem=2)(torch.cat([x, y], 1)).shape == (batch, 3, 10, 9, 7)
    assert CoHeMIS(4, (4, 4), (1, 1), stem=2, fixed_pool=3)(x, y).shape == (batch, 1, *ODD)
    assert VNet(3, (4, 4), (1, 1), kernel=5)(x).shape == (batch, 3, *ODD)
    assert VNet(3, (4, 4), (1, 1), kernel=3, stem=2)(x).shape == (batch, 3, *ODD)
    assert UNet(2, 3, (4, 4), (4, 4), (4,))(x, y).shape == (batch, 3, *ODD)
    assert PatchGAN(4, layers=2)(x).shape[:2] == (batch, 1)


def test_two_dimensions():
    x, y = torch.rand(2, 1, 1, 19, 17)
    assert PHNN(2, 2, (4, 4), (1, 1), dim=2)(torch.cat([x, y], 1)).shape == (1, 2, 19, 17)
    assert CoHeMIS(4, (4, 4), (1, 1), dim=2)(x, y).shape == (1, 1, 19, 17)
    assert VNet(2, (4, 4), (1, 1), dim=2)(x).shape == (1, 2, 19, 17)
    assert UNet(2, 2, (4,), (4,), (4,), dim=2)(x, y).shape == (1, 2, 19, 17)
    assert PatchGAN(4, layers=1, dim=2)(x).shape[:2] == (1, 1)


def test_a_register_starts_near_the_identity():
    image = torch.randn(1, 2, 16, 16, 16)
    assert PHNN(2, 3, (4, 4), (1, 1), small=1e-5)(image).abs().max() < 1e-3


def test_phnn_sums_its_side_outputs_over_the_scales():
    net = PHNN(1, 1, (2, 2), (1, 1))
    for side, value in zip(net.sides, (3.0, 0.5), strict=True):
        torch.nn.init.zeros_(side.weight)
        torch.nn.init.constant_(side.bias, value)
    assert torch.allclose(net(torch.rand(1, 1, 8, 8, 8)), torch.tensor(3.5))


def test_the_generators_skip_comes_from_the_source_alone():
    net = CoHeMIS(4, (4,), (1,))
    with torch.no_grad():
        net.head[0].weight[:, :4] = 0  # cut the trunk: what is left is the skip
    x, y, other = torch.rand(3, 1, 1, 8, 8, 8)
    assert torch.equal(net(x, y), net(x, other))
    assert not torch.allclose(net(other, y), net(x, y))


def test_a_pooled_fixed_scan_cannot_hand_on_its_borders():
    """With y averaged over the whole volume, permuting y's halves changes G only through its convolutions' border."""
    torch.manual_seed(0)
    net = CoHeMIS(4, (4,), (1,), fixed_pool=16)
    x = torch.rand(1, 1, 16, 16, 16)
    y = torch.zeros(1, 1, 16, 16, 16)
    y[..., :8] = 1
    moved = y.roll(4, dims=-1)
    sharp = CoHeMIS(4, (4,), (1,), fixed_pool=1)
    sharp.load_state_dict(net.state_dict())
    pooled_change = (net(x, y) - net(x, moved)).abs().mean()
    sharp_change = (sharp(x, y) - sharp(x, moved)).abs().mean()
    assert pooled_change < 0.2 * sharp_change


def test_the_published_shapes():
    def count(net):
        return sum(p.numel() for p in net.parameters())

    register = PHNN(2, 3)
    assert [side.in_channels for side in register.sides] == [64, 128, 256, 512, 512]
    assert [sum(isinstance(m, torch.nn.Conv3d) for m in block) for block in register.blocks] == [2, 2, 3, 3, 3]
    segmentor = VNet()
    assert [sum(isinstance(m, torch.nn.Conv3d) for m in stage.body) for stage in segmentor.encode] == [1, 2, 3, 3, 3]
    # VGG16's 13 convolutions of 3^3 by hand: 27 (2*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 +
    # 2*512*512 + 3*512*512) weights.
    weights = 27 * (2 * 64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512 + 5 * 512**2)
    biases, norms, sides = (
        2 * 64 + 2 * 128 + 3 * 256 + 6 * 512,
        2 * (64 + 128 + 256 + 512 + 512),
        3 * (64 + 128 + 256 + 1024) + 15,
    )
    assert count(register) == weights + biases + norms + sides


def test_a_segmentor_without_a_class_is_refused():
    with pytest.raises(ValueError, match="at least one class"):
        VNet(classes=1)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_patchgans_receptive_field(layers, field):
    """In one dimension's worth of a 2D net: the voxels with a gradient from one logit span the published field."""
    net = PatchGAN(2, layers=layers, dim=2)
    for module in net.net:
        if isinstance(module, torch.nn.InstanceNorm2d):  # statistics reach everywhere: take them out
            module.forward = lambda x: x
    image = torch.rand(1, 1, 128, 128, requires_grad=True)
    logits = net(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero()
    assert rows.max() - rows.min() + 1 == field


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [((2, 5, 4), 3, 1), ((4, 5, 4), 5, 1), ((5, 1, 2), 3, 2), ((3, 1, 5), 3, 2), ((8, 8, 1), 3, 2)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_thin_volumes_have_the_right_gradient_in_bfloat16(shape, kernel, stride, layout):
    torch.manual_seed(0)
    layer = Conv3d(6, 8, kernel, stride=stride, padding=kernel // 2).to(memory_format=layout)
    image = torch.randn(1, 6, *shape).to(memory_format=layout)
    gradients = []
    for low in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            layer(image).float().square().mean().backward()
        gradients.append(layer.weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() < 0.03 * gradients[0].abs().max()


@pytest.mark.parametrize("kind", [Conv3d, ConvTranspose3d])
def test_the_fast_path_changes_no_result_and_no_gradient(kind):
    torch.manual_seed(0)
    plain_kind = {Conv3d: torch.nn.Conv3d, ConvTranspose3d: torch.nn.ConvTranspose3d}[kind]
    fast, plain = kind(3, 4, 2, stride=2), plain_kind(3, 4, 2, stride=2)
    plain.load_state_dict(fast.state_dict())
    a = torch.randn(1, 3, 6, 8, 10, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    x, y = fast(a), plain(b)
    torch.testing.assert_close(x, y)
    x.pow(2).sum().backward()
    y.pow(2).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad)


def test_a_residual_generator_starts_at_the_source():
    x, y = torch.rand(2, 1, 1, *ODD) * 2 - 1
    g = CoHeMIS(4, (4, 4), (1, 1), stem=2, residual=True)(x, y)
    assert (g - x).abs().max() < 0.05
    assert g.min() >= -1 and g.max() <= 1


def test_vnet_lays_channels_out_as_voxels():
    """Pixel shuffle: of eight channels each becomes one voxel of a block of 2 x 2 x 2, the last axis fastest."""
    coarse = torch.arange(2 * 8 * 3 * 2 * 2, dtype=torch.float32).view(1, 16, 3, 2, 2)
    fine = _laid_out(coarse, 2)
    assert fine.shape == (1, 2, 6, 4, 4)
    for c, a, b, k in ((0, 0, 0, 0), (1, 1, 0, 1), (1, 0, 1, 1)):
        assert torch.equal(fine[0, c, a::2, b::2, k::2], coarse[0, 8 * c + 4 * a + 2 * b + k])


@pytest.mark.parametrize("more", [{"leaky": True}, {"shuffle": True}, {"leaky": True, "shuffle": True}])
def test_vnet_in_its_faster_forms_keeps_the_size_and_trains_every_weight(more):
    torch.manual_seed(0)
    net = VNet(3, (4, 6), (1, 1), 3, stem=2, head=4, **more)
    out = net(torch.randn(1, 1, 10, 9, 12))
    assert out.shape == (1, 3, 10, 9, 12)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in net.named_parameters() if "0.bias" not in n)
