"""`jssr align`, `register`, `segment` and `warp` on many patients, from the command line to the table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from tiny_jssr import ball
from typer.testing import CliRunner

from jssr.cli import app
from jssr.errors import CohortError
from jssr.io.bids import check_subjects
from jssr.io.images import read_image, write_image

pytest.importorskip("distributed")
FAST = ["--refine", "0", "--system", "rigid"]


def jssr(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def read(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def aligned(cohort, tmp_path_factory):
    """A cohort of two patients aligned, as BIDS derivatives."""
    out = tmp_path_factory.mktemp("many") / "out"
    found = jssr("align", cohort, "-o", out, *FAST, "--workers", 2, "--layout", "bids")
    assert found.exit_code == 0, found.output
    return out, found.output


def test_every_patient_has_its_row_and_its_report(aligned):
    out, said = aligned
    rows = read(out / "cohort.csv")
    assert sorted(row["patient"] for row in rows) == ["c0", "c1"] and {row["scan"] for row in rows} == {"arterial"}
    assert "2 patients done now, 0 before, 0 failed" in said
    for row in rows:
        assert (out / row["report"]).is_file() and (out / row["thumbnail"]).is_file()
        assert float(row["tre_before_mm"]) > float(row["tre_after_mm"])
        assert row["verdict"] in ("PASS", "CHECK", "FAIL")
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{row["report"]}"' in page for row in rows)


def test_bids_derivatives_have_their_names(aligned):
    out, _ = aligned
    names = {p.name for p in (out / "sub-c0" / "anat").iterdir()}
    assert "sub-c0_ce-arterial_space-venous_desc-moved_image.nii.gz" in names
    assert "sub-c0_from-arterial_to-venous_mode-image_desc-displacement_xfm.nii.gz" in names
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    with pytest.raises(CohortError, match="a_1: .* sub-a1, which a-1 is too"):
        check_subjects(["a-1", "b", "a_1"])


def test_the_same_again_keeps_all_and_other_options_are_told(aligned, cohort):
    out, _ = aligned
    again = jssr("align", cohort, "-o", out, *FAST, "--workers", 1, "--layout", "bids")
    assert again.exit_code == 0 and "0 patients done now, 2 before" in again.output
    other = jssr("align", cohort, "-o", out, "--system", "discrete", "--layout", "bids")
    assert other.exit_code == 1 and "differ in refine, system" in " ".join(other.output.split())
    plan = jssr("align", cohort, "-o", out, *FAST, "--layout", "bids", "--dry-run", "--force", "--json")
    assert json.loads(plan.stdout)["todo"] == ["c0", "c1"] and json.loads(plan.stdout)["measured"] is False


def test_pairs_of_a_table_and_files_to_be_warped(cohort, tmp_path):
    """A damaged scan fails alone; the transforms that the pairs give carry labels as `jssr warp` does."""
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    y, x = cohort / "c0" / "venous.nii.gz", cohort / "c0" / "arterial.nii.gz"
    (tmp_path / "pairs.csv").write_text(
        f"id,fixed,moving,fixed_landmarks,moving_landmarks,age\n"
        f"good,{y},{x},{y.parent}/venous_landmarks.csv,{y.parent}/arterial_landmarks.csv,61\nbad,{y},bad.nii.gz,,,7\n"
    )
    found = jssr("register", tmp_path / "pairs.csv", "-o", tmp_path / "out", *FAST, "--no-report")
    assert found.exit_code == 1 and "1 of 2 patients failed: bad" in found.output
    first, second = read(tmp_path / "out" / "cohort.csv")
    assert (first["patient"], first["verdict"]) == ("bad", "failed") and second["age"] == "61"
    labels, field = y.parent / "arterial_labels.nii.gz", tmp_path / "out" / "good" / "displacement.nii.gz"
    (tmp_path / "files.csv").write_text(f"id,input,transform\nlabels,{labels},{field}\n")
    done = jssr("warp", tmp_path / "files.csv", "-o", tmp_path / "warped")
    assert done.exit_code == 0, done.output
    alone = jssr("warp", labels, "--transform", field, "-o", tmp_path / "alone.nii.gz")
    assert alone.exit_code == 0
    many = read_image(tmp_path / "warped" / "labels" / labels.name, "labels")
    assert np.array_equal(many.array, read_image(tmp_path / "alone.nii.gz", "labels").array)


def test_options_of_a_cohort_are_refused_for_one_patient(cohort, tmp_path):
    one = jssr("align", cohort / "c0", "-o", tmp_path, "--workers", 2)
    assert one.exit_code == 1 and "--workers" in one.output and "one patient" in one.output
    many = jssr("align", cohort, "-o", tmp_path, "--modality", "venous=ct")
    assert many.exit_code == 1 and "column of the table" in many.output
    pair = jssr("register", cohort / "c0" / "venous.nii.gz", "-o", tmp_path)
    assert pair.exit_code == 2 and "moved" in pair.output


def test_problems_are_told_before_the_work_and_can_be_left_out(cohort, tmp_path):
    write_image(ball(), tmp_path / "in" / "p1" / "venous.nii.gz", np.int16)
    write_image(ball(), tmp_path / "in" / "p2" / "arterial.nii.gz", np.int16)
    found = jssr("align", tmp_path / "in", "-o", tmp_path / "out", *FAST)
    said = " ".join(found.output.split())
    assert found.exit_code == 1 and "2 problems" in said and "p1:" in said and "p2:" in said
    assert not (tmp_path / "out").exists()


def test_who_is_left_out_is_named_and_what_would_be_replaced_is_told(aligned, cohort, tmp_path):
    out, _ = aligned
    trial = jssr("align", cohort, "-o", out, "--system", "discrete", "--layout", "bids", "--dry-run")
    assert trial.exit_code == 0 and "2 patients to be done" in trial.output and "without --replace" in trial.output
    y, x = cohort / "c0" / "venous.nii.gz", cohort / "c0" / "arterial.nii.gz"
    (tmp_path / "c.csv").write_text(
        f"patient,phase,image\ngood,venous,{y}\ngood,arterial,{x}\nhalf,arterial,{x}\nshort\n", encoding="utf-8"
    )
    words = ("align", tmp_path / "c.csv", "-o", tmp_path / "out", *FAST, "--keep-going")
    assert json.loads(jssr(*words, "--dry-run", "--json").stdout)["todo"] == ["good"]
    done = jssr(*words)
    assert done.exit_code == 1 and "1 patient done now, 0 before, 2 failed" in done.output
    failed = {row["patient"]: row["reasons"] for row in read(tmp_path / "out" / "cohort.csv")}
    assert "'venous'" in failed["half"] and "expected 3 values" in failed["short"]


def test_the_cohort_is_never_replaced_by_its_results(tmp_path):
    """Whatever asks for it: the folder itself, and a patient's scans where its results would lie."""
    for patient in ("p1", "p2"):
        for phase in ("venous", "arterial"):
            write_image(ball(), tmp_path / "in" / patient / f"{phase}.nii.gz", np.int16)
    rows = "".join(f"p1,{phase},in/p1/{phase}.nii.gz\n" for phase in ("venous", "arterial"))
    (tmp_path / "t.csv").write_text(f"patient,phase,image\n{rows}")
    before = sorted(tmp_path.rglob("*"))
    for source in (tmp_path / "in", tmp_path / "t.csv"):
        for more in ([], ["--force"], ["--replace"], ["--dry-run"]):
            found = jssr("align", source, "-o", tmp_path / "in", *FAST, *more)
            assert found.exit_code == 1 and "choose another folder" in " ".join(found.output.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_keep_going_holds_for_the_estimate_too(tmp_path):
    for patient, phases in (("p1", ("venous", "arterial")), ("p2", ("venous",))):
        for phase in phases:
            write_image(ball(), tmp_path / "in" / patient / f"{phase}.nii.gz", np.int16)
    found = jssr("align", tmp_path / "in", "-o", tmp_path / "out", *FAST, "--dry-run", "--keep-going", "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["todo"] == ["p1"]


def test_two_phases_of_one_name_among_derivatives_are_told(tmp_path):
    from jssr.api.batch import _as_derivatives
    from jssr.errors import CohortError
    from jssr.io.patients import Patient

    for phase in ("late-arterial", "latearterial"):
        (tmp_path / phase).mkdir()
        (tmp_path / phase / "moved.nii.gz").write_text(phase)
    rows = [{"scan": phase, "thumbnail": ""} for phase in ("late-arterial", "latearterial")]
    with pytest.raises(CohortError, match="ce-latearterial.*rename one"):
        _as_derivatives(Patient("p1", ""), "venous", tmp_path, rows)


def test_phases_that_differ_between_patients_are_told(tmp_path):
    for patient, phases in (("p1", ("venous", "arterial", "delay")), ("p2", ("venous", "arterial"))):
        for phase in phases:
            write_image(ball(), tmp_path / "in" / patient / f"{phase}.nii.gz", np.int16)
    found = jssr("align", tmp_path / "in", "-o", tmp_path / "out", *FAST, "--dry-run")
    assert found.exit_code == 0 and "phases differ: of 2, delay in 1." in " ".join(found.output.split())
