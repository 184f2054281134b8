"""Augmentation: what makes a system trained on some scans work on others.

Geometry is one `grid_sample` per scan; a pair gets the same affine and the same bend, so what the register must find
stays what it was, plus a small motion of the moving scan alone (the residue of the rigid pre-alignment). Intensities
are changed for each scan by itself. Everything is drawn from one seeded generator on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.recipes.augmentation import Augment


@dataclass
class Scan:
    """One scan on the way into a batch: image in -1..1 and mask (1, 1, *spatial) float32, labels int64 or None."""

    image: Tensor
    mask: Tensor
    labels: Tensor | None = None

    def mapped(self, change: Callable[[Tensor, float], Tensor]) -> Scan:
        """Image, mask and labels changed alike; `change` also takes the value that stands for no data."""
        labels = None if self.labels is None else change(self.labels, 0)
        return Scan(change(self.image, -1.0), change(self.mask, 0.0), labels)


def generator_of(*numbers: int) -> torch.Generator:
    """A generator whose state mixes all the numbers well."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def whose_turn(seed: int, stream: int, index: int, count: int) -> int:
    """One of `count`: each round through all is in an order of its own."""
    order = torch.randperm(count, generator=generator_of(seed, stream, index // count))
    return int(order[index % count])


def chances(seed: int, indices: Iterable[int]) -> Tensor:
    """`Batch.chance` of the pairs with these numbers: (B, 2)."""
    return torch.stack([torch.rand(2, generator=generator_of(seed, 6, index)) for index in indices])


def part_of(indices: Sequence[int], part: tuple[int, int]) -> Sequence[int]:
    """The k-th of n equal parts, of part (k, n)."""
    k, n = part
    count = len(indices) // n
    return indices[k * count : (k + 1) * count]


class Dice:
    """Draws from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def happens(self, probability: float) -> bool:
        # Always draws, so that the sequence does not depend on the settings.
        return float(torch.rand((), generator=self.generator)) < probability

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def each(self, n: int, extent: float) -> list[float]:
        return [self.uniform(-extent, extent) for _ in range(n)]

    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator)


def augment_pair(
    moving: Scan, fixed: Scan, how: Augment, generator: torch.Generator, beside: Sequence[Scan] = ()
) -> tuple[Scan, ...]:
    """Augment two scans that lie on one grid.

    Args:
        moving, fixed: of one shape; they are not changed.
        beside: paired scans of the moving and of the fixed scan, which go with them; their looks are their own.
        how: probabilities and ranges.
        generator: CPU generator; its state alone decides the outcome.
    """
    dice = Dice(generator)
    shape = moving.image.shape[2:]
    joint = _joint_motion(shape, how, dice)
    own = _moving_motion(shape, joint, how, dice)
    moved = [_pull(scan, motion) for scan, motion in zip((moving, fixed, *beside), (own, joint) * 2, strict=False)]
    uncut = how.model_copy(update={"p_cut": 0.0})  # the field of view is the scan's, in its mask
    return tuple(_look(scan, how if k < 2 else uncut, how.p_remap, dice) for k, scan in enumerate(moved))


def augment_single(scan: Scan, how: Augment, generator: torch.Generator) -> Scan:
    """Augment a supervised scan: the same geometry, and a bent grey scale so that a segmentor learns shapes and
    places rather than the Hounsfield values of one phase."""
    dice = Dice(generator)
    scan = _pull(scan, _joint_motion(scan.image.shape[2:], how, dice))
    return _look(scan, how, how.p_remap_supervised, dice)


@dataclass(frozen=True)
class _Motion:
    """Where a voxel p of the result is read: `matrix (p - c) + c + shift + bend(p)`, c the middle of the grid.

    The bend (1, n, *control points) holds control points in voxels; a further linear motion only turns them, so that
    however many motions are chained, the full grid is made once.
    """

    matrix: Tensor
    shift: Tensor
    bend: Tensor | None = None

    def then(self, matrix: Tensor, shift: Sequence[float]) -> _Motion:
        """This motion, then a linear one about the middle of the grid."""
        bend = None if self.bend is None else torch.einsum("ij,bj...->bi...", matrix, self.bend)
        return _Motion(matrix @ self.matrix, matrix @ self.shift + torch.tensor(shift), bend)

    def bent(self, bend: Tensor) -> _Motion:
        return _Motion(self.matrix, self.shift, bend if self.bend is None else self.bend + bend)

    def grid(self, shape: Sequence[int]) -> Tensor:
        """As `grid_sample` wants it: (1, *shape, n), last axis first, -1..1 between the outermost voxel centres."""
        half = ((torch.tensor(shape, dtype=torch.float32) - 1) / 2).clamp(min=0.5)
        theta = torch.cat([self.matrix * half[None, :] / half[:, None], (self.shift / half)[:, None]], dim=1)
        theta[:, :-1] = theta[:, :-1].flip(1)
        out = F.affine_grid(theta.flip(0)[None], [1, 1, *shape], align_corners=True)
        if self.bend is not None:
            coarse = (self.bend / half.view(1, -1, *([1] * len(shape)))).flip(1)
            out = out + ff.resize_image(coarse, shape).movedim(1, -1)
        return out


def _matrix(n: int, angles: Sequence[float], scale: float, mirror: bool) -> Tensor:
    """Rotation about each axis (degrees; in 2D the first angle), zoomed, mirrored along the first axis."""
    planes = [(0, 1)] if n == 2 else [(1, 2), (0, 2), (0, 1)]
    out = torch.eye(n)
    for (a, b), angle in zip(planes, angles, strict=False):
        turn = torch.eye(n)
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        out = out @ turn
    out = out / scale  # positions are pulled: dividing them magnifies
    if mirror:
        out[:, 0] = -out[:, 0]
    return out


def _bend(shape: Sequence[int], how: Augment, dice: Dice) -> Tensor:
    """Random control points (1, n, *control points) of a smooth displacement, in voxels."""
    control_points = [max(4, math.ceil(s / how.elastic_spacing) + 1) for s in shape]
    return ff.smooth(dice.normal((1, len(shape), *control_points)) * how.elastic, 0.7)


def _joint_motion(shape: Sequence[int], how: Augment, dice: Dice) -> _Motion | None:
    """The motion that both scans of a pair share; None where nothing moves."""
    n = len(shape)
    affine, elastic = dice.happens(how.p_affine), dice.happens(how.p_elastic)
    angles, zoom = dice.each(3, how.rotation), dice.uniform(*how.scale)
    shift = dice.each(n, how.shift)
    mirror = dice.happens(0.5) and how.flip
    motion = _Motion(torch.eye(n), torch.zeros(n), _bend(shape, how, dice) if elastic else None)
    if affine:
        return motion.then(_matrix(n, angles, zoom, mirror), shift)
    if mirror:
        return motion.then(_matrix(n, [0.0] * 3, 1.0, True), [0.0] * n)
    return motion if elastic else None


def _moving_motion(shape: Sequence[int], joint: _Motion | None, how: Augment, dice: Dice) -> _Motion | None:
    """The joint motion with the moving scan's own put after it."""
    n = len(shape)
    rigid, elastic = dice.happens(how.p_moving), dice.happens(how.p_moving_elastic)
    angles, shift = dice.each(3, how.moving_rotation), dice.each(n, how.moving_shift)
    if not (rigid or elastic):
        return joint
    motion = joint or _Motion(torch.eye(n), torch.zeros(n))
    if elastic:
        motion = motion.bent(_bend(shape, how, dice))
    return motion.then(_matrix(n, angles, 1.0, False), shift) if rigid else motion


def _pull(scan: Scan, motion: _Motion | None) -> Scan:
    """Read a scan at new positions; outside it there is no data."""
    if motion is None:
        return Scan(scan.image, scan.mask, scan.labels)
    grid = motion.grid(scan.image.shape[2:])
    # Air is 0 here, so that one call with zeros outside serves image and mask. Where a voxel is read half outside, the
    # part inside counts.
    both = ff.grid_sample(torch.cat([scan.image + 1, scan.mask], dim=1), grid, padding="zeros")
    mask = (both[:, 1:] > 0.5).float()
    labels = scan.labels
    if labels is not None:
        labels = ff.grid_sample(labels.float(), grid, "nearest", "zeros").round_().long()
    return Scan(both[:, :1] * mask / both[:, 1:].clamp_(min=0.5) - 1, mask, labels)


def _look(scan: Scan, how: Augment, p_remap: float, dice: Dice) -> Scan:
    """Change a scan's appearance and, at the end, its field of view."""
    image = scan.image
    chances = p_remap, how.p_intensity, how.p_slices, how.p_blur, how.p_noise, how.p_correlated
    for probability, step in zip(chances, (_remap, _intensity, _slices, _blur, _noise, _correlated), strict=True):
        if dice.happens(probability):
            image = step(image, how, dice)
    mask = _cut(scan.mask, how, dice) if dice.happens(how.p_cut) else scan.mask
    image = torch.where(mask > 0, image.clamp(-1, 1), -1.0)
    labels = None if scan.labels is None else scan.labels * mask.long()
    return Scan(image, mask, labels)


def _remap(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    """A random monotone curve through -1 and 1 with bends between: soft tissues change places in contrast, air and
    bone stay at the ends."""
    steps = torch.tensor([1.0 + how.remap * dice.uniform(-0.95, 2.0) for _ in range(6)]).clamp(min=0.05)
    curve = torch.cat([torch.zeros(1), steps.cumsum(0) / steps.sum()]) * 2 - 1
    return _through(image, curve)


def _through(image: Tensor, curve: Tensor) -> Tensor:
    """Piecewise-linear map of -1..1 whose values at equally spaced points are `curve`."""
    cells = len(curve) - 1
    at = (image + 1) * (cells / 2)
    out = torch.full_like(image, float(curve[0]))
    for k, rise in enumerate((curve[1:] - curve[:-1]).tolist()):  # clamps are far quicker than a table look-up
        out.add_((at - k).clamp_(0, 1), alpha=rise)
    return out


def _intensity(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    contrast = 1 + dice.uniform(-how.contrast, how.contrast)
    brightness = dice.uniform(-how.brightness, how.brightness)
    exponent = math.exp(dice.uniform(-how.gamma, how.gamma))
    unit = ((image + 1) * 0.5).pow_(exponent)
    return _but_air(image, unit.mul_(2 * contrast).add_(brightness - contrast).clamp_(-1, 1))


def _noise(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    return _but_air(image, image + dice.normal(image.shape) * dice.uniform(0, how.noise))


def _but_air(image: Tensor, changed: Tensor) -> Tensor:
    """What the window cut off stays cut off: air is 800 HU below it, and no noise or offset brings it back."""
    return torch.where(image > -0.999, changed, image)


def _correlated(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    """Noise with a grain of several voxels: white on a coarser grid, then resized."""
    grain = dice.uniform(*how.grain)
    coarse = [max(2, round(s / grain)) for s in image.shape[2:]]
    noise = ff.resize_image(dice.normal((*image.shape[:2], *coarse)), image.shape[2:])
    return _but_air(image, image + noise * dice.uniform(0, how.correlated))


def _blur(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    sigma = dice.uniform(0.3, max(0.3, how.blur))
    # Weights of a three-voxel kernel with that variance (at most 1/3 each: beyond, it stays a mean of three).
    side = min(sigma**2 / 2, 1 / 3)
    for axis in (2, 3):
        size = image.shape[axis]
        padded = torch.cat([image.narrow(axis, 0, 1), image, image.narrow(axis, size - 1, 1)], dim=axis)
        outer = padded.narrow(axis, 0, size) + padded.narrow(axis, 2, size)
        image = image * (1 - 2 * side) + outer * side
    return image


def _slices(image: Tensor, how: Augment, dice: Dice) -> Tensor:
    """Average along the last axis into thick slices and interpolate back."""
    thick = dice.uniform(1.3, max(1.3, how.slices))
    shape = list(image.shape[2:])
    count = max(2, round(shape[-1] / thick))
    if count >= shape[-1]:
        return image
    coarse = F.adaptive_avg_pool1d(image.flatten(0, -2)[None], count)[0].view(*image.shape[:-1], count)
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    # The slabs' centres lie inside the ends: align_corners=False keeps the anatomy where it was.
    return F.interpolate(coarse, size=tuple(shape), mode=mode, align_corners=False)


def _cut(mask: Tensor, how: Augment, dice: Dice) -> Tensor:
    depth = mask.shape[-1]
    first, last = (int(dice.uniform(0, how.cut) * depth) for _ in range(2))
    out = mask.clone()
    out[..., :first] = 0
    out[..., depth - last :] = 0
    return out
