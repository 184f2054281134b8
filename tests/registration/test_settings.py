"""What the instance optimisation may be asked for."""

from __future__ import annotations

import math

import pytest
import torch

from jssr.registration.settings import OptimisationSettings


def test_the_parts_that_stay_rigid_are_counted():
    assert OptimisationSettings().n_rigid == 0
    parts = torch.zeros(1, 1, 4, 4, 4, dtype=torch.int32)
    parts[..., 0], parts[..., 3] = 7, 2
    assert OptimisationSettings(rigid_parts=parts).n_rigid == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"similarity": "ncc"}, "similarity must be one of lncc, mind, mi, mixture"),
        ({"smoothness": 0}, "smoothness must be a number above 0"),
        ({"smoothness": math.nan}, "smoothness must be a number above 0"),
        ({"smoothness": True}, "smoothness must be a number above 0"),
        ({"smoothness": 1e30}, "from 1e-06 to 1e\\+06"),
        ({"smoothness": 1e-30}, "from 1e-06 to 1e\\+06"),
        ({"spacing": -3.0}, "spacing must be mm between control points"),
        ({"spacing": math.inf}, "spacing must be mm between control points"),
        ({"rigid_parts": torch.zeros(1, 1, 4, 4)}, r"rigid_parts: expected integers .* got float32"),
        ({"rigid_parts": torch.zeros(4, 4, 4, dtype=torch.int32)}, "rigid_parts: expected integers"),
    ],
)
def test_settings_of_no_use_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        OptimisationSettings(**wrong)
