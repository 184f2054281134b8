"""A thorax that breathes: what radiographs are projected from.

Canonical coordinates are LPS millimetres, z = 0 at the height of the ninth thoracic vertebra. A breath lowers the
diaphragm, lifts the ribs and widens the chest; nothing else is drawn anew, so that one generator state gives one
patient at any breath. Shapes and sizes are plausible, from textbooks' proportions; no paper's numbers are in them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jssr.core.grid import Grid
from jssr.core.volume import Points
from jssr.phantom.canvas import Array, Canvas, ellipsoid
from jssr.phantom.regions import Tissue
from jssr.phantom.tree import grow_tree, paint_tree

__all__ = ["Thorax", "make_thorax"]

T = Tissue
SIZE_MM = (452.0, 320.0, 440.0)
SPACING = 3.0
Marks = dict[str, NDArray[np.float64]]
_RIBS = range(1, 11)


@dataclass(frozen=True, eq=False)
class Thorax:
    """A patient in one breath.

    Args:
        grid: LPS axis-aligned.
        tissue: codes of `Tissue`, (grid.shape).
        landmarks: named points, LPS mm, the same names in every breath.
    """

    grid: Grid
    tissue: NDArray[np.uint8]
    landmarks: Points


@dataclass(frozen=True)
class _Chest:
    """The rib cage of a patient in a breath: half axes of its inside by height, and the diaphragm, whose higher dome is
    at `resting` breathed out and `drop` mm lower breathed in."""

    width: float
    depth: float
    breath: float
    resting: float
    drop: float
    dome: float

    def half(self, z: ArrayLike) -> tuple[Array, Array, Array]:
        """Half width, half depth and middle (y) at heights z."""
        z = np.asarray(z, dtype=np.float64)
        heights = [-190, -60, 20, 80, 120, 150, 168]
        a = np.interp(z, heights, [132, 138, 130, 110, 82, 50, 24]) * self.width * (1 + 0.03 * self.breath)
        b = np.interp(z, heights, [84, 90, 86, 74, 56, 36, 18]) * self.depth * (1 + 0.06 * self.breath)
        y = np.interp(z, [-150, 0, 160], [0, 0, 16])
        return a.astype(np.float32), b.astype(np.float32), y.astype(np.float32)

    def diaphragm(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Its height: two domes, the right one higher, deeper behind."""
        x, y = np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)
        right, left = (
            self.dome - low - 40 * ((x - at) / 75) ** 2 - 34 * ((y + 12) / 80) ** 2 - 0.28 * np.maximum(y, 0)
            for low, at in ((0, -64), (12, 62))
        )
        return np.maximum(np.maximum(right, left), self.dome - 105).astype(np.float32)


def make_thorax(rng: np.random.Generator, breath: float, spacing: float = SPACING) -> Thorax:
    """Draw one patient in a breath, 0 (out) to 1 (in); the same generator state gives the same patient."""
    canvas = Canvas(rng, SIZE_MM, spacing, float(rng.uniform(2, 5)))
    resting = float(rng.uniform(-28, -2))
    drop = float(rng.uniform(32, 52))
    width, depth = float(rng.uniform(0.9, 1.06)), float(rng.uniform(0.9, 1.08))
    chest = _Chest(width, depth, breath, resting, drop, resting - drop * breath)
    _paint_body(canvas, chest)
    marks = _paint_inside(canvas, chest)
    marks |= _paint_middle(canvas, chest)
    _paint_vessels(canvas, chest)
    marks |= _paint_spine(canvas, chest)
    marks |= _paint_ribs(canvas, chest)
    marks |= _paint_shoulders(canvas, chest)
    names = tuple(marks)
    points = canvas.to_world(np.array([marks[n] for n in names]), iterations=10)
    return Thorax(canvas.grid, canvas.tissue, Points(points, names))


