"""`jssr series`, and `register` and `align` on a DICOM study with results as DICOM: whole runs with tiny weights."""

from __future__ import annotations

import json
import re
from shutil import copytree

import numpy as np
import pydicom
import pytest
from dicom_series import PATIENT, write_volume
from tiny_jssr import ball
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.core.resampling import resample
from jssr.io.dicom.series import find_series
from jssr.io.images import read_image
from jssr.io.transforms import read_transform


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A scout, an arterial and a venous scan in the folders that an export makes, under the patient's name."""
    root = tmp_path_factory.mktemp("Doe_Jane_4711")
    write_volume(root / "ST1" / "SE1", ball(), SeriesNumber=1,
                 SeriesDescription="topogram", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])  # fmt: skip
    write_volume(root / "ST1" / "SE2", ball((6, 1, 0)), SeriesNumber=2, SeriesDescription="arterial 3",
                 AcquisitionTime="101400")  # fmt: skip
    write_volume(root / "ST1" / "SE3", ball(), SeriesNumber=3, SeriesDescription="venous 3")
    return root


def test_series(study):
    rows = json.loads(run("series", study, "--json").stdout)
    assert [(r["series"], r["phase"]) for r in rows] == [("2", "arterial"), ("1", None), ("3", "venous")]
    shown = run("series", study, "--phase", "late=2", "--leave", "3").stdout
    assert "late" in shown and "left out" in shown and "10:14:00" in "".join(shown.split())
    assert "name a phase and one series" in run("series", study, "--phase", "late", code=2).stderr
    assert "no series are called '9'" in run("series", study, "--leave", "9", code=1).stderr


def test_series_of_a_folder_without_dicom(cohort):
    assert "holds no DICOM; its scans are arterial, venous" in run("series", cohort / "c0", code=1).stderr
    assert "no DICOM series to name" in run("series", cohort / "c0", "--leave", "3", code=1).stderr


def test_align_to_dicom(study, weights, tmp_path):
    out = tmp_path / "out"
    words = ["align", study, "-o", out, "--checkpoint", weights, "--dicom", "--no-report"]
    said = run(*words).stdout
    assert "arterial" in said and "left out" in said
    found = out / "arterial" / "jssr_dicom"
    assert {p.name for p in found.iterdir()} >= {"moved", "deformation.dcm"}
    fixed, moved = read_image(study / "ST1" / "SE3"), read_image(found / "moved")
    assert moved.grid.same_as(fixed.grid)
    told = read_image(out / "arterial" / "moved.nii.gz")
    assert np.abs(moved.array - told.array).max() <= 0.5
    # The deformation in DICOM moves the scan as the field in NIfTI does.
    x = read_image(study / "ST1" / "SE2")
    by_dicom = resample(x, fixed.grid, read_transform(found / "deformation.dcm"), fill=float(told.data.min()))
    inside = np.abs(by_dicom.array - told.array)[4:-4, 4:-4, 4:-4]
    assert inside.mean() < 2
    segs = list(found.glob("*_segmentation.dcm"))
    for path in segs:
        assert pydicom.dcmread(path).Modality == "SEG"
    assert segs
    # What stands there is the system's own judgement, and says so.
    assert "system's own segmentations" in " ".join(said.split())
    # Again, without: what was there before does not stay.
    run(*[w for w in words if w != "--dicom"])
    assert not list(found.rglob("*.dcm"))


def test_register_anonymously(study, weights, tmp_path):
    fixed, moving = (study / "ST1" / name for name in ("SE3", "SE2"))
    run("register", fixed, moving, "-o", tmp_path, "--checkpoint", weights, "--dicom", "--anonymise")
    assert [s.n_slices for s in find_series(tmp_path / "jssr_dicom" / "fixed")] == [24]
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (*PATIENT.values(), "Doe_Jane", "Town Hospital"):
            # One letter is found anywhere, and so are a few digits: UIDs are long.
            assert len(secret) < 3 or secret.encode() not in content, (path, secret)


def test_align_anonymously(study, weights, tmp_path):
    run("align", study, "-o", tmp_path, "--checkpoint", weights, "--anonymise")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["study"] == "study" and list(result["phases"]) == ["arterial"]
    for name in ("result.json", "report.html", "results.csv", "arterial/result.json"):
        text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (tmp_path / name).read_text())  # pictures hold any three letters
        assert "Doe" not in text


