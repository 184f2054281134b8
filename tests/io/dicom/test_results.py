"""Results as DICOM, read back by SimpleITK, pydicom and highdicom; and by dciodvfy, where it is installed."""

from __future__ import annotations

import shutil
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from dicom_series import FRAME, PATIENT, STUDY, write_volume
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import volume_of
from jssr.errors import ImageError, TransformError
from jssr.io.dicom.headers import Sources, headers_of
from jssr.io.dicom.moved import copy_series, write_moved
from jssr.io.dicom.read import read_series
from jssr.io.dicom.results import field_grid, write_deformation, write_segmentation
from jssr.io.dicom.series import find_series
from jssr.io.images import read_image
from jssr.io.transforms import read_transform

AXES = Rotation.from_euler("xyz", (8, -5, 12), degrees=True).as_matrix()
GRID = Grid.of((14, 12, 9), (1.5, 1.25, 4.0), (-20.0, 31.0, 410.0), AXES)
SECRETS = ["ID-4711", "Doe", "19610203", "A-99", "Who^Doctor", "Town Hospital", STUDY, FRAME]


def scan(seed, low=-1000, high=900):
    values = np.random.default_rng(seed).integers(low, high, GRID.shape).astype(np.float32)
    return volume_of(values, GRID)


@pytest.fixture
def series(tmp_path):
    """A venous CT, and an arterial one in another frame of reference, of one patient."""
    write_volume(tmp_path / "in", scan(0), SeriesInstanceUID="1.2.3.1")
    write_volume(
        tmp_path / "in", scan(1), SeriesInstanceUID="1.2.3.2", FrameOfReferenceUID="1.2.3.99", SeriesNumber=5,
        SeriesDescription="arterial", AcquisitionTime="101400", WindowCenter="40", WindowWidth="400",
    )  # fmt: skip
    found = {s.description: s for s in find_series(tmp_path / "in")}
    return found["venous"], found["arterial"]


def valid(path):
    """dciodvfy finds no error; where it is not installed, at least pydicom reads the file whole."""
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
        assert "Error" not in said, said
    assert pydicom.dcmread(path).SOPInstanceUID


def test_moved_series(tmp_path, series):
    sources = Sources.of(*series)
    moved = scan(2)
    out = tmp_path / "out"
    out.mkdir()
    made = write_moved(moved, sources.fixed, sources.moving, out, "arterial aligned (jssr)")
    files = sorted(out.glob("*.dcm"))
    assert len(files) == len(made) == 9
    for path in files[:2]:
        valid(path)
    back = read_series(out)
    assert np.array_equal(back.array, moved.array) and back.grid.same_as(GRID)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(out)))
    image = reader.Execute()
    assert np.allclose(image.TransformIndexToPhysicalPoint((3, 2, 5)), GRID.world((3, 2, 5)), atol=1e-3)
    assert image[3, 2, 5] == moved.array[3, 2, 5]
    one = pydicom.dcmread(files[4])
    # The fixed scan's place and study, the moving scan's appearance.
    assert (one.FrameOfReferenceUID, one.StudyInstanceUID) == (FRAME, STUDY)
    assert (one.PatientID, str(one.PatientName), one.AcquisitionTime) == ("ID-4711", "Doe^Jane", "101400")
    assert (one.WindowCenter, one.WindowWidth, one.SeriesNumber) == (40, 400, 1005)
    assert one.SeriesInstanceUID not in ("1.2.3.1", "1.2.3.2")
    assert list(one.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"] and "1.2.3.2" in one.DerivationDescription
    assert len({pydicom.dcmread(p).SOPInstanceUID for p in files}) == 9


def test_moved_mr_is_scaled_to_whole_numbers(tmp_path):
    write_volume(tmp_path / "in", scan(0, 0, 800), "MR", SeriesInstanceUID="1.2.3.1")
    (info,) = find_series(tmp_path / "in")
    headers = headers_of(info)
    fine = volume_of(np.linspace(0, 1, GRID.voxels).reshape(GRID.shape).astype(np.float32), GRID)
    out = tmp_path / "out"
    out.mkdir()
    write_moved(fine, headers, headers, out, "x")
    valid(out / "0001.dcm")
    assert np.allclose(read_series(out).array / 4095, fine.array, atol=0.5 / 4095)
    assert "values times 4095" in pydicom.dcmread(out / "0001.dcm").DerivationDescription


def test_moved_image_must_lie_on_the_fixed_series(tmp_path, series):
    sources = Sources.of(*series)
    other = volume_of(np.zeros((14, 12, 8), np.float32), Grid.of((14, 12, 8), 1.0))
    with pytest.raises(ImageError, match="does not lie on the slices"):
        write_moved(other, sources.fixed, sources.moving, tmp_path, "x")


def test_a_moved_pet_is_refused_before_the_work(tmp_path, series):
    write_volume(
        tmp_path / "pet", scan(0), SOPClassUID=pydicom.uid.PositronEmissionTomographyImageStorage, Modality="PT"
    )
    (pet,) = find_series(tmp_path / "pet")
    with pytest.raises(ImageError, match="a moved PT scan cannot be written"):
        Sources.of(series[0], pet)


@pytest.mark.parametrize("lacks", ["PatientSex", "PatientID", "StudyDate", "AccessionNumber", "StudyID", "PatientName"])
def test_headers_that_lack_or_spoil_what_objects_must_say(tmp_path, lacks):
    write_volume(tmp_path / "in", scan(1), **{lacks: None, "StudyTime": "9:3"})
    (info,) = find_series(tmp_path / "in")
    headers = headers_of(info)
    (tmp_path / "out").mkdir()
    write_moved(scan(2), headers, headers, tmp_path / "out", "two \\ words")
    write_deformation(bent()[0], headers, headers, tmp_path / "d.dcm", 1)
    for path in (tmp_path / "out" / "0001.dcm", tmp_path / "d.dcm"):
        valid(path)
        assert pydicom.dcmread(path).get(lacks) in ("", None)


def test_names_survive_another_coding(tmp_path):
    write_volume(tmp_path / "a", scan(1), SpecificCharacterSet="ISO_IR 144", PatientName="Иванов^Иван")
    write_volume(tmp_path / "b", scan(1), SpecificCharacterSet="ISO_IR 100", PatientName=None)
    (a,), (b,) = find_series(tmp_path / "a"), find_series(tmp_path / "b")
    (tmp_path / "out").mkdir()
    write_moved(scan(2), headers_of(a), headers_of(b), tmp_path / "out", "später")
    one = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
    assert (str(one.PatientName), one.SeriesDescription) == ("Иванов^Иван", "später")


def test_a_damaged_deformation(tmp_path, series):
    sources = Sources.of(*series)
    for spoil in ("VectorGridData", "GridResolution", "ImagePositionPatient"):
        write_deformation(bent()[0], sources.fixed, sources.moving, tmp_path / "d.dcm", 2005)
        ds = pydicom.dcmread(tmp_path / "d.dcm")
        delattr(ds.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0], spoil)
        ds.save_as(tmp_path / "d.dcm")
        with pytest.raises(TransformError, match="cannot be read, truncated or damaged"):
            read_transform(tmp_path / "d.dcm")


