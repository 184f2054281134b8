from __future__ import annotations

import math

from jssr.metrics.warnings import plain_warnings


def test_warnings_in_plain_words() -> None:
    good = {"dice/liver": 0.95, "tre": 2.0, "folds": 0.01, "log_jacobian_sd": 0.1, "hd95/liver": math.nan}
    assert plain_warnings(good, {"dice/liver": 0.9, "tre": 8.0}, covered=0.99) == []
    bad = {"dice/liver": 0.6, "dice/spleen": 0.0, "tre": 9.0, "folds": 1.5, "log_jacobian_sd": 0.8}
    text = " ".join(plain_warnings(bad, {"dice/liver": 0.9, "tre": 8.0}, covered=0.7))
    for part in ("70%", "1.5 %", "liver 60 %", "liver from 90.0 to 60.0", "overlap: spleen", "8.0 mm became 9.0 mm"):
        assert part in text


def test_worse_than_the_rigid_alignment_is_told():
    after, before = {"dice/liver": 0.9, "dice/tumour": 0.75}, {"dice/liver": 0.5, "dice/tumour": 0.1}
    rigid = {"dice/liver": 0.8, "dice/tumour": 0.8, "tre": 1.0}
    assert plain_warnings(after, before) == []
    told = ["Worse than by the rigid alignment alone (Dice): tumour from 80.0 to 75.0 %."]
    assert plain_warnings(after, before, rigid=rigid) == told
