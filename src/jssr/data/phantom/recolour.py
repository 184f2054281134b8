"""A phantom study from a real patient: the real anatomy of one CT, recoloured to the other phases and moved.

What is real: shape, fat, gas, bone, texture, the field of view. What is made: each organ's enhancement, added to the
real voxels where their HU say soft tissue, and the motion, which is known exactly. Voxels that enhance differently
inside one label (renal cortex and medulla, bowel wall, vessels of the liver) are told apart by depth and HU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image
from skimage.restoration import denoise_tv_chambolle

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import resample
from jssr.core.volume import Points, Volume
from jssr.data.cohort import Cohort
from jssr.data.phantom.atlas import label_of, mobility_of, tissue_of
from jssr.data.phantom.motion import MotionRanges
from jssr.data.phantom.scanner import Scanner
from jssr.data.phantom.study import CT_PHASES, Study, Subject, assemble, stream
from jssr.data.phantom.texture import bounding_box
from jssr.data.phantom.tissue import LABELS, PatientContrast, Tissue, sample_contrast, tissue_values
from jssr.data.phantom.writer import write_studies
from jssr.errors import GeometryError, ImageError
from jssr.io.images import read_image

__all__ = ["estimate_phase", "make_recoloured_study", "upright", "write_recoloured"]

_KEY_TISSUES = (Tissue.AORTA, Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_RIGHT_CORTEX)
_POLES = ("liver", "spleen", "kidney_right", "kidney_left", "gallbladder", "pancreas", "stomach")


def make_recoloured_study(
    ct: Volume,
    labels: Volume,
    names: Mapping[int, str],
    seed: int,
    phases: Sequence[str] = CT_PHASES,
    source_phase: str | None = None,
    fresh_noise: bool = True,
    motion: MotionRanges | None = None,
) -> Study:
    """Make one study from a real CT.

    Args:
        ct: HU, 3D.
        labels: its organs, on the same grid.
        names: value -> TotalSegmentator's name.
        seed: draws contrast, motion, fields of view and noise.
        phases: of the study; "venous" is the anchor and keeps the CT's field of view.
        source_phase: the CT's own phase; None estimates it from the organs' HU.
        fresh_noise: take most of the noise off and give each phase its own of the same size. False keeps the CT's noise,
            which then moves with the patient: registration could follow it.
        motion: how far the patient moves.

    Raises:
        GeometryError: CT and labels lie on different grids.
        ImageError: no liver among the labels.
        ValueError: an unknown phase.
    """
    unknown = [p for p in (*phases, *([source_phase] if source_phase else [])) if p not in CT_PHASES]
    if unknown:
        raise ValueError(f"a CT can be recoloured to {', '.join(CT_PHASES)}, not to {', '.join(unknown)}")
    if not labels.grid.same_as(ct.grid):
        raise GeometryError(f"{labels.name}: lies on another grid than {ct.name}; resample the labels to the CT first")
    if not any(label_of(n) == LABELS["liver"] and (labels.data == v).any() for v, n in names.items()):
        raise ImageError(f"{labels.name}: no voxel is labelled liver; are these the right label names?")
    ct, labels = upright(ct), upright(labels)
    key = ("recolour", seed)
    organs = _Organs.of(ct, labels, names)
    source = source_phase or estimate_phase(organs)
    noise = _noise_sd(organs)
    subject = _subject(organs, source, sample_contrast(stream(*key, "contrast")), noise if fresh_noise else 0.0)
    top = float(subject.grid.world((0, 0, int(np.nonzero(subject.labels == LABELS["liver"])[2].max())))[2])
    own = noise if fresh_noise else 0.0
    scanners = {p: _scanner(stream(*key, "scanner", p), ct.grid, p, own, top) for p in phases}
    study = assemble(f"r{seed:04d}", subject, scanners, key, motion)
    study.info.update(seed=seed, source_phase=source, noise_hu=round(noise, 2))
    return study


def write_recoloured(
    out: str | os.PathLike[str],
    ct: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    names: Mapping[int, str],
    studies: int,
    seed: int,
    phases: Sequence[str] = CT_PHASES,
    source_phase: str | None = None,
    fresh_noise: bool = True,
    workers: int = 2,
    progress: bool = True,
) -> Cohort:
    """Write `studies` recoloured studies of one CT as a cohort; the i-th takes seed `seed + i`. All are test cases.

    Args and errors as in `make_recoloured_study` and `write_cohort`; `ct` and `labels` are files.
    """
    arguments = {
        "ct": os.fspath(ct),
        "labels": os.fspath(labels),
        "names": dict(names),
        "seed": seed,
        "phases": tuple(phases),
        "source_phase": source_phase,
        "fresh_noise": fresh_noise,
    }
    return write_studies(out, "recoloured", _make, arguments, studies, {"test": 1.0}, workers, progress)


def _make(index: int, *, ct: str, labels: str, seed: int, **rest: object) -> Study:
    image, organs = read_image(ct), read_image(labels, "labels")
    return make_recoloured_study(image, organs, seed=seed + index, **rest)  # type: ignore[arg-type]


def upright(volume: Volume) -> Volume:
    """The volume with index axes along +x, +y, +z of LPS: turned and flipped, or resampled where it lies obliquely."""
    direction = volume.grid.direction
    axes = np.abs(direction).argmax(axis=0)
    if len(set(axes.tolist())) < 3 or np.abs(direction).max(axis=0).min() < 0.9999:
        corners = volume.grid.corners()
        step = volume.grid.spacing[np.argsort(axes)] if len(set(axes.tolist())) == 3 else volume.grid.spacing
        shape = tuple(int(np.ceil(e / s)) + 1 for e, s in zip(np.ptp(corners, axis=0), step, strict=True))
        fill = -1024.0 if volume.kind == "image" else None
        return resample(volume, Grid.of(shape, step, corners.min(axis=0)), fill=fill)
    order = np.argsort(axes)
    data = volume.data.permute(0, *(int(a) + 1 for a in order))
    down = [int(i) + 1 for i, a in enumerate(order) if direction[i, a] < 0]
    corner = volume.grid.corners().min(axis=0)
    grid = Grid.of(tuple(data.shape[1:]), volume.grid.spacing[order], corner)
    return Volume(torch.flip(data, down).contiguous(), grid, volume.kind, volume.name)


@dataclass(frozen=True, eq=False)
class _Organs:
    """The CT taken apart: HU and, for each voxel, its label of origin, all (*grid.shape)."""

    grid: Grid
    hu: NDArray[np.float32]
    values: NDArray[np.int64]
    names: dict[int, str]

    @classmethod
    def of(cls, ct: Volume, labels: Volume, names: Mapping[int, str]) -> _Organs:
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


def estimate_phase(organs: _Organs) -> str:
    """The phase whose expected HU of aorta, liver, spleen and kidneys are nearest to the CT's."""
    rng = np.random.default_rng(0)
    plain = PatientContrast(np.zeros(256, np.float32), np.ones(256, np.float32))
    measured = {}
    for tissue in _KEY_TISSUES:
        mask = ndimage.binary_erosion(organs.where(lambda name, t=tissue: tissue_of(name) == t))
        if mask.sum() > 20:
            measured[tissue] = float(np.median(organs.hu[mask]))
    expected = {phase: tissue_values(phase, rng, plain) for phase in CT_PHASES}
    apart = {p: np.mean([min(abs(m - e[t]), 120) for t, m in measured.items()] or [0]) for p, e in expected.items()}
    return min(apart, key=lambda p: apart[p])


