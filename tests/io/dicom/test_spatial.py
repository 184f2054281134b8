"""DICOM registrations of other makers as transforms, against the standard's own formulas."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_objects import deformable, item, new, numbers, save, spatial
from dicom_series import FRAME
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.errors import TransformError
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


def test_registrations_that_are_refused(tmp_path):
    path = tmp_path / "reg.dcm"
    refused(spatial(path, [(OTHER, [affine(1)]), ("1.2.3.98", [affine(2)])]), "registers 2 frames")
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


def test_deformations_that_are_refused(tmp_path):
    holes = SMOOTH.copy()
    holes[3, 3, 3] = np.nan
    refused(deformable(tmp_path / "a.dcm", GRID, holes), "not defined everywhere")
    refused(deformable(tmp_path / "b.dcm", GRID, SMOOTH[:-1]), "do not fill")
    path = deformable(tmp_path / "c.dcm", GRID, SMOOTH)
    made = pydicom.dcmread(path)
    made.DeformableRegistrationSequence[0].PreDeformationMatrixRegistrationSequence = [
        item(FrameOfReferenceTransformationMatrixType="RIGID", FrameOfReferenceTransformationMatrix=numbers(affine(1)))
    ]
    refused(save(made, path), "fixed frame")
