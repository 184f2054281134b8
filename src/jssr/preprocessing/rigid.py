"""Rigid pre-alignment by mutual information, as in the paper (section 4.2), made quick and hard to fool.

Both scans are shrunk to about 4 and 8 mm. Gauss-Newton steps (`linear.py`) begin where the headers put the scans, and
where a search of turns and shifts (`turns.py`) finds them more alike. The headers are usually right: only a clearly
better start replaces them. What comes out is kept only where the scans agree better than before at points that were
not optimised, by another similarity (`agreement.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.hardware import torch_threads
from jssr.core.resampling import coverage
from jssr.core.rotations import rotation_vector
from jssr.core.transform import Affine
from jssr.core.volume import Volume
from jssr.errors import GeometryError
from jssr.losses.similarity import sample_information
from jssr.preprocessing.agreement import Agreement, Judge
from jssr.preprocessing.intensity import all_data, data_mask, limits_of, thinned
from jssr.preprocessing.linear import fit
from jssr.preprocessing.modality import guess_modality
from jssr.preprocessing.placement import shrink
from jssr.preprocessing.small_scan import BINS, Samples, SmallScan, samples
from jssr.preprocessing.turns import candidates

Initial = Literal["geometry", "centre"]
Matrix = NDArray[np.float64]

_WINDOW = (-250.0, 350.0)
"""HU that matter for bones, organs and fat; with the full range in 24 bins all soft tissue would be one bin."""
_PERCENTILES = 5
"""Every fifth of the voxels that percentiles are read from elsewhere: they are sorted, and this is enough here."""
_LITTLE = 0.05
"""nats; unrelated scans stay below."""
_UNRELATED = 0.25
"""What a transform must explain (`Agreement.explained`) to be believed. The best that is found of MR and ultrasound of
prostates, which this does not align, explains 0.03 to 0.20, of all other validation pairs 0.35 and more."""
_UNLIKE = "the scans have next to nothing in common"
_CLEARLY = (1.15, 0.02)
"""Factor and surplus by which another start must be better than the headers."""
_TIE = 0.01
"""Of `Agreement.value`: by so little it differs between points drawn anew. Then mutual information decides."""
_GAIN = 0.25
"""What an affine transform must add to the agreement, for each unit of the logarithm of its largest stretch: on 18
validation pairs with truth it is then kept for 10, and landmarks are 0.5 mm nearer on average."""
_CERTAIN = (0.7, 0.5)
"""Of `Agreement.explained` and `covered`, from which on nothing is searched for elsewhere. Of 6 pairs, 60 starts each,
alignments that end more than 12 mm from the right one explain 0.45 at most; right ones 0.37 to 0.95. Of averaged heads
in T1 and T2 a wrong one explains 0.56."""
_STRETCH = 0.35
"""The largest, in logarithms: a scan that shows a body 1.4 times as long has another fault."""
_COARSE, _QUICK, _FINE = 4_000, 5_000, 20_000
"""Samples."""
_TURNED = 40.0
"""Degrees from which on a turn is told: no patient lies so by chance."""
_SHIFTED = 60.0
"""mm, the same of shifts."""
_AXES = ("the left-right axis", "the front-back axis", "the long axis")
_ALONG = 0.9
"""Cosine of the angle between such an axis and what counts as it."""


class OverlapError(GeometryError):
    """Two scans whose fields of view do not meet in physical space."""


@dataclass(frozen=True)
class RigidResult:
    """What the alignment found: `transform` takes fixed-space to moving-space points (LPS mm). `metric` is the mutual
    information in nats after, `before` that of the headers alone. `accepted` is False when the start was kept. `affine`
    is an affine transform, of the same spaces, under which the scans agree clearly better still, where there is one."""

    transform: Affine
    seconds: float
    metric: float
    before: float
    accepted: bool = True
    warnings: tuple[str, ...] = field(default=())
    affine: Affine | None = None


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
    seed: int = 2020,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> RigidResult:
    """Find the rigid motion between two scans of one patient, of any modality.

    Args:
        fixed, moving: 3D images in their own units; what is no data is left out (`intensity.data_mask`).
        initial: "geometry" trusts the headers, unless another start is clearly better; "centre" ignores where the
            headers put the scans and starts with centre of mass on centre of mass.
        spacing: mm that both are shrunk to; small fields of view are kept finer.
        seed: of the sample points; equal input and seed give an equal result.
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
    # Samples are drawn in the one scan that has a mask, else in the smaller scan: there most fall on the other.
    one_mask = (fixed_mask is None) != (moving_mask is None)
    swapped = moving_mask is not None if one_mask else _extent(moving.grid) < _extent(fixed.grid)
    pair = ((moving, moving_mask), (fixed, fixed_mask)) if swapped else ((fixed, fixed_mask), (moving, moving_mask))
    step = float(np.clip((_extent(pair[0][0].grid) / 150_000) ** (1 / 3), 1.0, spacing))
    a, b = (small_scan(scan, step, mask) for scan, mask in pair)
    # Of tensors so small threads wait for one another for longer than they compute, and keep cores from scipy's.
    with torch_threads(1):
        found = _align(a, b, step, initial, seed)
    every = [Affine(m) for m in (found.matrix, found.affine) if m is not None]
    transform, *affine = [one.inverse() for one in every] if swapped else every
    warnings = [f"rigid alignment was discarded: {found.complaint}"] if found.complaint else []
    if found.complaint is None and (turn := _degrees(found.matrix)) > _TURNED:
        axis = _axis_in_words(transform.matrix)
        warnings.append(f"{moving.name} was turned by {turn:.0f} degrees about {axis}: check the headers")
    if affine and (stretch := _stretch(affine[0].matrix)) > _STRETCH:
        warnings.append(f"{moving.name} was scaled by up to {np.exp(stretch):.1f}: check the spacing in the headers")
    if overlap(fixed.grid, moving.grid, affine[0] if affine else transform) < 0.25:
        warnings.append(f"aligned rigidly, {moving.name} covers less than a quarter of {fixed.name}'s field of view")
    seconds = time.perf_counter() - begin
    return RigidResult(
        transform, seconds, found.after, found.before, found.complaint is None, tuple(warnings), *affine[:1]
    )


