"""Volumes and points hold together or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume, volume_of

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
