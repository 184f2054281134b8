"""A segmentor run over a large scan in tiles that lie half over each other."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["in_tiles"]


def in_tiles(classify: Callable[[Tensor], Tensor], image: Tensor, tile: Sequence[int] | None) -> Tensor:
    """Class probabilities (B, K, *spatial) of an image (B, 1, *spatial): the tiles' mean, their middles counting most.

    Normalised over a whole trunk, features have other values than in the patches of training.

    Args:
        classify: an image (B, 1, *spatial) to probabilities (B, K, *spatial).
        tile: voxels of a tile; None, or a tile as large as the image, classifies all at once.
    """
    if tile is None or all(n <= t for n, t in zip(image.shape[2:], tile, strict=True)):
        return classify(image)
    total, weights = image.new_zeros(()), image.new_zeros(1, 1, *image.shape[2:])
    starts = [_starts(n, t) for n, t in zip(image.shape[2:], tile, strict=True)]
    for corner in itertools.product(*starts):
        where = (slice(None), slice(None), *[slice(c, c + t) for c, t in zip(corner, tile, strict=True)])
        found = classify(image[where])
        weight = _bell(found.shape[2:]).to(found)
        if total.ndim == 0:
            total = found.new_zeros(*found.shape[:2], *image.shape[2:])
        total[where] += found * weight
        weights[where] += weight
    return total / weights


def _starts(size: int, tile: int) -> list[int]:
    """Where tiles begin along an axis: evenly, neighbours sharing at least half."""
    if size <= tile:
        return [0]
    count = math.ceil((size - tile) / (tile / 2)) + 1
    return [round(k * (size - tile) / (count - 1)) for k in range(count)]


def _bell(shape: Sequence[int]) -> Tensor:
    """Weights of a tile, 1 in its middle and less towards its sides, (*shape)."""
    sides = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (0.25 * n)) ** 2) for n in shape]
    bell = functools.reduce(lambda a, b: a[..., None] * b, sides)
    return bell + 1e-3
