import pytest
import torch
from flow import endpoint_error
from flow_networks import DIRNetRegressor, FlowNetS


@pytest.mark.parametrize("size", [(32, 48), (37, 50)])
def test_registers_give_fields_of_the_images_size(size):
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 1, *size)
    assert DIRNetRegressor(width=4, head=4, levels=3)(a, b).shape == (2, 2, *size)
    flows = FlowNetS(widths=(4, 6, 8, 8))(a, b)
    assert [f.shape[1] for f in flows] == [2, 2, 2, 2]
    assert flows[-1].shape == (2, 2, *size)
    full = [-(-s // 16) * 16 for s in size]
    assert [tuple(f.shape[2:]) for f in flows[:-1]] == [tuple(s // k for s in full) for k in (16, 8, 4)]


def test_endpoint_error_by_hand():
    """Published weights 0.01 and 0.005 for the sums of a scale of one pixel and one of four: 2 * 1/4 against 1."""
    truth = torch.zeros(1, 2, 8, 8)
    truth[:, 0] = 3.0
    coarse, fine = torch.zeros(1, 2, 1, 1), torch.full((1, 2, 2, 2), 4.0)
    fine[:, 0] = 3.0
    full = torch.zeros(1, 2, 8, 8)
    assert endpoint_error([coarse, fine, full], truth).item() == pytest.approx(0.5 * 3 + 1 * 4)
    assert endpoint_error([full], truth).item() == pytest.approx(3)


def test_endpoint_error_of_sizes_that_do_not_divide():
    torch.manual_seed(0)
    net = FlowNetS(widths=(4, 4, 4))
    flows = net(*torch.rand(2, 1, 1, 37, 50))
    assert torch.isfinite(endpoint_error(flows, torch.rand(1, 2, 37, 50)))
