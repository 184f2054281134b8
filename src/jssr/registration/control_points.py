"""The optimisation of one level: control points of a displacement field, moved until two images are alike.

As elastix does it (Klein et al. 2010), each step looks at few of the voxels: a lattice whose place is drawn anew. One
lattice is never drawn; what it says of a field is not what the field was made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core import kernels, spline_kernels
from jssr.core.adam import Adam
from jssr.core.bspline import ControlGrid
from jssr.losses.features import Apart, FeatureDistance, Information, Rows
from jssr.losses.similarity import box_mean
from jssr.registration.rigid_parts import Held

SAMPLES = 40_000
"""Points a step. With 30,000 and 60,000 five tuning pairs end within 1 % of each other."""
RATE = 0.3
"""Of the smallest voxel, how far a control point moves in a step at first; a tenth of that at last."""
SLIDING = 0.05
"""Gradient of the field from which on the sliding regulariser grows linearly and no longer quadratically.

Validation pairs only, mean landmark error in mm (liver MR 23a and 23b; HCC_015): smooth 1.31, 1.24; 1.04. Sliding 1.09,
1.06; 0.99. With 0.2 1.16, 1.12; with 0.02 and thrice the weight 1.09, 1.07. Half the weight gains 0.02 on liver MR and
loses 0.06 on HCC_015 and 0.3 on CT-MR STS_015."""
SEED = 2020
_REACH = 12
"""Voxels from a fold to what is read where it is smoothed: 2 of the pooling, 5 of either filter."""


@dataclass(frozen=True)
class Terms:
    """What shall be alike at points of the fixed image.

    Attributes:
        body: (1, 1, *spatial), where the fixed image counts; seen: the same, where the moving image has data.
        features: compared point by point; information: of all points together.
        voxel: size of the field's voxels, mm along each axis.
        pool: voxels of the field along each axis that were averaged to one of the images.
    """

    body: Tensor
    seen: Rows
    voxel: tuple[float, ...]
    features: FeatureDistance | None = None
    information: Information | None = None
    pool: int = 1


@dataclass(frozen=True)
class Points:
    """Some points of the fixed image.

    Attributes:
        where: the lattice, a slice of the image along each axis.
        axes: the lattice's positions in the image, along each axis.
        body: (*spatial), how much each voxel of the image counts.
    """

    where: tuple[slice, ...]
    axes: list[Tensor]
    body: Tensor

    @cached_property
    def chosen(self) -> Tensor:
        """Those points of the lattice that count, (P,); compiled loops find them as they go."""
        return self.body[self.where].flatten().nonzero()[:, 0]

    @cached_property
    def weight(self) -> Tensor:
        """Of the chosen points, (P,)."""
        return self.body[self.where].flatten()[self.chosen]

    @property
    def shape(self) -> list[int]:
        return [len(a) for a in self.axes]

    def positions(self, pool: int) -> list[Tensor]:
        """Where the lattice lies along each axis of a field of which the image's voxels are averages of `pool`."""
        return [axis * pool + (pool - 1) / 2 for axis in self.axes]


class Lattices:
    """Lattices of about `SAMPLES` of the voxels where `body` counts."""

    def __init__(self, body: Tensor, samples: int = SAMPLES, seed: int = SEED) -> None:
        n = body.ndim - 2
        self.body, self.random = body, torch.Generator().manual_seed(seed)
        stride = max(1, round((float(body.sum()) / samples) ** (1 / n)))
        self.strides = [min(stride, size) for size in body.shape[2:]]

    def draw(self) -> Points:
        """A lattice, not the one of `unseen` unless there is no other."""
        last = [s - 1 for s in self.strides]
        offsets = last
        while offsets == last:
            offsets = [int(torch.randint(0, s, (), generator=self.random)) for s in self.strides]
            if not any(last):
                break
        return self._at(offsets)

    def unseen(self) -> Points:
        """The lattice that is never drawn."""
        return self._at([s - 1 for s in self.strides])

    def _at(self, offsets: Sequence[int]) -> Points:
        where = tuple(slice(o, None, s) for o, s in zip(offsets, self.strides, strict=True))
        axes = [
            torch.arange(o, size, s, dtype=torch.float32, device=self.body.device)
            for o, s, size in zip(offsets, self.strides, self.body.shape[2:], strict=True)
        ]
        return Points(where, axes, self.body[0, 0])


def apart(terms: Terms, points: Points, field: Tensor) -> Apart:
    """How unlike the images are at points that a field moves.

    Args:
        field: (1, n, *points.shape), mm.

    Returns:
        The cost, a scalar, with its derivative by the field, (1, n, *points.shape); 0 at points that do not count.
    """
    if terms.features is not None and terms.features.compiled and terms.information is None:
        voxel = [v * terms.pool for v in terms.voxel]
        return terms.features.of_lattice(terms.seen, points.body, points.where, field, voxel)
    found = _apart(terms, points, field)
    spread = torch.zeros(field.shape[1], math.prod(points.shape), device=field.device)
    spread[:, points.chosen] = found.slope.t()
    return Apart(found.value, spread.view_as(field))


