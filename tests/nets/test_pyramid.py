import itertools

import torch
from torch import nn

from jssr.core.field import warp
from jssr.losses.measures import measure_of
from jssr.losses.mind import mind_ssc
from jssr.nets.lapirn import Pyramid, costs


class Shift(nn.Module):
    """A level that adds the same displacement everywhere."""

    def __init__(self, *by):
        super().__init__()
        self.by = torch.tensor(by).view(1, 3, 1, 1, 1)

    def forward(self, x, *rest, below=None):
        return self.by.expand(1, 3, *x.shape[2:]), x


def noise():
    """Mean distance, over draws, of two volumes of noise that have nothing in common, for shifts of the moving one."""
    mind, found = measure_of("mind"), {0.0: 0.0, 0.25: 0.0, 0.5: 0.0}
    for seed in range(12):
        for by in found:
            torch.manual_seed(seed)
            x, y = torch.randn(2, 1, 1, 24, 24, 24)
            levels = Shift(0.0, 0.0, 0.0), Shift(0.0, 0.0, 0.0), Shift(by, by, by)
            found[by] += float(Pyramid(levels, x, y).distance(3, mind.apart, mind.describe)) / 12
    return found


def test_noise_has_no_shift_that_it_likes():
    found = noise()
    assert all(abs(value / found[0.0] - 1) < 0.05 for value in found.values())
    # Read at the voxels' middles, half a voxel is rewarded although there is nothing to find.
    mind = measure_of("mind")
    torch.manual_seed(0)
    x, y = (mind.describe(image) for image in torch.randn(2, 1, 1, 24, 24, 24))
    assert mind.apart(warp(x, torch.full((1, 3, 24, 24, 24), 0.5)), y, None, 3) < 0.8 * mind.apart(x, y, None, 3)


def test_what_is_carried_is_the_descriptor_moved_by_the_levels_field():
    # Whole voxels, away from the border: the descriptor of the moved image is the moved descriptor.
    torch.manual_seed(0)
    x = torch.randn(1, 1, 48, 48, 48)
    y = torch.roll(x, shifts=(-4, -4, -4), dims=(2, 3, 4))
    levels = Shift(0.0, 0.0, 0.0), Shift(0.0, 0.0, 0.0), Shift(4.0, 4.0, 4.0)
    mind, mask = measure_of("mind"), torch.zeros(1, 1, 48, 48, 48)
    mask[..., 20:28, 20:28, 20:28] = 1
    right = Pyramid(levels, x, y, mask.roll((4, 4, 4), (2, 3, 4)), mask)
    assert right.distance(3, mind.apart, mind.describe) < 1e-6
    wrong = Pyramid((*levels[:2], Shift(2.0, 4.0, 4.0)), x, y, mask.roll((4, 4, 4), (2, 3, 4)), mask)
    assert wrong.distance(3, mind.apart, mind.describe) > 0.03


def test_costs_are_least_where_the_images_fit():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 10, 12, 8)
    y = torch.roll(x, -1, dims=3)  # y(p) = x(p + d), d = (0, 1, 0)
    found = costs(x, y)
    assert found.shape == (2, 27, 10, 12, 8)
    order = list(itertools.product((-1, 0, 1), repeat=3))
    assert (found[..., 2:-2, :].argmin(1) == order.index((0, 1, 0))).all()
    assert found.mean(1).abs().max() < 1e-5
    torch.testing.assert_close(found.square().mean((1, 2, 3, 4)), torch.ones(2))
    alike = torch.ones(1, 3, 8, 8, 8)
    assert (costs(alike, alike) == 0).all()
    thin = x[..., :2].contiguous()  # a voxel stands for itself along what is too thin for a mean of three
    found = costs(thin, torch.roll(thin, -1, dims=3))[..., 2:-2, :]
    assert (found[:, order.index((0, 1, 0))] == found.amin(1)).all()


def test_costs_are_of_the_scans_as_the_level_below_left_them():
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 1, 16, 16, 16)
    seen = []

    class Watch(Shift):
        def forward(self, x, *rest, below=None):
            seen.append(rest[-1])
            return super().forward(x, below=below)

    levels = Watch(0.0, 0.0, 0.0), Watch(0.5, 0.0, 0.0), Watch(0.0, 0.0, 0.0)
    Pyramid(levels, x, y, compared=mind_ssc).field(3)
    up = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, 16, 16, 16)
    assert [s.shape[1:] for s in seen] == [(27, 4, 4, 4), (27, 8, 8, 8), (27, 16, 16, 16)]
    torch.testing.assert_close(seen[2], costs(warp(mind_ssc(x), up), mind_ssc(y)))
