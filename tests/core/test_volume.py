"""Volumes and points hold together or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume, checked_volume, volume_of
from jssr.errors import ImageError

GRID = Grid.of((2, 3, 4))


def test_array_is_the_first_channel():
    data = torch.arange(48).reshape(2, 2, 3, 4).float()
    assert Volume(data, GRID).array[1, 2, 3] == 23


def test_shape_must_fit():
    with pytest.raises(ValueError, match=r"scan: data of shape \(1, 4, 3, 2\)"):
        Volume(torch.zeros(1, 4, 3, 2), GRID, name="scan")


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match="integer"):
        Volume(torch.zeros(1, 2, 3, 4), GRID, "labels")


def test_volume_of_keeps_label_types():
    labels = volume_of(np.full((2, 3, 4), 7, np.uint8), GRID, "labels")
    assert labels.data.dtype == torch.uint8
    assert volume_of(np.ones((2, 3, 4), np.int16), GRID).data.dtype == torch.float32


def test_with_data_keeps_the_place():
    one = Volume(torch.zeros(1, 2, 3, 4), GRID, name="scan")
    other = one.with_data(torch.ones(1, 2, 3, 4))
    assert other.grid is GRID and other.name == "scan" and other.data.min() == 1


def test_points_are_named_by_number():
    points = Points(np.array([[1, 2, 3], [4, 5, 6]]))
    assert points.names == ("0", "1") and len(points) == 2 and points.xyz.dtype == np.float64


def test_points_need_a_name_each():
    with pytest.raises(ValueError, match="2 points but 1 names"):
        Points(np.zeros((2, 3)), ("a",))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(np.array([0, 3e9]), "int64"), (np.array([0, 2**40]), "int64"), (np.array([0, 7], ">i2"), "int16"),
     (np.array([0, 9], "uint64"), "int64"), (np.array([0.0, 5.0]), "int32")],
)  # fmt: skip
def test_labels_keep_their_values(values, dtype):
    array = np.broadcast_to(values[:, None, None], (2, 3, 4))
    found = Volume.from_numpy(array, np.eye(4), "labels")
    assert found.array.dtype == dtype and (found.array == array).all()
    assert (np.asarray(found.nibabel().dataobj) == array).all()


@pytest.mark.parametrize("value", [np.uint64(2**63 + 5), np.float64(1e17), np.float64(-1e30)])
def test_labels_that_would_change_are_refused(value):
    with pytest.raises(ImageError, match="64 bits"):
        Volume.from_numpy(np.array([[[value, 0]]]), np.eye(4), "labels")


CUBE = np.arange(24.0).reshape(2, 3, 4)
CORONAL = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Volume.from_numpy(CUBE, np.diag([1, 1, 1, 2])), "last row"),
        (lambda: Volume.from_numpy(CUBE, np.eye(4) * 1j), "complex"),
        (lambda: Volume.from_numpy(CUBE, "x"), "affine of 4 x 4 numbers"),
        (lambda: Volume.from_numpy(CUBE, np.full((4, 4), np.nan)), "finite affine, got NaN"),
        (lambda: Volume.from_numpy(CUBE[0], CORONAL), "axial slice"),
        (lambda: Volume.from_numpy([[1, 2], [3]], np.eye(3)), "array of 2 or 3 axes"),
        (lambda: Volume.from_numpy(np.ma.masked_less(CUBE, 3), np.eye(4)), "masked"),
        (lambda: Volume.from_numpy(CUBE, np.eye(4), "foo"), "expected kind image, labels, mask, got 'foo'"),
        (lambda: Volume.from_numpy(CUBE, np.eye(4), None), "expected kind"),
        (lambda: Volume.from_sitk(CUBE), "SimpleITK image, got ndarray"),
        (lambda: Volume.from_sitk(None), "got NoneType"),
        (lambda: Volume.from_nibabel(CUBE), "nibabel image, got ndarray"),
    ],
)
def test_what_is_no_image_is_refused_in_clear_words(make, words):
    with pytest.raises(ImageError, match=words):
        make()


def test_volumes_and_points_refuse_what_they_cannot_hold():
    grid = Grid.of((2, 3, 4))
    with pytest.raises(ValueError, match="real numbers"):
        Volume(torch.zeros((1, 2, 3, 4), dtype=torch.complex64), grid)
    with pytest.raises(ValueError, match="origins"):
        Volume(torch.zeros((1, 2, 3, 4)), grid, origins={"modality": "foo"})
    for shape in ((2, 2, 2), (5, 4)):
        with pytest.raises(ValueError, match=r"\(N, 3\)"):
            Points(np.zeros(shape))


def test_a_scan_longer_than_any_patient_is_refused():
    values = np.arange(24.0).reshape(2, 3, 4)
    assert checked_volume(values, Grid.of((2, 3, 4), (1.0, 1.0, 750.0)), "image", "a").grid.shape == (2, 3, 4)
    with pytest.raises(ImageError, match="a: extends over 3.2e.03 mm"):
        checked_volume(values, Grid.of((2, 3, 4), (1.0, 1.0, 800.0)), "image", "a")
