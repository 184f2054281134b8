"""What the methods of a benchmark share: landmark errors by group."""

import numpy as np
import pytest

from jssr.core.transform import Affine
from jssr.core.volume import Points
from jssr.evaluation.alignment import by_group


def points(names, x):
    return Points(np.array([[value, 0.0, 0.0] for value in x]), tuple(names))


def test_errors_by_group_of_names():
    fixed = points(["liver01", "bone1", "liver02", "liver03", "lost1"], [0, 0, 0, 0, 0])
    moving = points(["bone1", "liver01", "liver02", "liver03"], [0.5, 1, 2, 6])
    found = by_group(fixed, moving, Affine.identity())
    assert found == pytest.approx(
        {"tre_median": 1.5, "tre/liver": 3.0, "tre_median/liver": 2.0, "tre/bone": 0.5, "tre_median/bone": 0.5}
    )


@pytest.mark.parametrize("names", [("liver1", "liver2"), ("dome", "hilum"), ("1", "liver2")])
def test_without_groups_there_is_the_median_alone(names):
    found = by_group(points(names, [0, 0]), points(names, [1, 3]), Affine.identity())
    assert found == pytest.approx({"tre_median": 2.0})
