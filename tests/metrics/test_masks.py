from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from jssr.metrics.masks import (
    centre_distance,
    dice,
    precision,
    recall,
    surface_distances,
    volume_difference,
    volume_overlap_error,
)


def box(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, dtype=bool)
    out[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = True
    return out


def test_agreement_of_boxes_worked_out_by_hand() -> None:
    true, said = np.zeros((10, 4, 4), bool), np.zeros((10, 4, 4), bool)
    true[0:5], said[1:4], said[6] = True, True, True  # 80 voxels, 64 said, 48 of them right
    found = [f(true, said) for f in (dice, recall, precision, volume_difference, volume_overlap_error)]
    assert found == pytest.approx([96 / 144, 48 / 80, 48 / 64, 16 / 80, 1 - 48 / 96])
    none = np.zeros_like(true)
    assert (dice(true, none), recall(true, none), volume_difference(true, none)) == (0.0, 0.0, 1.0)
    assert volume_overlap_error(true, none) == 1.0 and math.isnan(precision(true, none))
    assert (dice(none, said), precision(none, said), volume_overlap_error(none, said)) == (0.0, 0.0, 1.0)
    assert math.isnan(recall(none, said)) and math.isnan(volume_difference(none, said))


def test_dice_of_overlapping_boxes() -> None:
    a, b = box((10, 10, 10), (0, 0, 0), (4, 4, 4)), box((10, 10, 10), (2, 0, 0), (4, 4, 4))
    assert dice(a, b) == pytest.approx(2 * 32 / 128)
    assert dice(a, a) == 1.0
    assert dice(a, np.zeros_like(a)) == 0.0
    assert math.isnan(dice(np.zeros_like(a), np.zeros_like(a)))


def test_centres_are_apart_in_millimetres() -> None:
    a, b = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
    a[0:2, 0, 0], b[3:5, 4, 0] = True, True
    assert centre_distance(a, b, (2.0, 1.0, 5.0)) == pytest.approx(math.hypot(3 * 2, 4))
    assert math.isnan(centre_distance(a, np.zeros_like(a), (1, 1, 1)))


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
