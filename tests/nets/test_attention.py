import pytest
import torch

from jssr.nets.dynunet import SCSE, SegNet
from jssr.nets.lapirn import AttentionGate, LapIRNLevel


def _seeded(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_scse_is_its_two_gates_worked_out_by_hand():
    net = SCSE(2)
    with torch.no_grad():
        net.excite[0].weight.copy_(torch.tensor([[1.0, 1.0]]))
        net.excite[0].bias.zero_()
        net.excite[2].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net.excite[2].bias.zero_()
        net.point.weight.copy_(torch.tensor([2.0, 0.0]).view(1, 2, 1, 1, 1))
        net.point.bias.zero_()
    x = torch.stack([torch.full((2, 2, 2), 0.5), torch.full((2, 2, 2), 0.25)])[None]
    # Squeezed: 0.5 + 0.25 = 0.75; channels by sigmoid(+-0.75), voxels by sigmoid(2 * 0.5).
    up, down, voxel = torch.sigmoid(torch.tensor([0.75, -0.75, 1.0])).tolist()
    joined = net(x)[0, :, 0, 0, 0]
    torch.testing.assert_close(joined, torch.tensor([0.5 * max(up, voxel), 0.25 * max(down, voxel)]))
    net.join = "sum"
    torch.testing.assert_close(net(x)[0, :, 0, 0, 0], torch.tensor([0.5 * (up + voxel), 0.25 * (down + voxel)]))


def test_an_attention_gate_closes_and_opens_where_the_coarse_level_says():
    gate = AttentionGate(2, 1, inner=1)
    with torch.no_grad():
        gate.theta.weight.zero_()
        gate.phi.weight.fill_(40.0)
        gate.phi.bias.zero_()
        gate.psi.weight.fill_(1.0)
        gate.psi.bias.fill_(-20.0)
        gate.out = torch.nn.Identity()
    coarse = torch.zeros(1, 1, 4, 4, 4)
    coarse[..., 2:, :, :] = 1.0
    skip = _seeded((1, 2, 8, 8, 8))
    found = gate(skip, coarse)
    torch.testing.assert_close(found[:, :, 6:], skip[:, :, 6:])
    assert found[:, :, :2].abs().max() < 1e-6


def test_gates_learn_from_skip_and_gate_in_a_level_of_the_register():
    torch.manual_seed(0)
    level = LapIRNLevel(2, width=8, blocks=1, attention=True)
    image = _seeded((1, 2, 8, 10, 12))
    field, features = level(image)
    assert field.shape == (1, 3, 8, 10, 12)
    assert features.shape == (1, 8, 8, 10, 12)
    field.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in level.gate.theta.parameters())
    assert level.gate.phi.weight.grad.abs().max() > 0
    assert LapIRNLevel(2, width=4, blocks=1).gate is None


@pytest.mark.parametrize("dim", [2, 3])
def test_segnet_has_nnunets_form_and_any_size(dim):
    net = SegNet(3, (4, 6, 8, 10), heads=2, dim=dim)
    image = _seeded((2, 1, 13, 18, 9)[: dim + 2])
    assert net(image).shape == (2, 3, *image.shape[2:])
    scales = net.scales(image)
    assert scales.shape == (2, 3, 3, *image.shape[2:])
    assert net.eval().scales(image).shape[1] == 1
    # scSE stands behind each decoder stage, with that stage's channels.
    assert [m.point.in_channels for m in net.modules() if isinstance(m, SCSE)] == [8, 6, 4]
    assert not [m for m in SegNet(3, (4, 6, 8), heads=0, join=None).modules() if isinstance(m, SCSE)]


def test_a_heads_logits_reach_the_stage_that_they_supervise():
    net = SegNet(2, (4, 6, 8, 10), heads=2)
    net.scales(_seeded((1, 1, 16, 16, 16)))[:, 2].square().sum().backward()
    # Stages come coarsest first, and the second head is behind that one.
    stages = [m for name, m in net.named_modules() if name.endswith("upsample")]
    assert [bool(stage.stage.transp_conv.conv.weight.grad.any()) for stage in stages] == [True, False, False]


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"widths": (4, 8)}, {"heads": 5, "widths": (4, 6, 8)}])
def test_segnet_refuses_what_it_cannot_be(wrong):
    with pytest.raises(ValueError, match="class|stages"):
        SegNet(**wrong)
