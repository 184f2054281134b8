"""A labelled CT taken apart: what the organs say about its phase, its noise, and what slides where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.volume import Points, Volume
from jssr.errors import requires
from jssr.phantom.atlas import label_of, mobility_of, tissue_of
from jssr.phantom.contrast import PatientContrast, tissue_values
from jssr.phantom.phases import CT_PHASES
from jssr.phantom.regions import LABELS, Tissue
from jssr.phantom.texture import bounding_box

__all__ = [
    "KEY_TISSUES",
    "Organs",
    "cavity_of",
    "depth_in",
    "estimate_phase",
    "landmarks_of",
    "noise_sd",
    "organ_medians",
    "phase_distances",
    "sliding_of",
    "upright",
]

KEY_TISSUES = (Tissue.AORTA, Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_RIGHT_CORTEX)
_DOSES, _TIMINGS = (0.75, 1.0, 1.3), (-1.5, 0.0, 1.5)
"""Within what phantoms are drawn from (`sample_contrast`): factor on the enhancement, and sd of the arterial timing."""
_KIDNEYS = (
    (Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_LEFT_MEDULLA),
    (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_RIGHT_MEDULLA),
)
_POLES = ("liver", "spleen", "kidney_right", "kidney_left", "gallbladder", "pancreas", "stomach")


def upright(volume: Volume) -> Volume:
    """The volume with index axes along +x, +y, +z of LPS: turned and flipped, or resampled where it lies obliquely."""
    direction = volume.grid.direction
    axes = np.abs(direction).argmax(axis=0)
    if len(set(axes.tolist())) < 3 or np.abs(direction).max(axis=0).min() < 0.9999:
        corners = volume.grid.corners()
        step = volume.grid.spacing[np.argsort(axes)] if len(set(axes.tolist())) == 3 else volume.grid.spacing
        shape = tuple(int(np.ceil(e / s)) + 1 for e, s in zip(np.ptp(corners, axis=0), step, strict=True))
        fill = -1024.0 if volume.kind == "image" else None
        return resample(volume, Grid.of(shape, step.tolist(), corners.min(axis=0).tolist()), fill=fill)
    order = np.argsort(axes)
    data = volume.data.permute(0, *(int(a) + 1 for a in order))
    down = [int(i) + 1 for i, a in enumerate(order) if direction[i, a] < 0]
    corner = volume.grid.corners().min(axis=0)
    grid = Grid.of(tuple(data.shape[1:]), volume.grid.spacing[order].tolist(), corner.tolist())
    return Volume(torch.flip(data, down).contiguous(), grid, volume.kind, volume.name)


@dataclass(frozen=True, eq=False)
class Organs:
    """The CT taken apart: HU and, for each voxel, its label of origin, all (*grid.shape)."""

    grid: Grid
    hu: NDArray[np.float32]
    values: NDArray[np.int64]
    names: dict[int, str]

    @classmethod
    def of(cls, ct: Volume, labels: Volume, names: Mapping[int, str]) -> Organs:
        values = labels.array.astype(np.int64)
        present = set(np.unique(values).tolist())
        return cls(ct.grid, ct.array.astype(np.float32), values, {v: n for v, n in names.items() if v in present})

    def where(self, test: Callable[[str], bool]) -> NDArray[np.bool_]:
        """The voxels of the labels whose names pass."""
        return np.isin(self.values, [v for v, n in self.names.items() if test(n)])

    def table(self, of: Callable[[str], float], otherwise: float) -> NDArray[np.float32]:
        """A number for each voxel by the name of its label."""
        lookup = np.full(max(int(self.values.max()), *self.names, 0) + 1, otherwise, dtype=np.float32)
        for value, name in self.names.items():
            lookup[value] = of(name)
        return lookup[self.values]


def estimate_phase(organs: Organs) -> str:
    """The phase whose expected HU of aorta, liver, spleen and kidneys are nearest to the CT's."""
    apart = phase_distances(organ_medians(organs))
    return min(apart, key=lambda p: apart[p])


def organ_medians(organs: Organs) -> dict[Tissue, float]:
    """Median HU of aorta, liver, spleen and kidneys without their rim; of those that are large enough."""
    measured = {}
    for tissue in KEY_TISSUES:
        mask = ndimage.binary_erosion(
            np.isin(organs.values, [v for v, n in organs.names.items() if tissue_of(n) == tissue])
        )
        if mask.sum() > 20:
            measured[tissue] = float(np.median(organs.hu[mask]))
    return measured


def phase_distances(measured: Mapping[Tissue, float]) -> dict[str, float]:
    """Each CT phase to the mean distance, HU, of medians from those that `phantom/regions.py` expects; more than 120 HU
    count as 120. A kidney is half cortex, half medulla. Of each phase the dose of contrast and the timing that fit best
    are taken."""
    return {
        phase: min(_distance(measured, phase, dose, timing) for dose in _DOSES for timing in _TIMINGS)
        for phase in CT_PHASES
    }


