"""Structure sets, doses and segmentations carried by `warp` along a known transform, against formulas, and read back by
other libraries."""

from __future__ import annotations

import json
import shutil
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_objects import dose, numbers, spatial, structure_set
from dicom_series import FRAME, write_volume
from scipy.spatial.transform import Rotation
from skimage.draw import polygon2mask
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.cli.tables import carried_table
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import volume_of
from jssr.errors import GeometryError, ImageError, JssrError, OutputError
from jssr.io.dicom.contours import read_structures
from jssr.io.dicom.results import write_segmentation
from jssr.io.images import read_image
from jssr.io.label_names import read_label_names

MOVING = Grid.of((84, 80, 34), (1.0, 1.0, 3.0), (-42.0, -41.0, -51.0))
FIXED = Grid.of(
    (72, 76, 44), (1.2, 1.1, 2.5), (-40.0, -45.0, -56.0), Rotation.from_euler("z", 7, degrees=True).as_matrix()
)
COARSE = Grid.of((40, 38, 40), 2.5, (-48.0, -47.0, -48.0))
"""Of the dose."""
TURN = Rotation.from_euler("xyz", (3, -4, 6), degrees=True).as_matrix() * 1.04
SHIFT = np.array([2.0, -3.0, 1.5])
CENTRE, RADIUS = np.array([1.5, -0.5, 2.0]), 21.0
ANGLES = np.linspace(0, 2 * np.pi, 181)[:-1]
HEIGHTS = MOVING.origin[2] + 3.0 * np.arange(34)


def known(p):
    """From the fixed to the moving space: turned, 4 % larger, and sheared by a wave, which keeps volumes."""
    q = p @ TURN.T + SHIFT
    return q + np.stack([1.5 * np.sin(q[..., 1] / 18), np.zeros(q.shape[:-1]), np.zeros(q.shape[:-1])], axis=-1)


SMALLER = 1 / 1.04**3  # of a volume, seen in the fixed space


def sphere(radius, centre=CENTRE):
    around = [(z, radius**2 - (z - centre[2]) ** 2) for z in HEIGHTS]
    return [
        ("CLOSED_PLANAR", np.c_[centre[0] + np.sqrt(r) * np.cos(ANGLES), centre[1] + np.sqrt(r) * np.sin(ANGLES),
                                np.full(180, z)])
        for z, r in around if r > 0
    ]  # fmt: skip


