"""Descriptors that look alike across modalities: MIND and its self-similarity context."""

from __future__ import annotations

import torch
from torch import Tensor

from jssr.core.precision import full_precision
from jssr.losses.similarity import box_mean, masked_mean

__all__ = ["described", "mind", "mind_distance", "mind_ssc"]

# The six neighbours of a voxel, +-1 along each axis, and the 12 pairs of them that are sqrt(2) apart.
_SIX = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
_PAIRS = [(a, b) for a in range(6) for b in range(a + 1, 6) if a // 2 != b // 2]


def _shift(image: Tensor, offset: tuple[int, ...], by: int) -> Tensor:
    """`out(p) = image(p + by * offset)`, border repeated."""
    for axis, o in enumerate(offset):
        if o:
            size = image.shape[axis + 2]
            index = (torch.arange(size, device=image.device) + by * o).clamp(0, size - 1)
            image = image.index_select(axis + 2, index)
    return image


def _describe(distances: Tensor) -> Tensor:
    """Patch distances (B, M, *spatial) to the descriptor: minus the minimum, over the mean (clamped), exp(-.)."""
    d = distances - distances.amin(dim=1, keepdim=True)
    variance = d.mean(dim=1, keepdim=True)
    middle = variance.mean(dim=tuple(range(2, d.ndim)), keepdim=True)
    variance = torch.minimum(torch.maximum(variance, middle * 1e-3), middle * 1e3).clamp(min=1e-12)
    return torch.exp(-d / variance)


@full_precision
def mind_ssc(image: Tensor, dilation: int = 2, patch: int = 3) -> Tensor:
    """Self-similarity context (Heinrich et al. 2013) of a 3D image (B, 1, *spatial): (B, 12, *spatial) in 0..1.

    Each channel compares two of the six neighbours at `dilation` voxels, sqrt(2) * dilation apart, by the mean squared
    difference of the cubes of `patch` voxels around them.
    """
    image = image.float()
    shifted = [_shift(image, o, dilation) for o in _SIX]
    # The patch filter commutes with the shifts away from the border: one filter a pair.
    distances = torch.cat([box_mean((shifted[a] - shifted[b]) ** 2, patch) for a, b in _PAIRS], dim=1)
    return _describe(distances)


@full_precision
def mind(image: Tensor, dilation: int = 1, patch: int = 3) -> Tensor:
    """MIND (Heinrich et al. 2012) over the 6-neighbourhood of a 3D image (B, 1, *spatial): (B, 6, *spatial)."""
    image = image.float()
    distances = [box_mean((image - _shift(image, o, dilation)) ** 2, patch) for o in _SIX]
    return _describe(torch.cat(distances, dim=1))


@full_precision
def mind_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared distance of the MIND-SSC of two 3D images, summed over the 12 channels, mean over the voxels."""
    return masked_mean((mind_ssc(a) - mind_ssc(b)).square().sum(dim=1, keepdim=True), mask)


def described(image: Tensor, air: float = -0.95) -> Tensor:
    """1 on and next to what is brighter than air in a normalised image (B, 1, *spatial), else 0.

    Air is as like to any other air: what lies in nothing else says nothing about where it came from.
    """
    return (box_mean((image > air).float(), 5) > 0).float()
