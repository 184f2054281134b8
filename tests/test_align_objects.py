"""`align --dicom` carries the structure sets, segmentations and doses of a study whose series it aligns."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from dicom_objects import dose, item, new, save, structure_set
from dicom_series import FRAME, write_volume
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.io.dicom.contours import read_structures
from jssr.io.dicom.referring import find_referring
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
