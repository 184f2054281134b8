"""One static patient: what is where, on a fine reference grid, and what slides when it breathes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.volume import Points
from jssr.phantom import bowel, kidney, liver, skeleton, vessels, viscera
from jssr.phantom.canvas import Array, Canvas, upsample
from jssr.phantom.ranges import SUPERVISED_POPULATION, TARGET_POPULATION, Ranges
from jssr.phantom.regions import LABELS, Tissue, labels_of
from jssr.phantom.torso import Torso, draw_body, paint_torso

__all__ = ["SUPERVISED_POPULATION", "TARGET_POPULATION", "Anatomy", "Ranges", "make_anatomy", "mobility_table"]

T = Tissue


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient in the reference state (breath held at rest).

    Args:
        grid: LPS axis-aligned, about 2 mm, 360 mm head to foot.
        tissue: codes of `Tissue`, (grid.shape).
        labels: evaluation labels, (grid.shape).
        landmarks: named points, LPS mm.
        cavity_depth: mm inside the peritoneal cavity (wall and diaphragm bound it), negative in the wall; smooth.
        mobility: 0..1, how much of the breathing a point follows; smooth.
    """

    grid: Grid
    tissue: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: Points
    cavity_depth: NDArray[np.float32]
    mobility: NDArray[np.float32]


def make_anatomy(rng: np.random.Generator, ranges: Ranges = TARGET_POPULATION) -> Anatomy:
    """Draw one patient; the same generator state gives the same bytes."""
    body = draw_body(rng, ranges)
    warp = float(rng.uniform(*ranges.warp))
    rough = float(rng.uniform(*ranges.rough))
    size = (body.width + 44, body.depth + 64, ranges.height)
    canvas = Canvas(rng, size, ranges.spacing, warp)
    torso = paint_torso(canvas, body)
    centres = skeleton.paint_spine(canvas, body)
    skeleton.paint_ribs(canvas, torso)
    skeleton.paint_pelvis(canvas, torso)
    viscera.paint_psoas(canvas, torso)
    viscera.paint_heart(canvas, torso)
    marks = {f"vertebra_{name}": point for name, point in centres.items()}
    world = _paint_organs(canvas, torso, ranges, rough, marks)
    if rng.random() < ranges.table:
        _paint_table(canvas, torso)
    landmarks = _landmarks(canvas, marks, world)
    return Anatomy(
        grid=canvas.grid,
        tissue=canvas.tissue,
        labels=labels_of(canvas.tissue),
        landmarks=landmarks,
        cavity_depth=torso.cavity.astype(np.float32, copy=False),
        mobility=_mobility(canvas).astype(np.float32, copy=False),
    )


