"""The contrast phase of a CT, from its organs."""

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.phantom.regions import LABELS
from jssr.phantom.study import make_study
from jssr.registration.phase import phase_of

NAMES = {value: name for name, value in LABELS.items()}
GRID = Grid.of((30, 30, 30), (3.0, 3.0, 3.0))


def scan(**hu: float) -> tuple[Volume, Volume]:
    """Cubes of organs at their HU in fat."""
    image, labels = np.full(GRID.shape, -100, np.float32), np.zeros(GRID.shape, np.uint8)
    for k, (name, value) in enumerate(hu.items()):
        box = (slice(2 + 7 * (k % 4), 8 + 7 * (k % 4)), slice(5, 25), slice(5, 25))
        image[box], labels[box] = value, LABELS[name]
    image[0, 0, 0] = -1000
    volume = volume_of(image, GRID).known_as("option", modality="ct")
    return volume, Volume(torch.from_numpy(labels)[None], GRID, "labels")


@pytest.mark.parametrize(
    ("hu", "phase"),
    [
        ({"aorta": 42, "liver": 57, "spleen": 48, "kidney_left": 32}, "non-contrast"),
        ({"aorta": 307, "liver": 71, "spleen": 132, "kidney_left": 129}, "arterial"),
        ({"aorta": 150, "liver": 109, "spleen": 118, "kidney_left": 167}, "venous"),
        ({"aorta": 112, "liver": 91, "spleen": 94, "kidney_left": 146}, "delay"),
    ],
)
def test_the_phase_that_the_table_of_tissues_expects(hu, phase):
    """The values of `phantom/regions.py`: without contrast, enhancement added; kidneys half cortex, half medulla."""
    found = phase_of(*scan(**hu), NAMES)
    assert found is not None and found.name == phase
    assert found.hu == {k: pytest.approx(v) for k, v in hu.items()}
    assert found.apart[phase] < 6 and phase in found.line


def test_between_two_phases_there_is_doubt():
    found = phase_of(*scan(aorta=131, liver=100, spleen=106, kidney_left=157), NAMES)
    assert found is not None and {found.name} <= {"venous", "delay"} and "nearly as likely" in found.doubt
    found = phase_of(*scan(aorta=600, liver=-80, spleen=300), NAMES)
    assert found is not None and "off what is expected" in found.doubt


def test_nothing_is_said_of_too_few_organs_or_of_mr():
    assert phase_of(*scan(liver=109), NAMES) is None
    volume, labels = scan(aorta=150, liver=109, spleen=118)
    assert phase_of(volume.known_as("option", modality="mr"), labels, NAMES) is None


def test_phantoms_in_four_phases():
    study = make_study(11, 0, shape=(96, 96, 48), reference_mm=3.0)
    told = {p: phase_of(i.known_as("option", modality="ct"), study.labels[p], NAMES) for p, i in study.images.items()}
    assert {p: f.name for p, f in told.items() if f is not None} == {p: p for p in study.images}
