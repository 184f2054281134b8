"""A phantom study from a real patient: the real anatomy of one CT, recoloured to the other phases and moved.

What is real: shape, fat, gas, bone, texture, the field of view. What is made: each organ's enhancement, added to the
real voxels where their HU say soft tissue, and the motion, which is known exactly. Voxels that enhance differently
inside one label (renal cortex and medulla, bowel wall, vessels of the liver) are told apart by depth and HU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.errors import GeometryError, ImageError, requires
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.phantom.atlas import label_of, tissue_of
from jssr.phantom.contrast import PatientContrast, sample_contrast, tissue_values
from jssr.phantom.motion import MotionRanges
from jssr.phantom.organs import (
    Organs,
    cavity_of,
    depth_in,
    estimate_phase,
    landmarks_of,
    noise_sd,
    sliding_of,
    upright,
)
from jssr.phantom.phases import CT_PHASES
from jssr.phantom.regions import LABELS, Tissue
from jssr.phantom.scanner import Scanner
from jssr.phantom.study import Study, Subject, assemble, stream
from jssr.phantom.writer import write_studies

__all__ = ["Recolouring", "make_recoloured_study", "write_recoloured"]


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
        phases: of the study; "venous" is the reference phase and keeps the CT's field of view.
        source_phase: the CT's own phase; None estimates it from the organs' HU.
        fresh_noise: take most of the noise off and give each phase its own of the same size. False keeps the CT's
            noise, which then moves with the patient: registration could follow it.
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
    organs = Organs.of(ct, labels, names)
    source = source_phase or estimate_phase(organs)
    noise = noise_sd(organs)
    subject = _subject(organs, source, sample_contrast(stream(*key, "contrast")), noise if fresh_noise else 0.0)
    top = float(subject.grid.world((0, 0, int(np.nonzero(subject.labels == LABELS["liver"])[2].max())))[2])
    own = noise if fresh_noise else 0.0
    scanners = {p: _scanner(stream(*key, "scanner", p), ct.grid, p, own, top) for p in phases}
    study = assemble(f"r{seed:04d}", subject, scanners, key, motion)
    study.info.update(seed=seed, source_phase=source, noise_hu=round(noise, 2))
    return study


class Recolouring(TypedDict, total=False):
    """How a CT is recoloured, as `make_recoloured_study` takes it."""

    phases: Sequence[str]
    source_phase: str | None
    fresh_noise: bool


def write_recoloured(
    out: str | os.PathLike[str],
    ct: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    names: Mapping[int, str],
    studies: int,
    seed: int,
    *,
    workers: int = 2,
    on_study: Callable[[int], None] | None = None,
    **how: Unpack[Recolouring],
) -> Cohort:
    """Write `studies` recoloured studies of one CT as a cohort; the i-th takes seed `seed + i`. All are test cases.

    Args and errors as in `make_recoloured_study` and `write_cohort`; `ct` and `labels` are files.
    """
    requires("phantom", "skimage")  # refused here once, before every worker process does
    arguments = {
        "ct": os.fspath(ct),
        "labels": os.fspath(labels),
        "names": dict(names),
        "seed": seed,
        "phases": tuple(how.get("phases", CT_PHASES)),
        "source_phase": how.get("source_phase"),
        "fresh_noise": how.get("fresh_noise", True),
    }
    return write_studies(out, "recoloured", _make, arguments, studies, {"test": 1.0}, workers, on_study)


def _make(index: int, *, ct: str, labels: str, seed: int, **rest: Any) -> Study:
    image, organs = read_image(ct, ndim=3), read_image(labels, "labels", 3)
    return make_recoloured_study(image, organs, seed=seed + index, **rest)


def _subject(organs: Organs, source: str, contrast: PatientContrast, remove: float) -> Subject:
    base = _denoised(organs.hu, remove) if remove > 0 else organs.hu
    cavity = cavity_of(organs)
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

    depth, mobility = sliding_of(organs, cavity)
    labels = organs.table(lambda n: float(label_of(n)), 0.0).astype(np.uint8)
    return Subject(organs.grid, labels, landmarks_of(organs), depth, mobility, paint, cut=True)


def _denoised(hu: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    """Total variation keeps edges; only the soft-tissue range is touched, where noise shows."""
    from skimage.restoration import denoise_tv_chambolle

    low, high = -250.0, 350.0
    shown = np.clip(hu, low, high)
    removed = shown - denoise_tv_chambolle(shown, weight=0.8 * sd, max_num_iter=30).astype(np.float32)
    # It also lowers the contrast of small organs: what is smooth in the removed part was no noise.
    return (hu - removed + ndimage.gaussian_filter(removed, 1.5)).astype(np.float32)


def _codes(organs: Organs, cavity: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The tissue whose enhancement each voxel takes."""
    codes = organs.table(lambda n: float(tissue_of(n)), 0.0).astype(np.uint8)
    shells = (
        (Tissue.STOMACH_CONTENT, Tissue.STOMACH_WALL, 4.0),
        (Tissue.SMALL_BOWEL_CONTENT, Tissue.SMALL_BOWEL_WALL, 4.0),
        (Tissue.STOOL, Tissue.COLON_WALL, 3.5),
        (Tissue.BILE, Tissue.GALLBLADDER_WALL, 2.0),
    )
    for inner, wall, thickness in shells:
        depth = depth_in(codes == inner, organs.grid)
        codes[(depth > 0) & (depth <= thickness)] = wall
    for cortex, medulla, pelvis in (
        (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_RIGHT_MEDULLA, Tissue.KIDNEY_RIGHT_PELVIS),
        (Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_LEFT_MEDULLA, Tissue.KIDNEY_LEFT_PELVIS),
    ):
        depth = depth_in(codes == cortex, organs.grid)
        codes[depth > 8] = medulla
        codes[(depth > 14) & (ndimage.gaussian_filter(organs.hu, 1.0) < 18)] = pelvis
    # What bears no label: in the cavity small vessels and mesentery, elsewhere muscle. Fat among it takes nothing up.
    rest = codes == Tissue.AIR
    codes[rest] = Tissue.MUSCLE
    codes[rest & cavity] = Tissue.MESENTERIC_VEIN
    return codes


