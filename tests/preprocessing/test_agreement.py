"""How well two scans agree at points."""

import numpy as np
import pytest
import torch
from blobs import HERE, scan
from body import middle_grid

from jssr.losses.mind import mind_ssc
from jssr.preprocessing.agreement import _OFFSETS, Agreement, Judge, _described
from jssr.preprocessing.small_scan import SmallScan


def shift(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def test_descriptors_are_those_of_mind_ssc():
    scan_ = SmallScan(
        torch.rand(12, 12, 12), torch.ones(12, 12, 12, dtype=torch.bool), middle_grid((12,) * 3, (3.0,) * 3)
    )
    every = mind_ssc(scan_.image[None, None], dilation=1)[0]
    index = torch.tensor([[4, 6, 5], [7, 3, 8]])
    points = torch.from_numpy(scan_.grid.world(index.numpy())).T
    around = (points[:, None] + 3.0 * _OFFSETS.double().T[:, :, None]).flatten(1)
    found, good, brightest = _described(scan_, np.eye(4), around)
    expected = torch.stack([every[:, i, j, k] for i, j, k in index.tolist()], dim=1)
    # The channels have another order; the variance that bounds them is of all voxels there.
    torch.testing.assert_close(found.sort(dim=0).values, expected.sort(dim=0).values, atol=1e-4, rtol=1e-3)
    assert good.all() and (brightest > 0).all()


def test_equal_scans_agree_wholly_and_unrelated_ones_not_at_all():
    a = scan(HERE)
    assert Judge(a, a, 4.0, 0)(np.eye(4)).value > 0.95
    torch.manual_seed(1)
    noise = SmallScan(torch.rand(HERE.shape), a.mask, HERE)
    assert abs(Judge(a, noise, 4.0, 0)(np.eye(4)).explained) < 0.05


@pytest.mark.parametrize("change", [lambda image: image, lambda image: -image])
def test_the_nearer_the_better_whatever_the_contrast(change):
    judge = Judge(scan(HERE), scan(HERE, change=change), 4.0, 0)
    values = [judge(shift(x, 0, 0)).value for x in (0.0, 2.0, 5.0, 12.0, 30.0)]
    assert values == sorted(values, reverse=True) and values[0] > 0.9 > 0.4 > values[-1]


def test_what_is_not_covered_agrees_as_little_as_unrelated_scans():
    a = scan(HERE)
    found = Judge(a, a, 4.0, 0)(shift(80.0, 0, 0))
    assert found.covered == pytest.approx(0.5, abs=0.1)
    assert Agreement(0.6, 0.5).value == 0.3
    assert Judge(a, a, 4.0, 0)(shift(500.0, 0, 0)) == Agreement(0.0, 0.0)


def test_a_scan_of_air_agrees_with_nothing():
    air = SmallScan(torch.full(HERE.shape, -1.0), torch.ones(HERE.shape, dtype=torch.bool), HERE)
    assert Judge(air, scan(HERE), 4.0, 0)(np.eye(4)).explained < 0.2
