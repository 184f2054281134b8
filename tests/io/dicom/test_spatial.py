"""DICOM registrations of other makers as transforms, against the standard's own formulas."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_objects import deformable, item, new, numbers, save, spatial
from dicom_series import FRAME, write_volume
from scipy.spatial.transform import Rotation

import jssr
from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import TransformError
from jssr.io.dicom.spatial import frames_of, read_registration
from jssr.io.transforms import as_affine, read_transform

OTHER = "1.2.3.99"
POINTS = np.random.default_rng(5).uniform(-40, 40, (20, 3))


def affine(seed, turn=20.0):
    random = np.random.default_rng(seed)
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", random.uniform(-turn, turn, 3), degrees=True).as_matrix()
    out[:3, 3] = random.uniform(-30, 30, 3)
    return out


def applied(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def refused(path, words):
    with pytest.raises(TransformError, match=words) as caught:
        read_transform(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_matrix_leads_from_the_moving_frame_to_the_registered_one(tmp_path):
    """C.20.2.1.1: so a fixed point goes through its inverse."""
    matrix = affine(0)
    for items in ([(OTHER, [matrix])], [(FRAME, [np.eye(4)]), (OTHER, [matrix])], [(OTHER, [matrix]), (FRAME, [])]):
        found = read_transform(spatial(tmp_path / "reg.dcm", items))
        assert np.allclose(found(applied(matrix, POINTS)), POINTS, atol=1e-6)
    assert as_affine(found) is not None


def test_several_matrices_are_applied_in_turn(tmp_path):
    first, second = affine(1), affine(2)
    found = read_transform(spatial(tmp_path / "reg.dcm", [(OTHER, [first, second])]))
    assert np.allclose(found(applied(second, applied(first, POINTS))), POINTS, atol=1e-6)


def test_both_frames_moved_to_a_third(tmp_path):
    fixed, moving = affine(3), affine(4)
    found = read_transform(spatial(tmp_path / "reg.dcm", [(FRAME, [fixed]), (OTHER, [moving])]))
    assert np.allclose(applied(moving, found(POINTS)), applied(fixed, POINTS), atol=1e-6)


def test_two_series_of_one_frame(tmp_path):
    matrix = affine(5)
    found = read_transform(spatial(tmp_path / "reg.dcm", [(FRAME, [np.eye(4)]), (FRAME, [matrix])]))
    assert np.allclose(found(applied(matrix, POINTS)), POINTS, atol=1e-6)


def test_one_frame_there_once_for_each_of_its_series(tmp_path):
    matrix = affine(6)
    found = read_transform(spatial(tmp_path / "reg.dcm", [(FRAME, []), (OTHER, [matrix]), (OTHER, [matrix])]))
    assert np.allclose(found(applied(matrix, POINTS)), POINTS, atol=1e-6)


def test_items_that_name_images_alone(tmp_path):
    """C.20.2: an item has a frame of reference or images; the fixed one is that with the identity."""
    matrix = affine(7)
    found = read_transform(spatial(tmp_path / "reg.dcm", [("", [np.eye(4)]), ("", [matrix])]))
    assert np.allclose(found(applied(matrix, POINTS)), POINTS, atol=1e-6)


def test_an_item_without_matrices_stays(tmp_path):
    path = spatial(tmp_path / "reg.dcm", [(FRAME, []), (OTHER, [affine(8)])])
    made = pydicom.dcmread(path)
    del made.RegistrationSequence[0].MatrixRegistrationSequence
    found = read_transform(save(made, path))
    assert np.allclose(found(applied(affine(8), POINTS)), POINTS, atol=1e-6)


@pytest.mark.parametrize("kind", ["RIGID", "RIGID_SCALE", "AFFINE"])
def test_matrices_of_every_type_are_used_as_they_are(tmp_path, kind):
    linear = {"RIGID": 1.0, "RIGID_SCALE": 1.25, "AFFINE": np.array([[1.1, 0.2, 0], [0, 0.9, 0], [0, 0.1, 1]])}[kind]
    matrix = affine(9)
    matrix[:3, :3] = matrix[:3, :3] @ (linear * np.eye(3) if np.isscalar(linear) else linear)
    path = spatial(tmp_path / "reg.dcm", [(OTHER, [matrix])])
    made = pydicom.dcmread(path)
    made.RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence[
        0
    ].FrameOfReferenceTransformationMatrixType = kind
    assert np.allclose(read_transform(save(made, path))(applied(matrix, POINTS)), POINTS, atol=1e-6)


THIRD = "1.2.3.98"
SEVERAL = [(FRAME, [np.eye(4)]), (OTHER, [affine(1)]), (THIRD, [affine(2)])]


@pytest.mark.parametrize(
    ("frames", "fixed", "moving"),
    [
        ((FRAME, THIRD), np.eye(4), affine(2)),
        (("", OTHER), np.eye(4), affine(1)),
        (("1.2.3.1", OTHER), np.eye(4), affine(1)),
        ((THIRD, OTHER), affine(2), affine(1)),
        ((OTHER, FRAME), affine(1), np.eye(4)),
    ],
)
def test_scans_choose_among_several_frames(tmp_path, frames, fixed, moving):
    """Both points lead to one point of the registered frame."""
    path = spatial(tmp_path / "reg.dcm", SEVERAL)
    found = read_registration(path, frames)
    assert np.allclose(applied(moving, found(POINTS)), applied(fixed, POINTS), atol=1e-6)
    assert frames_of(path, frames) == (frames if frames[0] in (FRAME, OTHER, THIRD) else (FRAME, ""))


def test_the_moving_series_chooses_in_convert(tmp_path):
    path = spatial(tmp_path / "reg.dcm", SEVERAL)
    image = volume_of(np.indices((5, 6, 7)).sum(axis=0).astype(np.float32), Grid.of((5, 6, 7), (2.0, 2.0, 3.0)))
    write_volume(tmp_path / "moving", image, FrameOfReferenceUID=THIRD)
    found = jssr.convert(path, moving=tmp_path / "moving")
    assert np.allclose(found(applied(affine(2), POINTS)), POINTS, atol=1e-6)


def test_registrations_that_are_refused(tmp_path):
    path = tmp_path / "reg.dcm"
    refused(spatial(path, [(OTHER, [affine(1)]), ("1.2.3.98", [affine(2)])]), "registers 2 frames.*--moving")
    refused(spatial(path, [(OTHER, [np.diag([1, 1, 0, 1.0])])]), "cannot be inverted")
    refused(spatial(path, [(OTHER, [np.eye(4)[:3]])]), "16 finite numbers")
    path.write_bytes(path.read_bytes()[:900])
    refused(path, "reg.dcm")
    refused(save(new("1.2.840.10008.5.1.4.1.1.2", "CT"), path), "is a CT Image")


def vectors_at(points):
    """Linear in the place, so that interpolation between them is exact."""
    return 0.1 * (points @ np.array([[0.3, 0.1, 0], [0, -0.2, 0.4], [0.1, 0, 0.2]]))


TURNED = Rotation.from_euler("z", 12, degrees=True).as_matrix()
GRID = Grid.of((9, 8, 7), (10.0, 11.0, 12.0), (-45.0, -40.0, -38.0), TURNED)
SMOOTH = vectors_at(GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1)))


@pytest.mark.parametrize(("before", "after"), [(None, None), (6, None), (None, 7), (6, 7)])
def test_matrices_before_and_after_the_vectors(tmp_path, before, after):
    """C.20.3.1.1: first the matrix before, then the offset where that leads, then the matrix after."""
    pre, post = (np.eye(4) if s is None else affine(s, turn=4.0) for s in (before, after))
    pre[:3, 3] /= 10
    given = [None if s is None else m for s, m in ((before, pre), (after, post))]
    path = deformable(tmp_path / "reg.dcm", GRID, SMOOTH, *given)
    points = POINTS / 2
    there = applied(pre, points)
    assert np.allclose(read_transform(path)(points), applied(post, there + vectors_at(there)), atol=1e-3)


def test_known_by_content(tmp_path):
    path = deformable(tmp_path / "reg.dcm", GRID, SMOOTH)
    other = path.rename(tmp_path / "REG001")
    assert np.allclose(read_transform(other)(POINTS[:1] * 0), vectors_at(POINTS[:1] * 0), atol=1e-4)


def test_matrices_without_vectors(tmp_path):
    """Programs write what is only rigid as a deformable registration too."""
    path = deformable(tmp_path / "reg.dcm", GRID, SMOOTH, affine(6), affine(7))
    made = pydicom.dcmread(path)
    del made.DeformableRegistrationSequence[1].DeformableRegistrationGridSequence
    found = read_transform(save(made, path))
    assert np.allclose(found(POINTS), applied(affine(7), applied(affine(6), POINTS)), atol=1e-5)


def test_a_deformation_of_several_frames(tmp_path):
    path = deformable(tmp_path / "reg.dcm", GRID, SMOOTH)
    other = pydicom.dcmread(deformable(tmp_path / "other.dcm", GRID, -SMOOTH, source=THIRD))
    made = pydicom.dcmread(path)
    made.DeformableRegistrationSequence.append(other.DeformableRegistrationSequence[1])
    save(made, path)
    refused(path, "deforms 2 frames.*--moving")
    points = POINTS / 2
    for frame, sign in ((OTHER, 1), (THIRD, -1)):
        found = read_registration(path, (FRAME, frame))
        assert np.allclose(found(points), points + sign * vectors_at(points), atol=1e-3)


def test_vectors_that_are_not_defined_are_continued_and_told(tmp_path):
    holes = SMOOTH.copy()
    holes[:2] = np.nan
    with collected() as told:
        found = read_transform(deformable(tmp_path / "reg.dcm", GRID, holes))
    assert len(told) == 1 and "22.2 %" in told[0] and "reg.dcm" in told[0]
    inside, outside = GRID.world((4, 3, 3)), GRID.world((0, 3, 3))
    assert np.allclose(found(inside), inside + SMOOTH[4, 3, 3], atol=1e-3)
    assert np.allclose(found(outside), outside + SMOOTH[2, 3, 3], atol=1e-3)


def test_deformations_that_are_refused(tmp_path):
    refused(deformable(tmp_path / "a.dcm", GRID, SMOOTH * np.nan), "none of its vectors is defined")
    refused(deformable(tmp_path / "b.dcm", GRID, SMOOTH[:-1]), "do not fill")
    path = deformable(tmp_path / "c.dcm", GRID, SMOOTH)
    made = pydicom.dcmread(path)
    made.DeformableRegistrationSequence[0].PreDeformationMatrixRegistrationSequence = [
        item(FrameOfReferenceTransformationMatrixType="RIGID", FrameOfReferenceTransformationMatrix=numbers(affine(1)))
    ]
    refused(save(made, path), "fixed frame")
