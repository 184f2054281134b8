"""Volumes, fields and points to SimpleITK, nibabel and numpy and back: the same voxels at the same places."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import Points, Volume, volume_of
from jssr.errors import ImageError, TransformError

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
GRID = Grid.of((4, 5, 6), (1.0, 2.0, 3.0), (10.0, -20.0, 30.0), TURN)


def scan(grid=GRID, dtype=np.float32):
    return np.random.default_rng(0).integers(0, 100, grid.shape).astype(dtype)


def test_numpy_is_nibabels_by_default(tmp_path):
    array = scan()
    affine = np.diag([-1, -1, 1, 1.0]) @ GRID.affine
    volume = Volume.from_numpy(array, affine, name="mine")
    assert volume.grid.same_as(GRID, 1e-9) and volume.name == "mine"
    theirs = nib.Nifti1Image(array, affine)
    again = Volume.from_nibabel(theirs)
    np.testing.assert_array_equal(again.numpy(), array)
    np.testing.assert_allclose(again.affine(), theirs.affine)
    # A file of nibabel's, read by ITK, lies where from_numpy puts it.
    nib.save(theirs, tmp_path / "x.nii.gz")
    itk = Volume.from_sitk(sitk.ReadImage(str(tmp_path / "x.nii.gz")))
    assert itk.grid.same_as(volume.grid, 1e-4)
    np.testing.assert_array_equal(itk.numpy(), array)


def test_numpy_in_lps_is_sitks():
    image = sitk.GetImageFromArray(scan().T)
    image.SetOrigin(GRID.origin.tolist())
    image.SetSpacing(GRID.spacing.tolist())
    image.SetDirection(GRID.direction.ravel().tolist())
    mine = Volume.from_numpy(sitk.GetArrayFromImage(image).T, GRID.affine, space="LPS")
    assert mine.grid.same_as(Volume.from_sitk(image).grid, 1e-9)
    assert mine.sitk().TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx(tuple(GRID.world([1, 2, 3])))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mine.sitk()), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("kind, dtype", [("image", np.int16), ("labels", np.uint8), ("mask", np.bool_)])
def test_there_and_back_keeps_kind_and_voxels(kind, dtype):
    array = scan(dtype=dtype)
    one = Volume.from_numpy(array, GRID.affine, kind, space="LPS")
    for other in (Volume.from_sitk(one.sitk(), kind), Volume.from_nibabel(one.nibabel(), kind)):
        assert other.kind == kind and other.data.dtype == one.data.dtype
        np.testing.assert_array_equal(other.numpy(), array)
        assert other.grid.same_as(GRID, 1e-4)


def test_flat_images_have_a_flat_affine():
    grid = Grid.of((4, 5), (1.0, 2.0), (3.0, 4.0))
    one = Volume.from_numpy(scan(grid), grid.affine, space="LPS")
    assert one.affine("LPS").shape == (3, 3)
    again = Volume.from_nibabel(one.nibabel())
    assert again.grid.ndim == 2 and again.grid.same_as(grid, 1e-6)
    assert Volume.from_sitk(one.sitk()).grid.same_as(grid, 1e-6)


def test_numpy_does_not_share_memory():
    one = volume_of(scan(), GRID)
    one.numpy()[:] = -1
    assert one.data.min() >= 0


@pytest.mark.parametrize(
    "array, affine, message",
    [
        (np.ones((3, 3, 3)), np.eye(4), "every voxel is 1"),
        (np.full((3, 3, 3), np.nan), np.eye(4), "27 of 27 voxels are NaN"),
        (np.ones((3, 3, 3, 2)), np.eye(4), "2 or 3 axes"),
        (np.arange(27).reshape(3, 3, 3), np.eye(3), "affine of 4 x 4"),
        (np.arange(27).reshape(3, 3, 3), np.diag([1, 0, 1, 1]), "spacing must be positive"),
        (np.arange(27).reshape(3, 3, 3) * 1j, np.eye(4), "real numbers"),
    ],
)
def test_arrays_that_are_no_image(array, affine, message):
    with pytest.raises(ImageError, match=message):
        Volume.from_numpy(array, affine)


def test_unknown_space_and_modality():
    with pytest.raises(ValueError, match="RAS"):
        Volume.from_numpy(scan(), np.eye(4), space="LAS")
    with pytest.raises(ValueError, match="expected modality ct, mr, us, radiograph, got 'pet'"):
        Volume(torch.zeros(1, 4, 5, 6), GRID, modality="pet")


def test_known_as_says_where_from():
    one = volume_of(scan(), GRID).known_as("header", modality="ct").known_as("option", phase="venous")
    assert (one.modality, one.phase) == ("ct", "venous")
    assert one.origins == {"modality": "header", "phase": "option"}
    assert one.known_as("guess").origins == one.origins


def field():
    vectors = np.random.default_rng(1).normal(0, 2, (*GRID.shape, 3)).astype(np.float32)
    return Displacement.from_millimetres(vectors, GRID), vectors


def test_displacement_as_numpy_sitk_and_nibabel(tmp_path):
    one, vectors = field()
    np.testing.assert_allclose(one.numpy(), vectors, atol=1e-5)
    point = GRID.world([1, 2, 3])
    np.testing.assert_allclose(one.sitk().TransformPoint(point.tolist()), one(point), atol=1e-4)
    theirs = one.nibabel()
    assert theirs.header["intent_code"] == 1007 and theirs.shape == (4, 5, 6, 1, 3)
    nib.save(theirs, tmp_path / "u.nii.gz")
    itk = Displacement.from_sitk(sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64))
    np.testing.assert_allclose(itk.numpy(), vectors, atol=1e-4)


def test_affine_and_chain_as_sitk():
    one, _ = field()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = TURN, (1, 2, 3)
    affine = Affine(matrix)
    point = GRID.world([1.2, 2.4, 3.1])
    np.testing.assert_array_equal(affine.numpy(), matrix)
    np.testing.assert_allclose(affine.sitk().TransformPoint(point.tolist()), affine(point))
    chain = Chain(one, affine)
    np.testing.assert_allclose(chain.sitk().TransformPoint(point.tolist()), chain(point), atol=1e-4)


def test_an_image_is_no_field():
    with pytest.raises(TransformError, match=r"1 value\(s\) per voxel"):
        Displacement.from_sitk(volume_of(scan(), GRID).sitk())


def test_points_as_numpy():
    points = Points(np.zeros((2, 3)))
    points.numpy()[:] = 1
    assert points.numpy().shape == (2, 3) and not points.xyz.any()
