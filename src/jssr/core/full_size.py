"""Transforms and label maps at full size: a field on a working grid with an affine step after it, its inverse, and
class probabilities read as labels.

Everything of full size is made in slabs along the first axis: memory stays at a few slabs beside the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels, separable, voxel_kernels
from jssr.core.full_inverse import FullInverse
from jssr.core.grid import Grid
from jssr.core.late import Computed, Slices
from jssr.core.planes import Moves
from jssr.core.resampling import cell_index, inside_grid, uniform_cells
from jssr.core.separable import apply_matrix
from jssr.core.transform import Affine, Chain, Displacement

STEP_MM = 2.0**-8
"""Displacements of full size are rounded to this. It is far below any voxel, and the files halve."""
HELD = 1 << 24
"""Voxels of the largest grid on which fields are held: of a CT of 512 x 512 x 64 each takes 0.2 GB. On a larger one
they are computed in parts, each time that they are asked for."""
_SLAB = 1 << 19


@dataclass(frozen=True, eq=False)
class FullTransform:
    """The full transform of a registration: first the field on the working grid (fixed space), then the rigid step,
    then the field that was known before (`initial`), where there was one."""

    field: Displacement
    rigid: Affine
    initial: Displacement | None = None

    @property
    def chain(self) -> Chain:
        known = () if self.initial is None else (self.initial,)
        return Chain(self.field, self.rigid, *known)

    def on(self, grid: Grid) -> Tensor:
        """The displacement on `grid`, or on a part of it, (1, n, *shape) in its voxels, rounded to `STEP_MM`."""
        n, own = grid.ndim, self.field.grid
        into = np.linalg.inv(own.affine) @ grid.affine
        world = self.rigid.matrix @ own.affine
        if self.initial is None and kernels.usable(self.field.u[None]):
            more, back = (
                self.rigid.matrix @ grid.affine - grid.affine,
                np.linalg.inv(grid.affine)[:n, :n].astype(np.float64),
            )
            return voxel_kernels.moves(self.field.u, into, world[:n, :n], more, back, STEP_MM, grid.shape)
        moves = separable.read(self.field.u, into, grid.shape)[None]
        if self.initial is None:
            # What the rigid step moves and what the field adds to it, each in millimetres.
            mm = apply_matrix(world[:n, :n], moves)
            mm += separable.positions(self.rigid.matrix @ grid.affine - grid.affine, grid.shape)
            return rounded(mm, grid)
        home = self.initial.grid.affine
        there = apply_matrix(np.linalg.inv(home) @ world, separable.positions(into, grid.shape) + moves)
        moved = apply_matrix(home, there + ff.sample(self.initial.u[None], there))
        return rounded(moved - separable.positions(grid.affine, grid.shape), grid)

    def at(self, grid: Grid, voxels: NDArray[Any]) -> NDArray[np.float64]:
        """`on` at some voxels of `grid`, by their indices (N, n): (N, n)."""
        points = grid.world(voxels)
        return _rounded_moves(self.chain(points) - points, grid)

    def planes(self, grid: Grid) -> Moves | None:
        """`on` planes of `grid`, in millimetres and in the order of a file; None where that is not compiled, or where
        the grid lies across the field's."""
        if self.initial is not None or not Moves.usable(self.field.u, self.field.grid, grid):
            return None
        return Moves(self.field.u, self.field.grid, self.rigid.matrix, grid, STEP_MM)

    def inverse(self, grid: Grid) -> Displacement:
        """The inverse on `grid` (the moving image's), rounded to `STEP_MM`, as `core.full_inverse` finds it."""
        inverse, n = FullInverse(self.field, self.rigid, self.initial, grid), grid.ndim

        def on(part: Grid) -> Tensor:
            moved = apply_matrix(self.field.grid.affine, inverse.on(part))
            return rounded(moved - separable.positions(part.affine, part.shape), grid)

        def at(voxels: NDArray[Any]) -> NDArray[np.float64]:
            points = grid.world(voxels)
            return _rounded_moves(self.field.grid.world(inverse.at(points)) - points, grid)

        if grid.voxels > HELD:
            planes = inverse.planes(STEP_MM)
            return Displacement(computed(grid, n, on, at, planes), grid)  # type: ignore[arg-type]
        out = torch.empty((n, *grid.shape))
        for where, part in slabs(grid):
            out[:, where] = on(part)[0]
        return Displacement(out, grid)


