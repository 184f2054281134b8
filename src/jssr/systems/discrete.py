"""`discrete`: registration without training, by dense search and coupled convex optimisation.

After Heinrich et al. (SSC, MICCAI 2013; "Non-parametric discrete registration with convex optimisation", WBIR 2014)
and Siebert et al. (ConvexAdam, Learn2Reg 2021). f and m are MIND-SSC of the fixed and the moving image, d ranges over a
cube of displacements (in 2D a square), p over the cells of a coarse grid:

    C(p, d)  mean over the voxels q of p of  |f(q) - m(q + d)|^2,  and a little |d|^2     where both scans have data
    u(p)     argmin_d  C(p, d) + theta |d - v(p)|^2,    v = 3^3 mean of u,  theta rising      (coupled convex)

Both directions are solved and made each other's inverse: u <- (u - w(id + u)) / 2, and likewise w. A second, finer
level searches around the first. What is left is below a voxel and is the instance optimisation's (`systems/refine.py`,
the same code as `--refine`), which the recipe asks for.

Two radiographs have no common place in the patient: there the one affine map that fits best comes first
(`core/affine_search.py`), and the levels work on what it leaves.

A displacement that leaves the moving scan costs what the average voxel costs where it is: it is neither sought nor
shunned. (What the coarse level has carried out of it counts, on the finer one, as what lies on the border.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels
from jssr.core.affine_search import affine_field, best_affine
from jssr.core.precision import full_precision
from jssr.losses.descriptors import descriptor_of
from jssr.losses.mind import described
from jssr.losses.similarity import box_mean
from jssr.nets.blocks import first_voxels, upsample_to
from jssr.systems.base import Alignment, Batch, System, Terms

THETAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of Siebert et al.; displacements in steps."""
PRIOR = 0.003
"""Price of a squared voxel of displacement, in the unit of C: where the scans say little, a short way is likelier. On
four CT-MR pairs of thighs the search missed by 7.8 mm without it and 6.4 with it, 5.3 with 0.01; but 0.01 also holds
back motions of more than some 25 mm."""
PRIOR_2D = 0.0003
"""The same in 2D, of what the affine map leaves: with 0.003, 0.001, 0.0003 and 0.0001 the lungs of 20 validation pairs
of phantom radiographs overlap by 89.4, 89.7, 90.6 and 91.5 %; landmarks miss by 3.9, 3.8, 3.9, 4.5 pixels of 256."""
FEW = 40
"""Displacements by which chance is estimated."""
ROUNDS = 15
"""Of making two fields each other's inverse."""


@dataclass(frozen=True)
class Level:
    """One search.

    Attributes:
        cell: voxels along each side of a cell, for which one displacement is found.
        step: voxels between the displacements that are tried; features are averaged over as many.
        radius: steps that are tried in each direction.
        stride: of the averaged features, only each stride-th along each axis is compared: they are smooth already.
    """

    cell: int
    step: int
    radius: int
    stride: int = 1

    def __post_init__(self) -> None:
        if min(self.step, self.radius, self.stride) < 1 or self.cell % (self.step * self.stride):
            raise ValueError(f"a level needs a cell that is a multiple of step times stride, got {self}")


LEVELS = (
    Level(cell=4, step=2, radius=4, stride=2),
    Level(cell=4, step=2, radius=2, stride=2),
    Level(cell=2, step=1, radius=2, stride=2),
)
LEVELS_2D = (Level(cell=8, step=2, radius=10), Level(cell=4, step=1, radius=4))
"""In 2D there are fewer displacements to try, and a radiograph moves further: 40 of 256 pixels at first."""


