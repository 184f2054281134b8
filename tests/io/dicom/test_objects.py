"""DICOM files that hold more than the pixels of one image, made with pydicom or highdicom and read as what they are."""

from __future__ import annotations

import logging

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_objects import deformable, dose, enhanced, item, new, save, spatial, structure_set
from dicom_series import write_volume
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRBigEndian, MediaStorageDirectoryStorage, generate_uid
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.errors import ImageError, JssrError
from jssr.io.dicom.files import opened
from jssr.io.dicom.segments import read_segments
from jssr.io.images import read_grid, read_image, stored_dtype
from jssr.io.transforms import read_transform
from jssr.registration.labels import labels_of

AXES = Rotation.from_euler("xyz", (6, -9, 15), degrees=True).as_matrix()
GRID = Grid.of((7, 6, 5), (0.8, 1.1, 2.5), (-33.0, 12.0, 140.0), AXES)
UPRIGHT = Grid.of((6, 7, 5), (3.0, 4.0, 5.0), (-10.0, 20.0, -35.0))
STORED = np.random.default_rng(3).integers(0, 2000, GRID.shape)


def refused(path, *words, kind="image"):
    with pytest.raises(ImageError) as caught:
        read_image(path, kind)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said
    assert all(word in said for word in words), said


# Enhanced CT


@pytest.mark.parametrize("order", [range(5), range(4, -1, -1), (2, 0, 4, 3, 1)])
def test_frames_lie_where_their_headers_say(tmp_path, order):
    slopes = (1.0, 0.5, 2.0, 0.25, 1.5)
    path = enhanced(tmp_path / "one" / "ct.dcm", STORED, GRID, order, slopes, intercept=-1000)
    found = read_image(path)
    assert np.allclose(found.array, STORED * np.array(slopes) - 1000, atol=1e-3)
    assert found.grid.same_as(GRID) and read_grid(path).same_as(GRID)
    assert found.modality == "ct" and stored_dtype(path) == np.float32
    folder = read_image(path.parent)
    assert np.array_equal(folder.array, found.array) and folder.grid.same_as(found.grid)


@pytest.mark.parametrize("rubbish", [0x0000, 0xA000])
def test_bits_above_the_stored_ones_mean_nothing(tmp_path, rubbish):
    """-1000 in 12 bits, two's complement, with zeros or anything else in the four bits above."""
    values = np.random.default_rng(4).integers(-1024, 1500, GRID.shape)
    path = enhanced(tmp_path / "ct.dcm", (values & 0x0FFF) | rubbish, GRID, range(5), signed=1, stored=12)
    assert np.array_equal(read_image(path).array, values)


def test_unsigned_numbers_with_rubbish_above(tmp_path):
    path = enhanced(tmp_path / "ct.dcm", STORED | 0x7000, GRID, range(5), intercept=-24, stored=12)
    assert np.array_equal(read_image(path).array, STORED - 24)


def test_frames_that_are_no_stack(tmp_path):
    uneven = enhanced(tmp_path / "a.dcm", STORED, GRID, range(5), heights=(0, 1, 2, 3.4, 4))
    refused(uneven, "no one evenly spaced stack")
    refused(enhanced(tmp_path / "b.dcm", STORED, GRID, (0, 1, 2, 2, 3, 4)), "no one evenly spaced stack")
    refused(enhanced(tmp_path / "c.dcm", STORED, GRID, range(5), per_frame=False), "no place of their own")


def test_truncated_frames(tmp_path):
    path = enhanced(tmp_path / "ct.dcm", STORED, GRID, range(5))
    path.write_bytes(path.read_bytes()[:-100])
    refused(path)
    path.write_bytes(path.read_bytes()[:700])
    refused(path)


def test_frames_without_places_are_refused(tmp_path):
    """A nuclear medicine file: several frames, one header."""
    made = new("1.2.840.10008.5.1.4.1.1.20", "NM", NumberOfFrames=5)
    for name, value in {
        "Columns": 7, "Rows": 6, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0,
    }.items():  # fmt: skip
        setattr(made, name, value)
    made.PixelData = np.ascontiguousarray(STORED.T).astype("<u2").tobytes()
    refused(save(made, tmp_path / "nm.dcm"), "5 frames without a place")
    made.NumberOfFrames, made.PixelData = 1, np.ascontiguousarray(STORED[..., 0].T).astype("<u2").tobytes()
    assert read_image(save(made, tmp_path / "one.dcm")).grid.shape == (7, 6)


# Other objects


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(tmp_path, kind, words):
    refused(save(new(kind, "OT"), tmp_path / "a.dcm"), words)