def computed(
    grid: Grid,
    channels: int,
    on: Callable[[Grid], Tensor],
    at: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    planes: Callable[[int, int], Tensor] | None = None,
    dtype: DTypeLike = np.float32,
) -> Computed:
    """What is made when it is asked for, (C, *shape): by `on` of parts of a grid, (1, C, *part), by `at` of some
    voxels, by `planes` in the order of a file (`Computed`)."""
    filed = None if planes is None else lambda first, last: planes(first, last).numpy()
    shape = (channels, *grid.shape)
    return Computed(shape, dtype, lambda where: on(part_in(grid, where))[0].numpy(), at, filed)


def part_in(grid: Grid, where: Slices) -> Grid:
    """The part of a grid in some slices of its axes."""
    ends = [part.indices(size)[:2] for part, size in zip(where, grid.shape, strict=True)]
    return grid.cropped([low for low, _ in ends], [high - low for low, high in ends])


class Classes:
    """Class probabilities (1, K, *spatial) to be read as labels between their voxels.

    The label is the class of the greatest linearly interpolated probability. Where all corners of a cell agree on it
    they decide, exactly; only the other cells, some per cent, are interpolated.
    """

    def __init__(self, probabilities: Tensor) -> None:
        self.probabilities = probabilities.float()
        flat = self.probabilities.flatten(2)[0]
        labels = _greatest(flat).view(1, *self.probabilities.shape[2:])
        self.cells = torch.where(uniform_cells(labels), labels[0], 255)

    def at(self, positions: Tensor) -> Tensor:
        """Labels at positions (1, n, *out) in voxels: (1, *out) uint8."""
        labels = self.cells.reshape(-1)[cell_index(positions, self.cells.shape)]
        mixed = (labels == 255).nonzero(as_tuple=True)
        n = positions.shape[1]
        points = torch.stack([axis[mixed] for axis in positions[0]]).view(1, n, -1, *[1] * (n - 1))
        if points.numel():
            labels[mixed] = _greatest(ff.sample(self.probabilities, points).view(self.probabilities.shape[1], -1))
        return labels[None]


def labels_at(probabilities: Tensor, source: Grid, grid: Grid, through: FullTransform | None = None) -> Tensor:
    """The most probable class at each voxel of `grid`, (1, *grid.shape) uint8; 0 outside `source`.

    Args:
        probabilities: (1, K, *source.shape), class 0 the background, K below 255.
        through: the map to read them through, its rigid part left out: the system saw the moving scan after that.
    """
    out = torch.zeros((1, *grid.shape), dtype=torch.uint8)
    classes = Classes(probabilities)
    for where, part in slabs(grid):
        at = apply_matrix(np.linalg.inv(source.affine) @ part.affine, ff.identity(part.shape))
        known = inside_grid(at, source)
        if through is not None:
            at = through.field.positions(part, source)
        out[:, where] = classes.at(at) * known
    return out


def slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    """Cut a grid along its first axis into parts of about a million voxels."""
    thick, threads = max(1, _SLAB // max(1, grid.voxels // grid.shape[0])), torch.get_num_threads()
    if thick > threads:
        thick -= thick % threads  # `field.sample` shares whole planes among them
    for first in range(0, grid.shape[0], thick):
        last = min(first + thick, grid.shape[0])
        start = (first, *[0] * (grid.ndim - 1))
        yield slice(first, last), grid.cropped(start, (last - first, *grid.shape[1:]))


def _greatest(p: Tensor) -> Tensor:
    """`p.argmax(dim=0)` of (K, N) as uint8, the first of equals; torch's own is several times slower on a CPU."""
    best, found = p[0].clone(), torch.zeros(p.shape[1], dtype=torch.uint8)
    for k in range(1, len(p)):
        found.masked_fill_(p[k] > best, k)
        torch.maximum(best, p[k], out=best)
    return found


def _rounded_moves(mm: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """`rounded` of points: displacements (N, n)."""
    return np.rint(mm / STEP_MM) * STEP_MM @ np.linalg.inv(grid.affine[:-1, :-1]).T


def rounded(mm: Tensor, grid: Grid) -> Tensor:
    """A displacement (1, n, ...) in millimetres, rounded to `STEP_MM`, in voxels of `grid`; overwrites `mm`."""
    linear = np.asarray(STEP_MM * np.linalg.inv(grid.affine[:-1, :-1]), dtype=np.float64)
    return apply_matrix(linear, mm.mul_(1 / STEP_MM).round_())
