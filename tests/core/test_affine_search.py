import math

import pytest
import torch

from jssr.core.affine_search import affine_field, best_affine
from jssr.core.field import compose, identity, smooth, warp
from jssr.systems.discrete import Discrete

CELL, STEP, RADIUS, SHAPE = 8, 2, 10, (64, 48)


def affine(zoom=1.0, turn=0.0, shift=(0.0, 0.0)):
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return torch.tensor([[zoom * c, -zoom * s, shift[0]], [zoom * s, zoom * c, shift[1]], [0, 0, 1]])


def centres():
    """Middles of the cells, from the middle of the image; (2, 8, 6)."""
    corner = torch.stack(torch.meshgrid(torch.arange(8) * CELL, torch.arange(6) * CELL, indexing="ij")).float()
    return corner + (CELL - 1) / 2 - torch.tensor([31.5, 23.5]).view(2, 1, 1)


def costs(wanted, price=lambda away: away.square().sum(0).clamp(max=200.0) / 100):
    """C(p, d) = price(d - (A(p) - p)), and the same of the inverse."""
    tried = torch.arange(-RADIUS, RADIUS + 1.0) * STEP
    d = torch.stack(torch.meshgrid(tried, tried, indexing="ij"))[:, :, :, None, None]
    out = []
    for matrix in (wanted, torch.linalg.inv(wanted)):
        p = centres()
        goal = torch.einsum("ij,jyx->iyx", matrix[:2, :2], p) + matrix[:2, 2].view(2, 1, 1) - p
        out.append(price(d - goal[:, None, None]))
    return out


WEIGHTS = [torch.ones(8, 6)] * 2


@pytest.mark.parametrize(
    "wanted",
    [affine(), affine(shift=(15, -9)), affine(1.25, 0, (-6, 4)), affine(0.8, 7), affine(1.1, -10, (8, 8))],
)
def test_the_map_that_every_cell_asks_for_is_found(wanted):
    found = best_affine(costs(wanted), WEIGHTS, SHAPE, CELL, STEP)
    assert torch.allclose(found[:2, :2], wanted[:2, :2], atol=0.02)
    assert torch.allclose(found[:2, 2], wanted[:2, 2], atol=0.4)


def test_ribs_that_fit_one_further_on_hold_nothing_back():
    """Every 12 voxels along one axis the cost is nearly as low as where the images fit: from nowhere a descent ends in
    the first of these valleys."""

    def ribs(away):
        valleys = 1 - torch.cos(2 * math.pi * away[0] / 12)
        return valleys + 0.02 * away[0].abs() + 0.05 * away[1].abs()

    found = best_affine(costs(affine(shift=(12, 2)), ribs), WEIGHTS, SHAPE, CELL, STEP)
    assert found[:2, 2].tolist() == pytest.approx([12, 2], abs=0.7)


def test_cells_without_weight_are_not_asked():
    half = torch.ones(8, 6)
    half[4:] = 0
    right, wrong = costs(affine(shift=(6, 0))), costs(affine(shift=(-10, 8)))
    mixed = [torch.cat([a[:, :, :4], b[:, :, 4:]], dim=2) for a, b in zip(right, wrong, strict=True)]
    found = best_affine(mixed, [half, half], SHAPE, CELL, STEP)
    at = centres()[:, :4].flatten(1)
    moved = found[:2, :2] @ at + found[:2, 2:] - at
    assert torch.allclose(moved, torch.tensor([[6.0], [0.0]]), atol=0.8)  # the little price of moving pulls


def test_costs_that_say_nothing_move_nothing():
    even = [torch.full((21, 21, 8, 6), 0.3)] * 2
    assert torch.allclose(best_affine(even, WEIGHTS, SHAPE, CELL, STEP), torch.eye(3), atol=1e-3)
    nowhere = [torch.zeros(8, 6)] * 2
    assert torch.allclose(best_affine(even, nowhere, SHAPE, CELL, STEP), torch.eye(3), atol=1e-3)


