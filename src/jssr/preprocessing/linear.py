"""The rigid or affine transform of two scans that makes their mutual information greatest: Gauss-Newton steps.

Mutual information of samples (a, b), from a joint histogram p with linear windows smoothed once more, is the mean of
L(a, b) = log p(a, b) / (p(a) p(b)). Its gradient is the mean of s = dL/db * db/dx * dx/dT (Thevenaz and Unser, IEEE TIP
2000): L changes too, but that adds nothing at first order. Near the maximum L is a log-likelihood of b, whose second
derivative is minus the mean of s s^T (Fisher's information), so that a step is (mean s s^T)^-1 mean s: no step length
is chosen, and some ten steps arrive where stochastic gradient descent takes hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import expm
from torch import Tensor

from jssr.preprocessing.small_scan import BINS, Samples, SmallScan, shared

Kind = Literal["rigid", "affine"]
Matrix = NDArray[np.float64]

LEAST = 0.1
"""Share of the samples that must fall on the other scan."""
_HELD = 0.8
"""Share of the points that counted at the start from which on fewer are worth less."""
_FARTHEST = 4.0
"""Of a step, in voxels of the scan that moves."""
_LONGEST = 16.0
"""Times a step as it is computed: where noise is most of what differs, information is far too great."""
_TRIES = 6


@dataclass(frozen=True)
class _State:
    """What a matrix makes of two scans: mutual information, its table L, and what the samples read."""

    information: float
    share: float
    table: Tensor
    slope: Tensor
    counts: Tensor
    bins: tuple[Tensor, Tensor, Tensor, Tensor]

    def held(self, share: float) -> float:
        """Mutual information, less where a smaller share of the points counts. (Where enough do the share has no say:
        it would pull the scans onto each other.)"""
        return self.information * min(1.0, self.share / share) ** 0.5


def fit(
    points: Samples, scan: SmallScan, start: Matrix, kind: Kind = "rigid", *, steps: int = 20, tolerance: float = 0.02
) -> tuple[Matrix, float]:
    """Improve a matrix from `points` to `scan`.

    Args:
        start: (4, 4), from the points' space to the scan's, LPS mm.
        steps, tolerance: it ends after so many steps, or with one that moves the points by less (mm).

    Returns:
        the matrix, and the square root of the share of points that count in both scans times their mutual information
        (nats): without the share, two scans that touch in a corner may be the most alike. 0 where they hardly meet.
    """
    matrix, state = np.array(start), _state(points, scan, start)
    if state is None:
        return matrix, 0.0
    held = _HELD * state.share
    farthest = _FARTHEST * float(scan.grid.spacing.max())
    to, back = np.eye(4), np.eye(4)
    to[:3, 3], back[:3, 3] = points.middle[:, 0].numpy(), -points.middle[:, 0].numpy()
    length, damping = 1.0, 0.01
    for _ in range(steps):
        slopes = _scores(points, scan, matrix, state, kind)
        gradient, information = slopes.mean(dim=1), slopes @ slopes.T / slopes.shape[1]
        found: _State | None = None
        moved = 0.0
        for _ in range(_TRIES):
            change, moved = _step(length * gradient, information, damping, kind, points.radius, farthest)
            tried = matrix @ to @ expm(change) @ back
            # Points of one place (a mask of one voxel) say nothing of a turn: what they ask for is not finite.
            found = _state(points, scan, tried) if np.isfinite(tried).all() else None
            if found is not None and found.held(held) > state.held(held):
                break
            found = None
            length, damping = (max(1.0, length / 4), damping) if length > 1 else (1.0, max(damping, 1e-3) * 6)
        if found is None:
            break
        matrix, state = tried, found
        length, damping = min(2 * length, _LONGEST), max(damping / 6, 1e-4)
        if moved < tolerance:
            break
    return matrix, state.information * state.share**0.5


def _state(points: Samples, scan: SmallScan, matrix: Matrix) -> _State | None:
    value, slope, counts = scan.slopes(scan.positions(matrix, points.points))
    share = float(counts.float().mean()) if len(counts) else 0.0
    if share < LEAST:
        return None
    a, a_share = (x[counts] for x in points.shares)
    b, b_share = shared(value[counts])
    first = a * BINS + b
    where = torch.cat([first, first + 1, first + BINS, first + BINS + 1])
    weights = [(1 - a_share) * (1 - b_share), (1 - a_share) * b_share, a_share * (1 - b_share), a_share * b_share]
    joint = torch.bincount(where, weights=torch.cat(weights), minlength=BINS * BINS).view(BINS, BINS)
    p = _smoothed(joint / joint.sum())
    table = ((p + 1e-9) / (p.sum(dim=1, keepdim=True) * p.sum(dim=0) + 1e-9)).log()
    information = float((p * table).sum())
    return _State(information, share, table, slope, counts, (a, a_share, b, b_share))


def _smoothed(table: Tensor) -> Tensor:
    """A table of bins with the cubic B-spline's weights along both sides, its border repeated."""
    for axis in (0, 1):
        size = table.shape[axis]
        first, last = table.narrow(axis, 0, 1), table.narrow(axis, size - 1, 1)
        padded = torch.cat([first, table, last], dim=axis)
        table = (padded.narrow(axis, 0, size) + 4 * table + padded.narrow(axis, 2, size)) / 6
    return table


def _scores(points: Samples, scan: SmallScan, matrix: Matrix, state: _State, kind: Kind) -> Tensor:
    """s of the samples that count: (parameters, N). Turns and scales are in units of the samples' radius."""
    a, a_share, b, b_share = state.bins
    table = _smoothed(state.table)
    rise = table[:, 1:] - table[:, :-1]
    by_value = ((1 - a_share) * rise[a, b] + a_share * rise[a + 1, b]) * ((BINS - 1) / 2)
    to = torch.from_numpy((np.linalg.inv(scan.grid.affine) @ matrix)[:3, :3])
    slope = to.T @ (state.slope[:, state.counts] * by_value).double()
    at = (points.points[:, state.counts] - points.middle) / points.radius
    if kind == "affine":
        return torch.cat([slope, (slope[:, None] * at[None]).flatten(0, 1)])
    return torch.cat([slope, torch.cross(at, slope, dim=0)])


def _step(
    gradient: Tensor, information: Tensor, damping: float, kind: Kind, radius: float, farthest: float
) -> tuple[Matrix, float]:
    """The generator (4, 4) of a step about the samples' middle, and how far it moves them (mm), at most `farthest`."""
    diagonal = information.diagonal()
    held = information + torch.diag(damping * diagonal + 1e-9 * diagonal.max() + 1e-30)
    p = torch.linalg.solve(held, gradient).numpy()
    out = np.zeros((4, 4))
    out[:3, 3] = p[:3]
    if kind == "affine":
        out[:3, :3] = p[3:].reshape(3, 3) / radius
    else:
        x, y, z = p[3:] / radius
        out[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    moved = float(np.abs(p[:3]).max() + np.abs(p[3:]).max())
    return (out * (farthest / moved), farthest) if moved > farthest else (out, moved)
