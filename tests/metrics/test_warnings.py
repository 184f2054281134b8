from __future__ import annotations

import math

import pytest

from jssr.metrics.warnings import plain_warnings, worse_than_rigid


def test_warnings_in_plain_words() -> None:
    good = {"dice/liver": 0.95, "tre": 2.0, "folds": 0.01, "log_jacobian_sd": 0.1, "hd95/liver": math.nan}
    assert plain_warnings(good, {"dice/liver": 0.9, "tre": 8.0}, covered=0.99) == []
    bad = {"dice/liver": 0.6, "dice/spleen": 0.0, "tre": 9.0, "folds": 1.5, "log_jacobian_sd": 0.8}
    text = " ".join(plain_warnings(bad, {"dice/liver": 0.9, "tre": 8.0}, covered=0.7))
    for part in ("70%", "1.5 %", "liver 60 %", "liver from 90.0 to 60.0", "overlap: spleen", "8.0 mm became 9.0 mm"):
        assert part in text


def test_landmarks_that_stay_are_no_warning():
    assert plain_warnings({"tre": 2.14}, {"tre": 2.139}) == []
    assert "2.0 mm became 2.3 mm" in plain_warnings({"tre": 2.3}, {"tre": 2.0})[0]


def test_a_structure_without_a_name_is_called_a_label():
    told = plain_warnings({"dice/16": 0.5, "dice/17": 0.0}, {"dice/16": 0.6})
    assert any("label 16 50 %" in words for words in told) and any("overlap: label 17" in words for words in told)


def test_structures_that_the_rigid_step_had_better_are_told():
    after, before = {"dice/liver": 0.9, "dice/tumour": 0.75}, {"dice/liver": 0.5, "dice/tumour": 0.1}
    rigid = {"dice/liver": 0.8, "dice/tumour": 0.8, "tre": 1.0}
    assert plain_warnings(after, before) == []
    told = ["Worse than by the rigid step alone (Dice): tumour from 80.0 to 75.0 %."]
    assert plain_warnings(after, before, rigid=rigid) == told
    assert worse_than_rigid(after, rigid) == ""  # the mean is 0.825 after 0.8


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ({"tre": 6.27, "dice/liver": 0.9}, ["4.70 to 6.27 mm"]),
        ({"tre": 4.0, "dice/liver": 0.85}, ["mean Dice from 90.0 to 85.0 %"]),
        ({"tre": 4.79, "dice/liver": 0.895}, []),
        ({"dice/liver": math.nan}, []),
    ],
)
def test_a_deformation_that_lost_what_the_rigid_step_had_is_told(after, says):
    told = worse_than_rigid(after, {"tre": 4.7, "dice/liver": 0.9})
    assert bool(told) == bool(says) and all(part in told for part in says)


def test_of_many_structures_the_worst_are_named():
    before = {f"dice/s{k:02d}": 0.9 for k in range(46)}
    after = {f"dice/s{k:02d}": 0.8 - k / 1000 for k in range(46)}
    told = plain_warnings(after, before)
    assert len(told) == 1 and "s45 from 90.0 to 75.5 %" in told[0] and "43 more" in told[0] and "s01" not in told[0]
