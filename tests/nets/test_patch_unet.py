import pytest
import torch

from jssr.nets.patch_unet import PatchUNet


def test_the_papers_sizes():
    net = PatchUNet(widths=(2, 2, 2))
    sizes = []
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            module.register_forward_hook(lambda module, args, out: sizes.append(out.shape[-1]))
    out = net(torch.zeros(1, 1, 68, 68, 68), torch.zeros(1, 1, 68, 68, 68))
    assert sizes == [66, 64, 30, 28, 12, 10, 20, 18, 16, 32, 30, 28, 28]
    assert out.shape == (1, 3, 28, 28, 28)


def test_tiles_are_one_pass():
    """Overlapping patches at multiples of the step say of a voxel what the whole image says."""
    torch.manual_seed(0)
    net = PatchUNet(widths=(3, 4, 5), dim=2).eval()
    image = torch.rand(1, 2, 96, 88)
    whole = net(image)
    assert whole.shape == (1, 3, 56, 48)
    for i, j in ((0, 0), (28, 20), (12, 4)):
        tile = net(image[:, :, i : i + 68, j : j + 68])
        torch.testing.assert_close(tile, whole[:, :, i : i + 28, j : j + 28], rtol=1e-4, atol=1e-5)


def test_the_output_lies_in_the_middle_of_the_input():
    """What happens 20 voxels or more from a voxel's place does not reach it, what happens at its place does."""
    torch.manual_seed(0)
    net = PatchUNet(widths=(3, 3, 3), dim=2).eval()
    image = torch.rand(1, 2, 68, 68, requires_grad=True)
    net(image)[0, :, 14, 14].sum().backward()
    reached = image.grad[0].abs().sum(0) > 0
    rows = reached.any(dim=1).nonzero()
    assert 34 - 23 <= rows.min() < 34 < rows.max() <= 34 + 23
    assert reached[34, 34]


@pytest.mark.parametrize("size", [40, 66, 70])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="at least 44 that 4 divides"):
        PatchUNet(widths=(2, 2, 2), dim=2)(torch.zeros(1, 2, size, 68))
