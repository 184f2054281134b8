import pytest
import torch

from jssr.nets.flow import DIRNetRegressor, FlowNetS


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
