"""The tables of `benchmarks/segmentor.py`."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from segmentor import MEANING, NINE, dice, markdown

from jssr.recipes.segmentor import STRUCTURES


def test_dice_by_hand_and_of_nothing():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert np.isnan(dice(a, b))
    a[:2], b[1:3] = True, True
    assert dice(a, b) == pytest.approx(0.5)


def test_every_structure_of_the_recipe_has_a_meaning_and_names_meet_one_structure():
    assert set(MEANING) == set(STRUCTURES) and set(NINE) <= set(STRUCTURES)
    for name, structure in (
        ("kidney_left", "kidney_left"),
        ("vertebrae_L1", "vertebrae"),
        ("lung_upper_lobe_left", "lung"),
        ("rib_left_4", "ribs"),
        ("hip_right", "pelvis"),
        ("colon", "bowel"),
        ("urinary_bladder", "bladder"),
    ):
        assert [s for s, pattern in MEANING.items() if re.match(pattern, name)] == [structure]
    assert not any(re.match(pattern, "kidney_cyst_left") for pattern in MEANING.values())


def test_tables_count_wrong_voxels_by_kind_of_scan():
    rows = [
        {"scan": "STS_001 ct", "share": 0.02},
        {"scan": "STS_002 ct", "share": 0.0},
        {"scan": "STS_001 mr", "share": 0.005},
        {"scan": "head avg152T1", "share": 0.0},
        {"scan": "brain fixed", "share": 0.01},
    ]
    lines = list(markdown({"wrong": rows}))
    assert "| limb ct, shown in training | 1 | 2.00 | 2.00 | 1 |" in lines
    assert "| limb ct | 1 | 0.00 | 0.00 | 0 |" in lines
    assert "| limb mr, shown in training | 1 | 0.50 | 0.50 | 0 |" in lines
    assert "| head | 2 | 0.50 | 1.00 | 1 |" in lines


def test_the_mean_is_that_of_the_organs_that_the_reference_holds():
    text = "\n".join(markdown({"totalseg": [{"scan": "CT", "liver": 0.9, "spleen": 0.8, "ribs": 0.1}]}))
    assert "| mean of the first nine | 0.850 (of 2) |" in text and "| liver | 0.9 |" in text
