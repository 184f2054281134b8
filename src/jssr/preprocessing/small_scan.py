"""A scan made small and ready for linear alignment: read at points, with its slope, and as codes of a histogram."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.placement import shrink

BINS = 24
"""Of a histogram, along each side."""


@dataclass(frozen=True)
class SmallScan:
    """An image in -1..1, (*grid.shape), and where it counts, bool of the same shape."""

    image: Tensor
    mask: Tensor
    grid: Grid

    @cached_property
    def body_centre(self) -> NDArray[np.float64]:
        """Centre of mass of what is not air, LPS mm; of an image of air the middle."""
        weight = ((self.image + 1) * self.mask).double()
        total = float(weight.sum())
        if total <= 0:
            return self.grid.centre
        sums = [weight.sum(dim=[a for a in range(3) if a != axis]) for axis in range(3)]
        index = [float((s * torch.arange(len(s))).sum()) / total for s in sums]
        return self.grid.world(index)

    @cached_property
    def extent(self) -> NDArray[np.float64]:
        """Of the field of view along each axis, mm."""
        return np.asarray(np.array(self.grid.shape) * self.grid.spacing)

    @cached_property
    def codes(self) -> Tensor:
        """The bin of each voxel, BINS where it does not count and on a border of one voxel that is added, int64."""
        code = ((self.image + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
        return F.pad(code.masked_fill_(~self.mask, BINS), [1] * 6, value=BINS)

    @cached_property
    def _whole(self) -> bool:
        return bool(self.mask.all())

    @cached_property
    def _cells(self) -> Tensor:
        """Of each voxel whether it and its seven neighbours further on all count, flat."""
        out = F.pad((~self.mask).float()[None, None], [0, 1] * 3, value=1.0)
        for axis, size in enumerate(self.image.shape):
            if size == 1:  # there is no neighbour
                out.select(axis + 2, 1).zero_()
        return (F.max_pool3d(out, 2, stride=1)[0, 0] == 0).flatten()

    def shrunk(self, spacing: float) -> SmallScan:
        """The same with voxels of about `spacing` mm."""
        image = shrink(Volume(self.image[None], self.grid), spacing)
        mask = shrink(Volume(self.mask.float()[None], self.grid), spacing)
        return SmallScan(image.data[0], mask.data[0] > 0.5, image.grid)

    def positions(self, matrix: NDArray[np.float64], points: Tensor) -> Tensor:
        """Where points (3, N), LPS mm, lie after a matrix: (3, N) float32, in voxels."""
        to = torch.from_numpy(np.linalg.inv(self.grid.affine) @ matrix)
        return (to[:3, :3] @ points + to[:3, 3:]).float()

    def values(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """The image at positions (3, N) in voxels, and whether all of the cell counts there: both (N,). The outermost
        half voxel counts."""
        size = torch.tensor(self.image.shape).view(3, 1)
        inside = ((at >= -0.5) & (at <= size - 0.5)).all(dim=0)
        first, (x, y, z), (dx, dy, dz) = self._cell(at)
        every, edges = self.image.flatten(), []
        for jump in (0, dy, dx, dx + dy):
            low, high = (every.index_select(0, first + (jump + k)) for k in (0, dz))
            edges.append(low.lerp_(high, z))
        near, far = edges[0].lerp_(edges[1], y), edges[2].lerp_(edges[3], y)
        return near.lerp_(far, x), inside if self._whole else inside & self._cells.index_select(0, first)

    def _cell(self, at: Tensor) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
        """The first voxel of the cells that positions (3, N) lie in, flat; where in the cell, 0..1; and how far on the
        next voxel is along each axis, 0 where there is but one."""
        shape = self.image.shape
        top = torch.tensor([max(s - 2, 0) for s in shape]).view(3, 1)
        base = torch.minimum(at.floor().clamp_(min=0), top)
        jump = (shape[1] * shape[2], shape[2], 1)
        low = base.int()  # shorter than int64, and read as fast
        first = (low[0] * jump[0]).add_(low[1], alpha=jump[1]).add_(low[2])
        dx, dy, dz = (j if s > 1 else 0 for j, s in zip(jump, shape, strict=True))
        return first, (at - base).clamp_(0, 1), (dx, dy, dz)

    def slopes(self, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The image at positions (3, N) in voxels, its gradient there (3, N), and whether all of the cell counts."""
        shape = self.image.shape
        # Of an axis with one voxel there is no cell: what lies within half of it counts, and it has no slope.
        reach = torch.tensor([0.0 if s > 1 else 0.5 for s in shape]).view(3, 1)
        last = torch.tensor([s - 1 for s in shape]).view(3, 1)
        inside = ((at >= -reach) & (at <= last + reach)).all(dim=0)
        i, (x, y, z), (dx, dy, dz) = self._cell(at)
        every = self.image.flatten()
        corner = [[every.index_select(0, i + (a + b)) for b in (0, dz)] for a in (0, dy, dx, dx + dy)]
        along_z = [high - near for near, high in corner]
        a, b, c, d = (pair[0] + z * rise for pair, rise in zip(corner, along_z, strict=True))
        near, far = a + y * (b - a), c + y * (d - c)
        up = [along_z[k] + y * (along_z[k + 1] - along_z[k]) for k in (0, 2)]
        slope = torch.stack([far - near, (b - a) + x * ((d - c) - (b - a)), up[0] + x * (up[1] - up[0])])
        return near + x * (far - near), slope, inside & self._cells.index_select(0, i)


