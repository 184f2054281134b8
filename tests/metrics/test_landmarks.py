from __future__ import annotations

import numpy as np
import pytest

from jssr.core.transform import Affine
from jssr.core.volume import Points
from jssr.errors import PointsError
from jssr.metrics.landmarks import tre


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