class Discrete(System):
    """The system of the module's docstring: it has no parts and nothing to train.

    Args:
        levels: from coarse to fine, in averaged voxels; levels_2d: those for 2D images.
        pool: voxels of the images that are averaged along each axis, once they are described, for the search.
        descriptor: of `DESCRIPTORS`.
    """

    outputs = {"displacement": "search"}
    reads_masks = True
    starts_affine = True

    def __init__(
        self,
        levels: Sequence[Level] = LEVELS,
        pool: int = 2,
        descriptor: str = "mind-ssc",
        levels_2d: Sequence[Level] = LEVELS_2D,
    ) -> None:
        super().__init__()
        self.levels_2d = tuple(levels_2d)
        self.levels, self.pool, self.describe = tuple(levels), pool, descriptor_of(descriptor)

    def losses(self, batch: Batch, group: str) -> Terms:
        """None."""
        return {}

    @torch.no_grad()
    def align(
        self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor, masked: str | None = None
    ) -> Alignment:
        """tau; see Alignment. A batch of one.

        Args:
            masked: the one scan that has a mask, "fixed" or "moving", of a 3D pair of which only one has: then it alone
                searches. The other would look for all of its body in that mask.
        """
        if fixed.ndim == 5:
            return Alignment(self._field(moving, fixed, moving_mask, fixed_mask, masked=masked))
        affine = self._affine(moving, fixed, moving_mask, fixed_mask)
        start = affine_field(affine, fixed.shape[2:])
        placed = ff.warp(moving, start)
        seen = ff.warp(moving_mask, start, padding="zeros")
        u = self._field(placed, fixed, seen, fixed_mask)
        return Alignment(affine_field(affine, fixed.shape[2:], u))

    @full_precision
    def _affine(self, *images: Tensor) -> Tensor:
        """`best_affine` of what `_field` takes, for voxels of the images."""
        shape = images[1].shape[2:]
        m, f, moving, fixed, moving_mask, fixed_mask = self._averaged(images)
        level = self.levels_2d[0]
        bodies = fixed_mask * described(fixed), moving_mask * described(moving)
        both = (
            _costs(m, f, moving_mask, bodies[0], level, chance=True),
            _costs(f, m, fixed_mask, bodies[1], level, chance=True),
        )
        side = 2 * level.radius + 1
        affine = best_affine(
            [cost.view(side, side, *cost.shape[1:]).cpu() for cost, _ in both],
            [ff.pooled(_padded(body, level), level.cell)[0, 0].cpu() for body in bodies],
            f.shape[2:], level.cell, level.step,
        )  # fmt: skip
        # Averaging fills odd sides up: the middle that the map is counted from lies that much further.
        further = torch.tensor([self.pool * a - b for a, b in zip(f.shape[2:], shape, strict=True)]) / 2
        affine[:2, 2] = self.pool * affine[:2, 2] + further - affine[:2, :2] @ further
        return affine.to(fixed.device)

    def _averaged(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Descriptors of the moving and the fixed image, both images and their masks, averaged."""

        def small(image: Tensor) -> Tensor:
            return ff.pooled(image, self.pool, ceil_mode=True)

        # One after the other: at the images' own size a descriptor is many times the image.
        return [*(small(self.describe(image)) for image in images[:2]), *map(small, images)]

    def _field(self, *images: Tensor, masked: str | None = None) -> Tensor:
        """The levels' displacement, for the moving and the fixed image and their masks."""
        shape = images[1].shape[2:]
        m, f, moving, fixed, moving_mask, fixed_mask = self._averaged(images)
        # Air against air is alike everywhere: cells without anything but air are led by their neighbours.
        body = [mask * described(image) for image, mask in ((fixed, fixed_mask), (moving, moving_mask))]
        n = fixed.ndim - 2
        u = torch.zeros(1, n, *fixed.shape[2:], device=fixed.device)
        w = u
        for level in self.levels if n == 3 else self.levels_2d:
            sides = ((u, m, f, moving_mask, body[0]), (w, f, m, fixed_mask, body[1]))
            if masked is not None:
                a, theirs, ours, seen, inside = sides[masked == "moving"]
                a = ff.compose(a, search(ff.warp(theirs, a), ours, ff.warp(seen, a), inside, level))
                u, w = (a, ff.invert(a)) if masked == "fixed" else (ff.invert(a), a)
                continue
            u, w = (
                ff.compose(a, search(ff.warp(theirs, a), ours, ff.warp(seen, a), inside, level))
                for a, theirs, ours, seen, inside in sides
            )
            u, w = _inverse_of_each_other(u, w, level)
        return self._spread(u, shape)

    def _spread(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """A field of averaged voxels as one of the images' own voxels."""
        return self.pool * upsample_to(u, [s * self.pool for s in u.shape[2:]])[first_voxels(shape)]


@full_precision
def search(moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor, level: Level) -> Tensor:
    """The coupled convex solution of one level, as a displacement in voxels.

    Args:
        moving, fixed: features (1, C, *spatial).
        moving_mask, fixed_mask: (1, 1, *spatial) in 0..1, where they count.

    Returns:
        (1, n, *spatial).
    """
    n = fixed.ndim - 2
    shape = fixed.shape[2:]
    cost, labels = _costs(moving, fixed, moving_mask, fixed_mask, level)
    cells = cost.shape[1:]
    square = labels.square().sum(dim=1, keepdim=True)
    flat = cost.flatten(1) + (PRIOR if n == 3 else PRIOR_2D) * level.step**2 * square
    u = labels[flat.argmin(dim=0)].T.view(1, n, *cells)
    for theta in THETAS:
        u = labels[_nearest(flat, labels, box_mean(u, 3)[0].flatten(1), theta)].T.view(1, n, *cells)
    u = level.step * box_mean(u, 3)
    return upsample_to(u, [c * level.cell for c in cells])[first_voxels(shape)]


def _nearest(flat: Tensor, labels: Tensor, v: Tensor, theta: float) -> Tensor:
    """argmin_d C(p, d) + theta |d - v(p)|^2 of costs (labels, cells), for each of the cells of v (n, cells)."""
    if len(v) == 3 and kernels.usable(flat[None, None, None], v[None, None, None]):
        return kernels.least(flat, labels, v, theta)
    # |d - v|^2 without |v|^2, which is the same for every d.
    square = labels.square().sum(dim=1, keepdim=True)
    return torch.addmm(flat, labels, v, alpha=-2 * theta).add_(theta * square).argmin(dim=0)


def _costs(
    moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor, level: Level, chance: bool = False
) -> tuple[Tensor, Tensor]:
    """C (labels, *cells), and the labels (labels, n) in steps.

    With `chance`, a displacement that leaves the moving scan costs what any displacement costs on average, and not what
    none does: of scans that lie well already that is nothing, and an affine map would leave them for nothing.
    """
    n = fixed.ndim - 2
    step, reach, cell = level.step, level.radius, level.cell
    f, m = (ff.pooled(_padded(i, level, "replicate"), step) for i in (fixed, moving))
    seen_f, seen_m = (ff.pooled(_padded(i, level), step) for i in (fixed_mask, moving_mask))
    m, seen_m = F.pad(m, [reach] * (2 * n), mode="replicate"), F.pad(seen_m, [reach] * (2 * n))
    size, stride, pool = f.shape[2:], level.stride, cell // (step * level.stride)
    thin = (slice(None), slice(None), *[slice(None, None, stride)] * n)
    f, seen_f = (i[thin].contiguous() for i in (f, seen_f))
    offsets = torch.cartesian_prod(*[torch.arange(2 * reach + 1)] * n)
    out = torch.empty(len(offsets), *[s * step // cell for s in size], device=f.device)

    def at(d: Sequence[int]) -> tuple[slice, ...]:
        return (slice(None), slice(None), *[slice(o, o + s, stride) for o, s in zip(d, size, strict=True)])

    def average(where: tuple[slice, ...]) -> Tensor:
        both = seen_f * seen_m[where]
        return ((m[where] - f).square().sum(dim=1, keepdim=True) * both).sum() / both.sum().clamp(min=1e-6)

    tried = [at(d) for d in offsets[:: max(1, len(offsets) // FEW)].tolist()] if chance else [at([reach] * n)]
    usual = torch.stack([average(where) for where in tried]).mean()
    weight = ff.pooled(seen_f, pool).clamp(min=1e-3)
    if kernels.usable(m, f):
        masks = seen_f[0, 0], seen_m[0, 0]
        found = kernels.costs(f[0], m[0], masks, offsets, stride, pool, float(usual), weight[0, 0])
        return found, (offsets - reach).to(f)
    scratch = torch.empty_like(f)
    for k, d in enumerate(offsets.tolist()):
        where = at(d)
        distance = torch.sub(m[where], f, out=scratch).square_().sum(dim=1, keepdim=True)
        distance = usual + seen_m[where] * (distance - usual)
        out[k] = (ff.pooled(distance * seen_f, pool) / weight)[0, 0]
    return out, (offsets - reach).to(f)


def _padded(image: Tensor, level: Level, mode: str = "constant") -> Tensor:
    """An image made as large as whole cells."""
    more = [-s % level.cell for s in image.shape[2:]]
    return F.pad(image, [p for m in reversed(more) for p in (0, m)], mode=mode)


def _inverse_of_each_other(u: Tensor, w: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Bring two opposite fields together, on a grid as coarse as what they hold."""
    coarse = [max(2, s // level.step // 2) for s in u.shape[2:]]
    a, b = ff.resize_field(u, coarse), ff.resize_field(w, coarse)
    for _ in range(ROUNDS):
        a, b = (a - ff.warp(b, a)) / 2, (b - ff.warp(a, b)) / 2
    return ff.resize_field(a, u.shape[2:]), ff.resize_field(b, u.shape[2:])


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Discrete:
    """Make one from plain data: it has no networks; options are Discrete's arguments."""
    if networks:
        raise ValueError("discrete has no networks")
    numbers = dict(options)
    for name in {"levels", "levels_2d"} & set(numbers):
        numbers[name] = [Level(**level) for level in numbers[name]]
    return Discrete(**numbers)