def _distance(measured: Mapping[Tissue, float], phase: str, dose: float, timing: float) -> float:
    patient = PatientContrast(np.zeros(256, np.float32), np.ones(256, np.float32), dose, timing)
    values = tissue_values(phase, np.random.default_rng(0), patient)
    for cortex, medulla in _KIDNEYS:
        values[cortex] = (values[cortex] + values[medulla]) / 2
    return float(np.mean([min(abs(m - values[t]), 120) for t, m in measured.items()] or [0]))


def noise_sd(organs: Organs) -> float:
    """Noise in the liver: from differences of neighbours, so that slow changes do not count."""
    inside = ndimage.binary_erosion(organs.where(lambda n: label_of(n) == LABELS["liver"]), iterations=2)
    pair = inside[1:] & inside[:-1]
    if pair.sum() < 50:
        return 10.0
    step = (organs.hu[1:] - organs.hu[:-1])[pair]
    # Robust: vessels and borders are the tail. Neighbours share a fifth of their noise.
    return float(1.4826 * np.median(np.abs(step)) / np.sqrt(2 * 0.8))


def depth_in(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Millimetres to the outside of a mask, 0 outside; computed in its bounding box."""
    out = np.zeros(mask.shape, dtype=np.float32)
    box = bounding_box(mask)
    if box is not None:
        padded = np.pad(mask[box], 1)
        out[box] = ndimage.distance_transform_edt(padded, sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    return out


def _share(name: str, otherwise: float) -> float:
    share = mobility_of(name)
    return otherwise if share is None else share


def cavity_of(organs: Organs) -> NDArray[np.bool_]:
    """Where organs slide: in each axial slice the hull of the abdominal organs, without spine and muscles."""
    requires("phantom", "skimage")
    from skimage.morphology import convex_hull_image

    grid = organs.grid
    moving = organs.where(lambda n: _share(n, 0.0) >= 0.3)
    fixed = organs.where(lambda n: _share(n, 1.0) <= 0.12 and label_of(n) != LABELS["aorta"])
    body = depth_in(ndimage.binary_fill_holes(ndimage.binary_opening(organs.hu > -300, iterations=2)), grid)
    hull = np.zeros(grid.shape, dtype=np.bool_)
    for k in np.flatnonzero(moving.any(axis=(0, 1))):
        hull[..., k] = convex_hull_image(moving[..., k])
    hull = ndimage.gaussian_filter(hull.astype(np.float32), 3.0 / grid.spacing) > 0.5
    return hull & ~fixed & (body > 8) | moving


def sliding_of(organs: Organs, cavity: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signed depth under the wall (mm) and mobility (0..1)."""
    grid = organs.grid
    smooth = ndimage.gaussian_filter(cavity.astype(np.float32), 2.0 / grid.spacing) > 0.5
    depth = depth_in(smooth, grid) - depth_in(~smooth, grid)
    share = organs.table(lambda n: _share(n, -1.0), -1.0)
    liver = organs.where(lambda n: label_of(n) == LABELS["liver"])
    bottom = grid.world((0, 0, int(np.nonzero(liver)[2].min())))[2]
    z = grid.origin[2] + np.arange(grid.shape[2]) * grid.spacing[2]
    # Bowel in the pelvis hardly follows the diaphragm.
    down = np.interp(z, [bottom - 120, bottom + 10], [0.25, 1.0]).astype(np.float32)
    weight = np.where(share >= 0, 1.0, 0.05).astype(np.float32)
    value = np.where(share >= 0, share, 0.3).astype(np.float32) * down
    sigma = 7.0 / grid.spacing
    field = ndimage.gaussian_filter(value * weight, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-4)
    return depth.astype(np.float32), np.clip(field, 0, 1).astype(np.float32)


def landmarks_of(organs: Organs) -> Points:
    """Middles of the named structures, and the upper and lower poles of the main organs."""
    at: dict[str, NDArray[np.float64]] = {}
    for value, name in sorted(organs.names.items()):
        where = np.argwhere(organs.values == value)
        if len(where) < 30 or mobility_of(name) is None or name.startswith(("lung", "colon", "small_bowel", "gluteus")):
            continue
        at[f"{name}_middle"] = where.mean(axis=0)
        if name in _POLES:
            cut = np.percentile(where[:, 2], [3, 97])
            at[f"{name}_lower_pole"] = where[where[:, 2] <= cut[0]].mean(axis=0)
            at[f"{name}_upper_pole"] = where[where[:, 2] >= cut[1]].mean(axis=0)
    return Points(organs.grid.world(np.array(list(at.values()))), tuple(at))
