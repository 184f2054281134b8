"""Rigid pre-alignment: elastix with mutual information, as in the paper (section 4.2), made quick and hard to fool.

Both scans are shrunk to about 4 mm. A coarse search over shifts picks the start when the headers are far off, elastix
does the fine work, and the result is kept only when it is plausible and mutual information agrees.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.resampling import coverage
from jssr.core.transform import Affine
from jssr.core.volume import Volume
from jssr.errors import GeometryError
from jssr.losses.similarity import sample_information
from jssr.preprocessing.elastix import run_elastix
from jssr.preprocessing.intensity import data_mask, normalise
from jssr.preprocessing.modality import guess_modality
from jssr.preprocessing.placement import shrink

log = logging.getLogger(__name__)

Initial = Literal["geometry", "centre"]
_WINDOW = (-250.0, 350.0)
"""HU that matter for bones, organs and fat; with the full range in 32 bins all soft tissue would be one bin."""

_LITTLE = 0.05
"""nats; unrelated scans stay below."""


class OverlapError(GeometryError):
    """Two scans whose fields of view do not meet in physical space."""


@dataclass(frozen=True)
class RigidResult:
    """What the alignment found: `transform` takes fixed-space to moving-space points (LPS mm). `metric` is the mutual
    information in nats after, `before` that of the headers alone. `accepted` is False when the start was kept."""

    transform: Affine
    seconds: float
    metric: float
    before: float
    accepted: bool = True
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Side:
    """One scan made ready: normalised, small, with its mask."""

    both: Tensor  # (1, 2, *shape): the image in -1..1, and 1 where there is data
    grid: Grid

    @property
    def image(self) -> Tensor:
        return self.both[:, :1]

    @property
    def mask(self) -> Tensor:
        return self.both[:, 1:]

    def body_centre(self) -> NDArray[np.float64]:
        """Centre of mass of what is not air, LPS mm."""
        weight = ((self.image + 1) * self.mask)[0, 0].double()
        total = float(weight.sum())
        if total <= 0:
            return self.grid.centre
        index = (ff.identity(self.grid.shape)[0].double() * weight).flatten(1).sum(dim=1) / total
        return self.grid.world(index.numpy())


def overlap(fixed: Grid, moving: Grid, transform: Affine | None = None) -> float:
    """The share of the fixed field of view that the moving one covers, 0..1."""
    coarse = fixed.respaced(fixed.spacing * np.array(fixed.shape) / np.minimum(fixed.shape, 64))
    return float(coverage(coarse, moving, transform).float().mean())


def rigid_align(
    fixed: Volume,
    moving: Volume,
    *,
    initial: Initial = "geometry",
    spacing: float = 4.0,
    iterations: int = 300,
    samples: int = 2000,
    seed: int = 2020,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> RigidResult:
    """Find the rigid motion between two scans of one patient, of any modality.

    Args:
        fixed, moving: 3D images in their own units; what is no data is left out (`intensity.data_mask`).
        initial: "geometry" trusts the headers, unless a shift of the bodies onto each other is clearly better;
            "centre" ignores where the headers put the scans and starts with centre of mass on centre of mass.
        spacing: mm that both are shrunk to; small fields of view are kept finer.
        iterations, samples: of elastix: in the finer of its two resolutions (half as many in the coarser), and per
            iteration. With 150 iterations a 3 mm CT is 0.8 mm off, with 300 0.02 mm.
        seed: of elastix's sampling; equal input and seed give an equal result.
        fixed_mask, moving_mask: label maps on their image's grid; only what is not 0 in them counts.

    Raises:
        OverlapError: the two fields of view do not meet in physical space (only with initial="geometry").
    """
    begin = time.perf_counter()
    if initial == "geometry" and overlap(fixed.grid, moving.grid) == 0 and overlap(moving.grid, fixed.grid) == 0:
        raise OverlapError(
            f"{moving.name}: its field of view does not overlap that of {fixed.name} in physical space; "
            "are they scans of one patient? If the headers are wrong, align their centres first (initial='centre')"
        )
    # Samples are drawn in the smaller scan, where most of them fall on the other.
    swapped = _extent(moving.grid) < _extent(fixed.grid)
    pair = ((moving, moving_mask), (fixed, fixed_mask))
    pair = pair if swapped else pair[::-1]
    step = float(np.clip((_extent(pair[0][0].grid) / 150_000) ** (1 / 3), 1.5, spacing))
    a, b = (_side(scan, step, mask) for scan, mask in pair)
    points = _sample_points(a)
    start = _start(a, b, initial)
    warnings: list[str] = []
    try:
        found = _refine(a, b, start, iterations, samples, seed)
    except RuntimeError as error:  # elastix says in many ways that too few samples fell inside the moving image
        log.debug("elastix failed: %s", error)
        warnings.append("rigid alignment failed: the scans have too little in common")
        found = start
    before = _information(a, b, Affine.identity() if initial == "geometry" else start, points)
    found, after, complaint = _judge(a, b, start, found, points)
    warnings += [f"rigid alignment was discarded: {complaint}"] if complaint else []
    accepted = not warnings
    found = found.inverse() if swapped else found
    if overlap(fixed.grid, moving.grid, found) < 0.25:
        warnings.append(f"aligned rigidly, {moving.name} covers less than a quarter of {fixed.name}'s field of view")
    return RigidResult(found, time.perf_counter() - begin, after, before, accepted, tuple(warnings))


def _judge(a: _Side, b: _Side, start: Affine, found: Affine, points: Tensor) -> tuple[Affine, float, str | None]:
    """Keep `found` or the start: the transform, its mutual information, and the complaint if there is one."""
    after, kept = _information(a, b, found, points), _information(a, b, start, points)
    small = float(np.abs(found(a.grid.corners()) - start(a.grid.corners())).max()) < 2.0
    if max(after, kept) < _LITTLE:
        return start, kept, "the scans have next to nothing in common"
    alike = kept > 0.8 * _information(a, a, Affine.identity(), points)
    if after < kept and (small or alike):
        return start, kept, None  # the start was right already
    complaint = _implausible(start, found, a.grid)
    if complaint is None and after < kept:
        complaint = "it made the scans less alike"
    return (found, after, None) if complaint is None else (start, kept, complaint)


def _extent(grid: Grid) -> float:
    """Volume of the field of view, mm^3."""
    return float(np.prod(np.array(grid.shape) * grid.spacing))


def _side(volume: Volume, spacing: float, wanted: Volume | None = None) -> _Side:
    """A scan made ready; what is 0 in the label map `wanted`, on its grid, counts as no data."""
    modality = volume.modality or guess_modality(volume)
    mask = data_mask(volume.data[:1], modality)
    window = _WINDOW if modality == "ct" else None
    data = normalise(torch.where(mask, volume.data[:1], float("nan")), window)
    if wanted is not None:  # the image goes on beyond: at the edge of a mask nothing is to be seen
        mask = mask & (wanted.data[:1] != 0)
    small = shrink(Volume(data, volume.grid), spacing)
    there = shrink(Volume(mask.float(), volume.grid), spacing)
    return _Side(torch.cat([small.data[None], (there.data[None] > 0.5).float()], dim=1), small.grid)


def _sample_points(side: _Side, most: int = 40_000) -> Tensor:
    """Indices (N, 3) of the voxels with data, thinned on a regular pattern."""
    index = side.mask[0, 0].nonzero()
    return index[:: max(1, len(index) // most)]


def _information(a: _Side, b: _Side, transform: Affine, points: Tensor, least: float = 0.1) -> float:
    """Mutual information of the samples that fall on data in both; 0 if fewer than the part `least` of them do."""
    matrix = torch.from_numpy(np.linalg.inv(b.grid.affine) @ transform.matrix @ a.grid.affine).float()
    at = points.float() @ matrix[:3, :3].T + matrix[:3, 3]
    size = torch.tensor(b.grid.shape)
    inside = ((at >= 0) & (at <= size - 1)).all(dim=1)
    if int(inside.sum()) < least * len(points):
        return 0.0
    index, at = points[inside], at[inside]
    read = ff.sample(b.both, at.T.reshape(1, 3, -1, 1, 1)).view(2, -1)
    good = read[1] > 0.99
    mine = a.image[0, 0][index[:, 0], index[:, 1], index[:, 2]]
    return sample_information(mine[good], read[0][good], bins=24, few=True) if int(good.sum()) >= 50 else 0.0


def _shift(vector: NDArray[np.float64]) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return Affine(matrix)


def _start(a: _Side, b: _Side, initial: Initial) -> Affine:
    """Pick the start among shifts, by mutual information on few points.

    Tried are the headers' geometry and centre of mass on centre of mass, and every 25 mm around both: one step in the
    plane, four along the patient, where fields of view differ most.
    """
    points = _sample_points(a, 2_500)
    mass = b.body_centre() - a.body_centre()
    bases = [np.zeros(3), mass] if initial == "geometry" else [mass]
    along = int(np.argmax(np.abs(a.grid.direction[2])))
    reach = [4 if axis == along else 1 for axis in range(3)]
    steps = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3) * 25.0
    shifts = [base + a.grid.direction @ step for base in bases for step in steps]
    scores = [_information(a, b, _shift(v), points, least=0.4) for v in shifts]
    best = int(np.argmax(scores))
    # The headers are usually right: only a clearly better start replaces them.
    better = scores[best] > 1.15 * _information(a, b, _shift(bases[0]), points) + 0.02
    return _shift(shifts[best] if better else bases[0])


def _implausible(start: Affine, found: Affine, grid: Grid) -> str | None:
    """Say what is wrong with a motion relative to its start: over 60 degrees, or over half the field of view."""
    extra = found.matrix @ np.linalg.inv(start.matrix)
    turn = np.degrees(np.arccos(np.clip((np.trace(extra[:3, :3]) - 1) / 2, -1, 1)))
    if turn > 60:
        return f"a turn of {turn:.0f} degrees is not plausible"
    moved = np.linalg.norm(found(grid.centre) - start(grid.centre))
    extent = float((np.array(grid.shape) * grid.spacing).max())
    return f"a shift of {moved:.0f} mm is not plausible" if moved > extent / 2 else None


def _refine(a: _Side, b: _Side, start: Affine, iterations: int, samples: int, seed: int) -> Affine:
    """Let elastix work from `start`: the moving grid is put there, so that elastix itself begins at the identity."""
    placed = Grid(b.grid.shape, np.linalg.inv(start.matrix) @ b.grid.affine)
    extra = run_elastix(a.image, a.mask, a.grid, b.image, b.mask, placed, iterations, samples, seed)
    return Affine(start.matrix @ extra)
