"""Descriptors that look alike across modalities: MIND, its self-similarity context, and macMIND."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jssr.core import kernels
from jssr.core.precision import full_precision
from jssr.losses.bins import Bins
from jssr.losses.similarity import box_mean, masked_mean


def _neighbours(n: int) -> list[tuple[int, ...]]:
    """A voxel's 2n neighbours, -1 and +1 along each axis."""
    return [tuple(sign if axis == a else 0 for axis in range(n)) for a in range(n) for sign in (-1, 1)]


def _pairs(n: int) -> list[tuple[int, int]]:
    """Those pairs of them that are sqrt(2) apart: 12 in 3D, 4 in 2D."""
    return [(a, b) for a in range(2 * n) for b in range(a + 1, 2 * n) if a // 2 != b // 2]


def _shift(image: Tensor, offset: tuple[int, ...], by: int) -> Tensor:
    """`out(p) = image(p + by * offset)`, border repeated."""
    for axis, o in enumerate(offset):
        if o:
            size = image.shape[axis + 2]
            index = (torch.arange(size, device=image.device) + by * o).clamp(0, size - 1)
            image = image.index_select(axis + 2, index)
    return image


def _describe(distances: Tensor) -> Tensor:
    """Patch distances (B, M, *spatial), which are used up, to the descriptor: minus the minimum, over the mean
    (clamped), exp(-.)."""
    least = distances.amin(dim=1, keepdim=True)
    return _over_their_mean(torch.sub(distances, least, out=_into(distances)))


def _over_their_mean(d: Tensor) -> Tensor:
    """exp(-d / the mean of its channels), that mean held within a factor of 1000 of the whole image's: what is flat
    but for noise is described as flat. `d` is used up."""
    variance = d.mean(dim=1, keepdim=True)
    middle = variance.mean(dim=tuple(range(2, d.ndim)), keepdim=True)
    variance = torch.minimum(torch.maximum(variance, middle * 1e-3), middle * 1e3).clamp(min=1e-12)
    into = _into(d)
    return torch.exp(torch.div(d, -variance, out=into), out=into)  # one image is negated so, not every channel


def _into(used: Tensor) -> Tensor | None:
    """The array itself, to be written over, where no gradient wants it: a new one of many channels takes as long to
    get as to fill."""
    return None if used.requires_grad else used


@full_precision
def mind_ssc(image: Tensor, dilation: int = 2, patch: int = 3) -> Tensor:
    """Self-similarity context (Heinrich et al. 2013) of an image (B, 1, *spatial): (B, 12, *spatial) in 0..1; in 2D
    (B, 4, *spatial).

    Each channel compares two of the neighbours at `dilation` voxels, sqrt(2) * dilation apart, by the mean squared
    difference of the cubes of `patch` voxels around them.
    """
    image = image.float()
    if patch == 3 and kernels.usable(image):
        return kernels.mind_ssc(_padded(image, 2 * dilation), dilation, _compiled_pairs())
    n = image.ndim - 2
    around = _padded(image, 2 * dilation)
    sizes = [s + 2 * dilation for s in image.shape[2:]]

    def part(of: Tensor, offset: Sequence[int], shape: Sequence[int]) -> Tensor:
        """`of` from one dilation inside its border, moved by `offset` dilations."""
        where = [slice(dilation * (o + 1), dilation * (o + 1) + s) for o, s in zip(offset, shape, strict=True)]
        return of[(slice(None), slice(None), *where)]

    # Two pairs lie along each diagonal: they are one image of distances, read at two places.
    sides = _neighbours(n)
    distances: dict[tuple[int, ...], Tensor] = {}
    found = []
    for a, b in _pairs(n):
        first, second = sorted((sides[a], sides[b]), reverse=True)
        along = tuple(y - x for x, y in zip(first, second, strict=True))
        if along not in distances:
            here, there = part(around, [0] * n, sizes), part(around, along, sizes)
            distances[along] = box_mean((here - there).square_(), patch)
        found.append(part(distances[along], first, image.shape[2:]))
    return _describe(torch.cat(found, dim=1))


@full_precision
def mind_ssc_rows(image: Tensor, rows: Tensor, factor: float, dilation: int = 2) -> None:
    """Write `factor` times `mind_ssc` of an image (1, 1, *spatial) that `kernels.usable` takes into the first 12 of
    (*spatial, lanes) float16, without making it whole."""
    kernels.mind_ssc(_padded(image, 2 * dilation), dilation, _compiled_pairs(), rows, factor)


def _padded(image: Tensor, by: int) -> Tensor:
    return F.pad(image, [by] * (2 * (image.ndim - 2)), mode="replicate")


@lru_cache(maxsize=1)
def _compiled_pairs() -> tuple[list[int], list[int], list[int]]:
    """The 3D pairs as `kernels.mind_ssc` takes them."""
    sides = _neighbours(3)
    directions: list[tuple[int, ...]] = []
    which: list[int] = []
    first: list[int] = []
    for a, b in _pairs(3):
        one, other = sorted((sides[a], sides[b]), reverse=True)
        along = tuple(y - x for x, y in zip(one, other, strict=True))
        if along not in directions:
            directions.append(along)
        which.append(directions.index(along))
        first += one
    return [step for along in directions for step in along], which, first


@full_precision
def mind(image: Tensor, dilation: int = 1, patch: int = 3) -> Tensor:
    """MIND (Heinrich et al. 2012) over the nearest neighbours of an image (B, 1, *spatial): (B, 6, *spatial), in 2D
    (B, 4, *spatial)."""
    image = image.float()
    around = _neighbours(image.ndim - 2)
    distances = [box_mean((image - _shift(image, o, dilation)) ** 2, patch) for o in around]
    return _describe(torch.cat(distances, dim=1))


@full_precision
def mind_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared distance of the MIND-SSC of two images, summed over its channels, mean over the voxels."""
    return masked_mean((mind_ssc(a) - mind_ssc(b)).square().sum(dim=1, keepdim=True), mask)


def described(image: Tensor, air: float = -0.95) -> Tensor:
    """1 on and next to what is brighter than air in a normalised image (B, 1, *spatial), else 0.

    Air is as like to any other air: what lies in nothing else says nothing about where it came from.
    """
    return (box_mean((image > air).float(), 5) > 0).float()


@dataclass(frozen=True)
class MacMIND:
    """macMIND of 3D images (Zhou et al. 2023, macJNet, eq. 8 to 14): self-similarity over 18 connections at several
    scales, averaged in log-polar bins around each voxel.

        SSC_ij = exp(-18 SSD_ij / sum SSD)         of the patches i, j of a centre and its 6 neighbours     (8), (9)
        S_ij   = sum_k weights_k SSC_ij at the distance k * distance                                        (10)
        macMIND_ij,n = mean of S_ij over bin n                                                              (11)

    Equation (8) is printed as a sum over the pairs ij; the text's M channels, and ours, are the pairs. The print gives
    bins in the plane only: see `Bins` for ours. By default there are 18 * 48 channels; with one bin there are the 18
    of S, averaged.

    Attributes:
        distance: voxels from a patch to its neighbours at the first scale, the paper's L.
        patch: voxels along the side of a patch, odd, R1.
        weights: of the scales, alpha; the k-th has k times the distance.
        bins: what is aggregated, over R2 = 5 voxels; `Bins(1, 1, 1, 1)` leaves S as it is.
    """

    distance: int = 2
    patch: int = 5
    weights: tuple[float, ...] = (0.7, 0.3)
    bins: Bins = field(default_factory=Bins)

    def __post_init__(self) -> None:
        whole = all(isinstance(size, int) and size > 0 for size in (self.distance, self.patch))
        if not whole or self.patch % 2 == 0:
            raise ValueError(f"macMIND needs a distance and an odd patch in voxels, got {self.distance}, {self.patch}")
        if not self.weights or not all(isinstance(w, int | float) and 0 < w < math.inf for w in self.weights):
            raise ValueError(f"macMIND needs a positive weight for each scale, got {list(self.weights)}")

    @full_precision
    def __call__(self, image: Tensor) -> Tensor:
        """Describe (B, 1, *spatial): (B, 18 N, *spatial) in 0..1, the bins of a connection side by side."""
        return self.bins.means(self.similarity(image))

    @full_precision
    def similarity(self, image: Tensor) -> Tensor:
        """S: (B, 1, *spatial) to (B, 18, *spatial). Nothing but the image is kept for the gradient.

        Raises:
            ValueError: a 2D image.
        """
        if image.ndim != 5:
            raise ValueError("macMIND is of 3D images; for 2D ones there are mind-ssc and mind")
        found = torch.zeros((), device=image.device)
        for k, weight in enumerate(self.weights, start=1):
            what = image.float(), k * self.distance, self.patch
            # Where there is no gradient the function itself: the first use of checkpoint takes seconds to import.
            again = image.requires_grad and torch.is_grad_enabled()
            ssc = checkpoint(_connections, *what, use_reentrant=False) if again else _connections(*what)
            found = found + weight * ssc
        return found

    @full_precision
    def distance_of(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        """Equation (14) of two images (B, 1, *spatial): squared distance summed over channels, mean over the voxels."""
        return self.apart(self.similarity(a), self.similarity(b), mask)

    @full_precision
    def apart(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same of two S, (B, 18, *spatial); of several samples the mean.

        Averaging is linear, so that it is done to their difference, one connection at a time: the memory is that of 18
        channels, not of 18 N.
        """
        weight = torch.ones_like(a[:, :1], dtype=torch.float32) if mask is None else mask.float()
        each = zip((a - b).split(1), weight.split(1), strict=True)
        return torch.stack([self.bins.energy(d, w) / w.sum().clamp(min=1) for d, w in each]).mean()


def _connections(image: Tensor, distance: int, patch: int) -> Tensor:
    """Equation (8): (B, 1, *spatial) to (B, 18, *spatial), centre to neighbours first, then neighbours among them."""
    around = [_shift(image, o, distance) for o in _neighbours(3)]
    pairs = [(image, side) for side in around] + [(around[a], around[b]) for a, b in _pairs(3)]
    return _over_their_mean(torch.cat([box_mean((a - b) ** 2, patch) for a, b in pairs], dim=1))
