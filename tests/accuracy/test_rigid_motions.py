"""Known rigid motions of scans: what is made of them is where the truth says, and the tables count what was found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from body import middle_grid
from body import scan as body
from scipy import ndimage

from jssr.core.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import rigid_motion_sets as sets  # noqa: E402
import rigid_motions  # noqa: E402


def scan():
    volume = body(middle_grid((60, 46, 40), (5.0, 5.0, 5.0)))
    return Volume(volume.data, volume.grid, modality="ct")


@pytest.mark.parametrize("kind", list(sets.CLASSES))
def test_a_motion_is_as_long_as_its_class_says(kind):
    grid = scan().grid
    degrees, mm = sets.CLASSES[kind]
    for seed in range(5):
        matrix = sets.draw(kind, grid, np.random.default_rng(seed))
        turn = np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
        shift = np.linalg.norm(matrix[:3, :3] @ grid.centre + matrix[:3, 3] - grid.centre)
        assert turn <= degrees + 1e-6 and shift <= mm + 1e-6
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("turned", [False, True])
def test_the_moved_scan_shows_the_body_where_the_truth_says(turned):
    fixed, rng = scan(), np.random.default_rng(3)
    motion = sets.draw("medium", fixed.grid, rng)
    moved = sets.moved(fixed, motion, turned, cropped=False, rng=rng)
    points = sets.body_points(fixed)
    there = moved.grid.index(points @ motion[:3, :3].T + motion[:3, 3]).T
    seen = ndimage.map_coordinates(np.asarray(moved.array), there, order=1, cval=-2000.0)
    known = ndimage.map_coordinates(np.asarray(fixed.array), fixed.grid.index(points).T, order=1)
    kept = seen > -1500
    assert kept.mean() > 0.7
    away = ndimage.map_coordinates(np.asarray(moved.array), moved.grid.index(points).T, order=1, cval=-2000.0)
    right, wrong = (float(np.median(np.abs(values[kept] - known[kept]))) for values in (seen, away))
    assert right < 30.0, right  # noise is 20 HU, and 12 HU of the scan's own
    assert wrong > 1.3 * right, (right, wrong)


def test_a_cropped_scan_keeps_part_of_the_length():
    fixed, rng = scan(), np.random.default_rng(1)
    moved = sets.moved(fixed, np.eye(4), turned=False, cropped=True, rng=rng)
    share = moved.grid.shape[2] / fixed.grid.shape[2]
    assert sets.CROP[0] - 0.05 < share < sets.CROP[1] + 0.05
    assert moved.grid.shape[:2] == fixed.grid.shape[:2]


def test_the_table_counts_what_was_found():
    rows = [
        {"subject": "HCC_015", "kind": "small", "seed": 0, "error_mm": 0.5, "cpu_s": 1.0},
        {"subject": "HCC_015", "kind": "large", "seed": 0, "error_mm": 9.0, "cpu_s": 3.0},
        {"subject": "HCC_007", "kind": "large", "seed": 0, "error_mm": 9.0, "cpu_s": 9.0},
    ]
    assert rigid_motions.table({"ours": rows}, tuning=False)[2] == (
        "| ours | 1 of 1 | 0 of 0 | 0 of 1 | 0 of 0 | 0 of 0 | 1 of 2 | 0.500 | 2.00 |"
    )
    assert rigid_motions.by_subject({"ours": rows})[2:] == [
        "| HCC_007 | CT of the abdomen | 0 of 1, 9.00 s |",
        "| HCC_015 | CT of the abdomen | 1 of 2, 2.00 s |",
    ]


def test_elastix_and_ours_give_matrices_of_one_sense():
    pytest.importorskip("itk")
    fixed, rng = scan(), np.random.default_rng(3)
    motion = sets.draw("small", fixed.grid, rng)
    moved = sets.moved(fixed, motion, turned=True, cropped=False, rng=rng)
    torch.manual_seed(0)
    for method in (rigid_motions.ours, rigid_motions.method_of("elastix-small")):
        points = sets.body_points(fixed)
        off = points @ (method(fixed, moved) - motion)[:3, :3].T + (method(fixed, moved) - motion)[:3, 3]
        assert np.linalg.norm(off, axis=1).mean() < 2.0
