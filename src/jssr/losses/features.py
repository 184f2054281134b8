"""How far two images are apart at points of the fixed one, with the gradient by where the moving one is read.

Everything is read at few points again and again, so that an image's channels lie side by side in memory, the gradient
comes with the value from the same reading, and no graph is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import kernels

_CHUNK = 8192
"""Points at a time on a CPU: what belongs to them stays in its cache."""


class Apart(NamedTuple):
    """A value of each point (P,) or of all (scalar), and the derivative by position in voxels (P, n)."""

    value: Tensor
    slope: Tensor


class Rows:
    """An image (1, C, *spatial) to be read n-linearly at positions. Beyond the border the outermost voxels are
    repeated, as in `core.field.sample`."""

    def __init__(self, image: Tensor) -> None:
        self.shape = tuple(image.shape[2:])
        self.values = image[0].flatten(1).t().contiguous()

    @classmethod
    def of(cls, values: Tensor) -> Rows:
        """Of an image whose channels lie side by side already, (*spatial, C)."""
        rows = cls.__new__(cls)
        rows.shape, rows.values = tuple(values.shape[:-1]), values.flatten(0, -2)
        return rows

    def read(self, at: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Values (P, C) and their derivative along each axis, (P, C) each, at positions (P, n) in voxels."""
        last = torch.tensor(self.shape, dtype=at.dtype, device=at.device) - 1
        kept = torch.minimum(at.clamp(min=0), last)
        low = torch.minimum(kept.floor(), (last - 1).clamp(min=0))
        part = kept - low
        strides = [1]
        for size in reversed(self.shape[1:]):
            strides.insert(0, strides[0] * size)
        first = (low.long() * torch.tensor(strides, device=at.device)).sum(1)
        # An axis of one voxel has no neighbour to step to.
        steps = [(0, stride if size > 1 else 0) for stride, size in zip(strides, self.shape, strict=True)]
        values = [self.values.index_select(0, first + sum(c)).float() for c in itertools.product(*steps)]
        slopes: list[list[Tensor]] = []
        for axis in reversed(range(len(self.shape))):
            weight = part[:, axis : axis + 1]
            slopes = [_halved(corners, weight) for corners in slopes]
            slopes.insert(0, [high - low for low, high in zip(values[::2], values[1::2], strict=True)])
            values = _halved(values, weight)
        held = (kept == at).float()
        return values[0], [s[0] * held[:, axis : axis + 1] for axis, s in enumerate(slopes)]


class FeatureDistance:
    """Squared distance between features of the moving image, read at positions, and those of the fixed image.

    Args:
        moving: (*spatial, C), channels side by side.
        fixed: (*out, C).
        outlier: a distance d counts as d * outlier / (d + outlier) (Geman and McClure 1985), so that places without a
            counterpart do not pull; None counts it as it is.
    """

    def __init__(self, moving: Tensor, fixed: Tensor, outlier: float | None = None) -> None:
        self.moving, self.fixed, self.outlier = Rows.of(moving), fixed, outlier
        halves = moving.ndim == 4 and moving.shape[3] % kernels.LANES == 0 and moving.dtype == torch.float16
        self.compiled = halves and moving.device.type == "cpu" and kernels.library() is not None
        """Whether `of_lattice` can be called, which does the same in one pass."""

    def of_lattice(
        self, seen: Rows, body: Tensor, where: Sequence[slice], field: Tensor, size: Sequence[float]
    ) -> Apart:
        """The weighted mean, a scalar, of points of a lattice that a field moves, and its derivative by the field:
        `kernels.distances`."""
        moving = self.moving.values.view(*self.moving.shape, -1)
        mask = seen.values.view(seen.shape)
        return Apart(*kernels.distances((moving, self.fixed), mask, body, where, field, size, self.outlier))

    def __call__(self, at: Tensor, where: Sequence[slice], chosen: Tensor) -> Apart:
        """Distances (P,) at positions (P, n) of the points `chosen` (P,), counted in the fixed image's part `where`."""
        goal = self.fixed[tuple(where)].flatten(0, -2).index_select(0, chosen)
        size = _CHUNK if at.device.type == "cpu" else max(1, len(at))
        parts = [self._apart(a, g) for a, g in zip(at.split(size), goal.split(size), strict=True)]
        return Apart(torch.cat([p.value for p in parts]), torch.cat([p.slope for p in parts]))

    def _apart(self, at: Tensor, goal: Tensor) -> Apart:
        values, slopes = self.moving.read(at)
        error = values - goal.float()
        distance = torch.linalg.vecdot(error, error)
        slope = 2 * torch.stack([torch.linalg.vecdot(error, s) for s in slopes], dim=1)
        if self.outlier is None:
            return Apart(distance, slope)
        weight = self.outlier / (self.outlier + distance)
        return Apart(distance * weight, slope * weight.square()[:, None])


class Information:
    """Mutual information in nats (Mattes et al. 2003), negated, of intensities in -1..1 at points.

    The moving image's grey values are spread over bins linearly, and the histogram is smoothed by a binomial filter of
    five bins, so that there is a gradient.

    Args:
        moving: (1, 1, *spatial); fixed: (1, 1, *out).
    """

    BINS = 32

    def __init__(self, moving: Tensor, fixed: Tensor) -> None:
        self.moving, self.fixed = Rows(moving), fixed[0, 0]

    def __call__(self, at: Tensor, where: Sequence[slice], chosen: Tensor, weight: Tensor) -> Apart:
        """Of the points as in `FeatureDistance`, each with a weight (P,): a scalar, and its derivative by position."""
        values, slopes = self.moving.read(at)
        bins, goal = self.BINS, self.fixed[tuple(where)].flatten().index_select(0, chosen)
        row = ((goal + 1) * ((bins - 1) / 2) + 0.5).long().clamp_(0, bins - 1)
        place = ((values[:, 0] + 1) * ((bins - 1) / 2)).clamp(0, bins - 1.001)
        column = place.floor().long()
        cell, part = row * bins + column, place - column
        joint = torch.zeros(bins * bins, device=at.device)
        joint.scatter_add_(0, cell, weight * (1 - part)).scatter_add_(0, cell + 1, weight * part)
        p = _smooth(joint.view(bins, bins) / weight.sum().clamp(min=1e-6)).clamp(min=1e-9)
        p = p / p.sum()
        pointwise = (p / (p.sum(0, keepdim=True) * p.sum(1, keepdim=True))).log()
        each = _smooth(pointwise).flatten()
        change = (each[cell + 1] - each[cell]) * weight * ((bins - 1) / 2) / weight.sum().clamp(min=1e-6)
        return Apart(-(p * pointwise).sum(), torch.cat(slopes, dim=1) * -change[:, None])


def _smooth(histogram: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=histogram.device) / 16
    along = F.conv2d(histogram[None, None], kernel.view(1, 1, 5, 1), padding=(2, 0))
    return F.conv2d(along, kernel.view(1, 1, 1, 5), padding=(0, 2))[0, 0]


def _halved(corners: list[Tensor], weight: Tensor) -> list[Tensor]:
    """Interpolate along the last axis that the corners still have."""
    return [torch.lerp(low, high, weight) for low, high in zip(corners[::2], corners[1::2], strict=True)]