def test_a_registration_is_no_image(tmp_path):
    refused(spatial(tmp_path / "a.dcm", [("1.2.3.99", [np.eye(4)])]), "Spatial Registration", "as a transform")


def test_a_structure_set_is_a_label_map_of_a_scan(tmp_path):
    folder = write_volume(tmp_path / "ct", volume_of(STORED.astype(np.float32), GRID), SeriesInstanceUID="1.2.3.1")
    series = [pydicom.dcmread(p) for p in sorted(folder.iterdir())]
    square = GRID.world([(1, 1, 2), (4, 1, 2), (4, 4, 2), (1, 4, 2)])
    path = structure_set(tmp_path / "rs.dcm", {"Liver": [("CLOSED_PLANAR", square)]}, series)
    refused(path, "is a structure set", kind="image")
    refused(path, "--reference", kind="labels")


# Segmentations


def segmentation(path, array, kind="BINARY", fractions=False, grid=GRID, **more):
    """By highdicom: (slices, rows, columns, segments) on a series made with pydicom; labels "S1", "S2" ..."""
    folder = write_volume(path.parent / "scan", volume_of(np.zeros(grid.shape, np.float32), grid))
    series = [pydicom.dcmread(p) for p in sorted(folder.iterdir())]
    count = array.shape[3] if array.ndim == 4 else int(array.max())
    numbers = more.pop("numbers", range(1, count + 1))
    described = [
        hd.seg.SegmentDescription(n, f"S{n}", codes.SCT.AnatomicalStructure, codes.SCT.Liver,
                                  hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n in numbers
    ]  # fmt: skip
    made = hd.seg.Segmentation(
        series, array, getattr(hd.seg.SegmentationTypeValues, kind), described, generate_uid(), 5, generate_uid(), 1,
        "Maker", "Model", "1", "0", max_fractional_value=200, **more,
    )  # fmt: skip
    made.save_as(path)
    return path


def boxes(*corners, shape=GRID.shape):
    """(slices, rows, columns, segments) of boxes in voxels (columns, rows, slices)."""
    out = np.zeros((*shape, len(corners)), np.uint8)
    for n, (low, high) in enumerate(corners):
        out[tuple(slice(a, b) for a, b in zip(low, high, strict=True)) + (n,)] = 1
    return out.transpose(2, 1, 0, 3)


def test_segments_keep_numbers_names_and_place(tmp_path):
    array = boxes(((0, 0, 0), (3, 4, 2)), ((4, 1, 1), (7, 3, 4)))
    path = segmentation(tmp_path / "seg.dcm", array)
    found = read_segments(path)
    expected = (array * np.array([1, 2], np.uint8)).sum(axis=3).transpose(2, 1, 0)
    assert np.array_equal(found.volume.array, expected[:, :, : found.volume.grid.shape[2]])
    assert np.allclose(found.volume.grid.affine, GRID.affine, atol=1e-4)
    assert found.names == {1: "S1", 2: "S2"} and found.warnings == ()
    assert read_image(path, "labels").kind == "labels" and read_grid(path).same_as(found.volume.grid)
    mask = read_image(path, "mask")
    assert np.array_equal(mask.array, found.volume.array > 0)
    refused(path, "is a segmentation")


def test_overlapping_segments_are_told_and_the_smaller_one_stays(tmp_path, caplog):
    """A lesion of 8 voxels inside an organ of 48, listed first."""
    array = boxes(((1, 1, 1), (3, 3, 3)), ((0, 0, 1), (4, 4, 4)))
    path = segmentation(tmp_path / "seg.dcm", array)
    with caplog.at_level(logging.WARNING):
        found = read_image(path, "labels")
    assert {int(v): int((found.array == v).sum()) for v in (1, 2)} == {1: 8, 2: 40}
    assert "S1 and S2 in 8 voxels" in caplog.text


def test_fractional_segments_begin_at_one_half(tmp_path, caplog):
    array = boxes(((0, 0, 0), (6, 4, 5))).astype(np.float64)
    array[..., 2, 0] = 0.5
    array[..., 3, 0] = 0.45
    array[..., 4, 0] = 0.7
    path = segmentation(tmp_path / "seg.dcm", array, "FRACTIONAL")
    with caplog.at_level(logging.WARNING):
        found = read_image(path, "labels").array
    assert found[:, 1, 0].tolist() == [1, 1, 1, 0, 1, 1, 0] and "fractional" in caplog.text


def test_a_label_map_segmentation(tmp_path):
    array = (boxes(((0, 0, 0), (3, 4, 2)), ((4, 1, 1), (7, 3, 5))) * np.array([1, 2], np.uint8)).sum(3).astype(np.uint8)
    path = segmentation(tmp_path / "seg.dcm", array, "LABELMAP")
    found = read_segments(path)
    assert np.array_equal(found.volume.array, array.transpose(2, 1, 0)) and found.names == {1: "S1", 2: "S2"}


def test_a_damaged_segmentation(tmp_path):
    path = segmentation(tmp_path / "seg.dcm", boxes(((0, 0, 0), (3, 4, 2))))
    path.write_bytes(path.read_bytes()[:1200])
    refused(path, kind="labels")


def test_segments_of_one_number(tmp_path):
    path = segmentation(tmp_path / "seg.dcm", boxes(((0, 0, 0), (3, 4, 2)), ((4, 1, 1), (7, 3, 5))))
    made = pydicom.dcmread(path)
    made.SegmentSequence[0].SegmentNumber = 2
    made.save_as(path)
    refused(path, "'S1' and 'S2'", "number 2", kind="labels")
    del made.SegmentSequence
    made.save_as(path)
    refused(path, "SegmentSequence", kind="labels")


# Doses


GRAY = 3.0 * np.exp(-((np.indices(UPRIGHT.shape) - 2) ** 2).sum(0) / 9)


@pytest.mark.parametrize("scaling", [1e-6, 4.7e-5])
@pytest.mark.parametrize(("grid", "bits"), [(UPRIGHT, 32), (UPRIGHT, 16), (GRID, 32)])
def test_dose_is_in_gray_on_its_grid(tmp_path, grid, bits, scaling):
    scaling = max(scaling, 4.7e-5) if bits == 16 else scaling
    gray = np.random.default_rng(0).uniform(0, 3, grid.shape)
    path = dose(tmp_path / "d.dcm", gray, grid, scaling, bits=bits)
    found = read_image(path)
    assert np.allclose(found.array, gray, atol=scaling) and found.grid.same_as(grid) and read_grid(path).same_as(grid)
    refused(path, "is a dose", kind="labels")


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_planes_in_another_order(tmp_path, order):
    found = read_image(dose(tmp_path / "d.dcm", GRAY, UPRIGHT, order=order))
    assert np.allclose(found.array, GRAY, atol=1e-4) and found.grid.same_as(UPRIGHT)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)])
