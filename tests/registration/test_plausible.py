"""Implausible positions and volumes of organs become warnings."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.phantom.regions import LABELS
from jssr.phantom.study import make_study
from jssr.registration.plausible import implausible

NAMES = {1: "liver", 2: "spleen", 3: "kidney_left", 4: "kidney_right", 5: "bladder"}
USUAL = {  # centres, LPS mm from the middle: the patient's left is +, the head is +
    1: (-70, 0, 120), 2: (90, 20, 120), 3: (60, 40, 40), 4: (-60, 40, 40), 5: (0, -30, -180),
}  # fmt: skip


def body(turned: bool = False, **moved: tuple[float, float, float]) -> Volume:
    """Cubes of 74 ml near these places, at voxels of a grid of 6 mm; `turned` lies with its feet where the head was."""
    places = {NAMES[k]: at for k, at in USUAL.items()} | moved
    axes = np.diag([-1.0, 1.0, -1.0]) if turned else np.eye(3)
    origin = -axes @ np.array([200.0, 120.0, 260.0])
    grid = Grid.of((68, 41, 88), (6.0, 6.0, 6.0), tuple(origin), axes)
    plain = Grid.of(grid.shape, (6.0, 6.0, 6.0), (-200.0, -120.0, -260.0))
    array = np.zeros(grid.shape, np.uint8)
    for value, name in NAMES.items():
        i, j, k = np.round(plain.index(np.array(places[name], dtype=float))).astype(int)
        array[i - 3 : i + 4, j - 3 : j + 4, k - 3 : k + 4] = value
    return volume_of(array, grid, "labels")


def test_organs_where_they_belong_are_not_mentioned():
    assert implausible(body(), NAMES) == ()


@pytest.mark.parametrize(
    ("moved", "says"),
    [
        ({"kidney_left": (60, 0, -160)}, "kidney_left lies 278 mm from spleen"),
        ({"kidney_right": (-60, 0, -120)}, "kidney_right lies 24"),
        ({"spleen": (-150, 20, 40)}, "spleen lies to the right of liver"),
        ({"bladder": (0, -30, 200)}, "liver lies below bladder"),
    ],
)
def test_an_organ_in_the_wrong_place_is_told(moved, says):
    told = implausible(body(**moved), NAMES)
    assert any(words.startswith(says) for words in told), told


def test_a_scan_turned_head_to_feet_is_told():
    told = " ".join(implausible(body(turned=True), NAMES))
    assert "liver lies below bladder" in told and "spleen lies to the right of liver" in told


def test_an_organ_that_is_too_large_is_told():
    array = np.zeros((60, 60, 60), np.uint8)
    array[:20, :20, :20] = 2  # 8000 voxels of 0.1 ml
    grid = Grid.of(array.shape, 100 ** (1 / 3))
    assert implausible(volume_of(array, grid, "labels"), NAMES)[0].startswith("spleen of 800 ml, expected at most 576")


def test_a_phantom_is_plausible():
    study = make_study(5, 0, shape=(64, 64, 48), phases=("venous",))
    names = {value: name for name, value in LABELS.items()}
    assert implausible(study.labels["venous"], names) == ()