def _paint_body(canvas: Canvas, chest: _Chest) -> None:
    """Skin, fat and muscle outside the ribs, shoulders, neck and the belly below."""
    rng = canvas.rng
    fat, muscle = float(rng.uniform(6, 26)), float(rng.uniform(12, 20))
    shoulders = float(rng.uniform(188, 206))
    breasts = float(rng.uniform(14, 34)) * (rng.random() < 0.5)
    x, y, z = canvas.x, canvas.y, canvas.z
    a, b, middle = chest.half(z)
    heights = [-220, 60, 95, 130, 160, 185, 212]
    wide = np.interp(z, heights, [0, 0, 166, shoulders, shoulders * 0.92, 100, 60]).astype(np.float32)
    deep = np.interp(z, heights, [0, 0, 84, 86, 74, 64, 58]).astype(np.float32)
    wide, deep = np.maximum(wide, a + muscle + 6), np.maximum(deep, b + muscle + 4)
    outline = (np.abs(x / (wide + fat)) ** 2.3 + np.abs((y - middle) / (deep + fat)) ** 2.3) ** np.float32(1 / 2.3)
    skin = (1 - outline) * (deep + fat) + 0.8 * canvas.rough
    for side in (-1, 1):
        breast = ellipsoid(x, y, z, [side * 78, -b.max() - 12, -18], [52, max(breasts, 1.0) + 14, 56])
        skin = np.maximum(skin, -breast) if breasts else skin
    canvas.tissue[skin > 0] = T.SKIN
    canvas.tissue[skin > 2] = T.FAT_SUBCUTANEOUS
    inner = (1 - (np.abs(x / wide) ** 2.3 + np.abs((y - middle) / deep) ** 2.3) ** np.float32(1 / 2.3)) * deep
    canvas.tissue[(inner + 0.8 * canvas.rough > 0) & (skin > 2)] = T.MUSCLE
    canvas.tissue[(np.abs(canvas.rough) < 0.08) & (canvas.tissue == T.MUSCLE)] = T.MUSCLE_FAT


def _cage(canvas: Canvas, chest: _Chest) -> Array:
    """Distance to the inside of the rib cage, mm, negative inside."""
    a, b, middle = chest.half(canvas.z)
    radius = np.sqrt((canvas.x / a) ** 2 + ((canvas.y - middle) / b) ** 2)
    top = canvas.z - 160
    found: Array = np.maximum((radius - 1) * np.minimum(a, b), top)
    return found


def _paint_inside(canvas: Canvas, chest: _Chest) -> Marks:
    """Lungs above the diaphragm, on both sides of the mediastinum; liver, stomach and spleen below."""
    rng = canvas.rng
    x, y, z = canvas.x, canvas.y, canvas.z
    cage = _cage(canvas, chest)
    above = z - chest.diaphragm(x, y)
    gap = np.interp(z, [-140, -40, 40, 110, 160], [30, 28, 24, 28, 16]) * np.interp(y, [-60, -25, 30], [0.4, 1, 1])
    canvas.tissue[cage < 0] = T.MUSCLE
    canvas.tissue[(cage < 0) & (above > -6)] = T.FAT_VISCERAL
    below = (cage < -4) & (above < -6)
    canvas.tissue[below & (x < 18)] = T.LIVER
    canvas.tissue[below & (x >= 18)] = T.SPLEEN
    bubble = np.array([62.0, -8.0, chest.dome - 46.0])
    gas = ellipsoid(x, y, z, bubble, rng.uniform([18, 14, 8], [34, 26, 20]))
    canvas.tissue[(gas < 0) & below] = T.STOMACH_GAS
    lung = np.maximum(np.maximum(cage + 5, gap.astype(np.float32) - np.abs(x)), -above)
    canvas.tissue[lung + 0.8 * canvas.rough < 0] = T.LUNG
    marks: Marks = {}
    for side, name in ((-1, "right"), (1, "left")):
        top = np.array([side * 64.0, -12.0, 0.0])
        top[2] = float(chest.diaphragm(top[0], top[1]))
        marks[f"dome_{name}"] = top
        marks[f"apex_{name}"] = np.array([side * 30.0, 16.0, 152.0])
        edge = side * float(chest.half(chest.dome - 40)[0]) * 0.95
        angle = float(chest.diaphragm(edge, 0.0))
        marks[f"costophrenic_{name}"] = np.array([edge, 0.0, angle])
    return marks


