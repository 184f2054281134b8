import pytest
import torch

from jssr.core import field as ff
from jssr.core.bspline import ControlGrid
from jssr.losses.features import FeatureDistance, Rows
from jssr.registration.control_points import Lattices, Terms, apart, optimise, roughness, without_folds

VOXEL = (1.5, 1.5, 3.0)


def _pair(shape=(24, 24, 20)):
    """Moving, fixed, and the field between them in voxels."""
    generator = torch.Generator().manual_seed(3)
    y = ff.smooth(torch.randn(1, 1, *shape, generator=generator), 2.5)
    u = ff.smooth(torch.randn(1, 3, *shape, generator=generator), 6.0)
    u = u / u.std() * 0.8
    return ff.warp(y, ff.invert(u)) / y.std(), y / y.std(), u


def _rows(image):
    return image[0].movedim(0, -1).contiguous()


def _terms(x, y, pool=1):
    x, y = (ff.pooled(i, pool) if pool > 1 else i for i in (x, y))
    ones = torch.ones_like(y)
    return Terms(ones, Rows(ones), VOXEL, FeatureDistance(_rows(x), _rows(y)), pool=pool)


@pytest.mark.parametrize("pool", [1, 2])
def test_it_recovers_most_of_a_known_smooth_field(pool):
    x, y, u = _pair()
    grid = ControlGrid(tuple(y.shape[2:]), (6.0, 6.0, 5.0))
    control = optimise(grid.zeros(y), grid, _terms(x, y, pool), 60, smoothness=0.01)
    found = grid.dense(control) / torch.tensor(VOXEL).view(1, 3, 1, 1, 1)
    inner = (slice(None), slice(None), *[slice(5, -5)] * 3)
    assert (found - u)[inner].norm(dim=1).mean() < 0.35 * u[inner].norm(dim=1).mean()


def test_it_repeats_and_counts_its_steps():
    x, y, _ = _pair((16, 16, 16))
    grid, seen = ControlGrid((16, 16, 16), (4.0, 4.0, 4.0)), []
    first, second = (
        optimise(grid.zeros(y), grid, _terms(x, y), 5, 1.0, on_step=lambda: seen.append(1)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert len(seen) == 10
    assert torch.equal(optimise(first, grid, _terms(x, y), 0, 1.0), first)


def test_one_lattice_is_never_drawn():
    body = torch.ones(1, 1, 12, 12, 12)
    lattices = Lattices(body, samples=64)
    assert lattices.strides == [3, 3, 3]
    kept = lattices.unseen()
    assert [w.start for w in kept.where] == [2, 2, 2]
    drawn = [lattices.draw() for _ in range(200)]
    offsets = {tuple(w.start for w in d.where) for d in drawn}
    assert len(offsets) == 26
    assert (2, 2, 2) not in offsets


def test_the_cost_counts_only_what_both_have():
    x, y, _ = _pair((12, 12, 12))
    body, seen = torch.zeros(1, 1, 12, 12, 12), torch.ones(1, 1, 12, 12, 12)
    body[:, :, :6] = 1
    seen[:, :, :, 6:] = 0
    terms = Terms(body, Rows(seen), (1.0, 1.0, 1.0), FeatureDistance(_rows(x), _rows(y)))
    points = Lattices(body, samples=10_000).draw()
    found = apart(terms, points, torch.zeros(1, 3, 12, 12, 12))
    assert not found.slope[:, :, 6:].any() and not found.slope[:, :, :, 6:].any()
    assert found.slope[:, :, :6, :6].any()
    assert float(found.value) == pytest.approx(float(((x - y) ** 2)[0, 0, :6, :6].mean()), rel=1e-5)


@pytest.mark.parametrize("sliding", [False, True])
def test_roughness_has_its_own_derivative(sliding):
    control = torch.randn(1, 3, 5, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spacing = (8.0, 8.0, 12.0)
    found = roughness(control.float(), spacing, sliding)
    direction = torch.randn(control.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-4
    ahead, behind = (float(roughness(control + s * direction, spacing, sliding).value) for s in (step, -step))
    assert float((found.slope * direction).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


def test_the_roughness_of_a_ramp_is_its_squared_gradient():
    # 2 mm of displacement along x for each 10 mm along x, and nothing else.
    ramp = torch.zeros(1, 3, 6, 5, 4)
    ramp[0, 0] = (2.0 * torch.arange(6.0)).view(6, 1, 1)
    assert float(roughness(ramp, (10.0, 10.0, 10.0)).value) == pytest.approx(0.04)
    # Where sliding is allowed a jump costs as much as a ramp to the same height, nearly.
    jump, long_ramp = torch.zeros(1, 1, 21), torch.linspace(0, 10, 21).view(1, 1, 21)
    jump[..., 11:] = 10
    smooth = [float(roughness(c, (1.0,)).value) for c in (jump, long_ramp)]
    sliding = [float(roughness(c, (1.0,), sliding=True).value) for c in (jump, long_ramp)]
    assert smooth[0] == pytest.approx(20 * smooth[1], rel=0.01)
    assert sliding[0] < 1.3 * sliding[1]


def test_folds_are_smoothed_away_and_the_rest_stays():
    field = torch.zeros(1, 3, 24, 24, 24)
    field[0, 0, 11:13, 10:14, 10:14] = torch.tensor([3.0, -3.0]).view(2, 1, 1)
    assert (ff.jacobian_determinant(field) <= 0).any()
    found = without_folds(field)
    assert (ff.jacobian_determinant(found) > 0).all()
    assert torch.equal(found[:, :, :4], field[:, :, :4])


@pytest.mark.parametrize("places", [[(20, 8)], [(4, 4), (35, 20)], [(0, 0), (39, 23)]])
def test_only_what_is_near_a_fold_is_read_and_it_is_as_if_all_were(places):
    field = 0.1 * ff.smooth(torch.randn(1, 2, 40, 24, generator=torch.Generator().manual_seed(1)), 2.0)
    for row, column in places:
        field[0, 0, row, column] += 6.0
    expected = field
    for _ in range(40):
        bad = (ff.jacobian_determinant(expected) < 0.05).float()[:, None]
        if not bad.any():
            break
        near = torch.nn.functional.max_pool2d(torch.nn.functional.pad(bad, [0, 1, 0, 1]), 5, stride=1, padding=2)
        expected = expected + ff.smooth(near, 1.5) * (ff.smooth(expected, 1.5) - expected)
    before = field.clone()
    torch.testing.assert_close(without_folds(field), expected, rtol=0, atol=1e-6)
    assert torch.equal(field, before)
