"""How far off a registration may be: the fixed scan's self-similarities against those of the moved one, at the place
that was found and at all places around it.

After block matching: MIND-SSC (Heinrich et al., MICCAI 2013) of both scans on a coarse grid, the mean squared
difference C(p, d) of each block p under displacements d of up to `REACH` voxels, and

    s(p) = 1 - C(p, 0) / mean of C(p, d) over the d at the rim          what the place that was found is better by

which is 1 of equal scans and about 0 of scans that have nothing to do with each other. The expected error of a block is
exp(a + b (1 - s)), fitted once on pairs with landmarks (`FIT`). The optimisation looks at a finer grid and at a few
sample points, so that the blocks are no part of its cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.precision import full_precision
from jssr.core.transform import Affine, Displacement
from jssr.losses.mind import described, mind_ssc
from jssr.losses.similarity import box_mean
from jssr.preprocessing.prepare import PreparedPair

VOXELS = {2: 6000, 3: 40_000}
"""Of the body on the coarse grid, about, by the number of axes."""
REACH = 3
BLOCK = 2
"""Side of a block, in every second voxel of the coarse grid."""
LEAST = 0.3
"""Of a block that has data in both scans, to be judged."""
FIT = {2: (-4.5, 6.9), 3: (0.0, 3.0)}
"""a and b of the expected error. In 3D mm, a line through the logarithms of the landmark errors of 19 pairs of split
"validation" (correlation 0.97). Of films per cent of the diagonal, by eye through the mean distances of
the lungs' outlines."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for and against a registration.

    Attributes:
        expected: expected error of each block, (1, *grid.shape), mm; NaN where nothing can be judged.
        grid: of the blocks.
        better: median of s over the blocks: what the place that was found is better by than those around it.
        found, before: of the difference between unrelated points, the part that is not there under the field, and
            without it: 0 of unrelated scans, 1 of equal ones.
        covered: share of the fixed body that has data in the moving scan.
        folds: per cent of the body's cells that fold.
        moved: median length of the field in the body, mm, rigid step not counted.
        scale: what is 1 mm in the scans' size: 1 in 3D, in 2D a hundredth of the diagonal.
    """

    expected: Tensor
    grid: Grid
    better: float
    found: float
    before: float
    covered: float
    folds: float
    moved: float
    scale: float = 1.0

    @property
    def median(self) -> float:
        """Of the expected error, mm; infinite where no block can be judged."""
        return self._quantile(0.5)

    @property
    def p95(self) -> float:
        """95th percentile of the expected error, mm."""
        return self._quantile(0.95)

    def _quantile(self, q: float) -> float:
        known = self.expected[self.expected.isfinite()]
        return float(known.quantile(q)) if known.numel() else float("inf")


@torch.no_grad()
@full_precision
def evidence_of(pair: PreparedPair, field: Displacement) -> Evidence:
    """Judge a field of a prepared pair.

    Args:
        field: on the working grid, or on a finer one of the same space: what the system and the optimisation found.
    """
    n = pair.grid.ndim
    body = pair.fixed_mask * described(pair.fixed)
    grid, size = coarse(pair.grid, float(body.sum()))
    fixed, moving, inside, seen = (pooled(x, size) for x in (pair.fixed, pair.moving, body, pair.moving_mask))
    at = Affine.identity(n).positions(grid, field.grid)
    moved_mm = _millimetres(ff.sample(field.u[None], at), field.grid)
    spacing = torch.tensor(grid.spacing, dtype=torch.float32).view(1, n, *[1] * n)
    to = ff.identity(grid.shape) + _turned(moved_mm, field.grid, grid) / spacing
    there, held = ff.sample(moving, to), ff.sample(seen, to, padding="zeros")
    ours, theirs = mind_ssc(fixed, dilation=1), mind_ssc(there, dilation=1)
    usual = _unrelated(ours, theirs, inside * held)
    s, judged = _better(ours, theirs, inside, held)
    a, b = FIT[n]
    scale = 1.0 if n == 3 else float(np.linalg.norm(np.array(grid.shape) * grid.spacing)) / 100
    expected = scale * torch.exp(a + b * (1 - s.clamp(-1, 1)))
    determinant = ff.jacobian_determinant(ff.sample(field.u[None], at) * _per_voxel(field.grid, grid))
    cells = inside[0, 0][(slice(0, -1),) * n] > 0.5
    length = moved_mm.norm(dim=1)[0][inside[0, 0] > 0.5]
    return Evidence(
        expected.masked_fill(~judged, float("nan"))[None], _blocks(grid, s.shape),
        float(s[judged].median()) if judged.any() else 0.0,
        _explained(ours, theirs, inside * held, usual),
        _explained(ours, mind_ssc(moving, dilation=1), inside * seen, usual),
        float((inside * held).sum() / inside.sum().clamp(min=1e-6)),
        100 * float((determinant[0][cells] <= 0).float().mean()) if cells.any() else 0.0,
        float(length.median()) if length.numel() else 0.0,
        scale,
    )  # fmt: skip


def coarse(grid: Grid, voxels: float) -> tuple[Grid, list[int]]:
    """The coarse grid, and how many voxels of the working grid one of it has along each axis."""
    n = grid.ndim
    step = (max(1.0, voxels) * float(np.prod(grid.spacing)) / VOXELS[n]) ** (1 / n)
    size = [max(1, min(round(step / s), length // 4)) for s, length in zip(grid.spacing, grid.shape, strict=True)]
    return _averaged(grid, size, [length // k for length, k in zip(grid.shape, size, strict=True)]), size


def _averaged(grid: Grid, size: list[int], shape: list[int]) -> Grid:
    """The grid of means of `size` voxels along each axis."""
    origin = grid.world([(k - 1) / 2 for k in size])
    return Grid.of(shape, (grid.spacing * size).tolist(), origin.tolist(), grid.direction)


def _blocks(grid: Grid, shape: torch.Size) -> Grid:
    """The grid of the blocks: every second voxel, `BLOCK` of them averaged."""
    size = 2 * BLOCK
    return Grid.of(list(shape), (grid.spacing * size).tolist(), grid.world([1.0] * grid.ndim).tolist(), grid.direction)


def pooled(image: Tensor, size: list[int]) -> Tensor:
    return (F.avg_pool3d if image.ndim == 5 else F.avg_pool2d)(image.float(), size)


def _per_voxel(source: Grid, grid: Grid) -> Tensor:
    """What voxels of `source` are in voxels of `grid`, for grids with the same axes."""
    return torch.tensor(source.spacing / grid.spacing, dtype=torch.float32).view(1, -1, *[1] * grid.ndim)


def _millimetres(u: Tensor, grid: Grid) -> Tensor:
    """A field in voxels of `grid` as mm along its axes."""
    return u * torch.tensor(grid.spacing, dtype=torch.float32).view(1, -1, *[1] * grid.ndim)


def _turned(u: Tensor, source: Grid, grid: Grid) -> Tensor:
    """mm along the axes of `source` as mm along those of `grid`."""
    turn = torch.from_numpy(np.linalg.inv(grid.direction) @ source.direction).float()
    return torch.einsum("ij,bj...->bi...", turn, u)


def _mean(values: Tensor, weight: Tensor) -> float:
    return float((values * weight).sum() / weight.sum().clamp(min=1e-6))


def _unrelated(a: Tensor, b: Tensor, weight: Tensor) -> float:
    """The mean squared difference of descriptors of points that have nothing to do with each other: of |a|^2 + |b|^2 -
    2 ab, the last is then the product of the means."""
    squares = _mean((a.square() + b.square()).sum(dim=1, keepdim=True), weight)
    axes = tuple(range(2, a.ndim))
    one, two = ((x * weight).sum(dim=axes) / weight.sum().clamp(min=1e-6) for x in (a, b))
    return max(1e-6, squares - 2 * float((one * two).sum()))


def _explained(a: Tensor, b: Tensor, weight: Tensor, usual: float) -> float:
    return 1 - _mean((a - b).square().sum(dim=1, keepdim=True), weight) / usual if bool(weight.any()) else 0.0


def _better(fixed: Tensor, moved: Tensor, inside: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """s of each block, and which of them can be judged."""
    n = fixed.ndim - 2
    reach, thin = REACH, (slice(None), slice(None), *[slice(None, None, 2)] * n)
    pool = F.avg_pool3d if n == 3 else F.avg_pool2d
    padded = F.pad(moved, [reach] * (2 * n), mode="replicate")
    seen = F.pad(held, [reach] * (2 * n))
    mine, weight, size = fixed[thin].contiguous(), inside[thin].contiguous(), fixed.shape[2:]
    places = torch.cartesian_prod(*[torch.arange(2 * reach + 1)] * n)
    rim = (places - reach).abs().amax(dim=1) == reach
    rim &= (places % reach == 0).all(dim=1)  # corners, and the middles of edges and faces: 26 of 218

    def cost(place: list[int]) -> tuple[Tensor, Tensor]:
        at = (slice(None), slice(None), *[slice(o, o + s, 2) for o, s in zip(place, size, strict=True)])
        both = weight * seen[at]
        apart = (padded[at] - mine).square().sum(dim=1, keepdim=True) * both
        return tuple(box_mean(pool(x, BLOCK, ceil_mode=True), 3)[0, 0] for x in (apart, both))  # type: ignore[return-value]

    here, counts = cost([reach] * n)
    judged = counts > LEAST
    total, share = torch.zeros_like(here), torch.zeros_like(here)
    for place in places[rim].tolist():
        apart, both = cost(place)
        total, share = total + apart, share + both
    around = total / share.clamp(min=1e-6)
    judged &= around > 1e-6
    return 1 - here / counts.clamp(min=1e-6) / around.clamp(min=1e-6), judged
