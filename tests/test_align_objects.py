"""`align --dicom` carries the structure sets, segmentations and doses of a study whose series it aligns."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_objects import dose, item, new, save, structure_set
from dicom_series import FRAME, write_volume
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.io.dicom.contours import read_structures
from jssr.io.dicom.referring import find_referring, refers_to
from jssr.io.dicom.results import write_segmentation
from jssr.io.dicom.series import find_series
from jssr.io.images import read_image

GRID = Grid.of((44, 40, 24), (5.0, 5.0, 6.0), (-107.0, -98.0, -69.0))
SHIFT = np.array([10.0, -5.0, 6.0])  # whole voxels: where the body lies in the moving scan
ANGLES = np.linspace(0, 2 * np.pi, 91)[:-1]


def body(centre):
    """A body with three organs, in HU."""
    at = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)) - centre
    out = np.where((at**2 / np.array([85.0, 65, 60]) ** 2).sum(axis=-1) < 1, 20.0, -1000.0)
    for place, size, value in (((30, 10, 5), 22, 180), ((-25, -12, -10), 17, -400), ((0, 25, 15), 12, 700)):
        out[np.linalg.norm(at - place, axis=-1) < size] = value
    return volume_of(out.astype(np.float32), GRID)


@pytest.fixture
def study(tmp_path):
    home = tmp_path / "study"
    write_volume(home / "venous", body(np.zeros(3)), SeriesInstanceUID="1.2.3.1", SeriesNumber=1)
    write_volume(home / "arterial", body(SHIFT), SeriesInstanceUID="1.2.3.2", SeriesNumber=2,
                 FrameOfReferenceUID="1.2.3.99", SeriesDescription="arterial", AcquisitionTime="101400")  # fmt: skip
    arterial = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((home / "arterial").iterdir())]
    venous = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((home / "venous").iterdir())]
    heights = [GRID.origin[2] + 6.0 * k for k in range(24)]
    organ = [
        ("CLOSED_PLANAR", np.c_[40 + 20 * np.cos(ANGLES), 5 + 20 * np.sin(ANGLES), np.full(90, z)])
        for z in heights if abs(z - 11) < 16
    ]  # fmt: skip
    structure_set(home / "rs.dcm", {"Organ": organ}, arterial, frame="1.2.3.99")
    structure_set(home / "own.dcm", {"Organ": organ}, venous)
    gray = 2 + np.random.default_rng(0).uniform(0, 1, (20, 20, 12))
    dose(home / "dose.dcm", gray, Grid.of((20, 20, 12), 10.0, (-95.0, -95.0, -55.0)), FrameOfReferenceUID="1.2.3.99")
    return home


def test_the_objects_of_an_aligned_series(study, tmp_path):
    broken = study / "broken.dcm"
    made = pydicom.dcmread(study / "rs.dcm")
    made.SOPInstanceUID = "1.2.3.77"
    made.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 3
    save(made, broken)
    words = ["align", str(study), "-o", str(tmp_path / "out"), "--system", "rigid", "--dicom", "--no-report", "--json"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert set(json.loads(said.stdout)["phases"]) == {"arterial"}
    assert not any("frame of reference" in w for row in json.loads(said.stdout)["carried"] for w in row["warnings"])
    told = {row["source"]: row for row in json.loads(said.stdout)["carried"]}
    assert set(told) == {"rs.dcm", "dose.dcm", "broken.dcm"}  # own.dcm lies on the reference phase already
    assert told["broken.dcm"]["written"] is None and "its header says 3" in told["broken.dcm"]["warnings"][0]
    assert "its header says 3" in said.stderr
    assert "passed over" not in said.stderr and "NIfTI" not in said.stderr  # they lie beside the scans as they should
    assert "UserWarning" not in said.stderr
    found = tmp_path / "out" / "arterial" / "jssr_dicom"
    assert {p.name for p in found.glob("carried_*")} == {"carried_structures_1.dcm", "carried_dose_1.dcm"} or {
        p.name for p in found.glob("carried_*")
    } == {"carried_structures_2.dcm", "carried_dose_1.dcm"}
    (path,) = found.glob("carried_structures_*.dcm")
    (organ,) = read_structures(path).structures
    middle = np.concatenate(organ.closed).mean(axis=0)
    assert np.linalg.norm(middle - ((40, 5, 9) - SHIFT)) < 1.5
    row = told["rs.dcm"]["structures"][0]
    assert row["ml_after"] == pytest.approx(row["ml_before"], rel=0.03)
    gray = read_image(found / "carried_dose_1.dcm")
    assert gray.array[5:-5, 5:-5, 4:-4].mean() == pytest.approx(2.5, rel=0.05)
    assert pydicom.dcmread(found / "carried_dose_1.dcm").FrameOfReferenceUID == FRAME
    # Without DICOM nothing of it stays beside other results.
    CliRunner().invoke(app, [w for w in words if w not in ("--dicom", "--json")])
    assert not list((tmp_path / "out").rglob("carried_*"))


SECRETS = ("Doe", "DOE", "ID-4711", "19610203", "A-99", "Town Hospital", "secret", "1.2.3.99", "1.2.3.55")


def with_plan(study):
    """The dose belongs to a plan of the structure set, and both have the patient's name in their texts."""
    drawn = pydicom.dcmread(study / "rs.dcm")
    drawn.StructureSetLabel, drawn.StructureSetName = "DOE JANE", "Doe plan"
    drawn.private_block(0x3287, "secret maker", create=True).add_new(1, "LO", "secret Doe")
    save(drawn, study / "rs.dcm")
    plan = new("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN", SOPInstanceUID="1.2.3.55")
    plan.ReferencedStructureSetSequence = [item(
        ReferencedSOPClassUID=drawn.SOPClassUID, ReferencedSOPInstanceUID=drawn.SOPInstanceUID)]  # fmt: skip
    save(plan, study / "plan.dcm")
    made = pydicom.dcmread(study / "dose.dcm")
    made.DoseComment = "dose of Doe"
    made.ReferencedRTPlanSequence = [item(
        ReferencedSOPClassUID=plan.SOPClassUID, ReferencedSOPInstanceUID=plan.SOPInstanceUID)]  # fmt: skip
    save(made, study / "dose.dcm")
    return drawn


