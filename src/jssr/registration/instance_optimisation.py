"""Instance optimisation: Adam on the displacement of one pair, from what a system found.

After ConvexAdam (Siebert et al. 2021): the field is a coarse grid of control points, made smooth by three box filters
(a quadratic B-spline kernel), and moves features of the moving image onto those of the fixed one under a diffusion
penalty. The features are a descriptor that looks alike in every modality, on a grid finer than the networks'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core.adam import Adam
from jssr.core.grid import Grid
from jssr.core.precision import full_precision
from jssr.core.transform import Displacement
from jssr.losses.descriptors import descriptor_of
from jssr.losses.features import FeatureDistance
from jssr.losses.mind import described
from jssr.losses.similarity import box_mean
from jssr.losses.terms import diffusion
from jssr.preprocessing.prepare import PreparedImage, PreparedPair
from jssr.registration.model import Model
from jssr.registration.settings import OptimisationSettings
from jssr.systems.base import Alignment

FINEST_MM = 2.0
MOST_VOXELS = 3_000_000
"""The 24 channels of a pair's MIND-SSC take some 300 MB then."""
NEAR = 1.02
"""A grid that is coarser by no more than this is taken as it is: what was described on it is not described again."""
WORSE = 1.03
"""A field whose features are further apart than this, against none, is not taken as the start."""
ROUNDING = 1e-3
"""A distance of features that is rounding, of images that are the same."""
LOST = (
    "The system's field made the scans less alike than no field does; the refinement started without it. Was a "
    "network trained on such scans?"
)
FAR, LITTLE = 1.2, 0.85
"""MIND-SSC further apart than FAR under a system's field, and than LITTLE of what it is without, make that field
doubtful. Under `discrete`, four or five pairs each: two phases of CT 0.5 to 0.6 (0.6 to 0.8 of it), hearts at two
times 0.2 to 0.3 (0.8 to 0.9), phantoms in CT and T1 0.9 to 1.3 (0.7 to 0.8); real CT and MR of legs, where the field
was worse than none, 1.3 to 1.9 (0.9)."""
FAR_2D = 2.5
"""The same of radiographs under `discrete`: phantoms 1.4 to 2.3; real visits 1.8 to 2.7, of which the four above 2.5
ended with the least overlap; films turned by 20 to 180 degrees, which it does not find, 2.6 to 3.1."""
DOUBTFUL_2D = (
    "The films look unlike each other under this field (self-similarities {found:.1f} apart, suspect above 2.5): they "
    "may lie further from each other, or turned further, than the system reaches. Look at the pictures."
)
DOUBTFUL = (
    "The scans look unlike each other (self-similarities {found:.1f} apart, two phases of CT 0.5), and the field "
    "changed that by {gain:.0f} % only: it may follow noise. compare it with the rigid step alone (--system rigid)."
)


def optimisation_grid(grid: Grid) -> Grid:
    """The grid to refine on: that of the network made finer, at most `FINEST_MM` and `MOST_VOXELS`."""
    if grid.ndim == 2:
        return grid  # which is as fine as the recipe wants it
    volume = float(np.prod(np.array(grid.shape) * grid.spacing))
    step = max(FINEST_MM, (volume / MOST_VOXELS) ** (1 / 3))
    if ((grid.spacing >= step) & (grid.spacing <= NEAR * step)).all():
        return grid
    return grid.respaced(np.minimum(grid.spacing, step) if (grid.spacing < step).any() else step)


def optimisation_features(moving: Tensor, fixed: Tensor, descriptor: str = "mind-ssc") -> list[Features]:
    """What the optimisation brings to coincide: self-similarity context, which looks alike in every contrast.

    The segmentor's probabilities beside it cost time and changed nothing (TRE of six validation pairs 1.35 mm with
    them, 1.34 without).

    Args:
        moving, fixed: (1, 1, *spatial) in -1..1, in their own contrasts.
        descriptor: of `DESCRIPTORS`.
    """
    describe = descriptor_of(descriptor)
    return [_weighed(describe(moving), describe(fixed))]


def _weighed(moving: Tensor, fixed: Tensor) -> Features:
    """Against the smoothness every descriptor counts as the 12 channels of MIND-SSC do."""
    return Features(moving, fixed, 12 / fixed.shape[1])


