"""How well two scans agree at points that no optimisation has seen: MIND-SSC (Heinrich et al., MICCAI 2013), in both
directions.

MIND-SSC of a point compares the cubes around its six neighbours, two by two. Here neighbours lie `step` mm apart along
the axes of the scan whose points they are, and the other scan is read where the transform takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.preprocessing.small_scan import SmallScan, samples

POINTS = 1500
"""In each direction."""
_AIR = -0.95
"""Points with nothing brighter around them say nothing."""


def _cubes() -> tuple[Tensor, Tensor]:
    """Offsets (81, 3) of what the cubes around the six neighbours are made of, and which of them each cube has,
    (6, 27), in one order."""
    axes = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    cubes = axes[:, None] + np.array(list(product((-1, 0, 1), repeat=3)))
    offsets, which = np.unique(cubes.reshape(-1, 3), axis=0, return_inverse=True)
    return torch.from_numpy(offsets), torch.from_numpy(which.reshape(6, 27))


_OFFSETS, _CUBES = _cubes()
_PAIRS = [(a, b) for a, b in combinations(range(6), 2) if b != a + 3]
"""Of neighbours, those that are not opposite."""


@dataclass(frozen=True)
class Agreement:
    """How two scans agree under a transform.

    Attributes:
        explained: of the difference (squared, of MIND-SSC) between unrelated points, the part that is not there where
            both scans have data: 0 of unrelated scans, 1 of equal ones.
        covered: share of the bodies' points where both have data.
    """

    explained: float
    covered: float

    @property
    def value(self) -> float:
        """Of all points: those without data in the other scan agree as unrelated ones do."""
        return self.explained * self.covered


class Judge:
    """Compares transforms of two scans, at points of both that it draws once."""

    def __init__(self, a: SmallScan, b: SmallScan, step: float, seed: int) -> None:
        (here, mine), (there, its) = (_own(scan, step, seed + k) for k, scan in enumerate((a, b)))
        usual = _unrelated(mine, its)
        self._sides = _Side(b, here, mine, usual), _Side(a, there, its, usual)
        self._known: dict[bytes, Agreement] = {}

    def __call__(self, matrix: NDArray[np.float64]) -> Agreement:
        """Of a matrix (4, 4) from a to b, LPS mm."""
        key = matrix.tobytes()
        if key not in self._known:  # some are asked for again
            found = self._sides[0].agreement(matrix), self._sides[1].agreement(np.asarray(np.linalg.inv(matrix)))
            self._known[key] = Agreement(*np.mean(found, axis=0).tolist())
        return self._known[key]


@dataclass(frozen=True)
class _Side:
    """Points of one scan's body with what is around them, and the other scan."""

    other: SmallScan
    around: Tensor  # (3, 81 N), LPS mm
    mine: Tensor  # their descriptors, (12, N)
    usual: float  # squared difference of unrelated points

    def agreement(self, matrix: NDArray[np.float64]) -> tuple[float, float]:
        its, good, _ = _described(self.other, matrix, self.around)
        if not bool(good.any()):
            return 0.0, 0.0
        difference = (its[:, good] - self.mine[:, good]).square().sum(dim=0).mean()
        return 1 - float(difference) / self.usual, float(good.float().mean())


def _unrelated(a: Tensor, b: Tensor) -> float:
    """The mean squared difference of descriptors (12, N) of points that have nothing to do with each other: of |a|^2 +
    |b|^2 - 2 ab, the last is then the product of the means."""
    if not a.shape[1] or not b.shape[1]:
        return 1e-6
    squares = a.square().sum(dim=0).mean() + b.square().sum(dim=0).mean()
    return max(1e-6, float(squares - 2 * (a.mean(dim=1) * b.mean(dim=1)).sum()))


def _own(scan: SmallScan, step: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points of a scan's body whose cubes have data: what is around them, (3, 81 N), and descriptors, (12, N)."""
    points = samples(scan, POINTS, seed).points
    offsets = torch.from_numpy(scan.grid.direction.copy()) @ (_OFFSETS.double().T * step)
    around = points[:, None] + offsets[:, :, None]
    descriptors, good, brightest = _described(scan, np.eye(4), around.flatten(1))
    good = good & (brightest > _AIR)
    return around[:, :, good].flatten(1), descriptors[:, good]


def _described(scan: SmallScan, matrix: NDArray[np.float64], around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Descriptors (12, N) of a scan, which of them have data, and the brightest value of each."""
    if not around.shape[1]:
        return torch.zeros(len(_PAIRS), 0), torch.zeros(0, dtype=torch.bool), torch.zeros(0)
    values, counts = scan.values(scan.positions(matrix, around))
    values, counts = values.view(len(_OFFSETS), -1), counts.view(len(_OFFSETS), -1)
    cubes = values[_CUBES]
    distances = torch.stack([(cubes[a] - cubes[b]).square().mean(dim=0) for a, b in _PAIRS])
    distances = distances - distances.amin(dim=0)
    variance = distances.mean(dim=0)
    # As `mind_ssc` has it: what is flat but for noise is described as flat.
    middle = float(variance.mean())
    return (
        (-distances / variance.clamp(1e-3 * middle + 1e-12, 1e3 * middle + 1e-9)).exp(),
        counts.all(dim=0),
        values.amax(dim=0),
    )
