"""Label maps pulled onto a grid: no new labels, whatever their numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from jssr.core.resampling import sample_labels, uniform_cells


def random_map(shape: tuple[int, ...], ids: list[int], seed: int) -> torch.Tensor:
    blocks = np.random.default_rng(seed).choice(ids, [-(-s // 2) for s in shape])
    for axis in range(len(shape)):
        blocks = np.repeat(blocks, 2, axis)
    return torch.from_numpy(blocks[tuple(slice(s) for s in shape)].copy())[None]


def heaviest(labels: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """By SciPy: every label's own weight at the points (n, N), the greatest, of equals the smallest label."""
    ids = np.unique(labels)
    weights = [map_coordinates((labels == v).astype(float), at, order=1, mode="nearest") for v in ids]
    return ids[np.argmax(np.round(weights, 9), axis=0)]


@pytest.mark.parametrize("shape", [(9, 8, 7), (11, 6), (5, 1, 6)])
@pytest.mark.parametrize("ids", [[0, 1], list(range(40)), [-1, 0, 5], [0, 70_001, 2**24 + 1, 2**31 + 7]])
def test_labels_are_those_of_the_greatest_linear_weight(shape, ids):
    labels = random_map(shape, ids, seed=len(ids) + len(shape))
    random = np.random.default_rng(1)
    at = random.uniform(-1.5, np.array(shape)[:, None] + 0.5, (len(shape), 400))
    at[:, :50] = np.round(at[:, :50] * 2) / 2  # ties
    found = sample_labels(labels, torch.from_numpy(at).view(1, len(shape), -1, *[1] * (len(shape) - 1)), nearest=False)
    np.testing.assert_array_equal(found.flatten(), heaviest(labels[0].numpy(), at))


def test_the_nearest_label_keeps_its_number():
    labels = torch.tensor([[2**24 + 1, 2**31 + 7, -5]])
    at = torch.tensor([[-0.4, 0.4, 0.6, 1.6, 9.0]])[None]
    assert sample_labels(labels, at, nearest=True).tolist() == [[2**24 + 1, 2**24 + 1, 2**31 + 7, -5, -5]]


def test_uniform_cells_have_one_label_at_every_corner():
    labels = random_map((5, 4, 6), [0, 1, 2**25], seed=3)
    padded = np.pad(labels[0].numpy(), [(0, 1)] * 3, mode="edge")
    expected = np.ones((5, 4, 6), dtype=bool)
    for i, j, k in np.ndindex(5, 4, 6):
        corners = {int(padded[i + a, j + b, k + c]) for a, b, c in itertools.product((0, 1), repeat=3)}
        expected[i, j, k] = len(corners) == 1
    np.testing.assert_array_equal(uniform_cells(labels), expected)
