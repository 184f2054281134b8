"""Structure sets and segmentations of DICOM as the label maps of a pair, against masks made by formula."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_objects import structure_set
from dicom_series import write_volume
from pydicom.sr.codedict import codes

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import GeometryError, ImageError
from jssr.io.images import read_image
from jssr.io.label_names import own_names
from jssr.registration.labels import label_maps_of, labels_of
from jssr.registration.structures import structures_of

GRID = Grid.of((24, 20, 8), (1.5, 2.0, 4.0), (-20.0, 30.0, -100.0))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan") / "ct"
    values = np.random.default_rng(0).integers(-100, 100, GRID.shape).astype(np.float32)
    write_volume(folder, volume_of(values, GRID))
    return read_image(folder)


def headers(scan):
    return [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted(scan_folder(scan).iterdir())]


def scan_folder(scan):
    from pathlib import Path

    return Path(scan.name)


def box(low, high):
    """Contours along the borders of voxels: of columns, rows and slices low to high (without high)."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return [
        ("CLOSED_PLANAR", np.array([GRID.world((u - 0.5, v - 0.5, k)) for u, v in corners]))
        for k in range(low[2], high[2])
    ]


def filled(low, high):
    out = np.zeros(GRID.shape, bool)
    out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return out


ORGAN, LESION, OTHER = ((3, 4, 1), (12, 11, 5)), ((5, 5, 2), (8, 8, 4)), ((14, 3, 2), (20, 9, 7))


def drawn(path, scan, structures, **more):
    return structure_set(path, structures, headers(scan), **more)


def test_contours_become_the_label_map_of_their_scan(scan, tmp_path):
    path = drawn(tmp_path / "rs.dcm", scan, {"Liver": box(*ORGAN), "Spleen": box(*OTHER)})
    with collected() as told:
        found = labels_of(path, scan)
    assert found.grid.same_as(GRID) and told == []
    assert np.array_equal(found.array == 1, filled(*ORGAN)) and np.array_equal(found.array == 2, filled(*OTHER))
    assert own_names(path) == {1: "Liver", 2: "Spleen"}
    assert structures_of(None, found, None) == {"Liver": (1,), "Spleen": (2,)}
    mask = labels_of(path, scan, "mask")
    assert np.array_equal(mask.array > 0, filled(*ORGAN) | filled(*OTHER))


def test_the_smaller_of_two_overlapping_structures_takes_the_voxels(scan, tmp_path):
    path = drawn(tmp_path / "rs.dcm", scan, {"GTV": box(*LESION), "Liver": box(*ORGAN)})
    with collected() as told:
        found = labels_of(path, scan)
    assert np.array_equal(found.array == 1, filled(*LESION))
    assert np.array_equal(found.array == 2, filled(*ORGAN) & ~filled(*LESION))
    assert len(told) == 1 and "Liver loses 18 voxels to GTV" in told[0]


def test_a_structure_that_smaller_ones_cover_is_told(scan, tmp_path):
    halves = box((3, 4, 1), (7, 11, 5)), box((7, 4, 1), (12, 11, 5))
    path = drawn(tmp_path / "rs.dcm", scan, {"Both": box(*ORGAN), "Left": halves[0], "Right": halves[1]})
    with collected() as told:
        found = labels_of(path, scan)
    assert sorted(np.unique(found.array)) == [0, 2, 3]
    assert any("loses 252 voxels to 2 others" in words for words in told)
    assert any("nothing of Both is left" in words for words in told)


def test_two_structures_of_the_same_voxels_need_a_choice(scan, tmp_path):
    path = drawn(tmp_path / "rs.dcm", scan, {"PTV": box(*ORGAN), "Copy": box(*ORGAN)})
    with pytest.raises(ImageError, match=r"'PTV' \(1\) and 'Copy' \(2\)") as caught:
        labels_of(path, scan)
    assert str(path) in str(caught.value)
    found = label_maps_of(path, None, (scan, scan), {2: "target"}).fixed
    assert np.array_equal(found.array, 2 * filled(*ORGAN))


def test_what_of_a_structure_set_cannot_be_filled_is_told(scan, tmp_path):
    shift = np.array([500.0, 0.0, 0.0])
    away = [(kind, xyz + shift) for kind, xyz in box(*OTHER)]
    point = [("POINT", GRID.world((3.0, 3.0, 3.0))[None])]
    path = drawn(tmp_path / "rs.dcm", scan, {"Liver": box(*ORGAN), "None": [], "Away": away, "Isocentre": point})
    with collected() as told:
        found = labels_of(path, scan)
    assert np.array_equal(found.array, filled(*ORGAN))
    for name, words in (("None", "no contours"), ("Away", "outside"), ("Isocentre", "points alone")):
        assert [said for said in told if name in said and words in said and str(path) in said], (name, told)


def test_contours_that_reach_no_voxel_are_refused(scan, tmp_path):
    away = [(kind, xyz + [0.0, 500.0, 0.0]) for kind, xyz in box(*OTHER)]
    with pytest.raises(GeometryError, match="none of its 1 structures") as caught:
        labels_of(drawn(tmp_path / "a.dcm", scan, {"Away": away}), scan)
    assert scan.name in str(caught.value)
    with pytest.raises(GeometryError, match="no contours"):
        labels_of(drawn(tmp_path / "b.dcm", scan, {"Empty": []}), scan)