def small_scan(volume: Volume, spacing: float, wanted: Volume | None = None) -> SmallScan:
    """A scan as a `SmallScan` of about `spacing` mm.

    Args:
        wanted: a label map on its grid; what is 0 in it does not count. The image goes on beyond: at the edge of a
            mask nothing is to be seen.
    """
    modality = volume.modality or guess_modality(volume)
    data = volume.data[:1].float()
    whole = all_data(data, modality)
    few = thinned(data)[::_PERCENTILES]
    shown = torch.where(data_mask(few, modality), few, float("nan"))
    ends = _WINDOW if modality == "ct" else limits_of(volume.name, shown, None)

    def clipped(part: Tensor) -> Tensor:
        out = part.clamp(*ends)
        return out if whole else out.masked_fill_(~data_mask(part, modality), ends[0])

    scan = Volume(data, volume.grid)
    small = shrink(scan, spacing, clipped)
    image = (small.data[0] - ends[0]) * (2.0 / (ends[1] - ends[0])) - 1.0
    if wanted is not None:
        there = wanted.data[:1] != 0
        there = there if whole else there & data_mask(data, modality)
        kept = shrink(Volume(there, volume.grid, "mask"), spacing, lambda part: part.float())
    elif whole:
        return SmallScan(image, torch.ones_like(image, dtype=torch.bool), small.grid)
    else:
        kept = shrink(scan, spacing, lambda part: data_mask(part, modality).float())
    return SmallScan(image, kept.data[0] > 0.5, small.grid)


@dataclass(frozen=True)
class _Found:
    """A matrix (4, 4) between two small scans, mutual information before and after, why another was discarded, and an
    affine matrix that is better still."""

    matrix: Matrix
    before: float
    after: float
    complaint: str | None = None
    affine: Matrix | None = None


def _align(a: SmallScan, b: SmallScan, step: float, initial: Initial, seed: int) -> _Found:
    start = np.eye(4) if initial == "geometry" else _shift(b.body_centre - a.body_centre)
    judge, fine = Judge(a, b, step, seed + 10), samples(a, _FINE, seed)
    starts = _Starts(a.shrunk(2 * step), b.shrunk(2 * step), start, seed)
    found = _finely(fine, b, starts.near)
    agrees = judge(found)
    certain = agrees.explained > _CERTAIN[0] and agrees.covered > _CERTAIN[1]
    if not certain and (elsewhere := starts.elsewhere()) is not None:
        other, value = _finely(fine, b, elsewhere), agrees.value
        if judge(other).value > (_clearly(value) if _far(found, other, a) else value):
            found = other
    unseen = samples(a, _FINE, seed + 1)
    before, after = (_information(unseen, b, m) for m in (start, found))
    agreed, agrees = judge(start), judge(found)
    complaint = _complaint(agreed, agrees, max(before, after))
    if complaint is not None or (agrees.value < agreed.value and after < before):
        found, after = start, before
    affine = _scaled(fine, a, b, agrees, judge) if _nominal(a.grid, step) or _nominal(b.grid, step) else None
    if affine is not None:
        return _Found(found, before, after, None, affine)
    return _Found(found, before, after, complaint, None if complaint == _UNLIKE else _affine(fine, b, found, judge))


def _nominal(grid: Grid, step: float) -> bool:
    """Whether a field of view begins at the world's origin, as in files that have lost their place."""
    return bool((np.abs(grid.origin) <= step + grid.spacing).all())