@dataclass(frozen=True)
class Samples:
    """Points of a scan, (3, N) float64, LPS mm, and what it shows there, (N,) in -1..1."""

    points: Tensor
    values: Tensor

    def first(self, count: int) -> Samples:
        """The first of them: they were drawn at random."""
        return Samples(self.points[:, :count], self.values[:count])

    @cached_property
    def about(self) -> Tensor:
        """The points from their middle on, in units of their radius, (3, N) float32."""
        return ((self.points - self.middle) / self.radius).float()

    @cached_property
    def middle(self) -> Tensor:
        """(3, 1)."""
        return self.points.mean(dim=1, keepdim=True)

    @cached_property
    def radius(self) -> float:
        """Root mean square distance from the middle, mm."""
        return max(1e-3, float((self.points - self.middle).square().sum(dim=0).mean().sqrt()))

    @cached_property
    def codes(self) -> Tensor:
        """The bin of each value."""
        return ((self.values + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)

    @cached_property
    def shares(self) -> tuple[Tensor, Tensor]:
        """The lower of two neighbouring bins that each value is shared between, and the upper one's share."""
        return shared(self.values)


def shared(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values in -1..1 between the middles of bins: the lower bin, and the share of the next."""
    place = (values.clamp(-1, 1) + 1) * ((BINS - 1) / 2)
    lower = place.floor().clamp(max=BINS - 2)
    return lower.long(), place - lower


def samples(scan: SmallScan, count: int, seed: int) -> Samples:
    """`count` random points of a scan that count, between its voxels: on its voxels an image of the same grid would be
    least smoothed at whole shifts, and those would be preferred."""
    random = torch.Generator().manual_seed(seed)
    index = scan.mask.flatten().nonzero()[:, 0]
    if not len(index):
        return Samples(torch.zeros(3, 0, dtype=torch.float64), torch.zeros(0))
    index = index[torch.randint(len(index), (count,), generator=random)]
    _, ny, nz = scan.image.shape
    at = torch.stack([index // (ny * nz), index // nz % ny, index % nz]).double()
    at += torch.rand(3, count, generator=random, dtype=torch.float64) - 0.5
    values, counts = scan.values(at.float())
    to = torch.from_numpy(scan.grid.affine.copy())
    return Samples(to[:3, :3] @ at[:, counts] + to[:3, 3:], values[counts])
