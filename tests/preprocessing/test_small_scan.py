"""A scan made small: what is read at points, with its slope."""

import numpy as np
import pytest
import torch
from body import middle_grid

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.rigid import small_scan
from jssr.preprocessing.small_scan import BINS, SmallScan, samples, shared

GRID = Grid.of((6, 5, 4), (2.0, 3.0, 4.0), (-5.0, 1.0, 7.0))


def ramp(grid=GRID):
    """An image that is linear in the voxel indices."""
    i, j, k = torch.meshgrid(*[torch.arange(float(n)) for n in grid.shape], indexing="ij")
    return SmallScan(0.1 * i - 0.05 * j + 0.02 * k, torch.ones(grid.shape, dtype=torch.bool), grid)


def test_a_linear_image_is_read_exactly_with_its_slope():
    at = torch.tensor([[0.0, 1.3, 4.9], [0.0, 2.5, 4.0], [0.0, 0.2, 3.0]])
    value, slope, counts = ramp().slopes(at)
    assert counts.all()
    torch.testing.assert_close(value, 0.1 * at[0] - 0.05 * at[1] + 0.02 * at[2])
    torch.testing.assert_close(slope, torch.tensor([0.1, -0.05, 0.02]).view(3, 1).expand(3, 3))
    torch.testing.assert_close(ramp().values(at)[0], value)


def test_slopes_are_those_of_the_interpolated_image():
    torch.manual_seed(0)
    scan = SmallScan(torch.rand(6, 5, 4), torch.ones(6, 5, 4, dtype=torch.bool), GRID)
    at = torch.rand(3, 40) * torch.tensor([[4.9], [3.9], [2.9]])
    value, slope, _ = scan.slopes(at)
    torch.testing.assert_close(value, scan.values(at)[0])
    step = 1e-2
    for axis in range(3):
        further = at.clone()
        further[axis] += step
        same = further[axis].floor() == at[axis].floor()
        rise = (scan.values(further)[0] - value) / step
        torch.testing.assert_close(rise[same], slope[axis][same], atol=1e-3, rtol=0)


def test_what_does_not_count_or_lies_outside_is_told():
    scan = ramp()
    scan.mask[3, 2, 1] = False
    at = torch.tensor([[2.5, 0.5, -0.3, 5.2], [2.0, 0.5, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0]])
    assert scan.slopes(at)[2].tolist() == [False, True, False, False]
    assert scan.values(at)[1].tolist() == [False, True, True, True]  # the outermost half voxel counts here


def test_one_slice_has_no_slope_across():
    slice_ = SmallScan(torch.rand(6, 5, 1), torch.ones(6, 5, 1, dtype=torch.bool), Grid.of((6, 5, 1), 2.0))
    at = torch.tensor([[1.5, 1.5], [2.0, 2.0], [0.3, 0.7]])
    value, slope, counts = slice_.slopes(at)
    assert counts.tolist() == [True, False] and slope[2].tolist() == [0, 0]
    assert float(value[0]) == pytest.approx(float(slice_.image[1:3, 2, 0].mean()))


def test_codes_have_a_border_that_does_not_count():
    scan = ramp()
    scan.mask[0, 0, 0] = False
    codes = scan.codes
    assert codes.shape == (8, 7, 6)
    assert int(codes[1, 1, 1]) == BINS and (codes[0] == BINS).all()
    assert int(codes[2, 1, 1]) == int(1.1 * BINS / 2)


def test_values_between_the_middles_of_bins_are_shared():
    lower, share = shared(torch.tensor([-1.0, 1.0, -1.0 + 2.5 * 2 / (BINS - 1)]))
    assert lower.tolist() == [0, BINS - 2, 2]
    torch.testing.assert_close(share, torch.tensor([0.0, 1.0, 0.5]))


def test_samples_lie_in_what_counts_and_read_its_values():
    scan = ramp()
    scan.mask[:3] = False
    found = samples(scan, 200, 1)
    index = np.linalg.solve(GRID.affine, np.concatenate([found.points.numpy(), np.ones((1, found.values.numel()))]))[:3]
    assert index[0].min() >= 3 and found.values.numel() > 50  # between voxels 2 and 3 nothing counts
    value = 0.1 * index[0] - 0.05 * index[1].clip(0, 4) + 0.02 * index[2].clip(0, 3)
    inside = (index[0] <= 5) & (index[1] >= 0) & (index[2] >= 0)
    np.testing.assert_allclose(found.values.numpy()[inside], value[inside], atol=1e-5)
    assert torch.equal(found.points, samples(scan, 200, 1).points)
    assert samples(SmallScan(scan.image, scan.mask & False, GRID), 10, 0).values.numel() == 0


def test_a_ct_is_windowed_and_what_is_no_data_does_not_count():
    grid = middle_grid((16, 16, 8), (1.0, 1.0, 2.0))
    data = torch.full((1, 16, 16, 8), 50.0)
    data[:, :4], data[:, 4:8] = -3024.0, -1000.0
    wanted = torch.ones(1, 16, 16, 8, dtype=torch.uint8)
    wanted[:, :, 12:] = 0
    found = small_scan(Volume(data, grid, modality="ct"), 2.0)
    assert found.grid.shape == (8, 8, 8) and not found.mask[:2].any() and found.mask[2:].all()
    torch.testing.assert_close(found.image[:, 0, 0], torch.tensor([-1.0] * 4 + [0.0] * 4))
    part = small_scan(Volume(data, grid, modality="ct"), 2.0, Volume(wanted, grid, "labels"))
    assert torch.equal(part.image, found.image) and not part.mask[:, 6:].any() and part.mask[2:, :6].all()


def test_the_centre_of_mass():
    image = torch.full((5, 5, 5), -1.0)
    image[1, 2, 3] = image[3, 2, 3] = 0.5
    scan = SmallScan(image, torch.ones(5, 5, 5, dtype=torch.bool), Grid.of((5, 5, 5), 2.0))
    np.testing.assert_allclose(scan.body_centre, [4, 4, 6])
    air = SmallScan(image * 0 - 1, scan.mask, scan.grid)
    np.testing.assert_allclose(air.body_centre, scan.grid.centre)
