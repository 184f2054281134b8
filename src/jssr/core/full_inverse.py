"""The inverse of a registration's full transform on the moving grid, part by part.

It is found on a coarse lattice of the moving grid, continued between its points, and corrected at every voxel: by one
step of the fixed point where that is enough, else by Newton's method until it is within `TOLERANCE_MM`. Where the field
folds there is no inverse, and what comes back means nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels, newton, separable
from jssr.core.at_points import read_linear
from jssr.core.grid import Grid
from jssr.core.planes import Inverse, Lines
from jssr.core.separable import apply_matrix
from jssr.core.transform import Affine, Displacement

TOLERANCE_MM = 0.02
"""Along each axis of the field's grid; where it is steep, the interpolation of what is written adds to it."""
_NEAR = 1.5
"""Tolerances by which a point may be off before its last step of the fixed point, which takes most of that away."""
_STEPS = 6
"""Of the fixed point, where it is compiled and each point ends by itself, before Newton's method takes over."""
_APART = 2.0
"""Voxels of the field between points of the lattice."""
_TURNED = 0.3
"""Of an entry of the matrix next to a map: some 17 degrees, beyond what breath does."""


class FullInverse:
    """The inverse, on a grid (the moving image's), of a field, an affine step behind it, and a field that was known
    before and comes last. Prepared here; `on` gives a part of it."""

    def __init__(self, found: Displacement, rigid: Affine, known: Displacement | None, grid: Grid) -> None:
        n, own = grid.ndim, found.grid
        self._field, self._grid = found, grid
        self._into = np.linalg.inv(own.affine) @ np.linalg.inv(rigid.matrix)
        self._tolerance = TOLERANCE_MM / float(own.spacing.max())
        back = np.linalg.inv(found.nearest_linear())
        turned = np.abs(back[:n, :n] - np.eye(n)).max() > _TURNED
        self._linear = torch.from_numpy(back[:n, :n]).float() if turned else None
        self._known = None if known is None else FullInverse(known, Affine.identity(n), None, grid)
        lattice = self._coarse(grid)
        there = None if known is None else FullInverse(known, Affine.identity(n), None, lattice)
        goal = self._goals(lattice, there).view(n, -1)
        start = torch.from_numpy(back[:n, :n]).float() @ goal + torch.from_numpy(back[:n, n:]).float()
        settled = newton.solve(found.u, goal, start, self._tolerance)
        self._lattice, self._moves = lattice, (settled - goal).view(n, *lattice.shape)

    def on(self, part: Grid) -> Tensor:
        """Where each voxel of a part of the grid comes from, (1, n, *part) in voxels of the field."""
        goal = self._goals(part, self._known)
        into = np.linalg.inv(self._lattice.affine) @ part.affine
        return self._found(goal, goal + separable.read(self._moves, into, part.shape))

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (N, n) of the moving space, LPS mm, come from: (N, n) in voxels of the field."""
        n = points.shape[1]
        there = points if self._known is None else self._known._field.grid.world(self._known.at(points))
        goal = there @ self._into[:n, :n].T + self._into[:n, n]
        start = goal + read_linear(self._moves.numpy(), self._lattice.index(points))
        both = [torch.from_numpy(one.T.astype(np.float32)).reshape(1, n, -1, *[1] * (n - 1)) for one in (goal, start)]
        return self._found(*both).view(n, -1).T.double().numpy()

    def planes(self, step: float) -> Callable[[int, int], Tensor] | None:
        """The displacement, mm rounded to `step`, at planes `first` to `last` of the grid in the order of a file, (3,
        planes, Y, X); None where that is not compiled."""
        own, grid = self._field.grid, self._grid
        if self._known is not None or not kernels.usable(self._field.u[None]):
            return None
        moves = Lines(self._moves, np.linalg.inv(self._lattice.affine) @ grid.affine, grid.shape)
        places = own.affine, grid.affine
        inverse = Inverse(self._field.u, self._into @ grid.affine, moves, self._linear, places, grid.shape)

        def on(first: int, last: int) -> Tensor:
            out, settled = inverse(first, last, self._tolerance / 2, _STEPS, step)
            far = (~settled).flatten().nonzero()[:, 0]
            if len(far):
                x, y, _ = grid.shape
                voxels = torch.stack([far % x, far // x % y, far // (x * y) + first]).double()
                rows = out.view(3, -1)
                goal = _through(self._into @ grid.affine, voxels).float()
                at = newton.solve(self._field.u, goal, rows[:, far], self._tolerance)
                mm = _through(own.affine, at.double()) - _through(grid.affine, voxels)
                rows[:, far] = (mm / step).round().mul(step).float()
            return out

        return on

    def _found(self, goal: Tensor, at: Tensor) -> Tensor:
        """Which positions the field takes to `goal`, from where `at` is near to, both (1, n, *out) in its voxels."""
        u = self._field.u[None]
        if kernels.usable(u, goal, at):
            settled = torch.empty(goal.shape[2:], dtype=torch.bool)
            at = kernels.solve_inverse(u, goal, at, self._linear, 1.0, self._tolerance / 2, _STEPS, settled)
            return self._finished(goal, at, (~settled).flatten().nonzero()[:, 0])
        miss = (goal - at).sub_(ff.sample(u, at))
        at += miss if self._linear is None else torch.einsum("ij,bj...->bi...", self._linear, miss)
        off = miss.abs_().amax(dim=1).flatten()
        return self._finished(goal, at, (~(off <= _NEAR * self._tolerance)).nonzero()[:, 0])

    def _finished(self, goal: Tensor, at: Tensor, far: Tensor) -> Tensor:
        """Positions `at` (1, n, *out), those of `far` (indices into *out) by Newton's method."""
        if len(far):
            rows = at.view(at.shape[1], -1)
            rows[:, far] = newton.solve(self._field.u, goal.view_as(rows)[:, far], rows[:, far], self._tolerance)
        return at

    def _coarse(self, grid: Grid) -> Grid:
        apart = _APART * float(self._field.grid.spacing.mean())
        cells = np.ceil((np.array(grid.shape) - 1) * grid.spacing / apart).astype(int)
        return grid.resized(np.minimum(np.maximum(cells, 1) + 1, grid.shape).tolist())

    def _goals(self, part: Grid, known: FullInverse | None) -> Tensor:
        """The voxels of a part of the grid, in moving space, in voxels of the field behind which they lie: (1, n,
        *part).

        Args:
            known: the inverse of what was known before. It comes last, so it is taken back first.
        """
        if known is None:
            return separable.positions(self._into @ part.affine, part.shape)
        return apply_matrix(self._into @ known._field.grid.affine, known.on(part))


def _through(matrix: NDArray[np.float64], at: Tensor) -> Tensor:
    """Points (n, N) float64 through a homogeneous matrix."""
    turn = torch.from_numpy(matrix.copy())
    return turn[:-1, :-1] @ at + turn[:-1, -1:]
