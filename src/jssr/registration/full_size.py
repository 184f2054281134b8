"""From the working grid to the user's: moved and synthesised scan, label maps, and the field continued beyond what was
measured. Made in slabs along the first axis: memory stays at a few slabs beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels, planes, separable, voxel_kernels
from jssr.core.full_size import HELD, Classes, FullTransform, computed, slabs
from jssr.core.grid import Grid
from jssr.core.planes import Moves
from jssr.core.resampling import inside_grid
from jssr.core.separable import apply_matrix
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.losses.similarity import box_mean
from jssr.preprocessing.intensity import Window, denormalise
from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.expected_error import Evidence
from jssr.registration.model import Model
from jssr.registration.settings import OptimisationSettings
from jssr.systems.base import Alignment


@dataclass(frozen=True, eq=False)
class Working:
    """What was found on the working grid: the prepared pair, what the system made of it, and the full transform of each
    state; `structure` is what the system read of the fixed image (JRS-Net); `refine` and `settings` are the steps of
    the instance optimisation and how it worked; `evidence` and `verdict` (a word and its reasons) are what speaks for
    and against it, where that was asked."""

    model: Model
    pair: PreparedPair
    alignment: Alignment
    transforms: dict[str, FullTransform]
    structure: Tensor | None = None
    refine: int = 0
    settings: OptimisationSettings = field(default_factory=OptimisationSettings)
    evidence: Evidence | None = None
    verdict: tuple[str, tuple[str, ...]] | None = None

    @property
    def final(self) -> FullTransform:
        return list(self.transforms.values())[-1]


@dataclass(frozen=True, eq=False)
class Fullsize:
    """What `fullsize` makes, everything on the fixed grid; (1, *shape) each, None where there was nothing to make.
    Above `HELD` voxels the first three are `Computed`, made in parts each time that they are asked for."""

    displacement: Displacement
    moved: Any
    seen: Any
    synthesised: Tensor | None
    fixed_labels: Tensor | None
    moved_labels: Tensor | None


def fullsize(
    transform: FullTransform, grid: Grid, moving: Volume, source: Grid, alignment: Alignment, limits: Window
) -> Fullsize:
    """Bring a registration to the fixed grid.

    Args:
        grid: the fixed image's.
        source: the working grid, on which the system made `alignment`.
        limits: the fixed image's intensities that are -1 and 1 to the networks.

    Returns:
        The displacement (rounded to `STEP_MM`); the moving image pulled through just that, its minimum where it has no
        data; where it has (bool); the synthesised image moved likewise; label maps of classes (uint8), 0 outside the
        working grid, and for the moved one where the moving image has no data.
    """
    pull = partial(_pulled, transform, moving, float(moving.data.min()))
    u: Any
    image: Any
    data: Any
    extras = _Extras(transform, source, alignment, limits, grid)
    if grid.voxels > HELD:
        moves = transform.planes(grid)
        u = computed(grid, grid.ndim, transform.on, partial(transform.at, grid), moves)
        filed = None if moves is None else partial(_pulled_planes, moves, moving, grid, float(moving.data.min()))
        image = computed(grid, 1, lambda part: pull(part)[1][None], planes=filed)
        data = computed(grid, 1, lambda part: pull(part)[2][None], dtype=np.bool_)
    else:
        u, image = torch.empty((grid.ndim, *grid.shape)), torch.empty((1, *grid.shape))
        data = torch.empty((1, *grid.shape), dtype=torch.bool)
    if isinstance(u, Tensor) or extras.wanted:
        for where, part in slabs(grid):
            found = pull(part)
            for held, values in zip((u, image, data), found, strict=True):
                if isinstance(held, Tensor):
                    held[:, where] = values
            extras.fill(where, part, found[2])
    return Fullsize(Displacement(u, grid), image, data, extras.synthesised, *extras.labels)


def _pulled(transform: FullTransform, moving: Volume, fill: float, part: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """On a part of the fixed grid: the displacement (n, *part), the moving image pulled through it (1, *part), `fill`
    where it has no data, and where it has (1, *part)."""
    u = transform.on(part)
    read = np.linalg.inv(moving.grid.affine) @ part.affine
    image = moving.data.float()
    if len(image) == 1 and kernels.usable(image[None], u):
        return u[0], *voxel_kernels.pulled(image, read, u, fill)
    there = apply_matrix(read[:-1, :-1], u).add_(separable.positions(read, part.shape))
    seen = inside_grid(there, moving.grid)
    return u[0], ff.sample(image[None], there)[0].masked_fill_(~seen, fill), seen


def _pulled_planes(moves: Moves, moving: Volume, grid: Grid, fill: float, first: int, last: int) -> Tensor:
    """The moving image at planes of the fixed grid, pulled, in the order of a file: (1, planes, Y, X)."""
    back = np.asarray(np.linalg.inv(moving.grid.affine), dtype=np.float64)
    mm = moves(first, last)
    return planes.pulled(moving.data.float(), back @ grid.affine, back[:3, :3], mm, first, fill)


class _Extras:
    """What a system makes besides a displacement, at full size: the synthesised image, label maps (fixed, moved)."""

    def __init__(
        self, transform: FullTransform, source: Grid, alignment: Alignment, limits: Window, grid: Grid
    ) -> None:
        self._transform, self._source, self._limits = transform, source, limits
        self._made, self._registered = alignment.synthesised, alignment.registered
        probabilities = alignment.fixed_segmentation, alignment.moving_segmentation
        self._classes = [None if p is None else Classes(p) for p in probabilities]
        shape = (1, *grid.shape)
        self.synthesised = None if self._made is None else torch.empty(shape)
        self.labels = [None if p is None else torch.empty(shape, dtype=torch.uint8) for p in probabilities]

    @property
    def wanted(self) -> bool:
        return self.synthesised is not None or any(labels is not None for labels in self.labels)

    def fill(self, where: slice, part: Grid, seen: Tensor) -> None:
        """Make a slab of everything."""
        if not self.wanted:
            return
        home, source = self._transform.field.grid, self._source
        into = np.linalg.inv(home.affine) @ part.affine
        straight = separable.positions(into, part.shape)
        at = straight + separable.read(self._transform.field.u, into, part.shape)
        if home is not source:
            turn = np.linalg.inv(source.affine) @ home.affine
            straight, at = apply_matrix(turn, straight), apply_matrix(turn, at)
        known = inside_grid(straight, source)
        if self.synthesised is not None and self._made is not None:
            g = denormalise(ff.sample(self._made, straight if self._registered else at)[0], self._limits)
            inside = known if self._registered else seen & known
            self.synthesised[:, where] = g.masked_fill_(~inside, self._limits[0])
        places = (straight, known), (at, seen & known)
        for labels, classes, (place, inside) in zip(self.labels, self._classes, places, strict=True):
            if labels is not None and classes is not None:
                labels[:, where] = classes.at(place) * inside


def largest_parts(probabilities: Tensor, pieces: Mapping[int, int]) -> Tensor:
    """Give every piece (by faces) of some classes but the largest to the background, as nnU-Net does after training.

    A scan that shows more of the body than the training data did has blobs in places that the segmentor has never seen.

    Args:
        probabilities: (1, K, *spatial), class 0 the background.
        pieces: class to the number of pieces that are kept (`one_piece`, `two_pieces` of the recipe).
    """
    from scipy import ndimage

    out = probabilities.clone()
    labels = probabilities[0].argmax(dim=0).numpy()
    for k, kept in pieces.items():
        found, count = ndimage.label(labels == k)
        if count > kept:
            sizes = np.bincount(found.ravel())
            sizes[0] = 0
            largest = np.argsort(-sizes, kind="stable")[:kept]
            stray = torch.from_numpy((found > 0) & ~np.isin(found, largest))
            out[0, 0][stray] += out[0, k][stray]
            out[0, k][stray] = 0
    return out


def continued(u: Tensor, valid: Tensor, rounds: int = 4) -> Tensor:
    """Continue a field smoothly beyond where it was measured.

    Nearly a solution of Laplace's equation with the measured field at the border of the measured region: solved from
    coarse to fine, each level started from the coarser one and relaxed a few times.

    Args:
        u: (1, n, *spatial); what comes back is zero if nothing was measured.
        valid: (1, 1, *spatial) bool, where `u` was measured. All of it is kept as it is.
        rounds: relaxations per level.
    """
    if bool(valid.all()):
        return u
    weight = valid.float()
    if not bool(valid.any()):
        return torch.zeros_like(u)
    mean = (u * weight).sum(dim=tuple(range(2, u.ndim)), keepdim=True) / weight.sum()
    if min(u.shape[2:]) <= 3:
        return torch.where(valid, u, mean.expand_as(u))
    there = ff.pooled(weight, 2, ceil_mode=True)
    coarse = continued(ff.pooled(u * weight, 2, ceil_mode=True) / there.clamp(min=1e-6), there > 0, rounds)
    out = torch.where(valid, u, ff.resize_image(coarse, u.shape[2:]))
    if kernels.usable(out):
        return voxel_kernels.relaxed(out, valid, rounds)
    for _ in range(rounds):
        out = torch.where(valid, u, box_mean(out, 3))
    return out
