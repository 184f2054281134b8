"""The one affine map of an image that fits best, read off the costs of a dense search (`systems/discrete.py`).

C(p, d) is what it costs to move cell p by d, of both directions. For an affine map A

    E(A) = sum_p w(p) C(p, A(p) - p) + sum_p w'(p) C'(p, A^-1(p) - p) + lambda mean |A(p) - p|^2

with C read between the displacements that were tried (bicubic: along straight lines it would be least at one of those),
and as what the average cell costs under all of them beyond. Its least value is sought among all shifts under some zooms
and turns, and from the best of each by gradient descent. So the search is as wide as that of the costs, and ribs, which
fit each other one further on, do not hold it in a local minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core.adam import Adam
from jssr.core.precision import full_precision

ZOOMS = (0.75, 0.87, 1.0, 1.15, 1.33)
TURNS = (-8.0, 0.0, 8.0)
"""Degrees."""
STARTS = 4
"""Zooms and turns whose best shift is followed down; none at all is followed too."""
STEPS, RATE = 100, 0.3
"""Of Adam, falling to nothing; in steps of the search, at the image's edge."""
PRIOR = 1e-4
"""lambda, for displacements in voxels of the searched images."""

Energy = Callable[[Tensor, Tensor], Tensor]


@full_precision
def best_affine(
    costs: Sequence[Tensor], weights: Sequence[Tensor], shape: Sequence[int], cell: int, step: int
) -> Tensor:
    """The affine map from the fixed to the moving image, 2D: (3, 3), for voxels counted from the image's middle.

    Args:
        costs: of both directions (fixed to moving first), each (2 r + 1, 2 r + 1, *cells): displacements along both
            axes in `step` voxels, from -r to r.
        weights: of their cells, each (*cells), `cell` voxels along each side.
        shape: of the images in voxels.
    """
    half = max(shape) / 2
    unit = step / half  # positions and shifts below are in halves of the image, displacements of C in steps
    with torch.inference_mode(False), torch.enable_grad():
        energy = _energy([c.clone() for c in costs], [w.clone() for w in weights], shape, cell, step)
        linear, shift = _starts(energy, costs[0].shape[0] // 2, unit)
        p = torch.cat([linear - torch.eye(2), shift[..., None]], dim=-1).div_(unit).requires_grad_()
        adam = Adam(p, RATE)
        for k in range(STEPS):
            adam.rate = RATE * (1 - k / STEPS)
            value = energy(torch.eye(2) + unit * p[..., :2], unit * p[..., 2]).sum()
            adam.step(torch.autograd.grad(value, p)[0])
        with torch.no_grad():
            linear, shift = torch.eye(2) + unit * p[..., :2], unit * p[..., 2]
            best = int(energy(linear, shift).argmin())
    out = torch.eye(3)
    out[:2, :2], out[:2, 2] = linear[best].detach(), half * shift[best].detach()
    return out


@full_precision  # in bfloat16 pixel 1000 is 4 off
def affine_field(affine: Tensor, shape: Sequence[int], u: Tensor | None = None) -> Tensor:
    """What `best_affine` says, as a displacement (1, 2, *shape) in voxels; after a displacement `u` where there is one,
    exact outside the image too."""
    middle = torch.tensor([(s - 1) / 2 for s in shape], device=affine.device).view(1, 2, 1, 1)
    at = ff.identity(shape, affine) - middle
    there = at if u is None else at + u
    moved = torch.einsum("ij,bjyx->biyx", affine[:2, :2], there) + affine[:2, 2].view(1, 2, 1, 1)
    return moved - at


def _energy(costs: Sequence[Tensor], weights: Sequence[Tensor], shape: Sequence[int], cell: int, step: int) -> Energy:
    """E of matrices (B, 2, 2) and shifts (B, 2) in halves of the image, as (B,)."""
    half = max(shape) / 2
    middle = torch.tensor([(s - 1) / 2 for s in shape])
    sides = []
    for cost, weight in zip(costs, weights, strict=True):
        radius = cost.shape[0] // 2
        w = weight.flatten() / weight.sum().clamp(min=1e-6)
        by_cell = cost.flatten(2).permute(2, 0, 1)[:, None]
        usual = (by_cell.mean(dim=(1, 2, 3)) * w).sum()
        corner = torch.cartesian_prod(*[torch.arange(n) for n in cost.shape[2:]]) * cell
        sides.append((by_cell - usual, (corner + (cell - 1) / 2 - middle) / half, w, radius))

    def energy(linear: Tensor, shift: Tensor) -> Tensor:
        back = torch.linalg.inv(linear)
        maps = ((linear, shift), (back, -(back @ shift[..., None])[..., 0]))
        total = torch.zeros(len(linear))
        for (matrix, moved), (by_cell, points, w, radius) in zip(maps, sides, strict=True):
            d = torch.einsum("bij,pj->pbi", matrix, points) + moved - points[:, None]
            d = d * (half / step)
            read = F.grid_sample(by_cell, (d / radius).flip(-1)[:, :, None], "bicubic", align_corners=True)
            far = PRIOR * step**2 * d.square().sum(dim=-1)
            total = total + (read[:, 0, :, 0] * w[:, None]).sum(dim=0) + far.mean(dim=0)
        return total

    return energy


@torch.no_grad()
def _starts(energy: Energy, radius: int, unit: float) -> tuple[Tensor, Tensor]:
    """The best shift of each zoom and turn, of these the best few, and the identity: (B, 2, 2) and (B, 2)."""
    turns = torch.deg2rad(torch.tensor(TURNS))
    circle = torch.stack([turns.cos(), -turns.sin(), turns.sin(), turns.cos()], dim=-1).view(-1, 2, 2)
    linears = (torch.tensor(ZOOMS)[:, None, None, None] * circle).flatten(0, 1)
    shifts = torch.cartesian_prod(*[torch.arange(-radius, radius + 1.0)] * 2) * unit
    values = torch.stack([energy(one.expand(len(shifts), 2, 2), shifts) for one in linears])
    best = values.min(dim=1)
    first = best.values.argsort()[:STARTS]
    found = shifts[best.indices[first]]
    return torch.cat([linears[first], torch.eye(2)[None]]), torch.cat([found, torch.zeros(1, 2)])
