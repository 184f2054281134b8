"""How the patient moves between two scans: breathing, a smooth random deformation, a rigid offset.

A motion `psi` takes a point of the reference space (the reference phase scan's) to the scan of one phase. It is

    psi = rigid o exp(v),        v = breathing + smooth random velocity,

a diffeomorphism integrated by scaling and squaring. Its displacement at the nodes of the reference phase's voxel grid,
read
linearly in between, IS the map: the truth that is written, the landmarks and the images all come from the same numbers,
so they agree to rounding. Images need the inverse `phi`, which is solved point by point against `psi`.

Breathing: the liver moves 5 to 25 mm along the body axis and a fraction of that forwards (Rohlfing et al., Med Phys
2004; Keall et al., AAPM TG-76, Med Phys 2006); breath holds repeat to several millimetres (Balter et al., IJROBP 1998).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.phantom.inverse import solve_inverse

__all__ = [
    "Motion",
    "MotionRanges",
    "Sliding",
    "draw_breaths",
    "draw_rigid",
    "integrate",
    "make_motion",
    "make_sliding",
    "still",
    "wander",
]

_COARSE_MM = 4.5
"""Spacing of the grid on which velocities are integrated (no finer than what they move)."""


@dataclass(frozen=True)
class MotionRanges:
    """How far patients move between two phases; millimetres and degrees."""

    breath: float = 16.0
    """Root mean square of the liver's shift along z over patients and phases, before it saturates."""
    breath_spread: float = 0.9
    """Standard deviation of the logarithm of a patient's own breathing scale: some hold well, some do not."""
    breath_limit: float = 28.0
    """Breathing saturates towards this."""
    layer: tuple[float, float] = (8.0, 10.0)
    """Thickness of the shear layer at the wall."""
    smooth: tuple[float, float] = (0.8, 2.8)
    """Root mean square of each component of the smooth random displacement."""
    smooth_length: tuple[float, float] = (30.0, 60.0)
    shift: float = 0.5
    turn: float = 0.25
    moved_share: float = 0.06
    """Share of scans before which the patient shifted on the table: offsets four times as large."""
    phase_scale: Mapping[str, float] = field(default_factory=lambda: {"arterial": 0.95, "non-contrast": 1.05})
    """Factor on the breathing of a phase, 1 where not given: scans minutes apart repeat worst."""


@dataclass(frozen=True, eq=False)
class Sliding:
    """What moves with the breath, on a coarse grid in the reference space.

    Args:
        grid: the coarse grid.
        organs: (1, 1, *shape) share of the breathing shift that each point follows, 0 to 1.
        wall: (1, 1, *shape) share of the front wall's rise, 0 at the spine to 1 at the skin in front.
    """

    grid: Grid
    organs: Tensor
    wall: Tensor