def _paint_middle(canvas: Canvas, chest: _Chest) -> Marks:
    """Heart, great vessels, windpipe."""
    rng = canvas.rng
    size = float(rng.uniform(0.86, 1.16))
    low = chest.dome
    centre = np.array([24.0, -30.0, low + 36.0])
    angle = np.deg2rad(float(rng.uniform(34, 48)) + 8 * chest.breath)
    x, y, z = canvas.x - np.float32(centre[0]), canvas.y, canvas.z - np.float32(centre[2])
    along = x * np.float32(np.cos(angle)) - z * np.float32(np.sin(angle))
    across = x * np.float32(np.sin(angle)) + z * np.float32(np.cos(angle))
    heart = ellipsoid(along, y, across, [0, centre[1], 0], np.array([72 - 4 * chest.breath, 44, 48]) * size)
    heart += 1.5 * canvas.rough
    free = canvas.among((slice(None),) * 3, (T.LUNG, T.FAT_VISCERAL))
    canvas.tissue[(heart < 0) & free] = T.HEART_BLOOD
    arch = float(rng.uniform(26, 36))
    aorta = [[14, -20, 5], [8, -24, 45], [14, -10, 66], [arch, 14, 64], [arch, 34, 40], [26, 46, -20], [16, 48, -190]]
    over = (T.LUNG, T.FAT_VISCERAL)
    canvas.paint_tube(np.array(aorta), [16, 15, 13, 13, 12, 12, 11], T.AORTA, over)
    canvas.paint_tube([[-18, -10, 110], [-20, -12, 60], [-20, -16, 5]], [9, 10, 11], T.VENA_CAVA, over)
    wind = [[0, 2, 215], [0, 8, 120], [0, 12, 52]]
    canvas.paint_tube(wind, 11.0, T.CARTILAGE, (*over, T.MUSCLE, T.MUSCLE_FAT))
    canvas.paint_tube(wind, 8.5, T.AIR, (T.CARTILAGE,))
    for side in (-1, 1):
        canvas.paint_tube([[0, 12, 52], [side * 22, 14, 34], [side * 42, 14, 16]], 6.0, T.AIR, over)
    tip = centre + 66 * size * np.array([np.cos(angle), 0, -np.sin(angle)])
    return {"carina": np.array([0.0, 12.0, 50.0]), "aortic_knob": np.array([arch, 14.0, 64.0]), "heart_tip": tip}


def _paint_vessels(canvas: Canvas, chest: _Chest) -> None:
    """Trees from each hilum through its lung, grown in the middle of a breath and stretched with the lung."""
    rng = canvas.rng
    middle = replace(chest, breath=0.5, dome=chest.resting - 0.5 * chest.drop)
    for side in (-1, 1):
        hilum = np.array([side * 34.0, 10.0, 24.0])
        share = rng.uniform(0, 1, (90, 3))
        z = middle.dome - 30 + (178 - middle.dome) * share[:, 2]
        a, b, centre = middle.half(z)
        x = side * (30 + (a - 34) * share[:, 0])
        reach = np.sqrt(np.maximum(1 - (x / a) ** 2, 0.02)) * b * 0.9
        goals = np.stack([x, centre + reach * (2 * share[:, 1] - 1), z], axis=1)
        goals = goals[goals[:, 2] > middle.diaphragm(goals[:, 0], goals[:, 1]) + 4]
        tree = grow_tree(rng, [(hilum - [side * 14.0, 0, 0], -1), (hilum, 0)], goals, 7.5, 0.9)
        stretched = replace(tree, points=_stretched(tree.points, middle, chest))
        paint_tree(canvas, stretched, T.LUNG_VESSEL, (T.LUNG,))


def _stretched(points: NDArray[np.float64], before: _Chest, after: _Chest) -> NDArray[np.float64]:
    """Where points of the lungs are in another breath: the same share of the way between diaphragm and apex, and
    between mediastinum and ribs."""
    top = 150.0
    z = top - (top - points[:, 2]) * (top - after.dome) / (top - before.dome)
    (a, b, y), (wider, deeper, centre) = before.half(points[:, 2]), after.half(z)
    inner = 30.0
    x = np.sign(points[:, 0]) * (inner + (np.abs(points[:, 0]) - inner) * (wider - inner) / np.maximum(a - inner, 1))
    return np.stack([x, centre + (points[:, 1] - y) * deeper / b, z], axis=1)


