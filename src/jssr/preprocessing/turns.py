"""Where a linear alignment may begin: turns and shifts of one scan against another, scored by mutual information.

A few thousand candidates are scored on some hundred points: the 24 turns that take axes to axes (supine and prone,
head first and feet first, on either side), each with shifts around centre of mass on centre of mass and around middle
on middle, as far along the patient as the fields of view overlap. The best are varied at random, the best of those
more finely, so that turns between the 24 are found too.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.rotations import rotation_matrices
from jssr.preprocessing.small_scan import BINS, Samples, SmallScan, samples

POINTS = 700
KEPT = 16
"""Candidates that are varied."""
ROUNDS = ((6, 40, 22.0, 0.5), (4, 40, 8.0, 0.2))
"""Candidates that are kept after a round, variants of each, and by how much they vary: degrees, and shifts in steps."""
STEP = 0.12
"""Between shifts, as a share of the field of view's size."""
LEAST = 0.25
"""Share of the points that must fall on the other scan."""
_BLOCK = 1_500_000
"""Points read at once."""
_APART = 0.15
"""Candidates that take the corners of the field of view less far from each other, as a share of its diagonal, are
one."""

Matrix = NDArray[np.float64]


def candidates(a: SmallScan, b: SmallScan, seed: int) -> list[Matrix]:
    """The most promising matrices (4, 4) from a to b, LPS mm, best first."""
    points = samples(a, POINTS, seed)
    step = STEP * float(np.prod(a.extent) ** (1 / 3))
    random = np.random.default_rng(seed)
    found = _distinct(_all(a, b, step), points, a, b, KEPT)
    for kept, count, degrees, share in ROUNDS:
        varied = [_varied(matrix, points, count, degrees, share * step, random) for matrix in found]
        found = _distinct(np.concatenate([np.stack(found), *varied]), points, a, b, kept)
    return found


def quarter_turns() -> NDArray[np.float64]:
    """The 24 rotations that take axes to axes, (24, 3, 3), the identity first."""
    every = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[range(3), order] = signs
        if np.linalg.det(matrix) > 0:
            every.append(matrix)
    return np.stack(every)


def about(turns: NDArray[np.float64], middle: NDArray[np.float64], goals: NDArray[np.float64]) -> Matrix:
    """Matrices (T * G, 4, 4) that turn (T, 3, 3) and take `middle` to each of the goals (G, 3)."""
    out = np.tile(np.eye(4), (len(turns), len(goals), 1, 1))
    out[:, :, :3, :3] = turns[:, None]
    out[:, :, :3, 3] = goals[None] - (turns @ middle)[:, None]
    return out.reshape(-1, 4, 4)


def _all(a: SmallScan, b: SmallScan, step: float) -> Matrix:
    turns = quarter_turns()
    out = []
    along = int(np.argmax(np.abs(a.grid.direction[2])))
    for middle, goal, across in ((a.body_centre, b.body_centre, 1), (a.grid.centre, b.grid.centre, 0)):
        for turn in turns:
            # The patient's axis of a, in b: how far both can be pushed along it before they hardly meet.
            axes = turn @ a.grid.direction
            length = float(np.abs(b.grid.direction.T @ axes[:, along]) @ b.extent)
            far = int(np.floor((a.extent[along] + length) / 2 * (1 - LEAST) / step))
            reach = [far if k == along else across for k in range(3)]
            shifts = (np.indices([2 * r + 1 for r in reach]).reshape(3, -1).T - reach) * step
            out.append(about(turn[None], middle, goal + shifts @ axes.T))
    return np.concatenate(out)


def _varied(
    matrix: Matrix, points: Samples, count: int, degrees: float, shift: float, random: np.random.Generator
) -> Matrix:
    """Variants of a matrix, turned about the points' middle."""
    turns = rotation_matrices(random.normal(0, np.radians(degrees) / 3**0.5, (count, 3)))
    middle = points.middle[:, 0].numpy()
    extra = np.tile(np.eye(4), (count, 1, 1))
    extra[:, :3, :3] = turns
    extra[:, :3, 3] = middle - turns @ middle + random.normal(0, shift, (count, 3))
    return np.asarray(matrix @ extra)


def _distinct(matrices: Matrix, points: Samples, a: SmallScan, b: SmallScan, most: int) -> list[Matrix]:
    """The best of some matrices that are not like a better one."""
    order = scores(matrices, points, b).argsort(descending=True)[: 40 * most].tolist()
    corners = np.concatenate([a.grid.corners(), np.ones((8, 1))], axis=1)
    diagonal = float(np.linalg.norm(a.extent))
    kept: list[int] = []
    places = np.zeros((0, 8, 3))
    for k in order:
        place = (corners @ matrices[k].T)[:, :3]
        if not len(kept) or np.linalg.norm(places - place, axis=-1).mean(axis=1).min() > _APART * diagonal:
            kept.append(k)
            places = np.concatenate([places, place[None]])
        if len(kept) == most:
            break
    return [matrices[k] for k in kept]


def scores(matrices: Matrix, points: Samples, scan: SmallScan) -> Tensor:
    """Mutual information (nats) of points with the nearest voxels of a scan under each of many matrices, times the
    square root of the share of points that have one; 0 where less than `LEAST` have."""
    count = max(1, points.values.numel())
    block = max(1, _BLOCK // count)
    parts = [_scores(matrices[k : k + block], points, scan) for k in range(0, len(matrices), block)]
    return torch.cat(parts)


def _scores(matrices: Matrix, points: Samples, scan: SmallScan) -> Tensor:
    n, count = len(matrices), points.values.numel()
    to = torch.from_numpy(np.linalg.inv(scan.grid.affine) @ matrices).float()
    at = torch.baddbmm(to[:, :3, 3:] + 1, to[:, :3, :3], points.points.float().expand(n, 3, count))
    size = scan.codes.shape
    index = torch.zeros(n, count, dtype=torch.int32)
    for axis, length in enumerate(size):
        index.mul_(length).add_(at[:, axis].round_().clamp_(0, length - 1).to(torch.int32))
    codes = scan.codes.flatten()[index]
    codes += points.codes * (BINS + 1) + (torch.arange(n) * (BINS * (BINS + 1)))[:, None]
    joint = torch.bincount(codes.flatten(), minlength=n * BINS * (BINS + 1)).view(n, BINS, BINS + 1)[:, :, :BINS]
    met = joint.sum(dim=(1, 2))
    p = joint.float() / met.clamp(min=1).view(n, 1, 1)
    apart = [p.sum(dim=axis) for axis in (2, 1)]
    entropy = [-(q * (q + 1e-9).log()).sum(dim=1) for q in (*apart, p.flatten(1))]
    # Few points in many bins look alike by chance (Miller 1955).
    surplus = ((apart[0] > 0).sum(dim=1) - 1) * ((apart[1] > 0).sum(dim=1) - 1) / (2 * met.clamp(min=1))
    share = met / max(1, count)
    value = (entropy[0] + entropy[1] - entropy[2] - surplus).clamp(min=0) * share.sqrt()
    return torch.where(share < LEAST, 0.0, value)
