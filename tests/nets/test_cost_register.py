"""The register that sees cost volumes."""

import itertools

import pytest
import torch

from jssr.core import field as ff
from jssr.nets.cost_register import CostRegister, SearchLevel, cost_volume, on_grid
from jssr.systems.jssr import JSSR, build

SMALL = [[2, 2, 1, 1], [1, 1, 2, 2]]


def blobs(seed: int = 0) -> torch.Tensor:
    image = torch.randn(1, 1, 32, 28, 24, generator=torch.Generator().manual_seed(seed))
    image = ff.smooth(image, 2.0)
    return (image / image.abs().max()).clamp(-1, 1)


@pytest.mark.parametrize(("pool", "thin"), [(1, 1), (2, 1), (2, 2)])
def test_costs_are_the_mean_squared_difference_under_each_displacement(pool, thin):
    torch.manual_seed(1)
    m, f = torch.rand(1, 3, 8, 6, 4), torch.rand(1, 3, 8, 6, 4)
    found = cost_volume(m, f, SearchLevel(1, 1, pool, 1, thin))
    assert found.shape == (1, 27, 8 // pool, 6 // pool, 4 // pool)
    p = (2, 1, 0)
    for k, d in enumerate(itertools.product((-1, 0, 1), repeat=3)):
        total, count = 0.0, 0
        for o in itertools.product(range(0, pool, thin), repeat=3):
            q = [pool * a + b for a, b in zip(p, o, strict=True)]
            there = [min(max(a + b, 0), n - 1) for a, b, n in zip(q, d, (8, 6, 4), strict=True)]
            total += float((m[0, :, there[0], there[1], there[2]] - f[0, :, q[0], q[1], q[2]]).square().mean())
            count += 1
        assert float(found[(0, k, *p)]) == pytest.approx(total / count, abs=1e-5)


def test_untrained_it_is_a_search_that_finds_a_shift_in_the_stated_direction():
    torch.manual_seed(0)
    moving, shift = blobs(), torch.zeros(1, 3, 32, 28, 24)
    shift[:, 0], shift[:, 2] = 2.0, -1.0
    fixed = ff.warp(moving, shift)  # fixed(p) = moving(p + shift)
    with torch.no_grad():
        own = CostRegister(SMALL, 4).eval()(torch.cat([moving, fixed], dim=1))
    assert own.shape == (1, 3, 32, 28, 24)
    inner = own[..., 6:-6, 6:-6, 6:-6].mean(dim=(0, 2, 3, 4))
    assert torch.allclose(inner, torch.tensor([2.0, 0.0, -1.0]), atol=0.4)


def test_one_image_with_itself_does_not_move_on_the_whole():
    torch.manual_seed(0)
    image = blobs()
    with torch.no_grad():
        own = CostRegister(SMALL, 4)(torch.cat([image, image], dim=1))
    inner = own[..., 6:-6, 6:-6, 6:-6]
    assert inner.mean(dim=(0, 2, 3, 4)).abs().max() < 0.05 and inner.abs().mean() < 0.5


def test_any_size_is_taken_and_every_part_is_trained():
    torch.manual_seed(0)
    net = CostRegister(SMALL, 4)
    found = net.rounds(torch.cat([blobs(1)[..., :27, :22, :23], blobs(2)[..., :27, :22, :23]], dim=1))
    assert len(found) == 3 and [u.shape[2] for u in found] == [14, 14, 14]
    sum(u.square().mean() for u in found).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert net(torch.zeros(1, 2, 27, 22, 23)).shape == (1, 3, 27, 22, 23)


def test_jssr_takes_it_as_its_register():
    torch.manual_seed(0)
    system = build({"Phi": {"form": "costs", "levels": SMALL, "width": 4}}, {}, 0)
    assert isinstance(system, JSSR) and isinstance(system.Phi, CostRegister)
    moving, shift = blobs(), torch.zeros(1, 3, 32, 28, 24)
    shift[:, 1] = 2.0
    mask = torch.ones_like(moving)
    found = system.align(moving, ff.warp(moving, shift), mask, mask)
    assert found.displacement.shape == shift.shape  # in voxels of the images again
    assert float(found.displacement[:, 1, 4:-4, 4:-4, 4:-4].mean()) == pytest.approx(2.0, abs=0.4)


def test_a_field_on_another_grid_has_its_voxels_and_keeps_the_edges():
    ramp = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 3, 8, 8, 8)
    coarse = on_grid(ff.pooled(ramp, 2) / 2, (8, 8, 8))  # pooled in its own voxels, and back
    assert coarse.shape == ramp.shape
    assert torch.allclose(coarse[:, :, 1:-1], ramp[:, :, 1:-1])