def _apart(terms: Terms, points: Points, field: Tensor) -> Apart:
    """The same; the derivative is by each point's displacement, (P, n) mm."""
    size = torch.tensor(terms.voxel, device=field.device) * terms.pool
    moved = field[0].flatten(1).t()[points.chosen] / size
    at = torch.stack(torch.meshgrid(*points.axes, indexing="ij")).flatten(1).t()[points.chosen] + moved
    read, _ = terms.seen.read(at)
    last = torch.tensor(terms.body.shape[2:], device=at.device) - 1
    weight = points.weight * ((at >= 0) & (at <= last)).all(dim=1) * (read[:, 0] > 0.99)
    total = weight.sum().clamp(min=1)
    value, slope = torch.zeros((), device=at.device), torch.zeros_like(at)
    if terms.features is not None:
        each = terms.features(at, points.where, points.chosen)
        value = value + (each.value * weight).sum() / total
        slope = slope + each.slope * (weight / total)[:, None]
    if terms.information is not None:
        together = terms.information(at, points.where, points.chosen, weight)
        value, slope = value + together.value, slope + together.slope
    return Apart(value, slope / size)


def roughness(control: Tensor, spacing: Sequence[float], sliding: bool = False) -> Apart:
    """How rough a field is, and the derivative by its control points.

    The mean squared gradient (diffusion); with `sliding` the mean of a function of the gradient that grows linearly
    beyond `SLIDING` (total variation, as in Vishnevskiy et al. 2017), so that a jump costs no more than a ramp.

    Args:
        control: (1, n, *counts) mm.
        spacing: mm between control points along each axis.
    """
    if kernels.usable(control) and control.shape[1] == 3:
        return Apart(*spline_kernels.roughness(control, spacing, SLIDING if sliding else 0.0))
    n = len(spacing)
    steps = [control.diff(dim=a + 2) / s for a, s in enumerate(spacing)]
    if sliding:
        square = torch.zeros_like(control[:, :1])
        for axis, step in enumerate(steps):
            square.narrow(axis + 2, 0, step.shape[axis + 2]).add_(step.square().sum(dim=1, keepdim=True))
        root = (square + SLIDING**2).sqrt()
        value = 2 * SLIDING * (root - SLIDING).mean()
        factor = 2 * SLIDING / root.numel()
        scaled = [step * factor / root.narrow(a + 2, 0, step.shape[a + 2]) for a, step in enumerate(steps)]
    else:
        value = torch.stack([step.square().mean() * n for step in steps]).sum()
        scaled = [step * (2 * n / step.numel()) for step in steps]
    slope = torch.zeros_like(control)
    for axis, step in enumerate(scaled):
        length = step.shape[axis + 2]
        slope.narrow(axis + 2, 1, length).add_(step / spacing[axis])
        slope.narrow(axis + 2, 0, length).sub_(step / spacing[axis])
    return Apart(value, slope)


def optimise(
    control: Tensor,
    grid: ControlGrid,
    terms: Terms,
    steps: int,
    smoothness: float,
    sliding: bool = False,
    lattices: Lattices | None = None,
    on_step: Callable[[], None] | None = None,
    held: Held | None = None,
) -> Tensor:
    """Move control points by `steps` steps of Adam.

    Args:
        control: (1, n, *grid.counts) mm.
        smoothness: weight of `roughness`.
        lattices: where points are drawn; by default `Lattices(terms.body)`.
        held: a motion that takes the place of the field where it has a share.

    Returns:
        The control points.
    """
    lattices = lattices or Lattices(terms.body)
    control, rate = control.clone(), RATE * min(terms.voxel)
    spacing = [s * v for s, v in zip(grid.spacing, terms.voxel, strict=True)]
    adam = Adam(control, rate)
    for step in range(steps):
        points = lattices.draw()
        positions = points.positions(terms.pool)
        field = grid.read(control, positions)
        there = None if held is None else held.at(points.where, points.axes, terms.pool)
        slope = apart(terms, points, field if there is None else there.on(field)).slope
        if there is not None:
            slope = slope * (1 - there.share)
        gradient = grid.back(slope, positions)
        adam.rate = rate * (1 - 0.9 * step / steps)
        adam.step(gradient + smoothness * roughness(control, spacing, sliding).slope)
        if on_step is not None:
            on_step()
    return control


def without_folds(field: Tensor, least: float = 0.05, rounds: int = 40) -> Tensor:
    """Smooth a field (1, n, *spatial) in voxels where its Jacobian determinant is below `least`, and around, until it
    is not."""
    field = field.clone()
    box = [slice(0, size) for size in field.shape[2:]]
    for _ in range(rounds):
        folds = (ff.jacobian_determinant(field[(slice(None), slice(None), *box)]) < least)[0].nonzero()
        if not len(folds):
            break
        folds += _corner(box, folds)
        # A fold is where one was or near it: the rest of the field is not looked at again.
        box = _around(folds, field.shape[2:])
        part = field[(slice(None), slice(None), *box)]
        bad = torch.zeros_like(part[:, :1])
        bad[0, 0].index_put_(tuple((folds - _corner(box, folds)).unbind(1)), bad.new_ones(()))
        near = ff.smooth((box_mean(bad, 5) > 0).float(), 1.5)
        part.add_(near * (ff.smooth(part, 1.5) - part))
    return field


def _corner(box: Sequence[slice], like: Tensor) -> Tensor:
    """Where a box begins, (n,)."""
    return like.new_tensor([one.start for one in box])


def _around(places: Tensor, shape: Sequence[int]) -> list[slice]:
    """The box around places (P, n), `_REACH` further to every side as far as there is a field."""
    low, high = (places.amin(0) - _REACH).clamp(min=0).tolist(), (places.amax(0) + _REACH + 1).tolist()
    return [slice(a, min(b, size)) for a, b, size in zip(low, high, shape, strict=True)]
