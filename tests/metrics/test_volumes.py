"""Sizes of structures, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import volume_of
from jssr.metrics import volumes
from jssr.metrics.volumes import mean_jacobian, sizes

FIXED, MOVING = Grid.of((20, 10, 10), (1.0, 2.0, 5.0)), Grid.of((30, 10, 10), (1.0, 1.0, 5.0))


def stretched(factor: float) -> Displacement:
    """T(p) is `factor` times as far from the origin along the first axis."""
    u = torch.zeros(3, *FIXED.shape)
    u[0] = (factor - 1) * torch.arange(20.0).view(-1, 1, 1)
    return Displacement(u, FIXED)


def test_sizes_changes_and_what_the_field_says():
    a, b = np.zeros(FIXED.shape, np.uint16), np.zeros(MOVING.shape, np.uint16)
    a[2:12, 2:7, 2:6] = 70  # 10 x 5 x 4 voxels of 0.01 ml
    b[3:18, 0:10, 2:6] = 70  # 15 x 10 x 4 voxels of 0.005 ml
    a[0, 0, 0], b[0, 9, 9] = 3, 4
    maps = volume_of(a, FIXED, "labels"), volume_of(b, MOVING, "labels")
    found = sizes(*maps, stretched(1.5), {"tumour": [70], "gone": [3], "new": [4], "none": [9]})
    tumour = found["tumour"]
    assert (tumour.fixed_ml, tumour.moving_ml) == pytest.approx((2.0, 3.0))
    assert tumour.change_percent == pytest.approx(50.0) and tumour.jacobian == pytest.approx(1.5, abs=1e-5)
    assert found["gone"].change_percent == pytest.approx(-100) and found["gone"].jacobian == pytest.approx(1.5)
    assert found["new"].fixed_ml == 0 and math.isnan(found["new"].change_percent)
    assert math.isnan(found["new"].jacobian) and found["none"].moving_ml == 0
    assert list(sizes(*maps, stretched(1.0))) == ["3", "4", "70"]


def test_the_mean_is_over_the_mask_alone_also_in_slabs_and_at_the_border(monkeypatch):
    u = torch.zeros(3, *FIXED.shape)
    u[0, 10:] = 0.5 * torch.arange(10.0).view(-1, 1, 1)  # determinant 1.5 from the tenth voxel on
    field, mask = Displacement(u, FIXED), np.zeros(FIXED.shape, bool)
    mask[5:15, :4, :4] = True
    whole = mean_jacobian(field, mask)
    assert whole == pytest.approx((5 * 1.0 + 5 * 1.5) / 10)
    monkeypatch.setattr(volumes, "SLAB", 100)
    assert mean_jacobian(field, mask) == pytest.approx(whole)
    edge = np.zeros(FIXED.shape, bool)
    edge[19, 9, 9] = True
    assert math.isnan(mean_jacobian(field, edge)) and math.isnan(mean_jacobian(field, edge & False))
