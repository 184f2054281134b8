"""Averages over log-polar bins around each voxel: the aggregation of macMIND (Zhou et al. 2023, eq. 11 and 13)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 262144
"""Voxels at a time: what belongs to them stays in the cache."""


@dataclass(frozen=True)
class Bins:
    """Cylindrical log-polar bins in a cube: sectors and rings of the first two axes, slabs of the third.

    The first sector is centred on the first axis. Rings are equal in the logarithm, from the nearest neighbour to the
    corner; the centre, which has no angle, is in every sector of the first.

    Attributes:
        support: voxels along the side of the cube, odd.
        angles, rings, slabs: how many; bins are numbered in this order.
    """

    support: int = 5
    angles: int = 8
    rings: int = 2
    slabs: int = 3

    def __post_init__(self) -> None:
        if self.support < 1 or self.support % 2 == 0 or min(self.angles, self.rings, self.slabs) < 1:
            raise ValueError(f"bins need an odd support and numbers of at least 1, got {self}")
        if not all(self.plane) or not all(self.heights):
            raise ValueError(f"a bin of {self} has no voxel: take fewer bins or a larger support")

    @property
    def count(self) -> int:
        """All of them."""
        return self.angles * self.rings * self.slabs

    @cached_property
    def plane(self) -> list[list[tuple[int, int]]]:
        """Of each sector and ring the voxels, counted from the cube's corner."""
        radius = self.support // 2
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.angles * self.rings)]
        for i in range(self.support):
            for j in range(self.support):
                x, y = i - radius, j - radius
                sector = math.floor(math.atan2(y, x) / (2 * math.pi) * self.angles + 0.5) % self.angles
                away = math.log(max(math.hypot(x, y), 1.0)) / math.log(max(radius * math.sqrt(2), 1.0) + 1e-9)
                ring = min(math.floor(away * self.rings), self.rings - 1)
                for a in range(self.angles) if x == y == 0 else (sector,):
                    found[a * self.rings + ring].append((i, j))
        return found

    @cached_property
    def heights(self) -> list[list[int]]:
        """Of each slab the slices, counted from the cube's corner; one whose middle is on a border is in both."""
        middles = [(k + 0.5) * self.slabs / self.support for k in range(self.support)]
        return [[k for k, middle in enumerate(middles) if slab <= middle <= slab + 1] for slab in range(self.slabs)]

    def means(self, image: Tensor) -> Tensor:
        """Mean over each bin around each voxel: (B, M, *spatial) to (B, M * count, *spatial), a channel's bins side by
        side. The border is repeated."""
        high = self._slabs(self._padded(image))
        found = [sum(taps[1:], taps[0]) / len(taps) for taps in self._taps(high, image.shape[2], image.shape[3])]
        return torch.stack(found, dim=3).movedim(0, 3).flatten(1, 3)

    def energy(self, image: Tensor, weight: Tensor) -> Tensor:
        """`(weight * means(image) ** 2).sum()`, without the memory for the means.

        Args:
            image: (B, M, *spatial), 3D.
            weight: (B, 1, *spatial), not differentiated.
        """
        found: Tensor = _Energy.apply(self._padded(image), weight, self)
        return found

    def _padded(self, image: Tensor) -> Tensor:
        return F.pad(image, [self.support // 2] * 6, mode="replicate")

    def _slabs(self, padded: Tensor) -> Tensor:
        """(slabs, ...): means along the last axis, which gets shorter by the padding."""
        size = padded.shape[-1] - self.support + 1
        parts = [[padded.narrow(-1, k, size) for k in taps] for taps in self.heights]
        return torch.stack([sum(taps[1:], taps[0]) / len(taps) for taps in parts])

    def _taps(self, high: Tensor, rows: int, columns: int) -> Iterator[list[Tensor]]:
        """Of each sector and ring the shifted views that it averages."""
        for bin in self.plane:
            yield [high[..., i : i + rows, j : j + columns, :] for i, j in bin]


class _Energy(torch.autograd.Function):
    """The gradient comes with the value, from the same reading."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor, bins: Bins) -> Tensor:
        slope = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float64, device=padded.device)
        rows = max(1, _BLOCK // (bins.slabs * weight.shape[3] * weight.shape[4]))
        for b, m in torch.cartesian_prod(torch.arange(padded.shape[0]), torch.arange(padded.shape[1])).tolist():
            for start in range(0, weight.shape[2], rows):
                w = weight[b, 0, start : start + rows]
                where = slice(start, start + w.shape[0] + bins.support - 1)
                total += _block(padded[b, m, where], w, bins, None if slope is None else slope[b, m, where])
        ctx.save_for_backward(slope)
        return total.to(padded.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (None if slope is None else slope * grads[0]), None, None


def _block(padded: Tensor, weight: Tensor, bins: Bins, slope: Tensor | None) -> Tensor:
    """The energy of a block (its border around it); its slope is added to `slope`."""
    rows, columns, size = weight.shape
    high = bins._slabs(padded)
    back = torch.zeros_like(high)
    total = torch.zeros((), device=padded.device)
    for taps, places in zip(bins._taps(high, rows, columns), bins.plane, strict=True):
        mean = taps[0] / len(taps)
        for tap in taps[1:]:
            mean.add_(tap, alpha=1 / len(taps))
        weighted = mean * weight
        total += torch.dot(mean.flatten(), weighted.flatten())
        for i, j in places:
            back[:, i : i + rows, j : j + columns].add_(weighted, alpha=2 / len(taps))
    if slope is not None:
        for one, slices in zip(back, bins.heights, strict=True):
            for k in slices:
                slope[..., k : k + size].add_(one, alpha=1 / len(slices))
    return total
