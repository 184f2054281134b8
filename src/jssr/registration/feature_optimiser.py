"""Instance optimisation: Adam on the displacement of one pair, from wherever a system left it.

After ConvexAdam (Siebert et al. 2021): the field is a coarse grid of control points, made smooth by three box filters
(a quadratic B-spline kernel), and moves features of the moving image onto those of the fixed one under a diffusion
penalty. What the features are is the caller's choice, so the same code refines any system on any pair of modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core.adam import Adam
from jssr.core.precision import full_precision
from jssr.losses.features import FeatureDistance
from jssr.losses.similarity import box_mean
from jssr.losses.smoothness import diffusion

__all__ = ["Features", "refine"]


@dataclass(frozen=True)
class Features:
    """What shall coincide: (1, C, *spatial) of the moving and of the fixed image, and the weight of their distance."""

    moving: Tensor
    fixed: Tensor
    weight: float = 1.0


@full_precision
def refine(
    tau: Tensor,
    features: Sequence[Features],
    steps: int,
    mask: Tensor | None = None,
    spacing: int = 2,
    smoothness: float = 10.0,
    rate: float = 0.2,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Continue from `tau` (1, n, *spatial; voxels) by `steps` steps of Adam.

    Args:
        tau: the start.
        features: on the field's grid; distances are mean squared differences, summed over channels.
        steps: 0 returns tau as it is.
        mask: (1, 1, *spatial), 1 where the fixed image has data and the moving one can be expected to.
        spacing: voxels between control points; features are averaged over cubes of that size.
        smoothness: weight of the diffusion penalty (mean squared gradient of the field).
        rate: Adam's step in control-grid voxels.
        on_step: called with each step's number, for a progress bar.
    """
    if steps == 0:
        return tau
    moving, fixed = (
        torch.cat([_pool(side, spacing) * f.weight**0.5 for f, side in sides], dim=1)
        for sides in ([(f, f.moving) for f in features], [(f, f.fixed) for f in features])
    )
    shape = fixed.shape[2:]
    weight = torch.ones_like(fixed[:, :1]) if mask is None else _pool(mask, spacing)
    chosen = weight[0, 0] > 0
    distance = FeatureDistance(moving, fixed, chosen)
    weight = weight[0, 0][chosen]
    where = chosen.flatten().nonzero()[:, 0]
    start = ff.resize_field(tau, shape)
    change = torch.zeros_like(start).requires_grad_()
    adam = Adam(change, rate)
    for step in range(steps):
        u = start + _spline(change)
        at = (ff.identity(shape, u) + u)[0].flatten(1).index_select(1, where).t().contiguous()
        cost = (distance(at) * weight).sum() / weight.sum().clamp(min=1)
        (gradient,) = torch.autograd.grad(cost + smoothness * diffusion(u), change)
        adam.step(gradient)
        if on_step is not None:
            on_step(step)
    with torch.no_grad():
        # Only the change is interpolated: detail of the start finer than the control grid is kept.
        return tau + ff.resize_field(_spline(change), tau.shape[2:])


def _spline(control: Tensor) -> Tensor:
    for _ in range(3):
        control = box_mean(control, 3)
    return control


def _pool(image: Tensor, by: int) -> Tensor:
    return image.float() if by == 1 else ff.pooled(image.float(), by, ceil_mode=True)
