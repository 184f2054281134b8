"""Known motion for real scans: a smooth map that is exact, landmarks on a lattice, and how well two scans lie already.

The moving scan is made by interpolation: `moving(q) = scan(away(q))`, where `away` leads from the points of the moving
scan to those of the scan as it is. A landmark is a point q of the moving scan and `away(q)`, so the truth is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, optimize

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.core.volume import Points, Volume

LATTICE_MM = 12.0
BINS, POINTS = 32, 20_000
"""Of `residual`."""


@dataclass(frozen=True)
class Motion:
    """How far a scan is moved.

    Attributes:
        bend_mm: root mean square length of the smooth part, in the body.
        grain_mm: sd of the Gaussian that smooths it.
        shift_mm, degrees: most of the shift and of the turn, for each axis.
    """

    bend_mm: float = 5.0
    grain_mm: float = 30.0
    shift_mm: float = 0.0
    degrees: float = 0.0

    def draw(self, scan: Volume, above: float, rng: np.random.Generator) -> Transform:
        """From the points of the moving scan to those of the original: a smooth bend, then a turn about the middle and
        a shift.

        Args:
            scan: what is moved; `bend_mm` is that of its voxels above the value `above`.
        """
        grid = scan.grid
        turn = np.eye(4)
        for (a, b), angle in zip(((1, 2), (0, 2), (0, 1)), self._angles(rng), strict=True):
            one = np.eye(4)
            one[[a, b], [a, b]] = np.cos(angle)
            one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
            turn = turn @ one
        centre = grid.centre
        turn[:3, 3] = centre - turn[:3, :3] @ centre + rng.uniform(-self.shift_mm, self.shift_mm, 3)
        # On a larger grid, because the smoothing repeats the border's noise, which makes the outside bend most.
        pad = np.ceil(3 * self.grain_mm / grid.spacing).astype(int)
        larger = [n + 2 * int(p) for n, p in zip(grid.shape, pad, strict=True)]
        noise = torch.from_numpy(rng.standard_normal((1, 3, *larger)).astype(np.float32))
        smooth = ff.smooth(noise, (self.grain_mm / grid.spacing).tolist())[0].double()
        smooth = smooth[:, pad[0] : -pad[0], pad[1] : -pad[1], pad[2] : -pad[2]]
        body = scan.data[0] > above
        smooth -= smooth[:, body].mean(dim=1)[:, None, None, None]  # a shift is drawn apart
        smooth *= self.bend_mm / float((smooth[:, body] ** 2).sum(0).mean().sqrt())
        bend = Displacement.from_millimetres(smooth.movedim(0, -1).numpy(), grid)
        return Chain(bend, Affine(turn)) if self.shift_mm or self.degrees else bend

    def _angles(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.radians(rng.uniform(-self.degrees, self.degrees, 3))


def moved_scan(scan: Volume, grid: Grid, away: Transform, noise: float, rng: np.random.Generator) -> Volume:
    """A scan read on `grid` through `away` by cubic splines, with white noise of sd `noise` of its own.

    Its outermost voxels are repeated beyond its border.
    """
    at = away.positions(grid, scan.grid)[0].double().numpy()
    values = ndimage.map_coordinates(np.asarray(scan.array, dtype=np.float64), at, order=3, mode="nearest")
    values += rng.normal(0.0, noise, values.shape)
    low, high = float(scan.data.min()), float(scan.data.max())  # splines overshoot at edges
    return scan.with_data(torch.from_numpy(values.clip(low, high).astype(np.float32))[None], grid)


def lattice(
    fixed: Volume, scan: Volume, grid: Grid, away: Transform, above: tuple[float, float]
) -> tuple[Points, Points]:
    """The same points in the fixed and in the moved scan, every `LATTICE_MM`.

    Args:
        fixed: the scan that stays.
        scan: the one that was moved, in its own frame, which is the fixed one's.
        grid: of the moved scan.
        away: from its points to those of `scan`.
        above: a landmark lies on voxels above these values, in `fixed` and in `scan`.
    """
    steps = np.maximum(1, np.round(LATTICE_MM / grid.spacing)).astype(int)
    axes = [np.arange(s // 2, n, s) for n, s in zip(grid.shape, steps, strict=True)]
    moved = grid.world(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3))
    there = away(moved)
    keep = inside(fixed, there, above[0]) & inside(scan, there, above[1])
    names = tuple(f"body{i:04d}" for i in range(int(keep.sum())))
    return Points(there[keep], names), Points(moved[keep], names)


def inside(volume: Volume, points: NDArray[np.float64], above: float) -> NDArray[np.bool_]:
    """Which points lie in a volume, on a voxel above a value."""
    index = np.round(volume.grid.index(points)).astype(int)
    held = volume.grid.contains(points)
    i, j, k = np.clip(index, 0, np.array(volume.grid.shape) - 1).T
    return held & (np.asarray(volume.array)[i, j, k] > above)


def residual(fixed: Volume, moving: Volume, window: tuple[float, float], reach_mm: float = 18.0) -> float:
    """The length of the shift (mm) that maximises the normalised mutual information of two scans in one frame.

    An estimate of how far the two are apart where nothing better is known, good to about 1 mm. Of `POINTS` points of
    the moving scan's grid; the search starts from no shift and from the best of a lattice over `reach_mm`, and goes on
    by Powell's method.

    Args:
        window: values of the fixed scan below and above are not told apart.
    """
    rng = np.random.default_rng(0)
    shape = moving.grid.shape
    chosen = np.unravel_index(rng.choice(moving.grid.voxels, min(POINTS, moving.grid.voxels), replace=False), shape)
    world, seen = moving.grid.world(np.stack(chosen, -1)), np.asarray(moving.array, dtype=np.float64)[chosen]
    seen = np.clip(seen, *np.percentile(seen, (0.5, 99.5)))
    other = np.clip(np.asarray(fixed.array, dtype=np.float32), *window)

    def read(shift: NDArray[np.float64]) -> NDArray[np.float32]:
        at = fixed.grid.index(world + shift).T
        return ndimage.map_coordinates(other, at, order=1, mode="constant", cval=np.nan)

    least = 0.7 * np.isfinite(read(np.zeros(3))).sum()

    def cost(shift: NDArray[np.float64]) -> float:
        there = read(shift)
        held = np.isfinite(there)
        return -nmi(there[held], seen[held], (window, (seen.min(), seen.max()))) if held.sum() > least else 0.0

    ends = np.linspace(-reach_mm, reach_mm, 7)
    starts = np.stack(np.meshgrid(ends, ends, ends, indexing="ij"), -1).reshape(-1, 3)
    options = {"xtol": 0.05, "ftol": 1e-5}
    found = [optimize.minimize(cost, x, method="Powell", options=options) for x in (np.zeros(3), min(starts, key=cost))]
    return float(np.linalg.norm(min(found, key=lambda one: one.fun).x))


def nmi(
    a: NDArray[np.floating], b: NDArray[np.floating], ranges: tuple[tuple[float, float], tuple[float, float]]
) -> float:
    """Normalised mutual information (Studholme et al. 1999): (H(a) + H(b)) / H(a, b), of `BINS` x `BINS` bins over
    fixed ranges."""
    joint = np.histogram2d(a, b, bins=BINS, range=ranges)[0]
    joint /= joint.sum()

    def entropy(p: NDArray[np.float64]) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    return (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
