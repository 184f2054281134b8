"""Patients of tables, folders, cohort.json and BIDS; what is wrong is told all at once, with lines."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from dicom_series import write_volume
from tiny_jssr import ball

from jssr.errors import CohortError
from jssr.io.images import write_image
from jssr.io.patients import CohortProblems, Patient, is_cohort, phases_of, read_patients


@pytest.fixture
def files(tmp_path):
    """Empty files that tables can name: nothing here reads them."""
    for name in ("a_ven.nii.gz", "a_art.nii.gz", "b_ven.nii.gz", "b_art.nii.gz", "b_lab.nii.gz", "t.tfm"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def table(folder, *lines, name="cohort.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_of_one_patient_are_put_together(files):
    source = table(
        files, "Patient,Phase,Image,labels,modality,centre", "a,venous,a_ven.nii.gz,,ct,Bonn",
        "b,venous,b_ven.nii.gz,b_lab.nii.gz,,Ulm", "a,arterial,a_art.nii.gz,,,Bonn", "b,arterial,b_art.nii.gz,,,Ulm",
    )  # fmt: skip
    first, second = read_patients(source, "align", "venous")
    assert (first.id, first.images) == (
        "a", {"venous": str(files / "a_ven.nii.gz"), "arterial": str(files / "a_art.nii.gz")},
    )  # fmt: skip
    assert first.modalities == {"venous": "ct"} and first.notes == {"centre": "Bonn"}
    assert second.labels == {"venous": str(files / "b_lab.nii.gz")} and second.origin == "cohort.csv, line 3"
    assert phases_of([first, second]) == {"venous": 2, "arterial": 2}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_pairs_have_an_id_or_their_line(files, mark):
    source = table(files, mark.join(["fixed", "moving", "fixed labels"]),
                   mark.join(["a_ven.nii.gz", "a_art.nii.gz", "b_lab.nii.gz"]))  # fmt: skip
    (one,) = read_patients(source, "register")
    assert one.id == "row00002" and list(one.images) == ["fixed", "moving"]
    assert one.labels == {"fixed": str(files / "b_lab.nii.gz")}


def test_files_to_be_warped(files):
    source = table(files, "id,input,transform,to", "x,a_ven.nii.gz,t.tfm,moving")
    (one,) = read_patients(source, "warp")
    assert one.options == {"transform": str(files / "t.tfm"), "to": "moving"}


def test_everything_wrong_is_told_at_once_with_its_line(files):
    source = table(
        files, "patient,phase,image", "a,venous,a_ven.nii.gz", "a,arterial,gone.nii.gz", "b,arterial,b_art.nii.gz",
        "b,delay,b_ven.nii.gz", "c,venous", "d,venous,a_ven.nii.gz", "d,venous,b_ven.nii.gz", "..,venous,a_ven.nii.gz",
        "..,arterial,a_art.nii.gz", "e,venous,b_ven.nii.gz", "e,arterial,b_art.nii.gz",
    )  # fmt: skip
    with pytest.raises(CohortProblems) as caught:
        read_patients(source, "align", "venous")
    told = "\n".join(caught.value.problems)
    for line, words in ((6, "3 values"), (3, "gone.nii.gz"), (4, "'venous'"), (7, "nothing to align"), (9, "'..'")):
        assert any(f"line {line}:" in one and words in one for one in caught.value.problems), (line, told)
    assert "'d'" in told and "line 8" in told  # twice the same phase of one id
    assert [one.id for one in caught.value.fine] == ["e"]


def test_names_that_collide_in_folders_are_told(files):
    source = table(files, "id,fixed,moving", "p/1,a_ven.nii.gz,a_art.nii.gz", "P_1,b_ven.nii.gz,b_art.nii.gz")
    with pytest.raises(CohortProblems, match="p_1.*line 2.*line 3"):
        read_patients(source, "register")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["patient,phase"], "'image' is missing"),
        (["fixed,moving,fixed_label"], "did you mean 'fixed_labels'"),
        (["fixed,moving,moving"], "twice"),
        ([], "empty"),
    ],
)
def test_columns_are_checked(files, lines, words):
    source = table(files, *lines)
    with pytest.raises(CohortError, match=words):
        read_patients(source, "align" if "patient" in "".join(lines) else "register")


def test_a_folder_of_patients_and_one_study(tmp_path):
    for patient in ("p1", "p2"):
        for phase in ("venous", "arterial"):
            write_image(ball(), tmp_path / "many" / patient / f"{phase}.nii.gz", np.int16)
    assert is_cohort(tmp_path / "many") and not is_cohort(tmp_path / "many" / "p1")
    found = read_patients(tmp_path / "many", "align", "venous")
    assert [one.id for one in found] == ["p1", "p2"] and list(found[0].images) == ["arterial", "venous"]


def test_folders_of_dicom_are_patients_or_series(tmp_path):
    """Two patients of two series each; the series of one patient; one series each of two patients: a mixed export."""
    pytest.importorskip("pydicom")
    for name, count in (("many", 2), ("mixed", 1)):
        for patient in ("A", "B"):
            for k in range(count):
                folder = tmp_path / name / patient / f"s{k}"
                write_volume(folder, ball(), PatientID=patient, SeriesInstanceUID=f"1.2.{ord(patient)}.{k + 1}")
    assert is_cohort(tmp_path / "many")
    assert not is_cohort(tmp_path / "many" / "A") and not is_cohort(tmp_path / "mixed")
    assert [one.folder for one in read_patients(tmp_path / "many", "align", "venous")] == [
        str(tmp_path / "many" / name) for name in "AB"
    ]


def test_folders_without_scans_are_told(tmp_path):
    write_image(ball(), tmp_path / "p1" / "venous.nii.gz", np.int16)
    (tmp_path / "p2").mkdir()
    with pytest.raises(CohortProblems) as caught:
        read_patients(tmp_path, "align", "venous")
    assert [one.split(":")[0] for one in caught.value.problems] == ["p1", "p2"]  # one scan; none


def test_bids_sessions_and_phases(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    names = ("sub-01/ses-1/ct/sub-01_ses-1_ce-venous_ct.nii.gz", "sub-01/ses-1/ct/sub-01_ses-1_ce-arterial_ct.nii.gz",
             "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz", "sub-02/anat/sub-02_desc-x_mask.nii.gz",
             "sub-03/anat/sub-03_run-1_T1w.nii.gz", "sub-03/anat/sub-03_run-2_T1w.nii.gz")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert is_cohort(tmp_path)
    found = {one.id: list(one.images) for one in read_patients(tmp_path, "segment")}
    assert found == {
        "sub-01_ses-1": ["arterial", "venous"], "sub-02": ["T1w", "T2w"], "sub-03": ["run-1_T1w", "run-2_T1w"],
    }  # fmt: skip


def test_the_digest_is_of_content_and_the_stamp_of_times(tmp_path):
    file = tmp_path / "a.nii"
    file.write_bytes(b"1" * 9)
    one = Patient("a", "here", {"venous": str(file)})
    before, stamp = one.digest(), one.stamp()
    os.utime(file, ns=(1, 1))
    assert one.digest() == before and one.stamp() != stamp
    file.write_bytes(b"2" * 9)
    assert one.digest() != before
    moved = tmp_path / "b" / "a.nii"
    moved.parent.mkdir()
    file.rename(moved)
    assert Patient("a", "there", {"venous": str(moved)}).digest() != before
    moved.write_bytes(b"1" * 9)
    assert Patient("a", "there", {"venous": str(moved)}).digest() == before


def test_tables_as_spreadsheets_write_them(files):
    """A mark of the byte order, a line for the mark between cells, columns without name, rows that end early."""
    source = files / "excel.csv"
    lines = ("\ufeffsep=;", "Patient;Phase;Image;Labels;;", "a;venous;a_ven.nii.gz;b_lab.nii.gz;;",
             "a;arterial;a_art.nii.gz", ";;;;;")  # fmt: skip
    source.write_bytes("\r\n".join(lines).encode())
    (one,) = read_patients(source, "align", "venous")
    assert one.origin == "excel.csv, line 3" and list(one.images) == ["venous", "arterial"]
    assert one.labels == {"venous": str(files / "b_lab.nii.gz")} and not one.notes


def test_lines_are_those_of_the_file_where_cells_hold_some(files):
    source = table(
        files, "patient,phase,image,note", 'a,venous,a_ven.nii.gz,"one\n\ntwo"', "a,arterial,gone.nii.gz,x\u2028y"
    )
    with pytest.raises(CohortProblems, match="1 problem.*line 5: expected a file"):
        read_patients(source, "align", "venous")
    (files / "gone.nii.gz").write_bytes(b"")
    (one,) = read_patients(source, "align", "venous")
    assert one.notes == {"note": "x\u2028y"}


def test_paths_from_home_and_paths_that_are_none(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    source = table(files, "id,fixed,moving", "x,~/a_ven.nii.gz,~/a_art.nii.gz")
    (one,) = read_patients(source, "register")
    assert one.images["fixed"] == str(files / "a_ven.nii.gz")
    source = table(files, "id,fixed,moving", f"x,{'a' * 5000},a_art.nii.gz")
    with pytest.raises(CohortProblems, match="line 2: expected a file"):
        read_patients(source, "register")


@pytest.mark.parametrize("name", ["x" * 300, "Failures", "dataset_description.json", '"a\nb"', ".hidden"])
def test_ids_that_name_no_folder_are_told(files, name):
    source = table(files, "id,fixed,moving", f"{name},a_ven.nii.gz,a_art.nii.gz")
    with pytest.raises(CohortProblems, match="1 problem.*line 2: expected an id"):
        read_patients(source, "register")


def test_a_patient_with_a_bad_row_is_left_out_whole(files):
    source = table(files, "patient,phase,image,modality", "a,venous,a_ven.nii.gz,", "a,arterial,a_art.nii.gz,",
                   "a,delay,b_art.nii.gz,xray", "b,venous,b_ven.nii.gz,", "b,arterial,b_art.nii.gz,")  # fmt: skip
    with pytest.raises(CohortProblems, match="1 problem.*line 4") as caught:
        read_patients(source, "align", "venous")
    assert [one.id for one in caught.value.fine] == ["b"]


def test_results_and_hidden_files_are_no_patients(tmp_path):
    """Earlier results, the folder for those to come, what macOS leaves; folders that are wrong are told together."""
    for patient in ("p1", "p2"):
        for phase in ("venous", "arterial", "._venous"):
            write_image(ball(), tmp_path / patient / f"{phase}.nii.gz", np.int16)
    (tmp_path / "p2" / "venous.nrrd").write_bytes(b"")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "log.jsonl").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "p3").mkdir()
    (tmp_path / "p3" / ".DS_Store").write_bytes(b"")
    with pytest.raises(CohortProblems) as caught:
        read_patients(tmp_path, "align", "venous", tmp_path / "out")
    assert [one.split(":")[0] for one in caught.value.problems] == ["p2", "p3"]  # two scans named venous; no scan
    assert [list(one.images) for one in caught.value.fine] == [["arterial", "venous"]]


def test_many_problems_are_told_soon(files):
    """20 000 rows, each with a file that is not there, and each id twice: no pair of them is compared."""
    rows = [f"p{k // 2},a_ven.nii.gz,gone{k}.nii.gz" for k in range(20_000)]
    begin = time.perf_counter()
    with pytest.raises(CohortProblems, match="30000 problems"):
        read_patients(table(files, "id,fixed,moving", *rows), "register")
    assert time.perf_counter() - begin < 30


def test_two_scans_of_one_name_in_bids_are_told(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CohortError, match=r"one scan called 'T1w'.*T1w\.nii"):
        read_patients(tmp_path, "segment")
