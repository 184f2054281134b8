"""The projects' files are imported as a project file imports those beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROJECTS = Path(__file__).parents[2] / "projects"
sys.path[:0] = [str(PROJECTS / name) for name in ("jssr", "jrsnet")]


@pytest.fixture(scope="session")
def projects() -> Path:
    return PROJECTS