def _noise_sd(organs: _Organs) -> float:
    """Noise in the liver: from differences of neighbours, so that slow changes do not count."""
    inside = ndimage.binary_erosion(organs.where(lambda n: label_of(n) == LABELS["liver"]), iterations=2)
    pair = inside[1:] & inside[:-1]
    if pair.sum() < 50:
        return 10.0
    step = (organs.hu[1:] - organs.hu[:-1])[pair]
    # Robust: vessels and borders are the tail. Neighbours share a fifth of their noise.
    return float(1.4826 * np.median(np.abs(step)) / np.sqrt(2 * 0.8))


def _subject(organs: _Organs, source: str, contrast: PatientContrast, remove: float) -> Subject:
    base = _denoised(organs.hu, remove) if remove > 0 else organs.hu
    cavity = _cavity(organs)
    codes = _codes(organs, cavity)
    soft_hu = ndimage.gaussian_filter(base, 0.6)
    # Fat, gas and bone take up no contrast to speak of; partial volume in proportion.
    uptake = np.clip((soft_hu + 60) / 70, 0, 1) * np.clip((420 - soft_hu) / 200, 0, 1)
    vessel = _liver_vessels(organs, base, source)

    def paint(phase: str, rng: np.random.Generator) -> NDArray[np.float32]:
        if phase == source:
            return base
        seed = int(rng.integers(1 << 31))
        change = [tissue_values(p, np.random.default_rng(seed), contrast) for p in (phase, source)]
        delta = change[0] - change[1]
        extra = delta[Tissue.HEPATIC_VEIN] - delta[Tissue.LIVER]
        step = delta[codes] + vessel * extra
        return (base + uptake * ndimage.gaussian_filter(step, 0.7)).astype(np.float32)

    depth, mobility = _sliding(organs, cavity)
    labels = organs.table(lambda n: float(label_of(n)), 0.0).astype(np.uint8)
    return Subject(organs.grid, labels, _landmarks(organs), depth, mobility, paint, cut=True)


