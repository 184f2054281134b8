"""The phantoms, and each alignment of them, made once for all accuracy tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fixed_pairs import CASES, align, make_phantom  # noqa: E402


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """Name of a phantom to the folder of its files."""
    made = {}

    def place(name):
        if name not in made:
            made[name] = make_phantom(name, tmp_path_factory.mktemp("accuracy"))
        return made[name]

    return place


@pytest.fixture(scope="session")
def aligned(phantom, tmp_path_factory):
    """Name of a case to the folder of its result's files."""
    made = {}

    def folder(name):
        if name not in made:
            case = CASES[name]
            found = align(case, phantom(case.source))
            made[name] = found.save(tmp_path_factory.mktemp(name), report=False)
        return made[name]

    return folder
