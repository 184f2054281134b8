"""The inverse of a displacement, point by point, to hundredths of a millimetre: where a voxel's tissue comes from.

By Newton's method: where tissue slides, gradients are too steep for the fixed point of `jssr.core.field`."""

from __future__ import annotations

import torch
from torch import Tensor

from jssr.core import field as ff


def solve_inverse(u: Tensor, goal: Tensor, start: Tensor, tolerance: float, rounds: int = 30) -> Tensor:
    """Find `p` with `p + u(p) = goal`, `u` (3, *spatial) read linearly, everything in voxels.

    One round of fixed point for all points, then Newton's method for those still off, with the gradient of the linear
    interpolation itself.

    Args:
        u: the displacement.
        goal: (3, N).
        start: (3, N) first guess.
        tolerance: largest error in voxels along an axis.
        rounds: Newton steps at most.
    """
    at = goal - _read(u, start)
    miss = at + _read(u, at) - goal
    left = torch.nonzero(miss.abs().amax(0) > tolerance)[:, 0]
    for turn in range(rounds):
        if len(left) == 0:
            break
        here, want = at[:, left], goal[:, left]
        value, gradient = _read_with_gradient(u, here)
        miss = here + value - want
        far = miss.abs().amax(0) > tolerance
        left, here, miss, gradient = left[far], here[:, far], miss[:, far], gradient[far]
        if len(left) == 0:
            break
        step = torch.linalg.solve(gradient + torch.eye(3), miss.T.unsqueeze(-1))[..., 0].T
        # Linear pieces meet in kinks, across which full steps can jump to and fro.
        at[:, left] = here - step.clamp(-2, 2) * (1.0 if turn < 8 else 0.6)
    return at


def _read(u: Tensor, at: Tensor) -> Tensor:
    return ff.sample(u[None], at.view(1, 3, -1, 1, 1)).view(3, -1)


def _read_with_gradient(u: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Value (3, N) and gradient (N, 3, 3), d value_i / d axis_j, of the linear interpolation of u."""
    size = torch.tensor(u.shape[1:]).view(3, 1)
    at = torch.minimum(at.clamp(min=0), (size - 1).float())
    low = torch.minimum(at.floor().long(), (size - 2).clamp(min=0))
    part = at - low
    value = torch.zeros(3, at.shape[1])
    gradient = torch.zeros(at.shape[1], 3, 3)
    for corner in range(8):
        bit = [(corner >> a) & 1 for a in range(3)]
        node = u[:, low[0] + bit[0], low[1] + bit[1], low[2] + bit[2]]
        weight = [part[a] if bit[a] else 1 - part[a] for a in range(3)]
        value += node * weight[0] * weight[1] * weight[2]
        for a in range(3):
            b, c = [k for k in range(3) if k != a]
            gradient[:, :, a] += (node * weight[b] * weight[c] * (1.0 if bit[a] else -1.0)).T
    return value, gradient