def with_segments(study):
    arterial = [pydicom.dcmread(p) for p in sorted((study / "arterial").iterdir())]
    labels = volume_of((body(SHIFT).array > 100).astype(np.uint8), GRID, "labels")
    write_segmentation(labels, {1: "Liver"}, arterial, study / "seg.dcm", "jssr", 12)


def valid(path):
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
        assert "Error" not in said, said
    return pydicom.dcmread(path)


def test_carried_objects_are_anonymous_like_the_series_they_refer_to(study, tmp_path):
    drawn = with_plan(study)
    with_segments(study)
    words = ["align", str(study), "-o", str(tmp_path / "out"), "--system", "rigid", "--no-report", "--json"]
    said = CliRunner().invoke(app, [*words, "--dicom", "--anonymise"])
    assert said.exit_code == 0, said.output
    told = {row["kind"]: row for row in json.loads(said.stdout)["carried"]}
    assert {row["source"] for row in told.values()} == {"structures_1", "dose_1", "segmentation_1"}
    assert any("names of structures" in w for w in told["structures"]["warnings"])
    assert all("study/" not in w for row in told.values() for w in row["warnings"])
    (found,) = (tmp_path / "out").glob("*/jssr_dicom")
    fixed = [pydicom.dcmread(p) for p in sorted((found / "fixed").iterdir())]
    for path in found.rglob("*.dcm"):
        content = path.read_bytes()
        assert not [s for s in SECRETS if s.encode() in content], path
    structures = valid(found / "carried_structures_1.dcm")
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == fixed[0].FrameOfReferenceUID
    assert series.SeriesInstanceUID == fixed[0].SeriesInstanceUID
    instances = {h.SOPInstanceUID for h in fixed}
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == instances
    assert structures.StructureSetROISequence[0].ROIName == "Organ" and structures.PatientIdentityRemoved == "YES"
    assert structures.StructureSetLabel == "STRUCTURES"
    before = structures.PredecessorStructureSetSequence[0].ReferencedSOPInstanceUID
    assert before and before != drawn.SOPInstanceUID
    gray = valid(found / "carried_dose_1.dcm")
    assert gray.FrameOfReferenceUID == fixed[0].FrameOfReferenceUID and "DoseComment" not in gray
    assert gray.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID not in ("1.2.3.55", "")
    segments = valid(found / "carried_segmentation_1.dcm")
    assert segments.ReferencedSeriesSequence[0].SeriesInstanceUID == fixed[0].SeriesInstanceUID
    bent = valid(found / "deformation.dcm")
    moved = pydicom.dcmread(next((found / "moved").iterdir()))
    assert bent.FrameOfReferenceUID == moved.FrameOfReferenceUID == fixed[0].FrameOfReferenceUID
    every = (*fixed, structures, gray, segments, bent, moved)
    for name in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert len({str(one[name].value) for one in every}) == 1, name


