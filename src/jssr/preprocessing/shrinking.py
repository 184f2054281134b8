"""Volumes averaged to coarser grids, and put into the networks' order of axes, slab by slab: of a large scan nothing
else of its size is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.intensity import thinned, thinning

SLAB = 1 << 24
"""Voxels that are computed at a time."""
Change = Callable[[Tensor], Tensor]
"""What is done to the voxels (C, *slab) of a slab; it may overwrite none of them."""


@dataclass(frozen=True)
class Turned:
    """A volume read in another order of its axes, some of them turned round; its voxels stay where they are in the
    patient.

    Attributes:
        volume: as it is held.
        order: which of its axes each axis of `grid` is.
        back: axes of `grid` that run against it.
        grid: where the voxels lie, in the new order.
    """

    volume: Volume
    order: tuple[int, ...]
    back: tuple[int, ...]
    grid: Grid

    @classmethod
    def canonical(cls, volume: Volume) -> Turned:
        """In the order that the networks know: the first tensor axis towards the patient's left, the second towards the
        back, the third towards the head, as nearly as swapping and turning axes allows."""
        direction, n = volume.grid.direction, volume.grid.ndim
        # Column a of the direction is tensor axis a; `order[w]` is the axis that runs most along world axis w.
        order = max(permutations(range(n)), key=lambda axes: sum(abs(direction[w, a]) for w, a in enumerate(axes)))
        back = tuple(axis for axis in range(n) if direction[axis, order[axis]] < 0)
        if order == tuple(range(n)) and not back:
            return cls.as_it_is(volume)
        affine = volume.grid.affine.copy()
        affine[:n, :n] = affine[:n, :n][:, order]
        shape = [volume.grid.shape[a] for a in order]
        for axis in back:
            affine[:n, n] += affine[:n, axis] * (shape[axis] - 1)
            affine[:n, axis] *= -1
        return cls(volume, order, back, Grid(tuple(shape), affine))

    @classmethod
    def as_it_is(cls, volume: Volume) -> Turned:
        return cls(volume, tuple(range(volume.grid.ndim)), (), volume.grid)

    @property
    def whole(self) -> Volume:
        """All of it; the volume itself where nothing is turned."""
        if self.grid is self.volume.grid:
            return self.volume
        return self.volume.with_data(self.slab(0, self.grid.shape[0]), self.grid)

    def slab(self, first: int, last: int) -> Tensor:
        """Part of the first axis: (C, last - first, ...)."""
        axis, size = self.order[0], self.grid.shape[0]
        low = size - last if 0 in self.back else first
        part = self.volume.data.narrow(axis + 1, low, last - first)
        if self.grid is self.volume.grid:
            return part
        return part.permute(0, *[a + 1 for a in self.order]).flip([a + 1 for a in self.back]).contiguous()

    def slabs(self, every: int = 1) -> Iterator[tuple[int, Tensor]]:
        """One `slab` after the other, with where it begins; each but the last has a multiple of `every` voxels along
        the first axis."""
        plane = max(1, self.grid.voxels // self.grid.shape[0])
        thick = max(1, SLAB // (plane * every)) * every
        for first in range(0, self.grid.shape[0], thick):
            yield first, self.slab(first, min(first + thick, self.grid.shape[0]))

    def thinned(self) -> Tensor:
        """`intensity.thinned` of the whole."""
        data = self.volume.data
        if self.grid is self.volume.grid:
            return thinned(data)
        chosen = np.arange(0, data.numel(), thinning(data.numel()))
        at = list(np.unravel_index(chosen, (len(data), *self.grid.shape)))
        for axis in self.back:
            at[axis + 1] = self.grid.shape[axis] - 1 - at[axis + 1]
        index: list[Tensor] = [torch.from_numpy(at[0])] * data.ndim
        for axis, held in enumerate(self.order):
            index[held + 1] = torch.from_numpy(at[axis + 1])
        return data[tuple(index)]


def canonical(volume: Volume) -> Volume:
    """A volume with its axes in the order of `Turned.canonical`."""
    return Turned.canonical(volume).whole


def shrink(volume: Volume | Turned, spacing: Sequence[float] | float, change: Change | None = None) -> Volume:
    """Average blocks of voxels so that the spacing comes near (not above about 1.4 times) the one asked for.

    This is the filter against aliasing before a volume is resampled to a coarser grid. Labels keep every n-th voxel.

    Args:
        change: what is done to the voxels before they are averaged; what comes of it counts as an image.
    """
    turned = volume if isinstance(volume, Turned) else Turned.as_it_is(volume)
    volume, grid, n = turned.volume, turned.grid, turned.grid.ndim
    ratio = np.broadcast_to(np.asarray(spacing, dtype=float), (n,)) / grid.spacing
    factor = np.minimum(np.maximum(1, np.floor(ratio + 0.3)), grid.shape).astype(int)
    if (factor == 1).all():
        whole = turned.whole
        return whole if change is None else replace(volume, data=change(whole.data), grid=grid, kind="image")
    shape = np.array(grid.shape) // factor
    affine = grid.affine.copy()
    affine[:-1, -1] = grid.world((factor - 1) / 2)
    affine[:-1, :-1] *= factor
    if volume.kind == "labels" and change is None:
        pick = tuple(slice(f // 2, f * s, f) for f, s in zip(factor, shape, strict=True))
        affine[:-1, -1] = grid.world(factor // 2)
        return volume.with_data(turned.whole.data[(slice(None), *pick)], Grid(tuple(shape), affine))
    pool = F.avg_pool3d if n == 3 else F.avg_pool2d
    out = torch.empty((len(volume.data), *shape.tolist()))
    for first, part in turned.slabs(int(factor[0])):
        made = part if change is None else change(part)
        if made.shape[1] >= factor[0]:  # what is left over at the end of an axis is cut off
            found = pool(made[None].float(), tuple(factor.tolist()))[0]
            out[:, first // factor[0] :][:, : found.shape[1]] = found
    return replace(volume, data=out, grid=Grid(tuple(shape), affine), kind="image")
