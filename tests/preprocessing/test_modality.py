"""The modality: the header's, else the option's, else the cohort's, else a guess; and what contradicts is told."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.preprocessing.modality import decide_modality, modality_of
from jssr.report.planes import CT_WINDOW, window_of


def scan(modality="ct", shape=(6, 6, 6)):
    values = np.random.default_rng(0).uniform(-1000 if modality == "ct" else 0, 1000, shape)
    return volume_of(values.astype(np.float32), Grid.of(shape), name="scan")


@pytest.mark.parametrize(
    "header, option, cohort, found, origin",
    [
        ("ct", None, None, "ct", "header"),
        ("ct", "ct", "mr", "ct", "header"),
        (None, "ct", "mr", "ct", "option"),
        (None, None, "ct", "ct", "cohort"),
        (None, None, None, "ct", "guess"),
        (None, None, "us", "us", "cohort"),
    ],
)
def test_one_decides(header, option, cohort, found, origin):
    one = scan("mr" if found == "us" else "ct").known_as("header", modality=header)
    out, warnings = decide_modality(one, option, cohort)
    assert (out.modality, out.origins["modality"]) == (found, origin) and warnings == ()
    assert modality_of(out) == found and out.data.data_ptr() == one.data.data_ptr()  # no copy


def test_a_modality_set_in_python_counts_as_an_option():
    out, _ = decide_modality(volume_of(scan("mr").numpy(), Grid.of((6, 6, 6))).known_as("option", modality="mr"))
    assert out.origins["modality"] == "option"


def test_contradictions_are_told():
    out, (warning,) = decide_modality(scan().known_as("header", modality="ct"), "mr")
    assert out.modality == "ct" and "its header gives ct, the option mr; it is treated as ct" in warning
    out, (warning,) = decide_modality(scan("mr"), "ct")
    assert out.modality == "ct" and "look like mr; it is treated as ct" in warning
    out, (warning,) = decide_modality(scan("ct"), "us")
    assert out.modality == "us" and "look like ct; it is treated as us" in warning


def test_a_guess_for_2d_is_a_radiograph_and_an_option_is_no_contradiction():
    flat = scan(shape=(6, 6))
    assert decide_modality(flat)[0].modality == "radiograph"
    out, warnings = decide_modality(flat, "ct")
    assert out.modality == "ct" and warnings == ()


def body(air=0.5, seed=3):
    """HU: air, fat at -100, muscle at 55, bone."""
    random = np.random.default_rng(seed)
    shape = (30, 30, 30)
    means = random.choice([-1000, -100, 55, 600], shape, p=[air, 0.25 * (1 - air), 0.7 * (1 - air), 0.05 * (1 - air)])
    return (means + random.normal(0, 12, shape)).astype(np.float32)


def head(seed=4):
    """MR: air at 0 (magnitude), tissues of 200 to 900."""
    random = np.random.default_rng(seed)
    means = random.choice([0, 200, 450, 900], (30, 30, 30), p=[0.5, 0.2, 0.2, 0.1])
    return np.abs(means + random.normal(0, 10, means.shape)).astype(np.float32)


def few_below(values, count, value):
    out = values.copy()
    out.flat[:: out.size // count] = value
    return out


CASES = {
    "ct": (body(), "ct", None),
    "ct clipped at -100": (body().clip(-100), "ct", None),
    "ct clipped at -160 to 240": (body().clip(-160, 240), "ct", None),
    "ct with a fill of -3024": (
        np.where(np.indices((30, 30, 30))[0] < 9, -3024, body()).astype(np.float32),
        "ct",
        None,
    ),
    "ct with two fills": (
        np.select([np.indices((30, 30, 30))[0] < k for k in (4, 9)], [-3024, -2000], body()).astype(np.float32),
        "ct",
        None,
    ),
    "ct of the trunk with little air": (body(0.0), "ct", None),
    "ct without air or fat": (body(0.0).clip(20), "mr", None),
    "ct stored from 0": ((body() + 1024).clip(0), "mr", "1024"),
    "mr": (head(), "mr", None),
    "mr with three overshoots": (few_below(head(), 3, -740.0), "mr", "3 of 27000"),
    "mr with half a per cent overshoots": (few_below(head(), 135, -80.0), "mr", "135 of 27000"),
    "mr with one voxel at -60": (few_below(head(), 1, -60.0), "mr", None),
    "z-scores": ((head() - head().mean()) / head().std(), "mr", None),
    "a phase": (np.random.default_rng(5).uniform(-4096, 4095, (30, 30, 30)).astype(np.float32), "mr", "below"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_guess_goes_by_shares_and_says_where_it_is_doubtful(name):
    values, modality, words = CASES[name]
    out, warnings = decide_modality(volume_of(values, Grid.of(values.shape), name="scan.nii.gz"))
    assert out.modality == modality and out.origins["modality"] == "guess"
    if words is None:
        assert warnings == ()
    else:
        assert len(warnings) == 1 and words in warnings[0] and warnings[0].startswith("scan.nii.gz: ")


def test_what_is_named_needs_no_doubt():
    values = few_below(head(), 3, -740.0)
    out, warnings = decide_modality(volume_of(values, Grid.of(values.shape)), option="mr")
    assert out.modality == "mr" and warnings == ()


def test_pictures_and_networks_see_one_modality():
    assert window_of(scan()) == CT_WINDOW
    assert window_of(scan().known_as("option", modality="mr")) != CT_WINDOW
    assert window_of(scan("mr").known_as("header", modality="ct")) == CT_WINDOW
