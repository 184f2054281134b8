"""Inverse of a displacement field at points, by Newton's method: it also settles where the field is steep, where the
fixed point of `core.field.solve_inverse` turns round and round."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SINGULAR = 0.02
"""Determinant below which the map is taken for singular: there a step of the fixed point is made."""
_LONGEST = 4.0
"""Voxels of the longest step along an axis."""
_HALF_STEPS = 20
_POINTS = 1 << 17
"""Points that are computed at a time."""


def solve(u: Tensor, goal: Tensor, start: Tensor, tolerance: float, iterations: int = 12) -> Tensor:
    """Find `p` with `p + u(p) = goal`; a step that makes a point worse is halved.

    Where the field folds there may be no such point: what comes back is the nearest to it that was met.

    Args:
        u: (n, *shape) in its voxels, n = 2 or 3; read linearly, beyond its border that is repeated.
        goal, start: (n, N) in voxels of `u`; `start` is a first guess.
        tolerance: voxels by which a component may be off.
    """
    parts = zip(goal.split(_POINTS, dim=1), start.split(_POINTS, dim=1), strict=True)
    return torch.cat([_solved(u, *part, tolerance, iterations) for part in parts], dim=1)


def _solved(u: Tensor, goal: Tensor, start: Tensor, tolerance: float, iterations: int) -> Tensor:
    found, open_ = start.clone(), torch.arange(start.shape[1])
    at, best = start, start
    step, least = torch.zeros_like(start), torch.full((start.shape[1],), torch.inf)
    for _ in range(iterations):
        value, slopes = read_with_slopes(u, at)
        miss = goal - at - value
        off = miss.abs().amax(dim=0)
        better = off < least
        best, least = torch.where(better, at, best), torch.where(better, off, least)
        step = torch.where(better, _step(slopes, miss), step / 2)
        found[:, open_] = best
        left = least > tolerance
        if not bool(left.any()):
            break
        open_, goal, best, step, least = open_[left], goal[:, left], best[:, left], step[:, left], least[left]
        at = best + step
    else:
        found[:, open_] = _stepped(u, goal, best, least)
    return found


def _stepped(u: Tensor, goal: Tensor, best: Tensor, least: Tensor) -> Tensor:
    """Half steps of the fixed point from points that did not settle, the nearest that is met of each: at a fold
    Newton's method stops short."""
    at = goal - read_with_slopes(u, goal)[0]
    for _ in range(_HALF_STEPS):
        miss = goal - at - read_with_slopes(u, at)[0]
        off = miss.abs().amax(dim=0)
        best, least = torch.where(off < least, at, best), torch.minimum(off, least)
        at = at + (miss / 2).clamp(-_LONGEST, _LONGEST)
    return best


def read_with_slopes(u: Tensor, at: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A field (C, *shape) at positions (n, N) in voxels, n-linear, the border repeated: (C, N), and its derivative
    along each axis, each (C, N); beyond the border that is 0."""
    n, shape = u.ndim - 1, u.shape[1:]
    last = torch.tensor(shape).view(n, 1) - 1
    inside = torch.minimum(at.clamp(min=0), last)
    first = torch.minimum(inside.floor(), (last - 1).clamp(min=0)).long()
    part = inside - first
    strides = _strides(shape)
    index = sum(first[axis] * strides[axis] for axis in range(n)) + _corners(shape, strides)
    value = u.reshape(len(u), -1).index_select(1, index.reshape(-1)).view(len(u), *[2] * n, -1)
    slopes: list[Tensor] = []
    for axis in reversed(range(n)):
        low, high = value.unbind(axis + 1)
        slopes = [high - low, *(s.select(axis + 1, 0).lerp(s.select(axis + 1, 1), part[axis]) for s in slopes)]
        value = low.lerp(high, part[axis])
    free = (at >= 0) & (at <= last)
    return value, [slope * free[axis] for axis, slope in enumerate(slopes)]


def _strides(shape: Sequence[int]) -> list[int]:
    out = [1]
    for size in reversed(shape[1:]):
        out.insert(0, out[0] * size)
    return out


def _corners(shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """What the corners of a cell are beyond its first in flat order: (2, ..., 2, 1); 0 along an axis of one voxel."""
    out = torch.zeros(1, dtype=torch.int64)
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        ends = torch.tensor([0, stride if size > 1 else 0]).view(*[1] * axis, 2, *[1] * (len(shape) - axis))
        out = out + ends
    return out


def _step(slopes: Sequence[Tensor], miss: Tensor) -> Tensor:
    """Newton's step from the columns of the field's derivative, by Cramer's rule: (n, N)."""
    columns = [slope.clone() for slope in slopes]
    for axis, column in enumerate(columns):
        column[axis] += 1
    if len(columns) == 2:
        a, b = columns
        parts = [_cross(miss, b), _cross(a, miss)]
        det = _cross(a, b)
    else:
        a, b, c = columns
        normal = torch.linalg.cross(b, c, dim=0)
        det = (a * normal).sum(dim=0)
        others = torch.linalg.cross(c, a, dim=0), torch.linalg.cross(a, b, dim=0)
        parts = [(miss * axis).sum(dim=0) for axis in (normal, *others)]
    step = torch.where(det > _SINGULAR, torch.stack(parts) / det.clamp(min=_SINGULAR), miss / 2)
    return step.clamp_(-_LONGEST, _LONGEST)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[1] - a[1] * b[0]
