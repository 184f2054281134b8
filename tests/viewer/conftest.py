"""A study of two balls aligned once with tiny weights, for all tests of the viewer."""

from __future__ import annotations

import pytest

import jssr


@pytest.fixture(scope="session")
def aligned(cohort, weights, tmp_path_factory):
    """What `jssr align` leaves: a folder with one phase, `arterial`, and a report."""
    out = tmp_path_factory.mktemp("view") / "out"
    jssr.align(cohort / "c0", "venous", checkpoint=weights).save(out)
    return out
