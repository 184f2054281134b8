"""Voxels averaged to coarser grids, and put into the networks' order of axes, slab by slab: of a large scan nothing
else of its size is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core.grid import Grid
from jssr.preprocessing.intensity import thinned, thinning

SLAB = 1 << 24
"""Voxels that are computed at a time."""
Change = Callable[[Tensor], Tensor]
"""What is done to the voxels (C, *slab) of a slab; it may overwrite none of them."""


@dataclass(frozen=True)
class Turned:
    """Voxels read in another order of their axes, some of them turned round; they stay where they are in the patient.

    Attributes:
        data: (C, *shape), as they are held.
        grid: where they lie, in the new order.
        order: which axis of `data` each axis of `grid` is; None where nothing is turned.
        back: axes of `grid` that run against theirs.
    """

    data: Tensor
    grid: Grid
    order: tuple[int, ...] | None = None
    back: tuple[int, ...] = ()

    @classmethod
    def canonical(cls, data: Tensor, grid: Grid) -> Turned:
        """In the order that the networks know: the first tensor axis towards the patient's left, the second towards the
        back, the third towards the head, as nearly as swapping and turning axes allows."""
        direction, n = grid.direction, grid.ndim
        # Column a of the direction is tensor axis a; `order[w]` is the axis that runs most along world axis w.
        order = max(permutations(range(n)), key=lambda axes: sum(abs(direction[w, a]) for w, a in enumerate(axes)))
        back = tuple(axis for axis in range(n) if direction[axis, order[axis]] < 0)
        if order == tuple(range(n)) and not back:
            return cls(data, grid)
        affine = grid.affine.copy()
        affine[:n, :n] = affine[:n, :n][:, order]
        shape = [grid.shape[a] for a in order]
        for axis in back:
            affine[:n, n] += affine[:n, axis] * (shape[axis] - 1)
            affine[:n, axis] *= -1
        return cls(data, Grid(tuple(shape), affine), order, back)

    @property
    def whole(self) -> Tensor:
        """All of it; what is held where nothing is turned."""
        return self.slab(0, self.grid.shape[0])

    @property
    def straight(self) -> Turned:
        """The same, held in its order."""
        return Turned(self.whole, self.grid)

    def slab(self, first: int, last: int) -> Tensor:
        """Part of the first axis: (C, last - first, ...)."""
        if self.order is None:
            return self.data.narrow(1, first, last - first)
        low = self.grid.shape[0] - last if 0 in self.back else first
        part = self.data.narrow(self.order[0] + 1, low, last - first)
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
        if self.order is None:
            return thinned(self.data)
        chosen = np.arange(0, self.data.numel(), thinning(self.data.numel()))
        at = list(np.unravel_index(chosen, (len(self.data), *self.grid.shape)))
        for axis in self.back:
            at[axis + 1] = self.grid.shape[axis] - 1 - at[axis + 1]
        index = [torch.from_numpy(at[0])] * self.data.ndim
        for axis, held in enumerate(self.order):
            index[held + 1] = torch.from_numpy(at[axis + 1])
        return self.data[tuple(index)]

    def averaged(self, factor: Sequence[int], change: Change | None = None) -> Tensor:
        """Means of blocks of so many voxels along each axis: (C, *(shape // factor)); what is left over at the end of
        an axis is left out.

        Args:
            change: what is done to the voxels before.
        """
        shape = [size // f for size, f in zip(self.grid.shape, factor, strict=True)]
        pool = F.avg_pool3d if len(shape) == 3 else F.avg_pool2d
        out = torch.empty((len(self.data), *shape))
        for first, part in self.slabs(factor[0]):
            if part.shape[1] >= factor[0]:
                made = part if change is None else change(part)
                found = pool(made[None].float(), tuple(factor))[0]
                out[:, first // factor[0] :][:, : found.shape[1]] = found
        return out
