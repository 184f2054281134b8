from __future__ import annotations

import math

import numpy as np
import pytest

from jssr.metrics.overlap import dice, precision, recall, volume_difference, volume_overlap_error


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
