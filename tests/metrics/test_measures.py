from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Points, Volume, volume_of
from jssr.errors import GeometryError, PointsError
from jssr.metrics.measures import (
    agreement,
    centre_distance,
    dice,
    evaluate_pair,
    named_structures,
    plain_warnings,
    regularity,
    split_key,
    surface_distances,
    tre,
)


def box(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, dtype=bool)
    out[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = True
    return out


def test_agreement_of_boxes_worked_out_by_hand() -> None:
    true, said = np.zeros((10, 4, 4), bool), np.zeros((10, 4, 4), bool)
    true[0:5], said[1:4], said[6] = True, True, True  # 80 voxels, 64 said, 48 of them right
    found = agreement(said, true)
    assert found == pytest.approx(
        {"dice": 96 / 144, "recall": 48 / 80, "precision": 48 / 64, "rvd": 16 / 80, "voe": 1 - 48 / 96}
    )
    nothing = agreement(np.zeros_like(true), true)
    assert (nothing["dice"], nothing["recall"], nothing["rvd"], nothing["voe"]) == (0.0, 0.0, 1.0, 1.0)
    assert math.isnan(nothing["precision"])
    empty = agreement(said, np.zeros_like(true))
    assert (empty["dice"], empty["precision"], empty["voe"]) == (0.0, 0.0, 1.0)
    assert math.isnan(empty["recall"]) and math.isnan(empty["rvd"])


def test_centres_are_apart_in_millimetres() -> None:
    a, b = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    a[0:2, 0, 0], b[3:5, 4, 0] = True, True
    assert centre_distance(a, b, (2.0, 1.0, 5.0)) == pytest.approx(math.hypot(3 * 2, 4))
    assert math.isnan(centre_distance(a, np.zeros_like(a), (1, 1, 1)))


def test_dice_of_overlapping_boxes() -> None:
    a, b = box((10, 10, 10), (0, 0, 0), (4, 4, 4)), box((10, 10, 10), (2, 0, 0), (4, 4, 4))
    assert dice(a, b) == pytest.approx(2 * 32 / 128)
    assert dice(a, a) == 1.0
    assert dice(a, np.zeros_like(a)) == 0.0
    assert math.isnan(dice(np.zeros_like(a), np.zeros_like(a)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distance_of_two_plates_counts_the_spacing_across_them(axis: int) -> None:
    spacing = (2.0, 1.0, 3.0)
    size, first, second = [6, 6, 6], [2, 2, 2], [2, 2, 2]
    size[axis], second[axis] = 1, 5
    shape = (12, 12, 12)
    hd95, asd = surface_distances(
        box(shape, tuple(first), tuple(size)), box(shape, tuple(second), tuple(size)), spacing
    )
    assert hd95 == asd == pytest.approx(3 * spacing[axis])


def test_distance_of_two_voxels() -> None:
    a, b = box((5, 5, 5), (0, 0, 0), (1, 1, 1)), box((5, 5, 5), (1, 2, 2), (1, 1, 1))
    assert surface_distances(a, b, (1, 2, 3)) == pytest.approx((math.sqrt(1 + 16 + 36),) * 2)


def test_shifted_box_by_hand() -> None:
    # 3 x 3 x 3 boxes, one voxel of 2 mm apart along the first axis. Of either surface (27 - 1 voxels), the 9 of the far
    # face are 2 mm away; the 8 rim voxels of each other face lie on the other's surface, but its middle of the face
    # that dips into the other's inside is 1 mm (the shortest spacing) from the other's skin.
    a, b = box((9, 9, 9), (2, 2, 2), (3, 3, 3)), box((9, 9, 9), (3, 2, 2), (3, 3, 3))
    hd95, asd = surface_distances(a, b, (2.0, 1.0, 3.0))
    assert hd95 == pytest.approx(2.0)
    assert asd == pytest.approx((9 * 2.0 + 1.0) / 26)


def test_distances_agree_with_monai() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    i, j, k = np.indices((24, 20, 16))
    a = ((i - 10) / 8) ** 2 + ((j - 9) / 6) ** 2 + ((k - 8) / 9) ** 2 < 1  # cut by the border of the image
    b = ((i - 13) / 7) ** 2 + ((j - 10) / 7) ** 2 + ((k - 7) / 5) ** 2 < 1
    spacing = (1.5, 0.8, 4.0)
    x, y = (torch.from_numpy(m)[None, None].float() for m in (a, b))
    hd95 = compute_hausdorff_distance(x, y, include_background=True, percentile=95, spacing=spacing)
    asd = compute_average_surface_distance(x, y, include_background=True, symmetric=True, spacing=spacing)
    assert surface_distances(a, b, spacing) == pytest.approx((float(hd95), float(asd)), rel=1e-5)


def test_distances_of_empty_masks() -> None:
    full, empty = np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)
    assert surface_distances(full, empty, (1, 1)) == (math.inf, math.inf)
    assert all(math.isnan(v) for v in surface_distances(empty, empty, (1, 1)))


def test_landmarks_are_matched_by_name() -> None:
    fixed = Points(np.array([[0.0, 0, 0], [10, 0, 0], [5, 5, 5]]), ("a", "b", "only_fixed"))
    moving = Points(np.array([[13.0, 4, 0], [3.0, 4, 0]]), ("b", "a"))
    np.testing.assert_allclose(tre(fixed, moving), [5.0, 5.0])
    shift = np.eye(4)
    shift[:3, 3] = (3, 4, 12)
    np.testing.assert_allclose(tre(fixed, moving, Affine(shift)), [12.0, 12.0])
    with pytest.raises(PointsError, match="in common"):
        tre(fixed, Points(np.zeros((1, 3)), ("z",)))


def along_first_axis(values: list[float]) -> Displacement:
    """A 2D field that depends on the first index only, in voxels."""
    u = torch.zeros(2, len(values), 3)
    u[0] = torch.tensor(values)[:, None]
    return Displacement(u, Grid.of((len(values), 3), (2.0, 5.0)))


def test_regularity_by_hand() -> None:
    # Differences +1, 0: determinants 2 and 1, logs 0.693 and 0.
    smooth = regularity(along_first_axis([0, 1, 1]))
    assert smooth.folds == 0.0
    assert smooth.log_jacobian_sd == pytest.approx(math.log(2) / 2)
    # Differences +1, -2, 0, 0: determinants 2, -1 (a fold), 1, 1.
    folded = regularity(along_first_axis([0, 1, -1, -1, -1]))
    assert folded.folds == pytest.approx(25.0)
    assert folded.log_jacobian_sd == pytest.approx(np.std([math.log(2), 0, 0]))


def test_regularity_within_a_mask() -> None:
    field = along_first_axis([0, 1, -1, -1, -1])
    mask = torch.zeros(1, 5, 3, dtype=torch.bool)
    mask[:, 1:3] = True  # the fold and a cell at rest
    assert regularity(field, mask).folds == pytest.approx(50.0)
    assert math.isnan(regularity(field, torch.zeros(5, 3, dtype=torch.bool)).folds)


def test_structures_join_the_labels_of_a_region() -> None:
    names = {"0": "background", "1": "liver", "2": "spleen", "16": "liver_tumour"}
    found = named_structures(names, {"liver": ["liver", "liver_tumour"]})
    assert found == {"liver": (1, 16), "spleen": (2,), "liver_tumour": (16,)}


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


def test_evaluate_pair_refuses_another_grid() -> None:
    a = volume_of(np.zeros((4, 4, 4), np.int16), Grid.of((4, 4, 4)), "labels")
    b = volume_of(np.zeros((4, 4, 4), np.int16), Grid.of((4, 4, 4), 2.0), "labels", "other.nii.gz")
    with pytest.raises(GeometryError, match="other.nii.gz"):
        evaluate_pair(a, b)


def test_a_whole_patient_takes_little_time() -> None:
    grid = Grid.of((128, 128, 64), (3, 3, 4))
    i, j, k = np.ogrid[:128, :128, :64]
    labels = np.zeros(grid.shape, np.int16)
    labels[((i - 64) / 58) ** 2 + ((j - 64) / 45) ** 2 + 0 * k < 1] = 1
    for n in range(2, 11):
        labels[((i - 10 * n) / 14) ** 2 + ((j - 60) / 18) ** 2 + ((k - 32) / 20) ** 2 < 1] = n
    a = volume_of(labels, grid, "labels")
    b = Volume(torch.from_numpy(np.roll(labels, (2, -1), (0, 2)))[None], grid, "labels")
    start = time.process_time()
    assert len(evaluate_pair(a, b)) == 40
    assert time.process_time() - start < 1.5


def test_warnings_in_plain_words() -> None:
    good = {"dice/liver": 0.95, "tre": 2.0, "folds": 0.01, "log_jacobian_sd": 0.1, "hd95/liver": math.nan}
    assert plain_warnings(good, {"dice/liver": 0.9, "tre": 8.0}, covered=0.99) == []
    bad = {"dice/liver": 0.6, "dice/spleen": 0.0, "tre": 9.0, "folds": 1.5, "log_jacobian_sd": 0.8}
    text = " ".join(plain_warnings(bad, {"dice/liver": 0.9, "tre": 8.0}, covered=0.7))
    for part in ("70%", "1.5 %", "liver 60 %", "liver from 90.0 to 60.0", "overlap: spleen", "8.0 mm became 9.0 mm"):
        assert part in text


def test_keys_come_apart() -> None:
    assert split_key("dice/left/lung") == ("dice", "left/lung")
    assert split_key("tre") == ("tre", "")


def test_landmarks_with_one_name_twice_are_refused() -> None:
    twice = Points(np.array([[1.0, 2, 3], [4, 5, 6]]), ("a", "a"))
    with pytest.raises(PointsError, match="two fixed landmarks"):
        tre(twice, twice)


def test_worse_than_the_rigid_alignment_is_told():
    after, before = {"dice/liver": 0.9, "dice/tumour": 0.75}, {"dice/liver": 0.5, "dice/tumour": 0.1}
    rigid = {"dice/liver": 0.8, "dice/tumour": 0.8, "tre": 1.0}
    assert plain_warnings(after, before) == []
    told = ["Worse than by the rigid alignment alone (Dice): tumour from 80.0 to 75.0 %."]
    assert plain_warnings(after, before, rigid=rigid) == told