def test_an_object_carried_to_an_anonymous_series(study, tmp_path):
    with_plan(study)
    write_volume(tmp_path / "fixed", body(np.zeros(3)), SeriesInstanceUID="1.9.1", PatientID="anon1", PatientName="",
                 PatientIdentityRemoved="YES", DeidentificationMethod="test")  # fmt: skip
    out = tmp_path / "out.dcm"
    found = jssr.warp(study / "rs.dcm", np.eye(4), reference=tmp_path / "fixed", out=out)
    assert any("names of structures" in w for w in found.warnings)
    made = pydicom.dcmread(out)
    assert made.PatientID == "anon1" and made.StructureSetLabel == "STRUCTURES"
    assert b"DOE" not in out.read_bytes() and b"Doe" not in out.read_bytes()


def test_acquisitions_of_one_series_are_told_apart_by_their_images(tmp_path):
    for number, name in enumerate(("a", "b"), start=1):
        write_volume(tmp_path / name, body(np.zeros(3)), SeriesInstanceUID="1.2.3.7", AcquisitionNumber=number)
    heads = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((tmp_path / "b").iterdir())]
    square = np.array([[0.0, 0, -3], [9, 0, -3], [9, 9, -3]])
    path = structure_set(tmp_path / "rs.dcm", {"Organ": [("CLOSED_PLANAR", square)]}, heads)
    first, second = find_series(tmp_path)
    assert (first.split_by, second.split_by) == ("AcquisitionNumber 1", "AcquisitionNumber 2")
    assert (refers_to(path, first), refers_to(path, second)) == (False, True)
    made = pydicom.dcmread(path)
    del made.ROIContourSequence[0].ContourSequence[0].ContourImageSequence
    assert not refers_to(save(made, path), first)  # by the images of the whole set
    del made.ReferencedFrameOfReferenceSequence
    assert refers_to(save(made, path), first)


def test_a_dose_belongs_to_the_series_of_its_plan(study):
    frames = {"1.2.3.1": FRAME, "1.2.3.2": FRAME}
    found = {one.path.name: one for one in find_referring(study, frames, "jssr_dicom")}
    assert found["rs.dcm"].series == {"1.2.3.2"} and found["own.dcm"].series == {"1.2.3.1"}
    assert found["dose.dcm"].series == set()
    drawn = pydicom.dcmread(study / "rs.dcm")
    plan = new("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN")
    plan.ReferencedStructureSetSequence = [item(
        ReferencedSOPClassUID=drawn.SOPClassUID, ReferencedSOPInstanceUID=drawn.SOPInstanceUID)]  # fmt: skip
    save(plan, study / "plan.dcm")
    made = pydicom.dcmread(study / "dose.dcm")
    made.ReferencedRTPlanSequence = [item(
        ReferencedSOPClassUID=plan.SOPClassUID, ReferencedSOPInstanceUID=plan.SOPInstanceUID)]  # fmt: skip
    save(made, study / "dose.dcm")
    (study / "jssr_dicom").mkdir()
    (study / "jssr_dicom" / "rs.dcm").write_bytes((study / "rs.dcm").read_bytes())
    found = {one.path.name: one for one in find_referring(study, frames, "jssr_dicom")}
    assert found["dose.dcm"].series == {"1.2.3.2"} and len(found) == 3
