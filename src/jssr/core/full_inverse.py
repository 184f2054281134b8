"""The inverse of a registration's full transform on the moving grid, slab by slab.

It is found on a coarse lattice of the moving grid, continued between its points, and corrected at every voxel: by one
step of the fixed point where that is enough, else by Newton's method until it is within `TOLERANCE_MM`. Where the field
folds there is no inverse, and what comes back means nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core import newton, separable
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement

TOLERANCE_MM = 0.02
"""Along each axis of the field's grid; where it is steep, the interpolation of what is written adds to it."""
_NEAR = 1.5
"""Tolerances by which a point may be off before its last step of the fixed point, which takes most of that away."""
_APART = 2.0
"""Voxels of the field between points of the lattice."""
_TURNED = 0.3
"""Of an entry of the matrix next to a map: some 17 degrees, beyond what breath does."""


class FullInverse:
    """The inverse, on a grid (the moving image's), of a field, an affine step behind it, and a field that was known
    before and comes last. Prepared here; `slab` gives a part of it."""

    def __init__(self, found: Displacement, rigid: Affine, known: Displacement | None, grid: Grid) -> None:
        n, own = grid.ndim, found.grid
        self.grid, self._field = grid, found
        self._into = np.linalg.inv(own.affine) @ np.linalg.inv(rigid.matrix)
        self._tolerance = TOLERANCE_MM / float(own.spacing.max())
        back = np.linalg.inv(found.nearest_linear())
        turned = np.abs(back[:n, :n] - np.eye(n)).max() > _TURNED
        self._linear = torch.from_numpy(back[:n, :n]).float() if turned else None
        self._known = None if known is None else FullInverse(known, Affine.identity(n), None, grid)
        lattice = self._lattice()
        there = None if known is None else FullInverse(known, Affine.identity(n), None, lattice)
        goal = self._goals(lattice, slice(0, lattice.shape[0]), there).view(n, -1)
        start = torch.from_numpy(back[:n, :n]).float() @ goal + torch.from_numpy(back[:n, n:]).float()
        settled = newton.solve(found.u, goal, start, self._tolerance)
        self._moves = (settled - goal).view(n, *lattice.shape)

    def slab(self, where: slice) -> Tensor:
        """Where each voxel of a slab along the first axis comes from, (1, n, *slab) in voxels of the field."""
        goal = self._goals(self.grid, where, self._known)
        u = self._field.u[None]
        at = goal + separable.along_axes(self._moves, self._between(where))
        miss = (goal - at).sub_(ff.sample(u, at))
        at += miss if self._linear is None else torch.einsum("ij,bj...->bi...", self._linear, miss)
        off = miss.abs_().amax(dim=1).flatten()
        far = (~(off <= _NEAR * self._tolerance)).nonzero()[:, 0]
        if len(far):
            rows = at.view(at.shape[1], -1)
            rows[:, far] = newton.solve(u[0], goal.view_as(rows)[:, far], rows[:, far], self._tolerance)
        return at

    def _lattice(self) -> Grid:
        apart = _APART * float(self._field.grid.spacing.mean())
        cells = np.ceil((np.array(self.grid.shape) - 1) * self.grid.spacing / apart).astype(int)
        return self.grid.resized(np.minimum(np.maximum(cells, 1) + 1, self.grid.shape).tolist())

    def _goals(self, grid: Grid, where: slice, known: FullInverse | None) -> Tensor:
        """The voxels of a slab of a grid in moving space, in voxels of the field behind which they lie: (1, n, *slab).

        Args:
            known: the inverse on that grid of what was known before. It comes last, so it is taken back first.
        """
        if known is None:
            shape = (where.stop - where.start, *grid.shape[1:])
            return separable.positions(self._into @ grid.affine, shape, where.start)
        at = known.slab(where)
        matrix = torch.from_numpy(self._into @ known._field.grid.affine).float()
        n = grid.ndim
        return (matrix[:n, :n] @ at.view(n, -1) + matrix[:n, n:]).view_as(at)

    def _between(self, where: slice) -> list[Tensor]:
        """Where the voxels of a slab lie on each axis of the lattice."""
        out = []
        for coarse, fine in zip(self._moves.shape[1:], self.grid.shape, strict=True):
            out.append(torch.arange(fine, dtype=torch.float64) * ((coarse - 1) / max(fine - 1, 1)))
        return [out[0][where], *out[1:]]
