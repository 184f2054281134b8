from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jssr.core.field import jacobian_determinant
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.metrics.regularity import regularity


def along_first_axis(values: list[float]) -> Displacement:
    """A 2D field that depends on the first index only, in voxels."""
    u = torch.zeros(2, len(values), 3)
    u[0] = torch.tensor(values)[:, None]
    return Displacement(u, Grid.of((len(values), 3), (2.0, 5.0)))


def test_regularity_by_hand() -> None:
    # Differences +1, 0: determinants 2 and 1, logs 0.693 and 0.
    smooth = regularity(along_first_axis([0, 1, 1]))
    assert smooth.folds == 0.0
    assert smooth.log_jacobian_sd == pytest.approx(math.log(2) / 2)
    # Differences +1, -2, 0, 0: determinants 2, -1 (a fold), 1, 1.
    folded = regularity(along_first_axis([0, 1, -1, -1, -1]))
    assert folded.folds == pytest.approx(25.0)
    assert folded.log_jacobian_sd == pytest.approx(np.std([math.log(2), 0, 0]))


def test_slabs_do_not_change_it(monkeypatch) -> None:
    u = 3 * torch.randn(3, 14, 12, 10, generator=torch.Generator().manual_seed(2))
    field = Displacement(u, Grid.of((14, 12, 10)))
    at_once = regularity(field)
    monkeypatch.setattr("jssr.metrics.regularity.SLAB", 300)
    in_slabs = regularity(field)
    determinant = jacobian_determinant(u[None])[0]
    assert at_once.folds == pytest.approx(100 * float((determinant <= 0).double().mean()), abs=1e-9) and at_once[0] > 10
    assert in_slabs == pytest.approx(at_once, rel=1e-5)
    assert math.isnan(regularity(Displacement(torch.zeros(2, 1, 3), Grid.of((1, 3)))).folds)