def _denoised(hu: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    """Total variation keeps edges; only the soft-tissue range is touched, where noise shows."""
    low, high = -250.0, 350.0
    shown = np.clip(hu, low, high)
    removed = shown - denoise_tv_chambolle(shown, weight=0.8 * sd, max_num_iter=30).astype(np.float32)
    # It also lowers the contrast of small organs: what is smooth in the removed part was no noise.
    return (hu - removed + ndimage.gaussian_filter(removed, 1.5)).astype(np.float32)


def _codes(organs: _Organs, cavity: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The tissue whose enhancement each voxel takes."""
    codes = organs.table(lambda n: float(tissue_of(n)), 0.0).astype(np.uint8)
    shells = (
        (Tissue.STOMACH_CONTENT, Tissue.STOMACH_WALL, 4.0),
        (Tissue.SMALL_BOWEL_CONTENT, Tissue.SMALL_BOWEL_WALL, 4.0),
        (Tissue.STOOL, Tissue.COLON_WALL, 3.5),
        (Tissue.BILE, Tissue.GALLBLADDER_WALL, 2.0),
    )
    for inner, wall, thickness in shells:
        depth = _depth(codes == inner, organs.grid)
        codes[(depth > 0) & (depth <= thickness)] = wall
    for cortex, medulla, pelvis in (
        (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_RIGHT_MEDULLA, Tissue.KIDNEY_RIGHT_PELVIS),
        (Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_LEFT_MEDULLA, Tissue.KIDNEY_LEFT_PELVIS),
    ):
        depth = _depth(codes == cortex, organs.grid)
        codes[depth > 8] = medulla
        codes[(depth > 14) & (ndimage.gaussian_filter(organs.hu, 1.0) < 18)] = pelvis
    # What bears no label: in the cavity small vessels and mesentery, elsewhere muscle. Fat among it takes nothing up.
    rest = codes == Tissue.AIR
    codes[rest] = Tissue.MUSCLE
    codes[rest & cavity] = Tissue.MESENTERIC_VEIN
    return codes


def _depth(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Millimetres to the outside of a mask, 0 outside; computed in its bounding box."""
    out = np.zeros(mask.shape, dtype=np.float32)
    box = bounding_box(mask)
    if box is not None:
        padded = np.pad(mask[box], 1)
        out[box] = ndimage.distance_transform_edt(padded, sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    return out


def _liver_vessels(organs: _Organs, base: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """0..1 where the liver's HU say vessel: above the liver after contrast, a little below it before."""
    liver = organs.where(lambda n: label_of(n) == LABELS["liver"])
    smooth = ndimage.gaussian_filter(base, 4.0 / 2.355 / organs.grid.spacing)
    level = np.median(smooth[liver])
    spread = max(4.0, float(1.4826 * np.median(np.abs(smooth[liver] - level))))
    if source == "uncontrast":
        share = np.clip((level - smooth - 1.3 * spread) / (1.5 * spread), 0, 1) * (smooth > level - 28)
    else:
        share = np.clip((smooth - level - 1.5 * spread) / (2 * spread), 0, 1)
    # Not the rim, where partial volume is dark too.
    inner = ndimage.binary_erosion(liver, iterations=max(1, int(round(5 / float(organs.grid.spacing.max())))))
    return (share * inner).astype(np.float32)


def _cavity(organs: _Organs) -> NDArray[np.bool_]:
    """Where organs slide: in each axial slice the hull of the abdominal organs, without spine, muscles and outer wall."""
    grid = organs.grid
    moving = organs.where(lambda n: (mobility_of(n) or 0) >= 0.3)
    fixed = organs.where(lambda n: mobility_of(n) is not None and mobility_of(n) <= 0.12 and label_of(n) != LABELS["aorta"])
    body = _depth(ndimage.binary_fill_holes(ndimage.binary_opening(organs.hu > -300, iterations=2)), grid)
    hull = np.zeros(grid.shape, dtype=np.bool_)
    for k in np.flatnonzero(moving.any(axis=(0, 1))):
        hull[..., k] = convex_hull_image(moving[..., k])
    hull = ndimage.gaussian_filter(hull.astype(np.float32), 3.0 / grid.spacing) > 0.5
    return hull & ~fixed & (body > 8) | moving


def _sliding(organs: _Organs, cavity: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signed depth under the wall (mm) and mobility (0..1)."""
    grid = organs.grid
    smooth = ndimage.gaussian_filter(cavity.astype(np.float32), 2.0 / grid.spacing) > 0.5
    depth = _depth(smooth, grid) - _depth(~smooth, grid)
    share = organs.table(lambda n: -1.0 if mobility_of(n) is None else float(mobility_of(n) or 0), -1.0)
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


def _landmarks(organs: _Organs) -> Points:
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


def _scanner(rng: np.random.Generator, grid: Grid, phase: str, noise: float, liver_top: float) -> Scanner:
    """The CT's own grid for the anchor; other phases start, stop and are centred up to centimetres apart."""
    z = float(grid.spacing[2])
    above = max(0.0, grid.corners()[:, 2].max() - liver_top - 15)  # never into the liver
    if phase == "venous":
        view = grid
    else:
        cut = rng.uniform(0, 1, 2) * [40.0, min(25.0, above)] / z  # below, above
        slices = max(8, int(grid.shape[2] - cut.sum()))
        factor = rng.uniform(0.96, 1.04)
        spacing = np.round(grid.spacing * [factor, factor, 1.0], 4)
        middle = grid.centre + np.array([*rng.normal(0, 4, 2), 0])
        first = middle - spacing * (np.array(grid.shape) - 1) / 2
        first[2] = grid.origin[2] + cut[0] * z
        view = Grid.of((*grid.shape[:2], slices), spacing, np.round(first, 2))
    own = noise * float(np.exp(rng.normal(0, 0.15)))
    return Scanner(view, blur=0.0, thickness=0.0, noise=own, ramp=0.35, cutoff=0.9, streaks=0.3, modulation=0.15)
