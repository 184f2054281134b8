import pytest
import torch

from jssr.nets.flow import DIRNetRegressor, FlowNetS, bspline_field


def test_bsplines_keep_lines_straight():
    """Cubic B-splines give back linear control points; knots are the middles of blocks of pixels."""
    spacing, knots = 4, 7
    middles = torch.arange(knots) * spacing + (spacing - 1) / 2
    points = torch.stack([0.5 * middles[:, None] - 2 + 0 * middles, 3 - 0.25 * middles + 0 * middles[:, None]])[None]
    field = bspline_field(points, spacing, (28, 28))
    at = torch.arange(28.0)
    inner = slice(6, 22)  # further out the repeated knots bend it
    torch.testing.assert_close(field[0, 0, inner, 5], 0.5 * at[inner] - 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(field[0, 1, 5, inner], 3 - 0.25 * at[inner], atol=1e-4, rtol=0)


def test_bsplines_of_one_point():
    """The uniform cubic B-spline is 2/3 in its middle, 1/6 one knot off; between pixel centres here: +-1/2 pixel."""
    points = torch.zeros(1, 2, 7, 7)
    points[0, 0, 3, 3] = 1.0
    field = bspline_field(points, 2, (14, 14))
    t = 0.25  # half a pixel of knots two pixels apart
    middle = 2 / 3 - t**2 + t**3 / 2
    assert field[0, 0, 6:8, 6:8].flatten().tolist() == pytest.approx([middle**2] * 4, abs=1e-5)
    assert field[0, 0].sum().item() == pytest.approx(4, abs=1e-4)  # a knot's share is its block
    assert field[0, 1].abs().max() == 0


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