def smoothstep(x: Tensor) -> Tensor:
    """0 below 0, 1 above 1, the cubic 3x^2 - 2x^3 between."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def make_sliding(
    grid: Grid, cavity_depth: NDArray[np.float32], mobility: NDArray[np.float32], layer: float = 9.0
) -> Sliding:
    """Work out what slides.

    Args:
        grid: grid of the two arrays, axis-aligned in LPS.
        cavity_depth: signed millimetres to the inner wall, positive where organs slide.
        mobility: 0 to 1, how much of the breath an organ follows.
        layer: millimetres over which the motion falls to nothing at the wall: one third outside of it.
    """
    coarse = grid.respaced(max(_COARSE_MM, float(grid.spacing.max())))
    at = Affine.identity(3).positions(coarse, grid)
    depth = ff.sample(torch.from_numpy(np.ascontiguousarray(cavity_depth))[None, None], at)
    # Organs drag on their neighbours: mobility changes over centimetres, only the wall is sharp.
    follow = ff.sample(torch.from_numpy(np.ascontiguousarray(mobility))[None, None], at)
    inside = (depth > 0).float()
    spread = ff.smooth(torch.cat([follow * inside, inside]).view(1, 2, *coarse.shape), 2.0)
    follow = spread[:, :1] / spread[:, 1:].clamp(min=1e-3)
    organs = follow * smoothstep(depth / layer + 1 / 3)

    rows = torch.nonzero((depth[0, 0] > 0).any(dim=2).any(dim=0))
    front, back = (int(rows.min()), int(rows.max())) if len(rows) else (0, coarse.shape[1])
    y = torch.arange(coarse.shape[1], dtype=torch.float32)
    rise = smoothstep((back - y) / max(back - front, 1))
    wall = rise.view(1, 1, 1, -1, 1).expand(1, 1, *coarse.shape).contiguous()
    return Sliding(coarse, organs.clamp(0, 1), wall)


@dataclass(frozen=True, eq=False)
class Motion:
    """The map from the reference space to one scan.

    Args:
        forward: `psi`; its grid is the reference phase's voxel grid, extended.
        guess: an approximation of the inverse without the rigid part, from which the solver starts.
        rigid: the rigid part of psi, which comes last.
        breath: millimetres of breathing along z, for the record.
    """

    forward: Displacement
    guess: Displacement | None
    rigid: Affine
    breath: float = 0.0

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map reference points (..., 3), LPS mm, to the scan."""
        return self.forward(points)

    def truth(self, reference_phase: Grid) -> Displacement:
        """The displacement from the reference phase's grid to this scan. Exact where the reference phase is part of
        the motion's grid."""
        start = [int(i) for i in np.round(self.forward.grid.index(reference_phase.origin))]
        if self.forward.grid.cropped(start, reference_phase.shape).same_as(reference_phase, 1e-4) and min(start) >= 0:
            part = tuple(slice(s, s + n) for s, n in zip(start, reference_phase.shape, strict=True))
            return Displacement(self.forward.u[(slice(None), *part)].clone(), reference_phase)
        return self.forward.displacement(reference_phase)

    def pull(self, scan: Grid, source: Grid, tolerance: float = 0.012) -> Tensor:
        """Where each voxel of `scan` comes from: `phi`, (1, 3, *scan.shape) in voxels of `source`.

        Solved until `psi(phi(q)) = q` within `tolerance` millimetres, for the voxels that come from the box of `source`
        or near it; the others are somewhere outside of it.
        """
        grid = self.forward.grid
        goal = Affine.identity(3).positions(scan, grid).reshape(3, -1)
        if self.guess is None:
            return _convert(goal, grid, source).reshape(1, 3, *scan.shape)
        back = self.rigid.inverse().positions(scan, self.guess.grid)
        at = _convert((back + ff.sample(self.guess.u[None], back)).reshape(3, -1), self.guess.grid, grid)
        coarse = _convert(at, grid, source)
        near = ((coarse > -4) & (coarse < torch.tensor(source.shape).view(3, 1) + 3)).all(0)
        solved = solve_inverse(self.forward.u, goal[:, near], at[:, near], tolerance / float(grid.spacing.max()))
        coarse[:, near] = _convert(solved, grid, source)
        return coarse.reshape(1, 3, *scan.shape)


def still(grid: Grid) -> Motion:
    """No motion at all: the reference phase's."""
    return Motion(Displacement(torch.zeros(3, *grid.shape), grid), None, Affine.identity(3))


def make_motion(
    rng: np.random.Generator, sliding: Sliding, grid: Grid, breath: float, ranges: MotionRanges | None = None
) -> Motion:
    """Draw one motion by the breath.

    Args:
        rng: the phase's own stream.
        sliding: what follows the breath.
        grid: the reference phase's voxel grid, extended beyond any field of view.
        breath: millimetres along z (positive towards the head) by which a fully mobile organ shifts.
        ranges: how far the rest goes.
    """
    ranges = ranges or MotionRanges()
    coarse = sliding.grid
    random = wander(rng, coarse, ranges)
    lateral, forwards, rise = rng.normal(0, 0.05), rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.25)
    breathing = sliding.organs * torch.tensor([lateral, forwards, 1.0]).view(1, 3, 1, 1, 1) * breath
    breathing[:, 1:2] += sliding.wall * rise * breath
    return integrate(breathing + random, coarse, draw_rigid(rng, grid.centre, ranges), grid, breath)


def wander(rng: np.random.Generator, grid: Grid, ranges: MotionRanges) -> Tensor:
    """The smooth random velocity, (1, 3, *grid.shape) millimetres."""
    length, size = rng.uniform(*ranges.smooth_length), rng.uniform(*ranges.smooth)
    return torch.cat([_smooth_noise(rng, grid, length) for _ in range(3)])[None] * size


