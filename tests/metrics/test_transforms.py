from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jssr.core.field import jacobian_determinant
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Points
from jssr.errors import PointsError
from jssr.metrics.transforms import regularity, tre


def test_landmarks_are_matched_by_name() -> None:
    fixed = Points(np.array([[0.0, 0, 0], [10, 0, 0], [5, 5, 5]]), ("a", "b", "only_fixed"))
    moving = Points(np.array([[13.0, 4, 0], [3.0, 4, 0]]), ("b", "a"))
    np.testing.assert_allclose(tre(fixed, moving), [5.0, 5.0])
    shift = np.eye(4)
    shift[:3, 3] = (3, 4, 12)
    np.testing.assert_allclose(tre(fixed, moving, Affine(shift)), [12.0, 12.0])
    with pytest.raises(PointsError, match="in common"):
        tre(fixed, Points(np.zeros((1, 3)), ("z",)))


def test_landmarks_with_one_name_twice_are_refused() -> None:
    twice = Points(np.array([[1.0, 2, 3], [4, 5, 6]]), ("a", "a"))
    with pytest.raises(PointsError, match="two fixed landmarks"):
        tre(twice, twice)


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
    monkeypatch.setattr("jssr.metrics.transforms.SLAB", 300)
    in_slabs = regularity(field)
    determinant = jacobian_determinant(u[None])[0]
    assert at_once.folds == pytest.approx(100 * float((determinant <= 0).double().mean()), abs=1e-9) and at_once[0] > 10
    assert in_slabs == pytest.approx(at_once, rel=1e-5)
    assert math.isnan(regularity(Displacement(torch.zeros(2, 1, 3), Grid.of((1, 3)))).folds)
