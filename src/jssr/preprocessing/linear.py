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
import torch.nn.functional as F
from numpy.typing import NDArray
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
    weight: Tensor  # 1 of samples that count, else 0
    bins: tuple[Tensor, Tensor, Tensor]  # first of the four that a sample is shared between, and the shares

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
        met = state.share * slopes.shape[1]
        gradient = slopes.sum(dim=1).double().numpy() / met
        information = (slopes @ slopes.T).double().numpy() / met
        found: _State | None = None
        moved = 0.0
        for _ in range(_TRIES):
            change, moved = _step(length * gradient, information, damping, kind, points.radius, farthest)
            tried = matrix @ to @ torch.matrix_exp(torch.from_numpy(change)).numpy() @ back
            # Points of one place (a mask of one voxel) say nothing of a turn: what they ask for is not finite.
            found = _state(points, scan, tried) if np.isfinite(tried).all() else None
            if found is not None and found.held(held) > state.held(held):
                break
            found = None
            if moved < tolerance:
                break  # shorter steps are of no use either
            length, damping = (max(1.0, length / 4), damping) if length > 1 else (1.0, max(damping, 1e-3) * 6)
        if found is None:
            break
        matrix, state = tried, found
        length, damping = min(2 * length, _LONGEST), max(damping / 6, 1e-4)
        if moved < tolerance:
            break
    return matrix, state.information * state.share**0.5


def _state(points: Samples, scan: SmallScan, matrix: Matrix) -> _State | None:
    to = np.linalg.inv(scan.grid.affine) @ matrix
    middle = to[:3, :3] @ points.middle.numpy() + to[:3, 3:]
    turn = torch.from_numpy((to[:3, :3] * points.radius).astype(np.float32))
    value, slope, counts = scan.slopes(torch.addmm(torch.from_numpy(middle).float(), turn, points.about))
    share = float(counts.float().mean()) if len(counts) else 0.0
    if share < LEAST:
        return None
    # Points that do not count have no weight: that takes less time than to leave them out.
    (a, a_share), (b, b_share) = points.shares, shared(value)
    weight = counts.float()
    first = a * BINS + b
    where = torch.cat([first, first + 1, first + BINS, first + BINS + 1])
    upper = a_share * weight
    lower = weight - upper
    corners = [lower * b_share, upper * b_share]
    weights = torch.cat([lower - corners[0], corners[0], upper - corners[1], corners[1]])
    joint = torch.bincount(where, weights=weights, minlength=BINS * BINS).view(BINS, BINS)
    p = _smoothed(joint / joint.sum())
    table = ((p + 1e-9) / (p.sum(dim=1, keepdim=True) * p.sum(dim=0) + 1e-9)).log()
    information = float((p * table).sum())
    return _State(information, share, table, slope, weight, (first, a_share, b_share))


def _smoothing() -> Tensor:
    """The cubic B-spline's weights along a side of a table, its border repeated: (BINS, BINS)."""
    out = 4 * torch.eye(BINS)
    for k in range(BINS):
        for other in (max(k - 1, 0), min(k + 1, BINS - 1)):
            out[k, other] += 1
    return out / 6


_SMOOTHING = _smoothing()


def _smoothed(table: Tensor) -> Tensor:
    """A table of bins with the cubic B-spline's weights along both sides."""
    return _SMOOTHING @ table @ _SMOOTHING.T


def _scores(points: Samples, scan: SmallScan, matrix: Matrix, state: _State, kind: Kind) -> Tensor:
    """s of the samples, 0 where one does not count: (parameters, N). Turns and scales are in units of their radius."""
    first, a_share, b_share = state.bins
    table = _smoothed(state.table)
    rise = F.pad(table[:, 1:] - table[:, :-1], (0, 1)).flatten()  # of a bin to the next value of b
    low, high = rise.index_select(0, first), rise.index_select(0, first + BINS)
    by_value = low.lerp_(high, a_share).mul_(state.weight).mul_((BINS - 1) / 2)
    to = torch.from_numpy((np.linalg.inv(scan.grid.affine) @ matrix)[:3, :3]).float()
    slope = to.T @ (state.slope * by_value)
    at = points.about
    if kind == "affine":
        return torch.cat([slope, (slope[:, None] * at[None]).flatten(0, 1)])
    return torch.cat([slope, torch.cross(at, slope, dim=0)])


def _step(
    gradient: Matrix, information: Matrix, damping: float, kind: Kind, radius: float, farthest: float
) -> tuple[Matrix, float]:
    """The generator (4, 4) of a step about the samples' middle, and how far it moves them (mm), at most `farthest`."""
    diagonal = information.diagonal()
    p = np.linalg.solve(information + np.diag(damping * diagonal + 1e-9 * diagonal.max() + 1e-30), gradient)
    out = np.zeros((4, 4))
    out[:3, 3] = p[:3]
    if kind == "affine":
        out[:3, :3] = p[3:].reshape(3, 3) / radius
    else:
        x, y, z = p[3:] / radius
        out[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    moved = float(np.abs(p[:3]).max() + np.abs(p[3:]).max())
    return (out * (farthest / moved), farthest) if moved > farthest else (out, moved)