def test_a_field_follows_the_map_exactly_outside_too():
    wanted, shape = affine(1.2, 5, (3, -2)), (9, 7)
    u = affine_field(wanted, shape)
    p = torch.tensor([8.0, 0.0]) - torch.tensor([4.0, 3.0])
    assert torch.allclose(u[0, :, 8, 0], wanted[:2, :2] @ p + wanted[:2, 2] - p, atol=1e-5)
    out = torch.full((1, 2, *shape), 20.0)  # far outside
    both = affine_field(wanted, shape, out)
    goal = wanted[:2, :2] @ (p + 20) + wanted[:2, 2] - p
    assert torch.allclose(both[0, :, 8, 0], goal, atol=1e-4)
    inner = 0.1 * torch.ones(1, 2, *shape)
    assert not torch.allclose(affine_field(wanted, shape, inner), compose(u, inner), atol=1e-5, rtol=0)
    mid = (..., slice(1, -1), slice(1, -1))
    assert torch.allclose(affine_field(wanted, shape, inner)[mid], compose(u, inner)[mid], atol=1e-4)


def film(size=(128, 128), sigma=3.0, seed=0):
    """Something as bright in places as a radiograph."""
    noise = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(seed))
    image = smooth(noise, sigma)
    return (image / image.std()).tanh()


@pytest.mark.parametrize(
    ("contrast", "pool", "size"), [(1.0, 1, (128, 128)), (-1.0, 1, (128, 128)), (1.0, 2, (255, 231))]
)
def test_two_films_of_another_zoom_and_turn_meet(contrast, pool, size):
    fixed = film(size, 3.0 * pool)
    wanted = affine(1.2, 7, (10 * pool, -6 * pool))
    u = affine_field(wanted, size)  # the moving film shows at A(p) what the fixed one shows at p
    moving = contrast * warp(fixed, affine_field(torch.linalg.inv(wanted), size))
    ones = torch.ones_like(fixed)
    found = Discrete(pool=pool).align(moving, fixed, ones, ones).displacement
    there = identity(size) + u
    seen = torch.stack([(there[0, k] >= 4) & (there[0, k] <= size[k] - 5) for k in (0, 1)]).all(dim=0)
    margin = 16 * pool
    seen[:margin], seen[-margin:], seen[:, :margin], seen[:, -margin:] = False, False, False, False
    miss = (found - u).square().sum(dim=1).sqrt()[0][seen] / pool
    before = u.square().sum(dim=1).sqrt()[0][seen] / pool
    assert before.mean() > 10 and miss.mean() < 0.7 and miss.quantile(0.95) < 1.5


def test_bfloat16_changes_nothing():
    """Its step is 4 at pixel 1000, which the last product would be off by."""
    fixed, size = film((508, 456), 12.0), (508, 456)
    moving = warp(fixed, affine_field(torch.linalg.inv(affine(1.1, 5, (20, -12))), size))
    ones = torch.ones_like(fixed)
    exact = Discrete().align(moving, fixed, ones, ones).displacement
    with torch.autocast("cpu", torch.bfloat16):
        found = Discrete().align(moving, fixed, ones, ones).displacement
    assert found.dtype == torch.float32 and exact.abs().max() > 20
    assert (found - exact).abs().max() < 0.1


def test_where_the_moving_film_has_no_data_nothing_is_sought():
    """Half of the moving film is another one, and its mask says so."""
    fixed, size = film(), (128, 128)
    u = affine_field(affine(shift=(8, 4)), size)
    moving = warp(fixed, -u)
    moving[:, :, :, 64:] = film(seed=5)[:, :, :, 64:]
    ones = torch.ones_like(fixed)
    mask = ones.clone()
    mask[:, :, :, 64:] = 0
    for found in (
        Discrete(pool=1).align(moving, fixed, mask, ones).displacement,
        -Discrete(pool=1).align(fixed, moving, ones, mask).displacement,
    ):
        miss = (found - u).square().sum(dim=1).sqrt()[0, 16:-16, 12:52]
        assert miss.mean() < 1.0


def test_a_film_stays_where_it_is_and_emptiness_too():
    fixed = film()
    ones = torch.ones_like(fixed)
    assert Discrete().align(fixed, fixed, ones, ones).displacement.abs().max() < 0.1
    air = -ones
    assert Discrete().align(air, air, ones, ones).displacement.abs().max() < 1e-2