def test_dicom_results_need_dicom_scans(study, cohort, weights, tmp_path):
    venous, arterial = (cohort / "c0" / f"{p}.nii.gz" for p in ("venous", "arterial"))
    said = run("register", venous, arterial, "-o", tmp_path, "--checkpoint", weights, "--dicom", code=1).stderr
    assert "venous.nii.gz: expected a DICOM series" in said and not list(tmp_path.iterdir())
    said = run("align", cohort / "c0", "-o", tmp_path, "--checkpoint", weights, "--dicom", code=1).stderr
    assert "expected a DICOM series" in said and not list(tmp_path.iterdir())


def test_studies_that_cannot_be_aligned(study, tmp_path):
    write_volume(tmp_path / "two" / "a", ball(), SeriesDescription="venous")
    write_volume(tmp_path / "two" / "b", ball(), SeriesDescription="arterial", PatientID="ID-1", SeriesNumber=4)
    assert "scans of 2 patients" in run("align", tmp_path / "two", "-o", tmp_path / "o", code=1).stderr
    said = run("align", study, "-o", tmp_path / "o", "--leave", "2", code=1).stderr
    assert "has only one scan (venous)" in said
    said = run("align", study, "-o", tmp_path / "o", "--anchor", "delay", code=1).stderr
    assert 'has no phase "delay"' in said and "jssr series shows why" in said and "--reference-phase" in said
    assert not (tmp_path / "o").exists()


def test_files_that_are_there_twice_count_once(study, tmp_path):
    for name in ("a", "b"):
        for path in (study / "ST1" / "SE3").iterdir():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    assert [s.n_slices for s in find_series(tmp_path)] == [24]
    assert read_image(tmp_path).grid.same_as(ball().grid)


def test_study_from_python(study):
    found = jssr.read_study(study, {"late": "2"})
    assert list(found.images) == ["late", "venous"]
    assert [n.phase for n in found.series] == ["late", "", "venous"]


@pytest.mark.parametrize("phase", ["..", ".", "*", "a/b", "a\\b", "x" * 65, " "])
def test_names_of_phases_that_are_no_names(study, tmp_path, phase):
    said = run("align", study, "-o", tmp_path / "o", "--phase", f"{phase}=2", code=2).stderr
    assert "name a phase and one series" in said and not (tmp_path / "o").exists()


def test_scans_beside_the_results_are_left_alone(study, cohort, weights, tmp_path):
    for phase in ("fixed", "moving", "moved"):
        (tmp_path / f"{phase}.nii.gz").write_bytes((cohort / "c0" / "venous.nii.gz").read_bytes())
    copytree(study / "ST1" / "SE3", tmp_path / "dicom" / "fixed")
    copytree(study / "ST1" / "SE2", tmp_path / "dicom" / "moved")
    scans = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "moved.nii.gz"]
    before = {p: p.read_bytes() for p in scans}
    for _ in range(2):  # the second time over a result of the first
        run("register", tmp_path / "dicom" / "fixed", tmp_path / "dicom" / "moved", "-o", tmp_path, "--checkpoint",
            weights, "--no-rigid", "--no-report", "--dicom", "--anonymise")  # fmt: skip
    assert {p: p.read_bytes() for p in scans} == before


def test_anonymous_results_do_not_tell_the_folder(study, weights, tmp_path, monkeypatch):
    home = tmp_path / "Smith_John"
    copytree(study / "ST1" / "SE3", home / "fixed")
    copytree(study / "ST1" / "SE2", home / "Smith_arterial")
    monkeypatch.chdir(home)
    run(
        "register",
        "fixed",
        "Smith_arterial",
        "-o",
        tmp_path / "a",
        "--checkpoint",
        weights,
        "--no-rigid",
        "--anonymise",
    )
    run("align", ".", "-o", tmp_path / "b", "--checkpoint", weights, "--no-rigid", "--anonymise", "--dicom")
    assert (tmp_path / "b" / "arterial").is_dir()  # by its description, not by its folder
    for path in [*(tmp_path / "a").rglob("*"), *(tmp_path / "b").rglob("*")]:
        assert "Smith" not in path.name and (path.is_dir() or b"Smith" not in path.read_bytes()), path
    monkeypatch.chdir(tmp_path)
    run("report", tmp_path / "a")  # the scans are kept with it


