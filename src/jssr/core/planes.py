"""Planes of full-size results in the order of a file, in C: a displacement, an image pulled through it, and an inverse,
each (C, planes, Y, X), the first axis of the grid fastest. Of 3D grids whose axes run along those of a coarser field,
which is then read once a line: that takes a fraction of the time of reading every voxel for itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.kernels import call, int64, shared, usable
from jssr.core.separable import parallel

Matrix = NDArray[np.float64]
_LINES = 64
"""Lines of voxels of a part of the work, at least."""


class Lines:
    """A field (3, *shape) on a grid whose axes run along those of another one, to be read at planes of that.

    Args:
        values: the field.
        into: homogeneous, voxels of the grid to voxels of the field.
        shape: of the grid.
    """

    def __init__(self, values: Tensor, into: Matrix, shape: Sequence[int]) -> None:
        axes = parallel(into)
        if axes is None:
            raise ValueError("expected a grid whose axes run along those of the field, got one that lies across it")
        # The grid's first axis fastest.
        self.values = values.permute(0, *(axes[k] + 1 for k in reversed(range(3)))).contiguous()
        self.shape = int64(self.values.shape[:0:-1])
        self._places = []
        for k, axis in enumerate(axes):
            at, last = into[axis, k] * np.arange(shape[k]) + into[axis, 3], values.shape[axis + 1] - 1
            inside = at.clip(0, last)
            low = np.floor(inside).clip(max=max(last - 1, 0))
            self._places.append((low.astype(np.int32), (inside - low).astype(np.float32)))

    def places(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """The lower voxels, and the parts of the way to the next, of X, of Y, and of some planes."""
        (xl, xp), (yl, yp), (zl, zp) = self._places
        low, part = np.concatenate([xl, yl, zl[first:last]]), np.concatenate([xp, yp, zp[first:last]])
        return torch.from_numpy(low), torch.from_numpy(part)


class Moves:
    """The displacement of a field and an affine step behind it, mm: (3, planes, Y, X), as `jssr.core.full_size` has it.

    Args:
        field: (3, *spatial) in voxels of its grid.
        own: its grid.
        after: (4, 4) LPS mm, the step behind it.
        grid: where the displacement is wanted.
        step: millimetres that it is rounded to.
    """

    def __init__(self, field: Tensor, own: Grid, after: Matrix, grid: Grid, step: float) -> None:
        linear = torch.from_numpy((after @ own.affine)[:3, :3]).float()
        mm = torch.einsum("ij,j...->i...", linear, field)
        self._lines = Lines(mm, np.linalg.inv(own.affine) @ grid.affine, grid.shape)
        self._more, self._grid, self._step = (after @ grid.affine - grid.affine)[:3], grid, step

    @staticmethod
    def usable(field: Tensor, own: Grid, grid: Grid) -> bool:
        """Whether it can be read so: in 3D, compiled, along its own axes."""
        return usable(field[None]) and parallel(np.linalg.inv(own.affine) @ grid.affine) is not None

    def __call__(self, first: int, last: int) -> Tensor:
        x, y, _ = self._grid.shape
        out = torch.empty(3, last - first, y, x)
        lines = self._lines
        given = (
            lines.values, lines.shape, *lines.places(first, last), _from(self._more, first), float(self._step),
            int64((x, y, last - first)), out,
        )  # fmt: skip
        shared((last - first) * y, _LINES, lambda *part: call("jssr_plane_moves", *given, *part))
        return out


def pulled(image: Tensor, read: Matrix, back: Matrix, mm: Tensor, first: int, fill: float) -> Tensor:
    """An image at planes of a grid that are moved, (1, planes, Y, X), `fill` where it has no data.

    Args:
        image: (1, X, Y, Z) float32.
        read: (4, 4), voxels of the grid to those of the image.
        back: (3, 3), millimetres to voxels of the image.
        mm: (3, planes, Y, X), of `Moves`.
        first: the first of the planes.
    """
    planes, y, x = mm.shape[1:]
    image = image.contiguous()
    out = torch.empty(1, planes, y, x)
    given = (
        image, int64(image.shape[1:]), _from(read[:3], first), _double(back), mm, int64((x, y, planes)), float(fill),
        out,
    )  # fmt: skip
    shared(y, max(1, _LINES // planes), lambda *part: call("jssr_plane_pull", *given, *part))
    return out


class Inverse:
    """The inverse of a field and an affine step behind it, mm: (3, planes, Y, X), of points that settle; of the others
    where they came to, in voxels of the field, and which settled, (planes, Y, X) bool.

    Args:
        field: (3, *spatial) in voxels of its grid.
        goal: (4, 4), voxels of the part to where the field must lead to, in its voxels.
        moves: the first guess of how far from its goal each point begins, in voxels of the field.
        linear: of `kernels.solve_inverse`, or None.
        places: (4, 4) each, LPS mm, of the voxels of the field and of the grid.
        shape: of the grid.
    """

    def __init__(
        self, field: Tensor, goal: Matrix, moves: Lines, linear: Tensor | None, places: tuple[Matrix, Matrix],
        shape: Sequence[int],
    ) -> None:  # fmt: skip
        self._shape, self._moves, self._goal, self._places = shape, moves, goal[:3], [one[:3] for one in places]
        self._linear = None if linear is None else linear.float().contiguous()
        # The parts of a vector side by side: they are read together.
        self._field = torch.cat([field, torch.zeros_like(field[:1])]).permute(3, 2, 1, 0).contiguous()

    def __call__(self, first: int, last: int, tolerance: float, iterations: int, step: float) -> tuple[Tensor, Tensor]:
        x, y, _ = self._shape
        out = torch.empty(3, last - first, y, x)
        settled = torch.empty((last - first, y, x), dtype=torch.bool)
        home, world = self._places
        given = (
            self._field, int64(self._field.shape[2::-1]), _from(self._goal, first), self._moves.values,
            self._moves.shape, *self._moves.places(first, last), self._linear, float(tolerance), iterations,
            _double(home), _from(world, first), float(step), int64((x, y, last - first)), out, settled,
        )  # fmt: skip
        shared((last - first) * y, _LINES, lambda *part: call("jssr_plane_inverse", *given, *part))
        return out, settled


def _from(matrix: Matrix, first: int) -> Tensor:
    """A matrix (3, 4) of voxels that are counted from plane `first` on."""
    out = matrix.copy()
    out[:, 3] += first * matrix[:, 2]
    return _double(out)


def _double(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.array(matrix, dtype=np.float64, order="C"))