def test_segmentation(tmp_path, series):
    sources = Sources.of(*series)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:6, 3:8, 1:4] = 1
    labels[8:12, 3:8, 2:7] = 3
    path = tmp_path / "seg.dcm"
    names = {1: "liver", 2: "spleen", 3: "liver tumour"}
    write_segmentation(volume_of(labels, GRID, "labels"), names, sources.fixed, path, "jssr", 2003)
    valid(path)
    seg = hd.seg.segread(path)
    told = [(s.SegmentLabel, s.segmented_property_type.meaning) for s in seg.SegmentSequence]
    assert told == [("liver", "Liver"), ("liver tumour", "Lesion")]  # no spleen is seen
    for number, value in ((1, 1), (2, 3)):
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True, allow_missing_positions=True)
        inside = np.argwhere(volume.array > 0)
        at = (volume.affine @ np.c_[inside, np.ones(len(inside))].T)[:3].T
        index = np.rint(GRID.index(at)).astype(int)
        assert sorted(map(tuple, index)) == sorted(map(tuple, np.argwhere(labels == value)))
    assert seg.FrameOfReferenceUID == FRAME and seg.SeriesNumber == 2003


def test_no_segmentation_of_nothing(tmp_path, series):
    sources = Sources.of(*series)
    nothing = volume_of(np.zeros(GRID.shape, np.uint8), GRID, "labels")
    write_segmentation(nothing, {1: "liver"}, sources.fixed, tmp_path / "seg.dcm", "jssr", 1)
    assert not (tmp_path / "seg.dcm").exists()


def bent():
    """A smooth field in mm: linear, so that any sampling of it is exact between its nodes."""
    at = GRID.world(np.stack(np.meshgrid(*[np.arange(s) for s in GRID.shape], indexing="ij"), axis=-1)) - GRID.centre
    linear = np.array([[0.02, 0.1, 0], [-0.05, 0.03, 0.02], [0, 0.04, -0.06]])
    return Displacement.from_millimetres(at @ linear.T + (3, -2, 5), GRID), linear


def test_deformation_by_the_standard_s_formula(tmp_path, series):
    """PS3.3 C.20.3.1.1, from the file's own numbers: the moving point of a fixed one."""
    sources = Sources.of(*series)
    field, linear = bent()
    path = tmp_path / "d.dcm"
    write_deformation(field, sources.fixed, sources.moving, path, 2005)
    valid(path)
    ds = pydicom.dcmread(path)
    (item,) = ds.DeformableRegistrationSequence
    assert (ds.FrameOfReferenceUID, item.SourceFrameOfReferenceUID) == (FRAME, "1.2.3.99")
    (grid,) = item.DeformableRegistrationGridSequence
    x, y, z = grid.GridDimensions
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(z, y, x, 3)
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    for i, j, k in ((0, 0, 0), (x - 1, y - 1, z - 1), (2, 1, 3)):
        start = np.array(grid.ImagePositionPatient, float) + axes @ (np.array(grid.GridResolution) * (i, j, k))
        moved = start + vectors[k, j, i]
        assert np.allclose(moved, start + linear @ (start - GRID.centre) + (3, -2, 5), atol=1e-3)
    assert len(item.ReferencedImageSequence) == 9
    assert item.ReferencedImageSequence[0].ReferencedSOPInstanceUID == sources.moving[0].SOPInstanceUID