def test_offsets_that_are_coordinates(tmp_path, order):
    offsets = [-35.0 + 5.0 * k for k in order]
    found = read_image(dose(tmp_path / "d.dcm", GRAY, UPRIGHT, order=order, offsets=offsets))
    assert np.allclose(found.array, GRAY, atol=1e-4) and found.grid.same_as(UPRIGHT)


def test_relative_offsets_run_along_the_cross_product(tmp_path):
    """Feet first, prone: rows to the right, columns to the front of the patient; and a head-down plane."""
    grid = Grid.of((6, 7, 5), (3.0, 4.0, 5.0), (0.0, 0.0, 60.0), np.diag([1.0, -1.0, -1.0]))
    assert read_image(dose(tmp_path / "d.dcm", GRAY, grid)).grid.same_as(grid)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offsets": (0, 5, 10, 17, 20)}, "unevenly spaced, 3 to 7 mm"),
        ({"offsets": (0, 5, 5, 10, 15)}, "repeat a position"),
        ({"offsets": (3, 8, 13, 18, 23)}, "offsets begin with 3"),
        ({"offsets": (0, 5, 10)}, "expected 5 offsets"),
        ({"DoseGridScaling": None}, "Dose Grid Scaling"),
        ({"DoseGridScaling": "0"}, "Dose Grid Scaling"),
        ({"PixelData": None}, "no dose grid"),
    ],
)
def test_doses_that_are_refused(tmp_path, change, words):
    refused(dose(tmp_path / "d.dcm", GRAY, UPRIGHT, **change), words)


def test_a_dose_without_unit_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_image(dose(tmp_path / "d.dcm", GRAY, UPRIGHT, DoseUnits="RELATIVE"))
    assert "relative" in caplog.text


