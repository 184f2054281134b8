from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Points, Volume, volume_of
from jssr.errors import GeometryError
from jssr.metrics.pair import evaluate_pair


def test_evaluate_pair_measures_what_it_is_given() -> None:
    grid = Grid.of((12, 12, 12), (2.0, 1.0, 3.0))
    fixed, moved = np.zeros((12, 12, 12), np.int16), np.zeros((12, 12, 12), np.int16)
    fixed[2:8, 2, 2:8], fixed[2, 8, 8], fixed[0, 0, 0] = 1, 3, 7
    moved[2:8, 5, 2:8], moved[2, 8, 8], moved[0, 0, 0] = 1, 3, 0
    a, b = volume_of(fixed, grid, "labels"), volume_of(moved, grid, "labels")
    out = evaluate_pair(a, b, {"plate": (1,), "whole": (1, 3), "lost": (7,), "absent": (9,)})
    assert (out["dice/plate"], out["hd95/plate"], out["asd/plate"]) == (0.0, pytest.approx(3.0), pytest.approx(3.0))
    assert out["dice/whole"] == pytest.approx(2 * 1 / (37 + 37))
    assert (out["dice/lost"], out["hd95/lost"]) == (0.0, math.inf)
    assert math.isnan(out["dice/absent"]) and math.isnan(out["asd/absent"])
    assert "tre" not in out and "folds" not in out
    assert set(evaluate_pair(a, b)) == {f"{m}/{v}" for m in ("dice", "hd95", "asd", "centre") for v in (1, 3, 7)}

    u = torch.zeros(3, 12, 12, 12)
    u[1] = 4.0  # 4 mm along y
    points = Points(np.array([[4.0, 4.0, 6.0]]))
    out = evaluate_pair(displacement=Displacement(u, grid), fixed_points=points, moving_points=points)
    assert out == {"tre": pytest.approx(4.0), "folds": 0.0, "log_jacobian_sd": pytest.approx(0.0, abs=1e-6)}


def test_a_background_of_minus_one_is_no_structure() -> None:
    values = np.full((6, 6, 6), -1, np.int16)
    values[2:4, 2:4, 2:4] = 5
    labels = volume_of(values, Grid.of((6, 6, 6)), "labels")
    assert {key for key in evaluate_pair(labels, labels) if key.startswith("dice")} == {"dice/5"}


def test_evaluate_pair_refuses_another_grid() -> None:
    a = volume_of(np.zeros((4, 4, 4), np.int16), Grid.of((4, 4, 4)), "labels")
    b = volume_of(np.zeros((4, 4, 4), np.int16), Grid.of((4, 4, 4), 2.0), "labels", "other.nii.gz")
    with pytest.raises(GeometryError, match="other.nii.gz"):
        evaluate_pair(a, b)


def test_structures_are_measured_in_their_boxes_whatever_their_numbers() -> None:
    grid = Grid.of((20, 16, 12), (1.0, 2.0, 3.0))
    a, b = np.zeros(grid.shape, np.int32), np.zeros(grid.shape, np.int32)
    a[2:6, 2:6, 2:6], b[3:7, 2:6, 2:6] = -7, -7  # 64 voxels each, 48 in common
    a[12:15, 10:14, 6:9] = b[12:15, 10:14, 6:9] = 90_001
    a[9, 9, 9] = 5
    volumes = volume_of(a, grid, "labels"), volume_of(b, grid, "labels")
    found = evaluate_pair(*volumes, {"one": [-7], "both": [-7, 90_001], "none": [3], "lost": [5]})
    assert found["dice/one"] == pytest.approx(0.75) and found["hd95/one"] == pytest.approx(1.0)
    assert found["dice/both"] == pytest.approx(2 * (48 + 36) / (2 * (64 + 36)))
    assert np.isnan(found["dice/none"]) and found["dice/lost"] == 0.0 and found["hd95/lost"] == np.inf
    assert {k.split("/")[1] for k in evaluate_pair(*volumes)} == {"-7", "5", "90001"}


def test_distances_of_a_patient_look_at_surfaces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.of((128, 128, 64), (3, 3, 4))
    i, j, k = np.ogrid[:128, :128, :64]
    labels = np.zeros(grid.shape, np.int16)
    labels[((i - 64) / 58) ** 2 + ((j - 64) / 45) ** 2 + 0 * k < 1] = 1
    for n in range(2, 11):
        labels[((i - 10 * n) / 14) ** 2 + ((j - 60) / 18) ** 2 + ((k - 32) / 20) ** 2 < 1] = n
    a = volume_of(labels, grid, "labels")
    b = Volume(torch.from_numpy(np.roll(labels, (2, -1), (0, 2)))[None], grid, "labels")
    sizes: list[int] = []

    def counted(points: NDArray[np.float64]) -> cKDTree:
        sizes.append(len(points))
        return cKDTree(points)

    monkeypatch.setattr("scipy.spatial.cKDTree", counted)
    assert len(evaluate_pair(a, b)) == 40
    assert len(sizes) <= 2 * 10  # a tree for each structure of each scan
    assert sum(sizes) < 0.15 * (np.count_nonzero(labels) + np.count_nonzero(b.array))
