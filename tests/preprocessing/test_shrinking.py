"""Voxels turned and averaged slab by slab are those of the whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jssr.core.grid import Grid
from jssr.preprocessing import shrinking
from jssr.preprocessing.intensity import thinned
from jssr.preprocessing.shrinking import Turned

GRID = Grid.of((10, 13, 9), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), [[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
DATA = torch.randn(1, *GRID.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def turned(monkeypatch):
    monkeypatch.setattr(shrinking, "SLAB", 300)
    return Turned.canonical(DATA, GRID)


def test_axes_run_to_the_left_the_back_and_the_head(turned):
    assert turned.grid.shape == (9, 10, 13)
    assert np.allclose(turned.grid.direction, np.eye(3))
    # By hand: the first axis is the last of the data, backwards; the second its first, backwards.
    assert torch.equal(turned.whole, DATA.permute(0, 3, 1, 2).flip(1, 2))
    for voxel in ((0, 0, 0), (3, 4, 5)):
        where = np.round(GRID.index(turned.grid.world(voxel))).astype(int)
        assert turned.whole[(0, *voxel)] == DATA[(0, *where)]


def test_slabs_are_the_whole(turned):
    parts = list(turned.slabs(2))
    assert [first for first, _ in parts] == [0, 2, 4, 6, 8]
    assert torch.equal(torch.cat([part for _, part in parts], dim=1), turned.whole)
    assert turned.straight.data.is_contiguous() and turned.straight.order is None


def test_percentiles_are_read_from_the_same_voxels(turned, monkeypatch):
    monkeypatch.setattr("jssr.preprocessing.shrinking.thinning", lambda voxels: 7)
    assert torch.equal(turned.thinned(), turned.whole.flatten()[::7])
    assert torch.equal(turned.straight.thinned(), thinned(turned.whole))


def test_averages_are_those_of_the_whole(turned):
    assert torch.equal(turned.averaged((2, 3, 1)), F.avg_pool3d(turned.whole, (2, 3, 1)))
    clamped = turned.averaged((4, 1, 5), lambda part: part.clamp(-0.5, 0.5))
    assert torch.equal(clamped, F.avg_pool3d(turned.whole.clamp(-0.5, 0.5), (4, 1, 5)))


def test_what_is_not_turned_is_not_copied():
    straight = Turned.canonical(DATA, Grid.of(GRID.shape, GRID.spacing.tolist()))
    assert straight.order is None and straight.whole.data_ptr() == DATA.data_ptr()