def test_a_truncated_dose(tmp_path):
    path = dose(tmp_path / "d.dcm", GRAY, UPRIGHT)
    path.write_bytes(path.read_bytes()[:-8])
    refused(path, "truncated")


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_without_the_header_of_a_file(tmp_path, implicit):
    made = pydicom.dcmread(dose(tmp_path / "d.dcm", GRAY, UPRIGHT))
    bare = pydicom.Dataset({e.tag: e for e in made})
    bare.save_as(tmp_path / "bare", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert np.allclose(read_image(tmp_path / "bare").array, GRAY, atol=1e-4)


@pytest.mark.parametrize("name", ["rs", "rd", "seg"])
def test_objects_that_break_off_are_refused_in_one_line(tmp_path, name):
    """Wherever they are cut after their class: a sequence that ends between two items too."""
    folder = write_volume(tmp_path / "ct", volume_of(STORED.astype(np.float32), GRID), SeriesInstanceUID="1.2.3.1")
    series = [pydicom.dcmread(p) for p in sorted(folder.iterdir())]
    square = GRID.world([(1, 1, 2), (4, 1, 2), (4, 4, 2), (1, 4, 2)])
    path = tmp_path / "objects" / f"{name}.dcm"
    path.parent.mkdir()
    if name == "rs":
        structure_set(path, {n: [("CLOSED_PLANAR", square)] for n in ("Liver", "Spleen", "Kidney")}, series)
    elif name == "rd":
        dose(path, GRAY, UPRIGHT)
    else:
        segmentation(path, boxes(((0, 0, 0), (3, 4, 2)), ((4, 1, 1), (7, 3, 5))))
    whole, scan = path.read_bytes(), read_image(folder)
    for cut in np.linspace(600, len(whole) - 2, 25).astype(int).tolist():
        path.write_bytes(whole[: cut - cut % 2])
        with pytest.raises(JssrError) as caught:
            read_image(path) if name == "rd" else labels_of(path, scan)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# As makers write them


def with_sources(path, images=(1, 2, 3)):
    """Each frame made from several frames of another file, as Siemens writes reformats."""
    made = pydicom.dcmread(path)
    for group in made.PerFrameFunctionalGroupsSequence:
        source = item(ReferencedSOPClassUID=made.SOPClassUID, ReferencedSOPInstanceUID="1.2.3.4")
        source.ReferencedFrameNumber = list(images)
        group.DerivationImageSequence = [item(SourceImageSequence=[source], DerivationCodeSequence=[])]
    return save(made, path)


def test_frames_made_from_several_frames(tmp_path):
    path = with_sources(enhanced(tmp_path / "mpr.dcm", STORED, GRID, range(5)))
    assert np.array_equal(read_image(path).array, STORED)
    path = segmentation(tmp_path / "seg.dcm", boxes(((0, 0, 0), (3, 4, 2))))
    before = read_segments(path).volume
    after = read_segments(with_sources(path)).volume
    assert np.array_equal(before.array, after.array) and int(before.array.sum()) == 24


def big_endian(path, word):
    """The same object in Explicit VR Big Endian; `word` is the size of a number of its pixels or vectors."""
    made = pydicom.dcmread(path)
    if "PixelData" in made:
        made.PixelData = np.frombuffer(made.PixelData, f"<u{word}").astype(f">u{word}").tobytes()
        made["PixelData"].VR = "OW"
    for one in made.get("DeformableRegistrationSequence") or ():
        for grid in one.get("DeformableRegistrationGridSequence") or ():
            grid.VectorGridData = np.frombuffer(grid.VectorGridData, "<f4").astype(">f4").tobytes()
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path


def test_big_endian_objects(tmp_path):
    path = dose(tmp_path / "d.dcm", GRAY, UPRIGHT)
    before = read_image(path)
    after = read_image(big_endian(path, 4))
    assert np.array_equal(before.array, after.array) and before.grid.same_as(after.grid)
    path = big_endian(enhanced(tmp_path / "ct.dcm", STORED, GRID, range(5)), 2)
    assert np.array_equal(read_image(path).array, STORED)
    path = segmentation(tmp_path / "seg.dcm", boxes(((0, 0, 0), (3, 4, 2)), ((4, 1, 1), (7, 3, 4))))
    made = pydicom.dcmread(path)
    made.PixelData += b"\0" * (len(made.PixelData) % 2)
    before = read_segments(path).volume.array
    assert np.array_equal(read_segments(big_endian(save(made, path), 2)).volume.array, before)
    path = deformable(tmp_path / "reg.dcm", UPRIGHT, np.random.default_rng(1).uniform(-3, 3, (*UPRIGHT.shape, 3)))
    at = UPRIGHT.world(np.array([[2, 3, 1], [4, 1, 3]]))
    before = read_transform(path)(at)
    assert np.allclose(read_transform(big_endian(path, 4))(at), before, atol=1e-4)


def test_a_dicomdir_is_no_image(tmp_path):
    made = new(MediaStorageDirectoryStorage, "")
    made.DirectoryRecordSequence = []
    del made.SOPClassUID
    path = save(made, tmp_path / "DICOMDIR")
    with pytest.raises(ImageError, match="name their folder"):
        opened(path)