def refine_pair(
    model: Model,
    pair: PreparedPair,
    alignment: Alignment,
    steps: int,
    on_step: Callable[[int], None] | None = None,
    settings: OptimisationSettings | None = None,
) -> tuple[Displacement, tuple[str, ...]]:
    """Continue from a system's field by `steps` steps on the pair itself.

    Where that field makes the scans clearly less alike than no field does (a network at a loss with a modality it was
    not trained on), it starts from none.

    Args:
        pair: with `finer` scans, unless the working grid is fine enough.
        alignment: what the system made of the pair, on the CPU.
        settings: what the user asks for; None takes the defaults.

    Returns:
        The refined field on the refinement grid, and warnings.
    """
    fixed, moving = pair.finer or (
        PreparedImage(pair.fixed, pair.fixed_mask, pair.grid, pair.fixed_limits),
        PreparedImage(pair.moving, pair.moving_mask, pair.grid, pair.moving_limits),
    )
    grid = fixed.grid
    start = Displacement(alignment.displacement[0], pair.grid).displacement(grid)
    displacement = start.u[None]
    body = fixed.mask * described(fixed.image)
    made = alignment.descriptors if pair.finer is None else None
    descriptor = model.recipe.inference.descriptor
    features = [_weighed(*made)] if made else optimisation_features(moving.image, fixed.image, descriptor)
    there = [Features(f.moving.to(model.device), f.fixed.to(model.device), f.weight) for f in features]
    del features
    none = torch.zeros_like(displacement)
    apart = unlikeness(there, displacement, body, moving.mask), unlikeness(there, none, body, moving.mask)
    displacement = displacement if apart[0] <= WORSE * apart[1] + ROUNDING else none
    mask = body * ff.warp(moving.mask, displacement)
    with torch.enable_grad():
        out = refine(displacement.to(model.device), there, steps, mask.to(model.device), on_step=on_step)
    known = descriptor == "mind-ssc" and bool(start.u.any())
    return Displacement(out.cpu()[0], grid), _doubts(*apart, grid.ndim, known)


def _doubts(found: float, before: float, n: int, known: bool) -> tuple[str, ...]:
    """Warnings of a field under which features of nD images are `found` apart, without it `before`; `known`: how far is
    usual."""
    if found > WORSE * before + ROUNDING:
        return (LOST,)
    if known and n == 2 and found > FAR_2D:
        return (DOUBTFUL_2D.format(found=found),)
    if known and n == 3 and found > max(FAR, LITTLE * before):
        return (DOUBTFUL.format(found=found, gain=100 * (1 - found / before)),)
    return ()


def unlikeness(features: list[Features], displacement: Tensor, body: Tensor, moving_mask: Tensor) -> float:
    """Mean squared distance of the features under a field, where both scans have data, on every third voxel."""
    thin = (slice(None), slice(None), *[slice(None, None, 3)] * (displacement.ndim - 2))
    at = (ff.identity(displacement.shape[2:], displacement) + displacement)[thin]
    mask = body[thin] * ff.sample(moving_mask, at)
    at, weight = at.to(features[0].fixed.device), mask.to(features[0].fixed.device)
    distance = [f.weight * ((ff.sample(f.moving, at) - f.fixed[thin]) ** 2).sum(dim=1, keepdim=True) for f in features]
    return float((torch.stack(distance).sum(0) * weight).sum() / weight.sum().clamp(min=1))


@dataclass(frozen=True)
class Features:
    """What shall coincide: (1, C, *spatial) of the moving and of the fixed image, and the weight of their distance."""

    moving: Tensor
    fixed: Tensor
    weight: float = 1.0


@full_precision
def refine(
    displacement: Tensor,
    features: Sequence[Features],
    steps: int,
    mask: Tensor | None = None,
    spacing: int = 2,
    smoothness: float = 10.0,
    rate: float = 0.2,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Continue from `displacement` (1, n, *spatial; voxels) by `steps` steps of Adam.

    Args:
        features: on the field's grid; distances are mean squared differences, summed over channels.
        mask: (1, 1, *spatial), 1 where the fixed image has data and the moving one can be expected to.
        spacing: voxels between control points; features are averaged over cubes of that size.
        smoothness: weight of the diffusion penalty (mean squared gradient of the field).
        rate: Adam's step in control-grid voxels.
        on_step: called with each step's number.
    """
    if steps == 0:
        return displacement
    moving = torch.cat([_pool(f.moving, spacing) * f.weight**0.5 for f in features], dim=1)
    fixed = torch.cat([_pool(f.fixed, spacing) * f.weight**0.5 for f in features], dim=1)
    shape = fixed.shape[2:]
    weight = torch.ones_like(fixed[:, :1]) if mask is None else _pool(mask, spacing)
    chosen = weight[0, 0] > 0
    distance = FeatureDistance(moving, fixed, chosen)
    weight = weight[0, 0][chosen]
    where = chosen.flatten().nonzero()[:, 0]
    start = ff.resize_field(displacement, shape)
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
        return displacement + ff.resize_field(_spline(change), displacement.shape[2:])


def _spline(control: Tensor) -> Tensor:
    for _ in range(3):
        control = box_mean(control, 3)
    return control


def _pool(image: Tensor, by: int) -> Tensor:
    return image.float() if by == 1 else ff.pooled(image.float(), by, ceil_mode=True)