def _paint_organs(
    canvas: Canvas, torso: Torso, ranges: Ranges, rough: float, marks: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Paint in the order of who yields to whom; fills `marks` (canonical) and returns more landmarks in the world."""
    kidneys = kidney.draw_kidneys(canvas, torso, ranges)
    for side, one in kidneys.items():
        kidney.paint_kidney(canvas, torso, one)
        name = "right" if side < 0 else "left"
        marks[f"kidney_{name}_upper_pole"], marks[f"kidney_{name}_lower_pole"] = one.pole(1), one.pole(-1)
    kidney.paint_adrenals(canvas, torso, kidneys)
    made = liver.paint_liver(canvas, torso, ranges, kidneys[-1], rough)
    marks |= vessels.paint_great_vessels(canvas, torso, kidneys)
    world = viscera.paint_spleen(canvas, torso, ranges, kidneys[1], rough)
    body = torso.body
    hilum = np.array([0.56 * body.half, float(body.spine_y(50)) - 16, body.dome_left - 62])
    found, bore = vessels.paint_portal_system(canvas, torso, made, hilum)
    marks |= found
    marks |= vessels.paint_liver_vessels(canvas, torso, made, float(bore[0]))
    world |= _liver_poles(canvas, made)
    world |= liver.paint_lesions(canvas, made, ranges)
    marks |= liver.paint_gallbladder(canvas, made, torso)
    viscera.paint_pancreas(canvas, torso, hilum, rough)
    bowel.paint_stomach(canvas, torso, rough)
    bowel.paint_colon(canvas, torso)
    bowel.paint_small_bowel(canvas, torso, ranges)
    vessels.paint_mesentery(canvas, torso)
    vessels.paint_lung_vessels(canvas, torso)
    return world


def _liver_poles(canvas: Canvas, made: liver.Liver) -> dict[str, NDArray[np.float64]]:
    inside = np.argwhere(made.distance < -3)
    start = np.array([s.start for s in made.box])
    return {
        "liver_dome": canvas.grid.world(inside[np.argmax(inside[:, 2])] + start),
        "liver_tip": canvas.grid.world(inside[np.argmin(inside[:, 2])] + start),
    }


_HOME: dict[str, tuple[str, ...]] = {
    "vertebra": ("vertebrae",),
    "kidney_right": ("kidney_right",),
    "kidney_left": ("kidney_left",),
    "portal_bifurcation": ("portal_vein", "liver"),
    "portal_branch": ("liver", "liver_tumour"),
    "portal_confluence": ("portal_vein",),
    "hepatic_vein": ("liver", "liver_tumour", "inferior_vena_cava"),
    "tumour": ("liver_tumour",),
    "cyst": ("liver",),
    "liver": ("liver", "liver_tumour"),
    "spleen": ("spleen",),
    "gallbladder": ("gallbladder",),
}


def _landmarks(canvas: Canvas, marks: dict[str, NDArray[np.float64]], world: dict[str, NDArray[np.float64]]) -> Points:
    """All points in the world; one that another organ has covered, or that lies outside the grid, is left out."""
    names = (*marks, *world)
    bent = canvas.to_world(np.array(list(marks.values())), iterations=15)
    points = np.concatenate([bent, np.array(list(world.values())).reshape(-1, 3)])
    here = labels_of(canvas.tissue[tuple(canvas.index(points).T)])
    keep = canvas.grid.contains(points)
    for n, name in enumerate(names):
        home = next((v for k, v in _HOME.items() if name.startswith(k)), ())
        keep[n] &= not home or here[n] in [LABELS[h] for h in home]
    return Points(points[keep], tuple(n for n, k in zip(names, keep, strict=True) if k))


def _paint_table(canvas: Canvas, torso: Torso) -> None:
    """A thin curved plate 3 to 8 mm under the back."""
    axes = [canvas.origin[a] + canvas.spacing * np.arange(n, dtype=np.float32) for a, n in enumerate(canvas.shape)]
    lowest = axes[1][np.flatnonzero((canvas.tissue != T.AIR).any(axis=(0, 2))).max()] + float(canvas.rng.uniform(3, 8))
    bend = float(canvas.rng.uniform(0.0, 1.3e-3))
    plate = np.abs(axes[1][None, :] - (lowest - bend * axes[0][:, None] ** 2)) < 0.51 * canvas.spacing
    mask = np.broadcast_to(plate[:, :, None], canvas.shape) & (canvas.tissue == T.AIR)
    canvas.tissue[mask] = T.TABLE


_MOBILE: tuple[tuple[float, tuple[Tissue, ...]], ...] = (
    (1.0, (T.LIVER, T.HEPATIC_VEIN, T.PORTAL_BRANCH, T.HCC, T.METASTASIS, T.CYST)),
    (0.95, (T.DIAPHRAGM, T.SPLEEN, T.BILE, T.GALLBLADDER_WALL)),
    (0.9, (T.STOMACH_WALL, T.STOMACH_CONTENT, T.STOMACH_GAS)),
    (0.8, (T.LUNG,)),
    (0.65, (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA)),
    (0.6, (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA, T.ADRENAL, T.PANCREAS, T.PORTAL_VEIN)),
    (0.5, (T.HEART_BLOOD, T.MYOCARDIUM)),
    (0.4, (T.STOOL, T.COLON_WALL, T.BOWEL_GAS)),
    (0.35, (T.SMALL_BOWEL_CONTENT, T.SMALL_BOWEL_WALL)),
    (0.15, (T.VENA_CAVA, T.CARTILAGE)),
    (0.12, (T.RIB_CORTEX, T.RIB_MARROW)),
    (0.08, (T.MUSCLE, T.FAT_SUBCUTANEOUS, T.SKIN)),
    (0.06, (T.AORTA,)),
    (0.04, (T.VERTEBRA_CORTEX, T.VERTEBRA_MARROW, T.DISC, T.CANAL)),
    (0.0, (T.PELVIS_CORTEX, T.PELVIS_MARROW)),
)


def mobility_table() -> Tensor:
    """The share of the breath that each tissue code follows, (256,) float32; fat takes 0.4, what is not known 0."""
    table = torch.zeros(256)
    for mobile, tissues in _MOBILE:
        table[list(tissues)] = mobile
    table[T.FAT_VISCERAL] = 0.4
    return table


def _mobility(canvas: Canvas) -> Array:
    """Known tissues carry their mobility, the fat between takes it from its neighbours; less towards the pelvis."""
    value, known = np.zeros(256, np.float32), np.zeros(256, np.float32)
    for mobile, tissues in _MOBILE:
        value[list(tissues)], known[list(tissues)] = mobile, 1.0
    known[T.FAT_VISCERAL], value[T.FAT_VISCERAL] = 0.08, 0.4
    known[T.AIR], value[T.AIR] = 0.05, 0.08
    codes = canvas.tissue[::2, ::2, ::2]
    weight = known[codes]
    down = np.interp(canvas.coarse[2], [-170, -20], [0.35, 1.0]).astype(np.float32)
    sigma = 7.0 / (2 * canvas.spacing)
    top = gaussian_filter(value[codes] * weight * down, sigma)
    field = top / np.maximum(gaussian_filter(weight, sigma), 1e-4)
    return np.clip(upsample(field.astype(np.float32), canvas.shape), 0, 1)