def test_another_frame_of_reference_is_told(scan, tmp_path):
    path = drawn(tmp_path / "rs.dcm", scan, {"Liver": box(*ORGAN)}, frame="1.2.3.77")
    with collected() as told:
        labels_of(path, scan)
    assert len(told) == 1 and "1.2.3.77" in told[0] and "\n" not in told[0]


def test_structures_of_one_name_are_compared_whatever_their_numbers(scan, tmp_path):
    fixed = drawn(tmp_path / "f.dcm", scan, {"Liver": box(*ORGAN), "Spleen": box(*OTHER)})
    moving = drawn(tmp_path / "m.dcm", scan, {"Kidney": box(*LESION), "SPLEEN": box(*OTHER), "liver": box(*ORGAN)})
    with collected():
        maps = label_maps_of(fixed, moving, (scan, scan))
    assert np.array_equal(maps.moving.array == 2, filled(*OTHER))
    assert np.array_equal(maps.moving.array == 1, filled(*ORGAN) & ~filled(*LESION))
    with collected() as told:
        structures = structures_of(None, maps.fixed, maps.moving, maps.names)
    assert structures == {"Liver": (1,), "Spleen": (2,), "Kidney": (3,)} and told == []


def test_a_number_of_0_is_no_background(scan, tmp_path):
    path = drawn(tmp_path / "rs.dcm", scan, {"Liver": box(*ORGAN), "Spleen": box(*OTHER)})
    made = pydicom.dcmread(path)
    made.StructureSetROISequence[0].ROINumber = made.ROIContourSequence[0].ReferencedROINumber = 0
    made.save_as(path)
    with collected() as told:
        found = labels_of(path, scan)
    assert np.array_equal(found.array == 1, filled(*ORGAN)) and own_names(path) == {1: "Liver", 2: "Spleen"}
    assert any("number 0" in words for words in told)


# Segmentations


def segmentation(path, scan, masks, kind="BINARY", keep=None, edit=None):
    """A segmentation of these masks on the slices `keep`, without the empty ones."""
    described = [
        hd.seg.SegmentDescription(
            n, f"S{n}", codes.SCT.Organ, codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(1, len(masks) + 1)
    ]  # fmt: skip
    array = np.stack([m.transpose(2, 1, 0) for m in masks], axis=-1).astype(np.uint8)
    source = headers(scan)
    chosen = list(range(len(source))) if keep is None else list(keep)
    if kind == "LABELMAP":
        array = (array * np.arange(1, len(masks) + 1, dtype=np.uint8)).sum(-1).astype(np.uint8)
    made = hd.seg.Segmentation(
        [source[k] for k in chosen], array[chosen], kind, described, hd.UID(), 1, hd.UID(), 1, "Maker", "Model", "1",
        "0", omit_empty_frames=True,
    )  # fmt: skip
    if edit is not None:
        edit(made)
    made.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_empty_slices_that_a_segmentation_leaves_out(scan, tmp_path, kind):
    path = segmentation(tmp_path / "seg.dcm", scan, [filled(*ORGAN), filled(*OTHER)], kind)
    with collected() as told:
        found = labels_of(path, scan)
    assert found.grid.same_as(GRID)
    assert np.array_equal(found.array, filled(*ORGAN) + 2 * filled(*OTHER))
    assert all("fractional" in words for words in told)


@pytest.mark.parametrize("slices", [(2, 5, 7), (3,), (6, 1, 4)])
def test_slices_far_apart_and_alone(scan, tmp_path, slices):
    """Gaps of 3 and 2 slices are no even stack by themselves."""
    mask = np.zeros(GRID.shape, bool)
    mask[4:9, 2:6, list(slices)] = True
    found = labels_of(segmentation(tmp_path / "seg.dcm", scan, [mask], keep=slices), scan)
    assert np.array_equal(found.array, mask)


def test_a_scan_stored_the_other_way_round(scan, tmp_path):
    """The same scan as NIfTI, its axes turned round: the frames lie on its grid too."""
    path = segmentation(tmp_path / "seg.dcm", scan, [filled(*ORGAN)])
    affine = GRID.affine @ np.array([[0, -1, 0, 23], [1, 0, 0, 0], [0, 0, -1, 7], [0, 0, 0, 1.0]])
    turned = volume_of(np.zeros((20, 24, 8), np.float32), Grid((20, 24, 8), affine), "image", "turned")
    found = labels_of(path, turned)
    assert np.array_equal(found.array[:, ::-1, ::-1].transpose(1, 0, 2), filled(*ORGAN))


@pytest.mark.parametrize("beside", [0.3, 1.5])
def test_frames_beside_the_slices_are_refused(scan, tmp_path, beside):
    def moved(made):
        for group in made.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            x, y, z = (float(v) for v in place.ImagePositionPatient)
            place.ImagePositionPatient = [x, y, z + beside]

    path = segmentation(tmp_path / "seg.dcm", scan, [filled(*ORGAN)], edit=moved)
    with pytest.raises(GeometryError, match="another grid"):
        labels_of(path, scan)


def test_thick_slices_far_apart_are_a_grid_of_their_own(scan, tmp_path):
    def coarse(made):
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = measures.SpacingBetweenSlices = "8"

    mask = np.zeros(GRID.shape, bool)
    mask[4:9, 2:6, [1, 3, 5]] = True
    path = segmentation(tmp_path / "seg.dcm", scan, [mask], keep=(1, 3, 5), edit=coarse)
    with pytest.raises(GeometryError, match="another grid"):
        labels_of(path, scan)