def _liver_vessels(organs: Organs, base: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """0..1 where the liver's HU say vessel: above the liver after contrast, a little below it before."""
    liver = organs.where(lambda n: label_of(n) == LABELS["liver"])
    smooth = ndimage.gaussian_filter(base, 4.0 / 2.355 / organs.grid.spacing)
    level = np.median(smooth[liver])
    spread = max(4.0, float(1.4826 * np.median(np.abs(smooth[liver] - level))))
    if source == "non-contrast":
        share = np.clip((level - smooth - 1.3 * spread) / (1.5 * spread), 0, 1) * (smooth > level - 28)
    else:
        share = np.clip((smooth - level - 1.5 * spread) / (2 * spread), 0, 1)
    # Not the rim, where partial volume is dark too.
    inner = ndimage.binary_erosion(liver, iterations=max(1, int(round(5 / float(organs.grid.spacing.max())))))
    return (share * inner).astype(np.float32)


def _scanner(rng: np.random.Generator, grid: Grid, phase: str, noise: float, liver_top: float) -> Scanner:
    """The CT's own grid for the reference phase; other phases start, stop and are centred up to centimetres apart."""
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
        view = Grid.of((*grid.shape[:2], slices), spacing.tolist(), np.round(first, 2).tolist())
    own = noise * float(np.exp(rng.normal(0, 0.15)))
    return Scanner(view, blur=0.0, thickness=0.0, noise=own, ramp=0.35, cutoff=0.9, streaks=0.3, modulation=0.15)
