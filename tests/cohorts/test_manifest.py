"""Results on the disk: published whole, read with care, and never lost by a run that was killed."""

from __future__ import annotations

import json

import pytest

from jssr.cohorts.batch import Job, work
from jssr.cohorts.manifest import MANIFEST, OLD, Results, sweep
from tests.support.batch_jobs import act, patients_of

SETTINGS = {"task": "align", "version": "1", "options": {}}


@pytest.fixture
def done(tmp_path):
    """A patient that is done, and where."""
    (one,) = patients_of(tmp_path, 1)
    results = Results(tmp_path / "out", SETTINGS)
    assert work(Job(act, results, "run1"), one)["reason"] is None
    assert results.state(one) == "done"
    return one, results


def test_a_result_that_is_not_whole_is_made_whole(done):
    one, results = done
    (results.folder(one) / "first.txt").unlink()
    assert results.state(one) == "missing"
    assert work(Job(act, results, "run2"), one)["reason"] is None
    assert (results.folder(one) / "first.txt").read_text() == "scan 0, once"


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[1]", "null", '{"files": null}', '{"files": [], "rows": [], "settings": 3, "inputs": {}}',
     '{"files": [], "rows": [3], "settings": {}, "inputs": {}}', "\0" * 100, b"\xff\xfe"],
)  # fmt: skip
def test_a_damaged_manifest_is_none(done, damage):
    one, results = done
    (results.folder(one) / MANIFEST).write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    assert results.state(one) == "missing" and results.rows(one) == [] and not results.done_by("run1", one)
    assert work(Job(act, results, "run2"), one)["reason"] is None
    assert results.state(one) == "done"


@pytest.mark.parametrize("damage", ["", "[1]", '{"settings": 3}', '{"inputs": 3}'])
def test_a_damaged_record_of_a_failure_is_none(tmp_path, damage):
    (one,) = patients_of(tmp_path, 1)
    results = Results(tmp_path / "out", SETTINGS)
    results.fail(one, "is damaged", lasting=True)
    assert results.state(one) == "failed"
    record = json.loads(results.record(one).read_text())
    results.record(one).write_text(damage if damage in ("", "[1]") else json.dumps(record | json.loads(damage)))
    assert results.state(one) == "missing"


def test_a_run_that_was_killed_as_it_published_loses_no_earlier_result(done):
    """It had put the earlier result aside, and not yet its own into place."""
    one, results = done
    results.folder(one).rename(results.out / f"{OLD}abc-def-p0")
    (results.out / ".tmp-abc-def-p0").mkdir()
    sweep(results)
    assert results.state(one) == "done" and not list(results.out.glob(".tmp*"))


def test_what_a_killed_run_left_is_swept_links_too(done):
    one, results = done
    (results.out / ".tmp-link").symlink_to(results.folder(one))
    (results.out / ".tmp-file").write_text("x")
    (results.out / f"{OLD}abc-def-p0").mkdir()  # with its patient's result in place, and without a manifest
    sweep(results)
    assert not list(results.out.glob(".tmp*")) and results.state(one) == "done"


def test_what_a_killed_try_left_is_no_result(tmp_path):
    (one,) = patients_of(tmp_path, 1)
    results = Results(tmp_path / "out", SETTINGS)
    for left in (".tmp-run1-p0", ".tmp-run1-aaaaaa-p0"):
        (results.out / left).mkdir(parents=True)
        (results.out / left / "half.nii.gz").write_text("half")
    assert work(Job(act, results, "run1"), one)["reason"] is None
    assert sorted(p.name for p in results.folder(one).iterdir()) == ["deep", "first.txt", MANIFEST]
