"""The liver: its outline, the gallbladder under it, and its lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Array, Box, Canvas, ellipsoid, smax, smin, upsample
from jssr.phantom.kidney import Kidney
from jssr.phantom.ranges import Ranges
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Torso, between

__all__ = ["Liver", "paint_gallbladder", "paint_lesions", "paint_liver"]

T = Tissue
SOFT = (T.FAT_VISCERAL, T.DIAPHRAGM)


@dataclass(frozen=True)
class Liver:
    """The liver in its box: signed distance (negative inside) and where the hilum is (canonical mm)."""

    box: Box
    distance: Array
    hilum: NDArray[np.float64]


def level(values: Array, allowed: NDArray[np.bool_], voxels: float, low: float, high: float) -> float:
    """The iso-level of a distance below which as many allowed voxels lie as the volume asks for, within limits."""
    inside = values[allowed]
    inside = inside[inside < high]
    if inside.size == 0:
        return 0.0
    wanted = int(np.clip(voxels, 1, inside.size)) - 1
    return float(np.clip(np.partition(inside, wanted)[wanted], low, high))


def paint_liver(canvas: Canvas, torso: Torso, ranges: Ranges, kidney: Kidney, rough: float) -> Liver:
    """Paint the parenchyma: two lobes that fill the right dome, cut by vena cava, kidney, hilum and fissures.

    Args:
        kidney: the right one: it leaves its impression, with some fat around.
        rough: bumps of the outline (mm).
    """
    rng, body = canvas.rng, torso.body
    half, front, back = body.half, body.front, body.spine_front
    box, small = canvas.coarsened(
        canvas.box([-half - 12, front - 15, -95], [0.95 * half, back + 62, body.dome_right + 12])
    )
    x, y, z = (c[small] for c in canvas.coarse)
    hilum = np.array([-0.16 * half - 8, 0.30 * front + 0.70 * back, float(rng.uniform(34, 46))])
    reach = float(rng.uniform(0.15, 0.60)) * half
    volume = between(rng, ranges.liver_ml)
    dome = torso.dome[box][::2, ::2, ::2]
    shape = upsample(_lobes(canvas, torso, x, y, z, dome, reach, volume), _shape(box)) + rough * canvas.rough[box]
    cut = upsample(_cuts(x, y, z, torso, hilum, kidney, reach), _shape(box)) + 0.5 * rough * np.roll(
        canvas.rough[box], 9, axis=0
    )
    gap = torso.cavity[box] - 2.6
    open_ = (gap > 0) & (cut > 0) & canvas.among(box, SOFT)
    iso = level(shape, open_, volume * 1000 / canvas.spacing**3, -34.0, 36.0)
    distance = smax(smax(shape - iso, -gap, 5.0), -cut, 3.0)
    canvas.paint(box, distance < 0, T.LIVER, over=SOFT)
    return Liver(box, distance, hilum)


def _shape(box: Box) -> tuple[int, ...]:
    return tuple(s.stop - s.start for s in box)


def _lobes(
    canvas: Canvas, torso: Torso, x: Array, y: Array, z: Array, dome: Array, reach: float, volume: float
) -> Array:
    """Signed distance to the lobes before anything cuts them; `dome`: mm under the diaphragm; `reach`: how far left."""
    rng, body = canvas.rng, torso.body
    half, front, back, top = body.half, body.front, body.spine_front, body.dome_right
    tall = float(rng.uniform(78, 98)) * (volume / 1500) ** 0.5
    # It stands out of the dome and the flank: there the wall shapes it, whatever the volume.
    middle = [-0.62 * half, 0.42 * front + 0.58 * (back + 20), top - 0.64 * tall]
    right = ellipsoid(x, y, z, middle, [0.60 * half, 0.58 * (back + 55 - front), tall])
    # Riedel-like tip or a short liver: the lateral part reaches further down.
    low = [-0.86 * half, 0.5 * (front + back) + 12, float(rng.uniform(-5, 30))]
    tip = ellipsoid(x, y, z, low, [26, 52, float(rng.uniform(50, 70))])
    # The left lobe hangs from the diaphragm under the heart: a slab, thinner to the left.
    deep = float(rng.uniform(50, 78)) * (volume / 1500) ** 0.5 - np.float32(0.16) * np.maximum(x, 0)
    middle_x, wide = 0.5 * (reach - 0.65 * half), 0.5 * (reach + 0.65 * half) + 6
    long = 0.54 * (back - front)
    rim = np.sqrt(((x - middle_x) / wide) ** 2 + ((y - 0.58 * front - 0.42 * back) / long) ** 2) - 1
    slab = smax(dome - deep, rim * np.float32(min(wide, long)), 22.0)
    shape = smin(smin(right, tip, 22.0), slab, 24.0)
    return smin(shape, ellipsoid(x, y, z, [-13, back - 24, 66], [25, 19, 34]), 12.0)  # caudate lobe


def _cuts(
    x: Array, y: Array, z: Array, torso: Torso, hilum: NDArray[np.float64], kidney: Kidney, reach: float
) -> Array:
    """Signed distance that is negative where something else pushes into the liver."""
    body = torso.body
    back, front, half = body.spine_front, body.front, body.half
    # Nothing of the liver lies behind the kidney.
    cut = kidney.distance(x, np.minimum(y, np.float32(kidney.centre[1])), z) - (2.5 + 6.0 * body.obesity)
    cut = smin(cut, ellipsoid(x, y, z, hilum + [2, 2, -8], [22, 11, 15]), 5.0)
    # Behind the left lobe: oesophagus, stomach, lesser sac. In front of the spine: aorta and crura.
    cut = smin(
        cut,
        ellipsoid(x, y, z, [0.54 * half, 0.16 * front + 0.84 * back, 40], [0.42 * half, 0.48 * (back - front), 72]),
        8.0,
    )
    cut = smin(cut, ellipsoid(x, y, z, [10, back + 10, 60], [30, 25, 90]), 5.0)
    # Under the hilum the duodenum, the pancreas' head and the colon hold the liver to the right.
    cut = smin(cut, ellipsoid(x, y, z, [-0.05 * half, 0.5 * (front + back), -45], [0.42 * half, 80, 68]), 10.0)
    # Fissure of the round ligament, from below and in front.
    slit = np.abs(x + 0.12 * half - 0.06 * reach - 0.15 * (y - front)) - 2.2
    return np.minimum(cut, np.maximum(slit, np.maximum(z - 58, y - (front + 42))))


def paint_gallbladder(canvas: Canvas, liver: Liver, torso: Torso) -> dict[str, NDArray[np.float64]]:
    """A pear in the fossa under the liver, neck to the hilum; returns its fundus."""
    rng, body = canvas.rng, torso.body
    length, radius = float(rng.uniform(48, 75)), float(rng.uniform(10.5, 16.5))
    neck = liver.hilum + [-16, -4, -10]
    goal = np.array([-0.52 * body.half, 0.72 * body.front + 0.28 * body.spine_front, neck[2] - 42])
    along = (goal - neck) / np.linalg.norm(goal - neck)
    t = np.array([0.0, 0.15, 0.4, 0.65, 0.85])
    bend = np.outer(np.sin(t * np.pi), [0, 4, 5])
    line = neck + np.outer(t * length, along) + bend
    box, distance, _ = canvas.tube(line, radius * np.array([0.3, 0.45, 0.8, 1.0, 0.85]), margin=3.0)
    distance += 0.5 * canvas.rough[box]
    canvas.paint(box, distance < 3.2, T.FAT_VISCERAL, over=[T.LIVER])
    over = [T.LIVER, T.FAT_VISCERAL]
    ok = canvas.among(box, over)
    canvas.paint(box, (distance < 1.0) & ok, T.GALLBLADDER_WALL, over)
    canvas.paint(box, (distance < -0.6) & ok, T.BILE, over=[T.GALLBLADDER_WALL])
    return {"gallbladder_fundus": line[-1]}


def paint_lesions(canvas: Canvas, liver: Liver, ranges: Ranges) -> dict[str, NDArray[np.float64]]:
    """Up to some tumours and cysts of random kind and size; returns their centres (world mm)."""
    rng = canvas.rng
    centres: dict[str, NDArray[np.float64]] = {}
    count = int(rng.integers(ranges.tumours[0], ranges.tumours[1] + 1))
    inside = np.argwhere(liver.distance < -5)
    low, high = ranges.tumour_mm
    placed: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(12 * count):
        if len(placed) == count or len(inside) == 0:
            break
        # Small ones are common, large ones rare.
        size = low + (high - low) * float(rng.beta(1.0, 2.6))
        at = inside[rng.integers(len(inside))]
        depth = -float(liver.distance[tuple(at)])
        start = np.array([s.start for s in liver.box])
        world = canvas.grid.world(at + start)
        if depth < min(0.32 * size, 14) or any(np.linalg.norm(world - c) < 0.5 * (size + s) + 3 for c, s in placed):
            continue
        kind = _kind(rng, ranges, size)
        _lesion(canvas, world, size, kind)
        placed.append((world, size))
        centres[f"{'cyst' if kind == 'cyst' else 'tumour'}_{len(placed)}"] = world
    return centres


def _kind(rng: np.random.Generator, ranges: Ranges, size: float) -> str:
    pick = rng.random()
    if pick < ranges.cyst and size < 45:
        return "cyst"
    return "hcc" if pick < ranges.cyst + ranges.hypervascular * (1 - ranges.cyst) else "metastasis"


def _lesion(canvas: Canvas, world: NDArray[np.float64], size: float, kind: str) -> None:
    rng = canvas.rng
    radii = 0.5 * size * np.exp(0.13 * rng.standard_normal(3))
    box = canvas.box(world, world, float(radii.max()) * 1.4 + 4)
    axes = [
        canvas.origin[a] + canvas.spacing * np.arange(s.start, s.stop, dtype=np.float32) - world[a]
        for a, s in enumerate(box)
    ]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    p = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    u, v, w = np.tensordot(turn, p, axes=1)
    wobble = 0.0 if kind == "cyst" else 0.09 * size
    distance = ellipsoid(u, v, w, [0, 0, 0], radii) + np.float32(min(wobble, 3.5)) * canvas.rough[box]
    liver = (T.LIVER, T.HEPATIC_VEIN, T.PORTAL_BRANCH)
    if kind == "cyst":
        canvas.paint(box, distance < 0, T.CYST, liver)
        return
    outer, main, dead = {
        "hcc": (T.HCC_CAPSULE, T.HCC, T.HCC_NECROSIS),
        "metastasis": (T.METASTASIS_RIM, T.METASTASIS, T.METASTASIS_NECROSIS),
    }[kind]
    rim = float(rng.uniform(1.8, 4.0)) if rng.random() < (0.5 if kind == "hcc" else 0.75) and size > 14 else 0.0
    canvas.paint(box, distance < 0, outer if rim else main, liver)
    canvas.paint(box, distance < -rim, main, (outer,))
    if size > 24 and rng.random() < 0.6:
        core = distance + 0.25 * size * float(rng.uniform(0.6, 1.3)) + 4.0 * np.roll(canvas.rough[box], 3, axis=1)
        canvas.paint(box, core < 0, dead, (main,))