def _scaled(points: Samples, a: SmallScan, b: SmallScan, rigid: Agreement, judge: Judge) -> Matrix | None:
    """The affine matrix that is found from field of view onto field of view, where their sizes differ and the scans
    then agree clearly better than by the rigid one: the spacing of such a file may be lost too."""
    larger = b.extent / a.extent
    if (np.abs(np.log(larger)) < np.log(1.1)).all():
        return None
    start = np.eye(4)
    start[:3, :3] = b.grid.direction @ np.diag(larger) @ a.grid.direction.T
    start[:3, 3] = b.grid.centre - start[:3, :3] @ a.grid.centre
    found = fit(points, b, start, "affine", steps=40)[0]
    agrees = judge(found)
    clearly = agrees.explained > _UNRELATED and agrees.value > _clearly(rigid.value)
    return found if clearly else None


def _affine(points: Samples, scan: SmallScan, rigid: Matrix, judge: Judge) -> Matrix | None:
    """The affine matrix near a rigid one, if it agrees enough better for how much it stretches."""
    found, enough = rigid, False
    # Few points tell of most pairs that they have none.
    for some, tolerance, short in ((points.first(_QUICK), 0.1, _TIE), (points, 0.02, 0.0)):
        found = fit(some, scan, found, "affine", tolerance=tolerance)[0]
        stretch = _stretch(found)
        enough = judge(found).value - judge(rigid).value > _GAIN * stretch - short and stretch < _STRETCH
        if not enough:
            break
    return found if enough else None


def _stretch(matrix: Matrix) -> float:
    """The largest of a matrix's stretches, as a logarithm."""
    return float(np.abs(np.log(np.linalg.svd(matrix[:3, :3], compute_uv=False))).max())


def _finely(points: Samples, scan: SmallScan, start: Matrix) -> Matrix:
    """The rigid matrix near a start, by few points first: a step costs a quarter, and most steps are made of them."""
    return fit(points, scan, fit(points.first(_QUICK), scan, start, tolerance=0.1)[0])[0]


class _Starts:
    """Where the fine alignment begins: near the start, and elsewhere if the scans are more alike there."""

    def __init__(self, a: SmallScan, b: SmallScan, start: Matrix, seed: int) -> None:
        self._scans, self._seed, self._many = (a, b), seed, samples(a, _COARSE, seed + 3)
        self.near, self._value = fit(self._many, b, start, tolerance=0.2)

    def elsewhere(self) -> Matrix | None:
        """Searched for: what is found where the scans are more alike than near the start, of far away clearly more."""
        a, b = self._scans
        few = samples(a, _COARSE // 3, self._seed + 2)
        found = [fit(few, b, m, steps=8, tolerance=1.0) for m in candidates(a, b, self._seed)]
        other, most = fit(self._many, b, max(found, key=lambda one: one[1])[0], tolerance=0.2)
        return other if most > (_clearly(self._value) if _far(self.near, other, a) else self._value) else None


def _clearly(value: float) -> float:
    return _CLEARLY[0] * value + _CLEARLY[1]


def _far(one: Matrix, other: Matrix, scan: SmallScan) -> bool:
    """Whether two motions differ by what patients do not do between two scans."""
    apart = float(np.linalg.norm(Affine(one)(scan.grid.centre) - Affine(other)(scan.grid.centre)))
    return _degrees(other @ np.linalg.inv(one)) > _TURNED or apart > _SHIFTED


def _complaint(before: Agreement, after: Agreement, information: float) -> str | None:
    if information < _LITTLE or max(before.explained, after.explained) < _UNRELATED:
        return _UNLIKE
    return "the scans agreed better before" if after.value < before.value - _TIE else None


def _extent(grid: Grid) -> float:
    """Volume of the field of view, mm^3."""
    return float(np.prod(np.array(grid.shape) * grid.spacing))


def _information(points: Samples, scan: SmallScan, matrix: Matrix, least: float = 0.1) -> float:
    """Mutual information of the samples that fall on data in both; 0 if fewer than the part `least` of them do."""
    values, counts = scan.values(scan.positions(matrix, points.points))
    enough = int(counts.sum()) >= max(50, least * len(counts))
    return sample_information(points.values[counts], values[counts], bins=BINS, few=True) if enough else 0.0


def _shift(vector: NDArray[np.float64]) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return matrix


def _degrees(matrix: Matrix) -> float:
    """By how much a rotation turns."""
    return float(np.degrees(np.linalg.norm(rotation_vector(matrix[:3, :3]))))


def _axis_in_words(matrix: Matrix) -> str:
    """Which of the patient's axes a rotation turns about."""
    axis = rotation_vector(matrix[:3, :3])
    share = np.abs(axis) / max(1e-9, float(np.linalg.norm(axis)))
    return _AXES[int(share.argmax())] if share.max() > _ALONG else "an oblique axis"
