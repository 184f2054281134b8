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
    assert modality_of(out) == found and out.data is one.data


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


def test_pictures_and_networks_see_one_modality():
    assert window_of(scan()) == CT_WINDOW
    assert window_of(scan().known_as("option", modality="mr")) != CT_WINDOW
    assert window_of(scan("mr").known_as("header", modality="ct")) == CT_WINDOW
