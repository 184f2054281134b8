"""Tensors made when they are first asked for."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.late import Pending, array_of, held, pending
from jssr.core.transform import Displacement
from jssr.core.volume import Volume, volume_of

GRID = Grid.of((2, 3, 4))


def test_the_tensor_has_the_memory_of_the_array():
    values = np.zeros(GRID.shape, np.float32)
    volume = volume_of(values, GRID)
    assert isinstance(held(volume, "data"), Pending) and volume.array[1, 2, 3] == 0
    volume.data[0, 1, 2, 3] = 7
    assert isinstance(held(volume, "data"), torch.Tensor)
    assert values[1, 2, 3] == volume.array[1, 2, 3] == 7


def test_what_is_known_of_a_volume_changes_without_its_tensor():
    known = volume_of(np.zeros(GRID.shape, np.float32), GRID).known_as("option", modality="ct", phase="venous")
    assert isinstance(held(known, "data"), Pending) and (known.modality, known.phase) == ("ct", "venous")


def test_copies_and_pickles_hold_the_values():
    field = Displacement.from_millimetres(np.full((2, 3, 4, 3), 2.0), GRID)
    for one in (pickle.loads(pickle.dumps(field)), replace(field, grid=GRID)):
        assert one.u.dtype == torch.float32 and one.u.unique().tolist() == [2.0]


def test_tensors_stay_themselves():
    data = torch.ones(1, 2, 3, 4)
    volume = Volume(data, GRID)
    assert volume.data is data and array_of(volume, "data").sum() == 24


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.zeros((1, 2, 3, 4), np.complex64), "image", "real numbers"),
        (np.zeros((1, 2, 3, 4), np.float32), "labels", "integer type"),
        (np.zeros((1, 2, 3, 4), np.uint8), "mask", "bool"),
        (np.zeros((1, 4, 3, 2), np.float32), "image", "on a grid of"),
    ],
)  # fmt: skip
def test_arrays_are_checked_as_tensors_are(values, kind, words):
    for data in (pending(values), torch.from_numpy(values)):
        with pytest.raises(ValueError, match=words):
            Volume(data, GRID, kind)