def test_deformation_read_back(tmp_path, series):
    sources = Sources.of(*series)
    field, _ = bent()
    write_deformation(field, sources.fixed, sources.moving, tmp_path / "d.dcm", 2005)
    back = read_transform(tmp_path / "d.dcm")
    points = GRID.world(np.random.default_rng(0).uniform(0, 1, (50, 3)) * (np.array(GRID.shape) - 1))
    assert np.abs(back(points) - field(points)).max() < 1e-3


def test_grid_of_vectors_reaches_from_the_first_to_the_last_voxel():
    coarse = field_grid(GRID, 3.0)
    assert np.allclose(coarse.world((0, 0, 0)), GRID.world((0, 0, 0)))
    assert np.allclose(coarse.world(np.array(coarse.shape) - 1), GRID.world(np.array(GRID.shape) - 1))
    assert coarse.shape == (8, 6, 9)  # 19.5 and 13.75 mm in steps of at most 3 mm, 4 mm as they are
    assert np.all(coarse.spacing <= np.maximum(GRID.spacing, 3.0) + 1e-9)


def nested(depth=2):
    """A sequence with the patient's data in it, and in it again."""
    item = pydicom.Dataset()
    item.PatientName, item.PatientID, item.InstitutionName = "Doe^Jane", "ID-4711", "Town Hospital"
    if depth:
        item.AnatomicRegionSequence = [nested(depth - 1)]
    return item


def test_nothing_of_the_patient_is_left(tmp_path, series):
    for info in series:
        for path in info.paths:
            ds = pydicom.dcmread(path)
            ds.ContributingEquipmentSequence, ds.ContrastBolusAgentSequence = [nested()], [nested()]
            ds.DerivationCodeSequence, ds.VOILUTSequence = [nested()], [nested()]
            ds.EvaluatorName = ds.PlacerOrderNumberImagingServiceRequest = "Doe^Jane"
            ds.add_new((0x6000, 0x0022), "LO", "Doe^Jane")
            ds.private_block(0x0099, "Town Hospital", create=True).add_new(1, "LO", "Doe")
            ds.save_as(path)
    sources = Sources.of(*series, anonymise=True)
    for name in ("moved", "fixed"):
        (tmp_path / name).mkdir()
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:6, 3:8, 1:4] = 1
    made = write_moved(scan(2), sources.fixed, sources.moving, tmp_path / "moved", "arterial aligned")
    copy_series(series[0], sources.fixed, tmp_path / "fixed")
    field = Displacement(torch.zeros(3, *GRID.shape), GRID)
    write_deformation(field, sources.fixed, sources.moving, tmp_path / "d.dcm", 1)
    lab = volume_of(labels, GRID, "labels")
    write_segmentation(lab, {1: "liver"}, sources.fixed, tmp_path / "f.dcm", "jssr", 2)
    write_segmentation(lab, {1: "liver"}, made, tmp_path / "m.dcm", "jssr", 3)
    old = [h.SOPInstanceUID for info in series for h in headers_of(info)]
    files = [p for p in tmp_path.rglob("*.dcm") if "in" not in p.relative_to(tmp_path).parts]
    assert len(files) == 21
    for path in files:
        content = path.read_bytes()
        for secret in [*SECRETS, *old, "1.2.3.99"]:
            assert secret.encode() not in content, (path, secret)
    # What belongs together still does.
    fixed, moved = pydicom.dcmread(tmp_path / "fixed" / "0001.dcm"), pydicom.dcmread(tmp_path / "moved" / "0001.dcm")
    assert fixed.PatientIdentityRemoved == moved.PatientIdentityRemoved == "YES"
    for path in files:
        one = pydicom.dcmread(path)
        assert one.FrameOfReferenceUID == fixed.FrameOfReferenceUID and one.StudyInstanceUID == fixed.StudyInstanceUID
    assert np.array_equal(read_image(tmp_path / "fixed").array, scan(0).array)
    for name in ("d.dcm", "f.dcm", "m.dcm", "moved/0001.dcm", "fixed/0001.dcm"):
        valid(tmp_path / name)


def test_sources_of_two_patients(tmp_path, series):
    write_volume(tmp_path / "other", scan(1), **{**PATIENT, "PatientID": "ID-1"})
    (other,) = find_series(tmp_path / "other")
    with pytest.raises(ImageError, match="scans of 2 patients .PatientID ID-1, ID-4711"):
        Sources.of(series[0], other)


def test_headers_that_results_cannot_refer_to(tmp_path):
    write_volume(tmp_path / "in", scan(1), FrameOfReferenceUID=None)
    (info,) = find_series(tmp_path / "in")
    with pytest.raises(ImageError, match="has no FrameOfReferenceUID"):
        Sources.of(info, info)