def test_results_are_found_again_from_elsewhere(study, weights, tmp_path, monkeypatch):
    copytree(study, tmp_path / "here" / "study")
    (tmp_path / "here" / "out").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run("align", "study", "-o", "out", "--checkpoint", weights, "--no-rigid", "--no-report")
    monkeypatch.chdir("/")
    run("report", tmp_path / "here" / "out")
    assert (tmp_path / "here" / "out" / "report.html").is_file()


def test_results_in_the_study_are_no_scans_of_it(study, weights, tmp_path):
    copytree(study, tmp_path / "s")
    words = ["align", tmp_path / "s", "-o", tmp_path / "s" / "out", "--checkpoint", weights, "--no-rigid", "--dicom"]
    run(*words, "--anonymise", "--no-report")
    rows = json.loads(run("series", tmp_path / "s", "--json").stdout)
    assert [(r["series"], r["phase"]) for r in rows] == [("2", "arterial"), ("1", None), ("3", "venous")]


def test_dicom_scans_go_by_their_descriptions(study, weights, tmp_path):
    run("register", study / "ST1" / "SE3", study / "ST1" / "SE2", "-o", tmp_path, "--checkpoint", weights, "--no-rigid")
    page = (tmp_path / "report.html").read_text()
    assert "arterial 3 aligned to venous 3" in page and "not between known organs" in page


def test_two_frames_of_reference_without_the_rigid_step(tmp_path):
    """Whose places are not comparable, by their headers: the user is warned where nothing else brings them together."""
    write_volume(tmp_path / "a", ball())
    write_volume(tmp_path / "b", ball((2, 0, 0)), FrameOfReferenceUID="1.2.3.77")
    write_volume(tmp_path / "c", ball((2, 0, 0)))
    options = {"system": "rigid", "refine": 0, "rigid": False}
    found = jssr.register(tmp_path / "a", tmp_path / "b", **options)
    assert any("another frame of reference" in words for words in found.result["warnings"])
    for moving, rigid in (("c", False), ("b", True)):
        found = jssr.register(tmp_path / "a", tmp_path / moving, **options | {"rigid": rigid})
        assert not any("frame of reference" in words for words in found.result["warnings"])


def test_a_part_of_a_series_is_aligned_and_written(tmp_path):
    """Two acquisitions of one series, a reference of its own, and results as DICOM."""
    for number, at in ((1, (0, 0, 0)), (2, (3, 0, 0))):
        write_volume(
            tmp_path / "s" / str(number), ball(at), SeriesInstanceUID="1.2.3.9", AcquisitionNumber=number,
            AcquisitionTime=None, SeriesNumber=4, SeriesDescription="2 PHASE",
        )  # fmt: skip
    done = jssr.align(
        jssr.read_study(tmp_path / "s", {"venous": "4:1", "arterial": "4:2"}), out=tmp_path / "o", dicom=True,
        report=False, system="rigid", refine=0,
    )  # fmt: skip
    assert list(done.registrations) == ["arterial"]
    moved = read_image(tmp_path / "o" / "arterial" / "jssr_dicom" / "moved")
    assert moved.grid.same_as(ball().grid)
    (written,) = find_series(tmp_path / "o" / "arterial" / "jssr_dicom" / "moved")
    assert (written.acquisition, written.n_slices) == (2, 24)


def test_the_report_names_patient_time_and_series_unless_anonymous(study, tmp_path):
    for anonymise in (False, True):
        out = tmp_path / f"a{anonymise}"
        found = jssr.align(study, out=out, system="rigid", refine=0, anonymise=anonymise).registrations["arterial"]
        moving = found.result["moving"]
        told = {key: moving.get(key) for key in ("patient", "taken", "series")}
        page = " ".join((out / "report.html").read_text().split())
        if anonymise:
            assert set(told.values()) == {None} and PATIENT["PatientID"] not in page
        else:
            assert told == {"patient": PATIENT["PatientID"], "taken": "2020-01-02 10:14:00", "series": "2"}
            assert all(f"{word}</td>" in page for word in (PATIENT["PatientID"], "2020-01-02 10:14:00"))
            assert "series 2: arterial 3</td>" in page
