"""Results replace no scans, no tables that are none of jssr's, and not one another."""

from __future__ import annotations

import pytest

from jssr.cohorts.batch import Handling, WouldReplaceError, planned
from jssr.cohorts.manifest import Results
from jssr.cohorts.places import check_places
from jssr.errors import CohortError, OutputError
from jssr.io.patients import Patient

SETTINGS = {"task": "align", "version": "1", "options": {}}


def patient(folder, name):
    file = folder / name / "venous.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"scan")
    return Patient(name, name, {"venous": str(file)})


def test_the_cohort_is_no_folder_for_its_results(tmp_path):
    some = [patient(tmp_path, "p1")]
    with pytest.raises(OutputError, match="the cohort itself"):
        check_places(some, tmp_path, Results(tmp_path, SETTINGS))
    check_places(some, tmp_path, Results(tmp_path / "out", SETTINGS))


def test_scans_are_never_replaced(tmp_path):
    """The scans of p1 lie where its results would, by their path or behind a link."""
    some = [patient(tmp_path, "p1"), patient(tmp_path, "p2")]
    table = tmp_path / "mine.csv"
    with pytest.raises(OutputError, match="p1.*scans of the cohort"):
        check_places(some, table, Results(tmp_path, SETTINGS))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="scans of the cohort"):
        check_places(some, table, Results(tmp_path / "link", SETTINGS))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p2").symlink_to(tmp_path / "p1")
    with pytest.raises(OutputError, match="scans of the cohort"):
        check_places(some, table, Results(tmp_path / "out", SETTINGS))
    folder = Patient("p1", "p1", folder=str(tmp_path / "p1"))
    with pytest.raises(OutputError, match="scans of the cohort"):
        check_places([folder], table, Results(tmp_path, SETTINGS))


@pytest.mark.parametrize("name", ["cohort.csv", "cohort.json", "index.html", "dataset_description.json"])
def test_tables_of_others_are_never_replaced(tmp_path, name):
    some = [patient(tmp_path / "in", "p1")]
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name}.*no result of jssr"):
        check_places(some, tmp_path / "mine.csv", Results(out, SETTINGS, nested=True))
    (out / "log.jsonl").write_text("")  # of an earlier run: the tables are its own
    check_places(some, tmp_path / "mine.csv", Results(out, SETTINGS, nested=True))
    with pytest.raises(OutputError, match="would be replaced"):
        check_places(some, out / name, Results(out, SETTINGS, nested=True))


def test_results_do_not_lie_in_one_another(tmp_path):
    some = [patient(tmp_path, "sub-01"), patient(tmp_path, "sub-01_ses-1")]
    check_places(some, tmp_path / "t.csv", Results(tmp_path / "out", SETTINGS))
    with pytest.raises(CohortError, match="sub-01 would hold those of sub-01_ses-1"):
        check_places(some, tmp_path / "t.csv", Results(tmp_path / "out", SETTINGS, nested=True))


def test_only_sessions_of_bids_are_nested(tmp_path):
    nested = Results(tmp_path, SETTINGS, nested=True)
    assert nested.folder(Patient("sub-01_ses-2", "")) == tmp_path / "sub-01" / "ses-2"
    assert nested.folder(Patient("_ses-1", "")) == tmp_path / "sub-ses1"  # never a path from the root


def test_files_in_the_place_of_a_patient_are_replaced_only_when_told(tmp_path):
    some = [patient(tmp_path / "in", name) for name in ("p1", "p2", "p3")]
    results = Results(tmp_path / "out", SETTINGS)
    (results.out / "p1").mkdir(parents=True)
    (results.out / "p1" / "mine.txt").write_text("mine")
    (results.out / "p2").write_text("a file")
    (results.out / "p3").mkdir()
    with pytest.raises(WouldReplaceError, match=r"2 patients \(p1, p2\).*--replace"):
        planned(some, results, Handling())
    plan = planned(some, results, Handling(replace=True))
    assert [one.id for one in plan.todo] == ["p1", "p2", "p3"] and [one.id for one in plan.replaced] == ["p1", "p2"]