def gray(points):
    return 60 * np.exp(-((points - CENTRE) ** 2).sum(axis=-1) / (2 * 25.0**2))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two scans, the transform between them, and the objects of the moving one."""
    home = tmp_path_factory.mktemp("study")
    random = np.random.default_rng(0)
    for name, grid, more in (("moving", MOVING, {"FrameOfReferenceUID": "1.2.3.99"}), ("fixed", FIXED, {})):
        scan = volume_of(random.integers(-100, 100, grid.shape).astype(np.float32), grid)
        write_volume(home / name, scan, SeriesInstanceUID=f"1.2.3.{len(name)}", **more)
    places = FIXED.world(np.moveaxis(np.indices(FIXED.shape), 0, -1))
    field = Displacement.from_millimetres(known(places) - places, FIXED)
    headers = [pydicom.dcmread(p) for p in sorted((home / "moving").iterdir())]
    structure_set(
        home / "rs.dcm",
        {
            "PTV": sphere(RADIUS), "Cord": sphere(6.0, np.array([18.0, 10.0, 2.0])), "Nothing": [],
            "Iso": [("POINT", CENTRE[None])], "Away": sphere(5.0, np.array([400.0, 0.0, 0.0])),
        },
        headers, frame="1.2.3.99",
    )  # fmt: skip
    dose(home / "dose.dcm", gray(COARSE.world(np.moveaxis(np.indices(COARSE.shape), 0, -1))), COARSE, 1e-5,
         FrameOfReferenceUID="1.2.3.99")  # fmt: skip
    return home, field


def valid(path):
    """dciodvfy finds no error, where it is installed."""
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
        assert "Error" not in said, said
    return pydicom.dcmread(path)


@pytest.fixture(scope="module")
def carried(study):
    home, field = study
    out = home / "out" / "rs.dcm"
    found = jssr.warp(home / "rs.dcm", field, reference=home / "fixed", out=out, dose=home / "dose.dcm")
    return found, out


def test_contours_lie_where_the_transform_takes_them(carried):
    """95 of 100 points within half a voxel of the true border."""
    found = {s.name: s for s in read_structures(carried[1]).structures}
    points = np.concatenate(found["PTV"].closed)
    off = np.abs(np.linalg.norm(known(points) - CENTRE, axis=1) - RADIUS) / 1.04
    assert len(points) > 1500 and np.percentile(off, 95) < FIXED.spacing.min() / 2
    heights = FIXED.index(points)[:, 2]
    assert np.abs(heights - np.rint(heights)).max() < 1e-3
    (isocentre,) = found["Iso"].points
    assert np.linalg.norm(known(isocentre[1]) - CENTRE) < 0.02


def test_volumes_and_doses_are_told(carried):
    rows = {row["name"]: row for row in carried[0].structures}
    true = 4 / 3 * np.pi * RADIUS**3 / 1000
    assert rows["PTV"]["ml_before"] == pytest.approx(true, rel=0.01)
    assert rows["PTV"]["ml_after"] == pytest.approx(true * SMALLER, rel=0.02)
    assert rows["Cord"]["ml_after"] == pytest.approx(4 / 3 * np.pi * 0.216 * SMALLER, rel=0.02)
    # The mean of the Gaussian over the ball, by the shells' own sum.
    r = np.linspace(0, RADIUS, 4001)
    mean = float((60 * np.exp(-(r**2) / 1250) * r**2).sum() / (r**2).sum())
    assert rows["PTV"]["mean_before_gy"] == pytest.approx(mean, rel=0.01)
    assert rows["PTV"]["mean_after_gy"] == pytest.approx(mean, rel=0.01)
    said = " ".join(carried[0].warnings)
    assert "Nothing: has no contours" in said and "Away: lies outside" in said


def test_the_structure_set_is_valid_and_belongs_to_the_fixed_series(carried, study):
    made = valid(carried[1])
    fixed = [pydicom.dcmread(p) for p in sorted((study[0] / "fixed").iterdir())]
    (frame,) = made.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == FRAME
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == fixed[0].SeriesInstanceUID
    slices = {s.SOPInstanceUID: s for s in fixed}
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == set(slices)
    for contour in made.ROIContourSequence[0].ContourSequence[::5]:
        at = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        first = np.array(contour.ContourData[:3], float)
        assert abs((first - np.array(at.ImagePositionPatient, float)) @ FIXED.direction[:, 2]) < 1e-2
    assert [r.ROIName for r in made.StructureSetROISequence] == ["PTV", "Cord", "Nothing", "Iso", "Away"]
    assert list(made.ROIContourSequence[0].ROIDisplayColor) == [255, 10, 0]
    assert made.RTROIObservationsSequence[0].RTROIInterpretedType == "ORGAN"
    assert (
        made.PredecessorStructureSetSequence[0].ReferencedSOPInstanceUID
        == pydicom.dcmread(study[0] / "rs.dcm").SOPInstanceUID
    )


def test_scikit_image_fills_the_contours_to_the_same_volume(carried):
    made = pydicom.dcmread(carried[1])
    mask = np.zeros(FIXED.shape, bool)
    for contour in made.ROIContourSequence[0].ContourSequence:
        at = FIXED.index(np.array(contour.ContourData, float).reshape(-1, 3))
        mask[..., round(at[0, 2])] ^= polygon2mask(FIXED.shape[:2], at[:, :2])
    assert mask.sum() * np.prod(FIXED.spacing) == pytest.approx(4 / 3 * np.pi * RADIUS**3 * SMALLER, rel=0.02)


@pytest.mark.skipif(not shutil.which("plastimatch"), reason="plastimatch is not installed")
def test_plastimatch_reads_the_same_volume(carried, study, tmp_path):
    command = ["plastimatch", "convert", "--input", str(carried[1]), "--referenced-ct", str(study[0] / "fixed")]
    subprocess.run(
        [*command, "--output-prefix", str(tmp_path), "--prefix-format", "nrrd"], check=True, capture_output=True
    )
    image = sitk.ReadImage(str(tmp_path / "PTV.nrrd"))
    millilitres = (sitk.GetArrayFromImage(image) > 0).sum() * np.prod(image.GetSpacing()) / 1000
    assert millilitres == pytest.approx(4 / 3 * np.pi * RADIUS**3 * SMALLER / 1000, rel=0.02)


def test_structures_as_a_label_map(study, tmp_path):
    home, field = study
    found = jssr.warp(home / "rs.dcm", field, out=tmp_path / "labels.nii.gz")
    labels = read_image(tmp_path / "labels.nii.gz", "labels")
    places = known(FIXED.world(np.moveaxis(np.indices(FIXED.shape), 0, -1)))
    inside = np.linalg.norm(places - CENTRE, axis=-1) < RADIUS
    cord = np.linalg.norm(places - (18.0, 10.0, 2.0), axis=-1) < 6
    ours = labels.array == 1
    assert 2 * (ours & inside).sum() / (ours.sum() + (inside & ~cord).sum()) > 0.985
    assert set(np.unique(labels.array)) == {0, 1, 2}
    assert any("overlap" in said for said in found.warnings)


def test_to_the_moving_space_and_by_points(study, tmp_path):
    home, field = study
    there = jssr.warp(home / "rs.dcm", field, reference=home / "fixed", out=tmp_path / "a.dcm", contours="points")
    points = {s.name: s for s in read_structures(tmp_path / "a.dcm").structures}["PTV"]
    xyz = np.concatenate([p for _, p in points.points])
    assert np.abs(np.linalg.norm(known(xyz) - CENTRE, axis=1) - RADIUS).max() < 0.05
    valid(tmp_path / "a.dcm")
    assert there.structures[0]["ml_after"] == pytest.approx(4 / 3 * np.pi * RADIUS**3 * SMALLER / 1000, rel=0.02)
    # Back again, by the shape.
    first = tmp_path / "b.dcm"
    jssr.warp(home / "rs.dcm", field, reference=home / "fixed", out=first)
    jssr.warp(first, field, to="moving", reference=home / "moving", out=tmp_path / "c.dcm")
    back = np.concatenate({s.name: s for s in read_structures(tmp_path / "c.dcm").structures}["PTV"].closed)
    assert np.percentile(np.abs(np.linalg.norm(back - CENTRE, axis=1) - RADIUS), 95) < 0.6


@pytest.fixture(scope="module")
def carried_dose(study):
    home, field = study
    out = home / "out" / "dose.dcm"
    return jssr.warp(home / "dose.dcm", field, reference=home / "fixed", out=out), out


def test_dose_is_that_of_the_formula_within_one_per_cent(carried_dose, study):
    found, out = carried_dose
    for back in (found.volume, read_image(out)):
        places = back.grid.world(np.moveaxis(np.indices(back.grid.shape), 0, -1))
        inside = np.linalg.norm(known(places) - CENTRE, axis=-1) < 35
        assert np.abs(back.array - gray(known(places)))[inside].max() < 0.01 * 60
        assert np.allclose(back.grid.spacing, 2.5, atol=0.06)
    assert found.dose["most_after_gy"] == pytest.approx(60, rel=0.01)
    known_there = gray(known(places)) * COARSE.contains(known(places))
    true = float(known_there.sum() * np.prod(back.grid.spacing)) / 1000
    assert found.dose["integral_after_gy_ml"] == pytest.approx(true, rel=0.02)


def test_the_dose_is_valid_and_others_read_it(carried_dose):
    made = valid(carried_dose[1])
    assert (made.FrameOfReferenceUID, made.DoseUnits, made.SpatialTransformOfDose) == (FRAME, "GY", "NON_RIGID")
    values = made.pixel_array * float(made.DoseGridScaling)
    assert np.allclose(values.T, carried_dose[0].volume.array, atol=1e-4)
    image = sitk.ReadImage(str(carried_dose[1]))
    grid = carried_dose[0].volume.grid
    assert np.allclose(image.TransformIndexToPhysicalPoint((3, 4, 0)), grid.world((3, 4, 0)), atol=1e-2)
    assert np.allclose([float(o) for o in made.GridFrameOffsetVector], grid.spacing[2] * np.arange(grid.shape[2]))


def test_dose_as_an_image_lies_on_the_reference(study, tmp_path):
    home, field = study
    jssr.warp(home / "dose.dcm", field, reference=home / "fixed", out=tmp_path / "d.nii.gz")
    assert read_image(tmp_path / "d.nii.gz").grid.same_as(FIXED)


def test_a_segmentation_is_carried_with_its_numbers(study, tmp_path):
    home, _ = study
    labels = np.zeros(MOVING.shape, np.uint8)
    labels[20:40, 20:50, 8:20], labels[50:60, 20:50, 8:20] = 1, 2
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((home / "moving").iterdir())]
    write_segmentation(
        volume_of(labels, MOVING, "labels"), {1: "liver", 2: "spleen"}, headers, tmp_path / "seg.dcm", "jssr", 7
    )
    shift = np.eye(4)
    shift[:3, 3] = (0.0, 0.0, 6.0)  # a fixed point lies 6 mm higher in the moving scan
    found = jssr.warp(tmp_path / "seg.dcm", Affine(shift), reference=home / "moving", out=tmp_path / "out.dcm")
    expected = np.zeros_like(labels)
    expected[..., :-2] = labels[..., 2:]
    assert np.array_equal(found.volume.array, expected)
    assert [(r["name"], r["ml_before"], r["ml_after"]) for r in found.structures] == [
        ("liver", 21.6, 21.6), ("spleen", 10.8, 10.8)
    ]  # fmt: skip
    seg = hd.seg.segread(tmp_path / "out.dcm")
    assert [d.segment_label for d in map(seg.get_segment_description, (1, 2))] == ["liver", "spleen"]
    assert seg.get_volume(combine_segments=True).array.sum() == expected.sum()


def test_what_cannot_be_carried(study, tmp_path):
    home, field = study
    out, fixed = tmp_path / "out.dcm", home / "fixed"
    far = np.eye(4)
    far[0, 3] = 900.0
    cases = [
        (GeometryError, "does not overlap", (home / "dose.dcm", Affine(far)), {}),
        (GeometryError, "none of its 5 structures", (home / "rs.dcm", Affine(far)), {}),
        (OutputError, "belongs to a series", (home / "rs.dcm", field), {"reference": FIXED}),
        (ImageError, "expected an RT Dose", (home / "rs.dcm", field), {"dose": home / "rs.dcm"}),
        (JssrError, "contours: expected", (home / "rs.dcm", field), {"contours": "lines"}),
        (ImageError, "holds labels, expected image", (home / "rs.dcm", field), {"kind": "image"}),
    ]
    for error, words, given, more in cases:
        with pytest.raises(error, match=words) as caught:
            jssr.warp(*given, **{"reference": fixed, "out": out, **more})
        assert "\n" not in str(caught.value) and not out.exists()


@pytest.mark.parametrize("name", ["rs.dcm", "dose.dcm"])
def test_damaged_objects_and_another_patient(study, tmp_path, name):
    home, field = study
    given, out = tmp_path / name, tmp_path / "out.dcm"
    made = pydicom.dcmread(home / name)
    made.PatientID = "somebody else"
    made.save_as(given)
    with pytest.raises(ImageError, match="another patient"):
        jssr.warp(given, field, reference=home / "fixed", out=out)
    given.write_bytes((home / name).read_bytes()[:-3000])
    with pytest.raises(JssrError, match=name):
        jssr.warp(given, field, reference=home / "fixed", out=out)
    assert not out.exists()


def test_damaged_contours(study, tmp_path):
    home, field = study
    for change, words in (
        ({"ContourData": numbers([1, 2, 3, 4])}, "4 numbers"), ({"NumberOfContourPoints": 7}, "its header says 7"),
    ):  # fmt: skip
        made = pydicom.dcmread(home / "rs.dcm")
        for name, value in change.items():
            setattr(made.ROIContourSequence[0].ContourSequence[2], name, value)
        made.save_as(tmp_path / "rs.dcm")
        with pytest.raises(ImageError, match=words) as caught:
            jssr.warp(tmp_path / "rs.dcm", field, reference=home / "fixed")
        assert "'PTV'" in str(caught.value)


def test_the_command_tells_it(study, tmp_path):
    home, _ = study
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "same.tfm"))
    command = ["warp", str(home / "rs.dcm"), "--transform", str(tmp_path / "same.tfm"), "--reference",
               str(home / "moving"), "-o", str(tmp_path / "out.dcm"), "--dose", str(home / "dose.dcm")]  # fmt: skip
    said = CliRunner().invoke(app, [*command, "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    row = told["structures"][0]
    assert (told["kind"], row["name"]) == ("structures", "PTV")
    assert row["ml_after"] == pytest.approx(row["ml_before"], rel=0.01)
    plain = CliRunner().invoke(app, command)
    assert "PTV" in plain.stdout and "mean dose" in plain.stdout and "Away: lies outside" in plain.output


def changed(path, to, **tags):
    """A copy of an object with these attributes."""
    made = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(to)
    return to


def flat(shape):
    """8 Gy, but in a corner: a dose of one value is refused."""
    out = np.full(shape, 8.0)
    out[-1, -1, -1] = 9
    return out


def test_a_dose_that_reaches_a_part_of_a_structure(study, tmp_path):
    """The dose begins at the centre of a ball of 21 mm: half of it, and all of what it says is of that half."""
    home, _ = study
    half = Grid.of((30, 38, 40), 2.5, (CENTRE[0] + 1.25, -47.0, -48.0))
    same = Affine(np.eye(4))
    dose(tmp_path / "half.dcm", flat(half.shape), half, FrameOfReferenceUID="1.2.3.99")
    found = jssr.warp(home / "rs.dcm", same, reference=home / "moving", dose=tmp_path / "half.dcm")
    rows = {row["name"]: row for row in found.structures}
    assert rows["PTV"]["mean_before_gy"] == pytest.approx(8, rel=1e-3) == rows["PTV"]["mean_after_gy"]
    assert any("PTV: the dose grid covers 50 %" in said for said in found.warnings)
    far = Grid.of((9, 9, 9), 2.5, (700.0, 0.0, 0.0))
    dose(tmp_path / "far.dcm", flat(far.shape), far, FrameOfReferenceUID="1.2.3.98")
    found = jssr.warp(home / "rs.dcm", same, reference=home / "moving", dose=tmp_path / "far.dcm")
    assert found.structures[0]["mean_before_gy"] is None
    said = " ".join(found.warnings)
    assert "PTV: the dose grid covers 0 % of it; there is no mean dose" in said and "another frame of reference" in said
    changed(home / "dose.dcm", tmp_path / "other.dcm", PatientID="OTHER")
    with pytest.raises(ImageError, match=r"other\.dcm: is of another patient"):
        jssr.warp(home / "rs.dcm", same, reference=home / "moving", dose=tmp_path / "other.dcm")


def test_a_relative_dose_is_no_gray(study, tmp_path):
    home, _ = study
    relative = changed(home / "dose.dcm", tmp_path / "relative.dcm", DoseUnits="RELATIVE")
    same = Affine(np.eye(4))
    found = jssr.warp(home / "rs.dcm", same, reference=home / "moving", dose=relative)
    alone = jssr.warp(relative, same, reference=home / "moving")
    assert found.structures[0]["mean_before_relative"] > 20 and alone.dose["most_before_relative"] > 50
    assert any("relative" in said for said in found.warnings) and any("relative" in said for said in alone.warnings)
    keys = " ".join([*found.structures[0], *alone.dose])
    assert "gy" not in keys
    (table,), (line,) = carried_table(found.structures, None), carried_table((), alone.dose)
    assert "Gy" not in line and "relative" in line
    assert [column.header for column in table.columns][-1] == "mean dose (relative)"


def test_the_names_are_written_beside_a_label_map(study, tmp_path):
    home, field = study
    jssr.warp(home / "rs.dcm", field, out=tmp_path / "labels.nii.gz")
    assert read_label_names(tmp_path / "labels.json") == {1: "PTV", 2: "Cord"}
    jssr.warp(home / "rs.dcm", field, out=tmp_path / "own.nii.gz", label_names={2: "spinal cord"})
    assert read_label_names(tmp_path / "own.json") == {1: "PTV", 2: "spinal cord"}
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((home / "moving").iterdir())]
    labels = np.zeros(MOVING.shape, np.uint8)
    labels[20:40, 20:50, 8:20] = 1
    write_segmentation(volume_of(labels, MOVING, "labels"), {1: "spleen"}, headers, tmp_path / "seg.dcm", "jssr", 7)
    jssr.warp(tmp_path / "seg.dcm", Affine(np.eye(4)), reference=home / "moving", out=tmp_path / "seg.nii.gz")
    assert read_label_names(tmp_path / "seg.json") == {1: "spleen"}


def test_the_frame_of_reference_of_the_transform(study, tmp_path):
    home, _ = study
    known = spatial(tmp_path / "reg.dcm", [(FRAME, [np.eye(4)]), ("1.2.3.99", [np.eye(4)])])
    fits = jssr.warp(home / "rs.dcm", known, reference=home / "fixed")
    assert not any("frame of reference" in said for said in fits.warnings)
    other = spatial(tmp_path / "other.dcm", [(FRAME, [np.eye(4)]), ("1.2.3.55", [np.eye(4)])])
    for source in ("rs.dcm", "dose.dcm"):
        found = jssr.warp(home / source, other, reference=home / "fixed")
        assert any("1.2.3.99" in said and "1.2.3.55" in said for said in found.warnings)
    made = pydicom.dcmread(home / "rs.dcm")
    del made.ReferencedFrameOfReferenceSequence, made.FrameOfReferenceUID
    for roi in made.StructureSetROISequence:
        del roi.ReferencedFrameOfReferenceUID
    made.save_as(tmp_path / "none.dcm")
    found = jssr.warp(tmp_path / "none.dcm", known, reference=home / "fixed")
    assert any("names no frame of reference" in said for said in found.warnings)


def test_the_frame_of_the_object_chooses_among_several(study, tmp_path):
    """A file that registers three frames: the structures lie in one, the reference in another."""
    home, _ = study
    matrix, other = np.eye(4), np.eye(4)
    matrix[:3, 3], other[:3, 3] = (4.0, -2.0, 2.5), (90.0, 0.0, 0.0)
    path = spatial(tmp_path / "reg.dcm", [(FRAME, []), ("1.2.3.99", [matrix]), ("1.2.3.98", [other])])
    out = tmp_path / "out.dcm"
    found = jssr.warp(home / "rs.dcm", path, reference=home / "fixed", out=out)
    assert not any("frame of reference" in said for said in found.warnings)
    (ptv,) = (one for one in read_structures(out).structures if one.name == "PTV")
    middle = np.concatenate(ptv.closed)
    assert np.allclose((middle.min(axis=0) + middle.max(axis=0)) / 2, CENTRE + matrix[:3, 3], atol=0.7)


def test_no_contours_at_all(study, tmp_path):
    home, field = study
    changed(home / "rs.dcm", tmp_path / "rs.dcm", ROIContourSequence=[])
    with pytest.raises(GeometryError, match="its 5 structures hold no contours"):
        jssr.warp(tmp_path / "rs.dcm", field, reference=home / "fixed")
