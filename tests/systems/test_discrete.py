import itertools

import pytest
import torch

from jssr.core.field import smooth, warp
from jssr.losses.mind import mind_ssc
from jssr.systems import SYSTEMS
from jssr.systems.discrete import Discrete, Level, _costs, _inverse_of_each_other, search


def texture(shape=(32, 32, 32), channels=1, seed=0):
    noise = torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(seed))
    image = smooth(noise, 1.5)
    return image / image.std()


def shifted(image, *by):
    """What lay at p lies at p + by."""
    return torch.roll(image, by, dims=(2, 3, 4))


def ones(image):
    return torch.ones_like(image[:, :1])


def middle(u):
    return u[..., 10:22, 10:22, 10:22].mean(dim=(0, 2, 3, 4)).tolist()


def test_costs_are_mean_squared_distances_over_the_cells():
    """Against the definition, cell by cell and displacement by displacement, away from the border."""
    f, m = texture((8, 8, 8), 2), texture((8, 8, 8), 2, seed=1)
    cost, labels = _costs(m, f, ones(m), ones(f), Level(cell=4, step=1, radius=1))
    assert cost.shape == (27, 2, 2, 2) and labels.tolist() == [list(d) for d in itertools.product((-1, 0, 1), repeat=3)]
    for k in (0, 13, 26):
        d = [int(v) for v in labels[k]]
        inner = [slice(1, 4)] * 3  # the part of cell 0 that no displacement takes out of the scan
        there = m[(..., *[slice(1 + o, 4 + o) for o in d])]
        wanted = (there - f[(..., *inner)]).square().sum(dim=1)
        masked = torch.zeros(1, 1, 8, 8, 8)
        masked[(..., *inner)] = 1
        only, _ = _costs(m, f, ones(m), masked, Level(cell=4, step=1, radius=1))
        assert only[k, 0, 0, 0] == pytest.approx(wanted.mean().item(), rel=1e-5)


@pytest.mark.parametrize("level", [Level(4, 2, 3), Level(4, 2, 3, 2), Level(4, 1, 4, 2)])
def test_a_shift_is_found_to_the_voxel_and_pulls(level):
    f = texture(channels=4)
    m = shifted(f, 4, -2, 0)
    assert middle(search(m, f, ones(m), ones(f), level)) == pytest.approx([4, -2, 0], abs=0.05)


def test_sizes_that_no_cell_divides_are_filled_up():
    f = texture((23, 30, 19), 4)
    u = search(shifted(f, 2, 0, 0), f, ones(f), ones(f), Level(4, 2, 2))
    assert u.shape == (1, 3, 23, 30, 19)
    assert u[0, 0, 8:16, 8:16, 6:12].mean() == pytest.approx(2, abs=0.1)


def test_what_leaves_the_moving_scan_is_neither_sought_nor_shunned():
    """The moving scan ends halfway: cells beyond have nothing to compare and follow the others."""
    f = texture(channels=4)
    m = shifted(f, 4, 0, 0)
    mask = ones(m)
    mask[:, :, :, 16:] = 0
    u = search(m, f, mask, ones(f), Level(4, 2, 3))
    assert u[0, 0, 8:20, 4:12, 8:24].mean() == pytest.approx(4, abs=0.2)
    assert u[0, :, 8:20, 18:22].isfinite().all() and u.abs().max() <= 6
    nothing = search(m, f, torch.zeros_like(mask), ones(f), Level(4, 2, 3))
    assert nothing.isfinite().all()


def test_opposite_fields_meet_in_the_middle():
    u = torch.zeros(1, 3, 16, 16, 16)
    u[:, 0] = 2.0
    a, b = _inverse_of_each_other(u, torch.zeros_like(u), Level(2, 1, 1))
    assert torch.allclose(a[:, 0], torch.tensor(1.0), atol=1e-3) and torch.allclose(b, -a, atol=1e-3)
    a, b = _inverse_of_each_other(u, -u, Level(2, 1, 1))
    assert torch.allclose(a, u, atol=1e-3) and torch.allclose(b, -u, atol=1e-3)


@pytest.mark.parametrize("contrast", [1.0, -1.0])
def test_a_large_motion_is_found_whatever_the_contrast(contrast):
    """Eight voxels along one axis, with the moving scan's grey scale turned over."""
    fixed = texture((40, 40, 40)).tanh()
    moving = contrast * shifted(fixed, 0, 8, -4)
    out = SYSTEMS["discrete"]({}, {}, 1).align(moving, fixed, ones(moving), ones(fixed))
    # The search is good to a voxel; what is left is the instance optimisation's.
    assert middle(out.displacement) == pytest.approx([0, 8, -4], abs=0.6)
    before = (mind_ssc(moving) - mind_ssc(fixed)).square().mean()
    after = (mind_ssc(warp(moving, out.displacement)) - mind_ssc(fixed)).square().mean()
    assert after < 0.4 * before


def test_equal_scans_stay_where_they_are():
    image = texture().tanh()
    assert Discrete().align(image, image, ones(image), ones(image)).displacement.abs().max() < 1e-4


def test_empty_air_gives_no_field():
    air = -torch.ones(1, 1, 16, 16, 16)
    assert Discrete().align(air, air, ones(air), ones(air)).displacement.abs().max() < 1e-4


@pytest.mark.parametrize("numbers", [(3, 2, 1), (4, 2, 0), (4, 2, 1, 4), (0, 0, 1)])
def test_a_level_that_cannot_be_is_refused(numbers):
    with pytest.raises(ValueError, match="level"):
        Level(*numbers)


def test_levels_come_from_plain_data():
    system = SYSTEMS["discrete"]({}, {"levels": [{"cell": 2, "step": 1, "radius": 1}]}, 1)
    assert system.levels == (Level(2, 1, 1),) and system.networks == ()
    with pytest.raises(ValueError, match="no networks"):
        SYSTEMS["discrete"]({"Phi": {}}, {}, 1)


def test_the_images_may_be_finer_than_the_search():
    """Two voxels of the image are one of the search: the field comes back in the image's own, at sizes that are odd."""
    fixed = smooth(texture((48, 47, 46)), 1.5)
    fixed = (fixed / fixed.std()).tanh()
    moving = shifted(fixed, 8, 0, -4)
    out = Discrete(pool=2).align(moving, fixed, ones(moving), ones(fixed))
    assert out.displacement.shape == (1, 3, 48, 47, 46)
    assert out.displacement[..., 16:32, 16:32, 16:30].mean(dim=(0, 2, 3, 4)).tolist() == pytest.approx(
        [8, 0, -4], abs=0.7
    )


@pytest.mark.parametrize("masked", ["fixed", "moving"])
def test_where_one_scan_has_a_mask_it_alone_searches(masked):
    y = texture()
    x, part = shifted(y, 4, 0, 0), torch.zeros_like(ones(y))
    part[:, :, 4:28, 4:28, 4:28] = 1
    masks = (ones(y), part) if masked == "fixed" else (part, ones(y))  # of the moving and of the fixed scan
    u = Discrete([Level(cell=4, step=1, radius=6)] * 2, pool=1).align(x, y, *masks, masked=masked).displacement
    found = middle(u)
    assert abs(found[0] - 4) < 0.5 and max(map(abs, found[1:])) < 0.5
