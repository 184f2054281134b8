"""What several folders of tests need: a tiny cohort, and tiny weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tiny_jssr import ball, ball_labels, tiny_weights

from jssr.core.volume import Points
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.io.points import write_points

TESTS = Path(__file__).parent
pytest_plugins = ("body", "shared")
"""Fixtures in tests/support."""
FIRST = (
    "accuracy/test_shipped.py",
    "accuracy/test_shipped_segmentor.py",
    "viewer/test_browser.py",
    "peers/test_peers.py",
    "viewer/test_server.py",
    "training/test_loop.py",
)
"""Files that take longest: begun first, so that no worker is left alone with one of them at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist, which are started after this, have one thread each: together they fill the cores."""
    if config.getoption("numprocesses", None):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {TESTS / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(FIRST)))


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Two patients of balls in two phases, with labels and landmarks."""
    root = tmp_path_factory.mktemp("cohort")
    cases = []
    for number, shift in enumerate((6.0, -4.0)):
        case = Case(id=f"c{number}", split="test" if number else "train", images={"venous": f"c{number}/venous.nii.gz"})
        for phase, x in (("venous", 0.0), ("arterial", shift)):
            place = root / case.id
            write_image(ball((x, number, 0)), place / f"{phase}.nii.gz", np.int16)
            write_image(ball_labels((x, number, 0)), place / f"{phase}_labels.nii.gz")
            write_points(Points(np.array([[x, 0, 0], [x, 8, 0]]), ("a", "b")), place / f"{phase}_landmarks.csv")
            case.images[phase] = f"{case.id}/{phase}.nii.gz"
            case.labels[phase] = f"{case.id}/{phase}_labels.nii.gz"
            case.landmarks[phase] = f"{case.id}/{phase}_landmarks.csv"
        cases.append(case)
    made = Cohort(name="balls", reference_phase="venous", cases=cases, label_names={1: "liver", 2: "spleen"}, root=root)
    made.save()
    return root
