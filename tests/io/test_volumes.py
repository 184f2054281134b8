"""Plain NIfTI volumes read without ITK are those that ITK reads; everything else is left to it."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.errors import ImageError
from jssr.io import volumes
from jssr.io.header import read_plain
from jssr.io.images import read_image, stored_dtype

SHAPE = (7, 6, 5)
OBLIQUE = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag([0.8, 1.1, 2.5])
TURNED = np.array([[0, 0, -2.5], [0.8, 0, 0], [0, -1.1, 0]])
"""Axes along others of the world, two of them against it."""


def saved(path, dtype, linear=OBLIQUE, slope=None, order="<", shape=SHAPE):
    values = np.random.default_rng(0).uniform(0, 200, shape)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, (-12.5, 30.25, 900.0)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    image = nib.Nifti1Image(values.astype(dtype), affine, header)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    if slope is not None:  # nibabel divides by it what it saves
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[112:120] = struct.pack("<ff", *slope)
        path.write_bytes(gzip.compress(raw))
    return path


def same_as_itk(path, kind="image"):
    found = read_plain(path, kind)
    image = sitk.ReadImage(str(path))
    theirs = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    assert found is not None and found.name == str(path) and found.modality is None
    assert found.array.flags.c_contiguous
    grid = Grid.of(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert found.grid.same_as(grid, 1e-4)
    assert found.array.dtype == (np.float32 if kind == "image" else theirs.dtype)
    assert np.array_equal(found.array, theirs.astype(found.array.dtype)) and found.array.std() > 10
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("slope", [None, (2.5, -1024.0), (1.0, -3.0)])
def test_it_is_what_itk_reads(tmp_path, dtype, slope, monkeypatch):
    monkeypatch.setattr(volumes, "_SLAB", 100)  # more than one slab
    path = saved(tmp_path / "a.nii.gz", dtype, slope=slope)
    same_as_itk(path)
    assert (stored_dtype(path).kind == "f") == (slope is not None or dtype in (np.float32, np.float64))


@pytest.mark.parametrize("linear", [OBLIQUE, TURNED, np.diag([-0.8, -1.1, 2.5])])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_any_place_and_order_of_bytes(tmp_path, linear, ending, order):
    same_as_itk(saved(tmp_path / f"a.{ending}", np.int16, linear, order=order))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_labels_keep_their_type(tmp_path, dtype):
    path = saved(tmp_path / "a.nii.gz", dtype)
    same_as_itk(path, "labels")
    assert read_image(path, "mask").array.dtype == np.bool_


def test_an_intercept_without_a_slope_is_left_to_itk(tmp_path):
    path = saved(tmp_path / "a.nii.gz", np.int16, slope=(0.0, 7.0))
    assert read_plain(path, "image") is None


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1), (1, 6, 5), (7, 6, 5, 2)])
def test_other_images_are_left_to_itk(tmp_path, shape):
    path = saved(tmp_path / "a.nii.gz", np.int16, shape=shape)
    assert read_plain(path, "image") is None
    if len(shape) == 4:
        with pytest.raises(ImageError, match="is 4D"):
            read_image(path)


def test_a_fourth_axis_of_one_voxel_does_not_count(tmp_path):
    path = saved(tmp_path / "a.nii.gz", np.int16, shape=(*SHAPE, 1))
    found = read_plain(path, "image")
    assert found is not None and found.grid.shape == SHAPE


def test_what_is_not_whole_is_refused_in_words(tmp_path):
    path = saved(tmp_path / "a.nii", np.int16)
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw)[:-4])
    damaged = bytearray(gzip.compress(raw))
    damaged[-6] ^= 1  # of the checksum
    (tmp_path / "c.nii.gz").write_bytes(damaged)
    for name, words in (("a.nii", "truncated"), ("b.nii.gz", "truncated"), ("c.nii.gz", "truncated or damaged")):
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / name)


def test_nan_is_refused_and_too_large_numbers_too(tmp_path):
    for value, words in (
        (np.nan, "1 of 210 voxels are NaN"),
        (1e300, r"1 of 210 voxels are NaN or infinite \(in float32"),
    ):
        values = np.random.default_rng(0).uniform(0, 200, SHAPE)
        values[3, 2, 1] = value
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / "a.nii.gz")


def test_nobody_copies_an_image_that_was_read(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("jssr.io.header.voxels_of", lambda *a: made.append(volumes.voxels_of(*a)) or made[0])
    found = read_image(saved(tmp_path / "a.nii.gz", np.int16))
    assert np.shares_memory(found.array, made[0])
