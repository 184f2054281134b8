"""What `jssr prepare` noted, and what is no such note."""

from __future__ import annotations

import json

import pytest

from jssr.cohorts.prepared import notes_of
from jssr.errors import CohortError
from jssr.io.cohort import Case, Cohort


@pytest.fixture
def cohort(tmp_path):
    case = Case(id="c0", images={"venous": "v.nii.gz"})
    return Cohort(name="one", reference_phase="venous", cases=[case], root=tmp_path)


def test_notes_are_those_of_the_file(cohort):
    assert notes_of(cohort, "phases") == {}
    for scale in (None, 1000.0):
        content = {"cases": {"c0": {"phases": {"venous": {"scale": scale}}}}}
        (cohort.root / "prepared.json").write_text(json.dumps(content))
        assert notes_of(cohort, "phases") == {"c0": {"venous": {"scale": scale}}}


@pytest.mark.parametrize("phases", [{"venous": {"scale": {"a": 1}}}, {"venous": {"scale": "x"}}, {"venous": 3}, [1]])
def test_notes_that_are_none_are_refused(cohort, phases):
    (cohort.root / "prepared.json").write_text(json.dumps({"cases": {"c0": {"phases": phases}}}))
    with pytest.raises(CohortError, match="prepared.json: is not what jssr prepare writes"):
        notes_of(cohort, "phases")