def _paint_spine(canvas: Canvas, chest: _Chest) -> Marks:
    marks: Marks = {}
    z, number = 178.0, 1
    while z > -200:
        pitch = 20.0 + 0.55 * number
        back = float(chest.half(z)[1] + chest.half(z)[2]) - 12
        size = 0.8 + 0.022 * number
        body = [[0, back, z - pitch * 0.4], [0, back, z + pitch * 0.4]]
        canvas.paint_tube(body, 17 * size, T.VERTEBRA_CORTEX)
        canvas.paint_tube(body, 17 * size - 2.2, T.VERTEBRA_MARROW)
        canvas.paint_tube([[0, back, z - pitch * 0.5], [0, back, z - pitch * 0.42]], 16 * size, T.DISC)
        canvas.paint_tube([[0, back + 20, z], [0, back + 46, z - 16]], 4.0, T.VERTEBRA_CORTEX)
        for side in (-1, 1):
            canvas.paint_tube([[side * 12, back + 16, z], [side * 34, back + 24, z]], 4.0, T.VERTEBRA_CORTEX)
            canvas.paint_tube([[side * 13, back + 8, z - 3], [side * 13, back + 18, z - 3]], 5.0, T.VERTEBRA_CORTEX)
        if 1 <= number <= 11:
            marks[f"vertebra_{number}"] = np.array([0.0, back, z])
        z, number = z - pitch, number + 1
    return marks


def _paint_ribs(canvas: Canvas, chest: _Chest) -> Marks:
    """Ten pairs of ribs and the sternum; a breath lifts their front ends."""
    marks: Marks = {}
    for k in _RIBS:
        behind = 168.0 - 24.5 * k
        fall = (26 + 8.0 * k) * (1 - 0.22 * chest.breath)
        t = np.linspace(0, 1, 22)
        turn = np.deg2rad(14 + t * (118 + 2.2 * min(k, 6)))
        z = behind - fall * (1 - np.cos(np.pi * t)) / 2
        a, b, middle = chest.half(z)
        for side, name in ((-1, "right"), (1, "left")):
            line = np.stack([side * (a + 3) * np.sin(turn), middle + (b + 3) * np.cos(turn), z], axis=1)
            canvas.paint_tube(line, 6.0, T.RIB_CORTEX)
            canvas.paint_tube(line, 3.6, T.RIB_MARROW)
            if k >= 3:
                marks[f"rib_{k}_{name}"] = line[len(line) // 2]
    z = np.array([92.0, 40.0, -40.0]) * 1.0
    front = [[0, float(chest.half(h)[2] - chest.half(h)[1]) - 4, h] for h in z]
    canvas.paint_tube(front, [13, 11, 8], T.RIB_MARROW)
    return marks


def _paint_shoulders(canvas: Canvas, chest: _Chest) -> Marks:
    """Collar bones, shoulder blades turned out of the lungs, heads of the arms."""
    rng = canvas.rng
    lift = 5 * chest.breath + float(rng.uniform(-6, 6))
    out = float(rng.uniform(112, 128))
    marks: Marks = {}
    for side, name in ((-1, "right"), (1, "left")):
        collar = [[14, -50, 112], [48, -58, 122], [90, -44, 136], [128, -18, 146], [160, 2, 146]]
        line = np.array([[side * x, y, z + lift] for x, y, z in collar])
        canvas.paint_tube(line, 6.0, T.RIB_CORTEX)
        canvas.paint_tube(line, 3.6, T.RIB_MARROW)
        marks[f"collar_{name}"] = line[2]
        x, y, z = canvas.x, canvas.y, canvas.z
        blade = ellipsoid(
            x, y - 0.45 * (side * x - out), z - 0.2 * (side * x - out), [side * out, 66, 66], [38, 4.5, 70]
        )
        canvas.tissue[(blade < 0) & canvas.among((slice(None),) * 3, (T.MUSCLE, T.MUSCLE_FAT))] = T.RIB_CORTEX
        canvas.paint_tube([[side * 84, 78, 104], [side * 164, 16, 142]], 5.0, T.RIB_CORTEX)
        canvas.paint_tube([[side * 176, 4, 122], [side * 182, 4, 116]], 21.0, T.FEMUR_MARROW)
        canvas.paint_tube([[side * 182, 4, 116], [side * 206, 4, 60], [side * 214, 4, 0]], 12.0, T.FEMUR_CORTEX)
    return marks