def integrate(velocity: Tensor, coarse: Grid, rigid: Affine, grid: Grid, breath: float = 0.0) -> Motion:
    """`rigid o exp(velocity)`, the velocity made smaller until nothing comes near to folding.

    Args:
        velocity: (1, 3, *coarse.shape) millimetres.
        coarse: its grid.
        rigid: comes last.
        grid: on which the motion is known.
        breath: what of the velocity is breathing, for the record; made smaller with it.
    """
    velocity = velocity / torch.from_numpy(coarse.spacing).float().view(1, 3, 1, 1, 1)
    onward = ff.exponentiate(velocity, 5)
    # Nearly folded is as bad as folded: 20-fold compression is no tissue's. The coarse grid tells it at little cost.
    while float(ff.jacobian_determinant(onward).min()) < 0.08:
        velocity, breath = velocity * 0.85, breath * 0.85
        onward = ff.exponentiate(velocity, 5)
    forward = _forward(onward, coarse, rigid, grid)
    while float(ff.jacobian_determinant(forward.u[None]).min()) < 0.05:
        velocity, breath = velocity * 0.85, breath * 0.85
        forward = _forward(ff.exponentiate(velocity, 5), coarse, rigid, grid)
    return Motion(forward, Displacement(ff.exponentiate(-velocity, 4)[0], coarse), rigid, breath)


def _forward(onward: Tensor, coarse: Grid, rigid: Affine, grid: Grid) -> Displacement:
    """`rigid o onward` as a displacement on `grid`."""
    at = Displacement(onward[0], coarse).positions(grid, coarse)
    turned = Affine(np.linalg.inv(grid.affine) @ rigid.matrix @ coarse.affine)
    ends = _affine(at.reshape(3, -1), turned.matrix).reshape(1, 3, *grid.shape)
    return Displacement((ends - ff.identity(grid.shape))[0], grid)


def draw_breaths(
    rng: np.random.Generator, streams: Mapping[str, np.random.Generator], ranges: MotionRanges
) -> dict[str, float]:
    """Millimetres of breathing of each phase: normal, with a scale of the patient's own, saturating at the limit."""
    spread, limit = ranges.breath_spread, ranges.breath_limit
    scale = ranges.breath * np.exp(rng.normal(-spread * spread, spread))
    return {
        phase: float(limit * np.tanh(scale * ranges.phase_scale.get(phase, 1.0) * own.standard_normal() / limit))
        for phase, own in streams.items()
    }


def draw_rigid(rng: np.random.Generator, centre: NDArray[np.float64], ranges: MotionRanges) -> Affine:
    """A small turn about `centre` and a small shift."""
    factor = 4.0 if rng.random() < ranges.moved_share else 1.0
    angles = np.deg2rad(rng.normal(0, ranges.turn * factor, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre - turn @ centre + rng.normal(0, ranges.shift * factor, 3)
    return Affine(matrix)


def _smooth_noise(rng: np.random.Generator, grid: Grid, length: float) -> Tensor:
    """(1, *shape) Gaussian noise of unit deviation whose correlation falls to 1/e at `length` millimetres."""
    white = torch.from_numpy(rng.standard_normal(grid.shape, dtype=np.float32))
    # A Gaussian kernel of sigma s makes noise of correlation exp(-r^2 / 4 s^2).
    sigma = length / 2
    fall = torch.ones(1)
    for axis, (n, step) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        f = torch.fft.rfftfreq(n, step) if axis == 2 else torch.fft.fftfreq(n, step)
        shape = [1, 1, 1]
        shape[axis] = -1
        fall = fall * torch.exp(-2 * (np.pi * f * sigma) ** 2).view(shape)
    noise = torch.fft.irfftn(torch.fft.rfftn(white) * fall, s=grid.shape)
    return (noise / noise.std())[None]


def _affine(points: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    m = torch.from_numpy(np.asarray(matrix)).float()
    return m[:3, :3] @ points + m[:3, 3:]


def _convert(index: Tensor, source: Grid, target: Grid) -> Tensor:
    """Voxel positions (3, N) of one grid as positions of another in the same space."""
    if source is target:
        return index
    return _affine(index, np.linalg.inv(target.affine) @ source.affine)
