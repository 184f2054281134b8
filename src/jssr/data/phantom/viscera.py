"""Solid organs beside the liver: kidneys, spleen, pancreas, adrenals, heart; and the muscles beside the spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.data.phantom.canvas import Canvas, ellipsoid, smax, smin
from jssr.data.phantom.liver import level
from jssr.data.phantom.ranges import Ranges
from jssr.data.phantom.tissue import Tissue
from jssr.data.phantom.torso import Torso, between

__all__ = ["Kidney", "draw_kidneys", "paint_adrenals", "paint_heart", "paint_kidney", "paint_pancreas", "paint_psoas", "paint_spleen"]

T = Tissue
SOFT = (T.FAT_VISCERAL, T.DIAPHRAGM)


@dataclass(frozen=True)
class Kidney:
    """One kidney: side (-1 right, 1 left), canonical centre, half axes along its own frame, and the frame's columns."""

    side: int
    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    frame: NDArray[np.float64]

    @property
    def hilum(self) -> NDArray[np.float64]:
        return self.centre - self.side * self.frame[:, 0] * (self.radii[0] - 6)

    def pole(self, sign: int) -> NDArray[np.float64]:
        return self.centre + sign * self.frame[:, 2] * (self.radii[2] - 5)

    @property
    def hull(self) -> NDArray[np.float64]:
        """Centre and half axes of an upright ellipsoid around it, (2, 3)."""
        return np.stack([self.centre, np.abs(self.frame) @ self.radii * 0.93])


def draw_kidneys(canvas: Canvas, torso: Torso, ranges: Ranges) -> dict[int, Kidney]:
    """Place both kidneys beside the spine, upper poles nearer to it and further back; the right one lower."""
    rng, body, out = canvas.rng, torso.body, {}
    base = float(rng.normal(0, 7))
    for side in (-1, 1):
        length = between(rng, ranges.kidney_length) / 2
        radii = np.array([length * float(rng.uniform(0.50, 0.56)), length * float(rng.uniform(0.44, 0.50)), length])
        z = base + (10.0 if side > 0 else -6.0) + float(rng.normal(0, 5))
        apart = min(56 + 0.10 * body.half, 0.56 * body.half) + float(rng.normal(0, 2))
        y = float(body.spine_y(z)) + 3 - 2.0 + float(rng.normal(0, 2))
        lean, tilt, turn = (float(np.deg2rad(a)) for a in (rng.uniform(8, 20), rng.uniform(5, 16), rng.uniform(15, 35)))
        axis = np.array([-side * np.sin(lean), np.sin(tilt), np.cos(lean)])
        axis /= np.linalg.norm(axis)
        # The hilum looks forward and to the middle.
        outward = np.array([side * np.cos(turn), np.sin(turn), 0.0])
        outward -= (outward @ axis) * axis
        outward *= side / np.linalg.norm(outward)
        frame = np.stack([outward, np.cross(axis, outward), axis], axis=1)
        out[side] = Kidney(side, np.array([side * apart, y, z]), radii, frame)
    return out


def paint_kidney(canvas: Canvas, torso: Torso, kidney: Kidney) -> None:
    """Cortex, medullary pyramids, the collecting system and the fat of the sinus."""
    rng = canvas.rng
    reach = np.abs(kidney.frame) @ kidney.radii
    box = canvas.box(kidney.centre - reach, kidney.centre + reach, margin=14)
    x, y, z = canvas.coordinates(box)
    p = [x - np.float32(kidney.centre[0]), y - np.float32(kidney.centre[1]), z - np.float32(kidney.centre[2])]
    u, v, w = (sum(p[i] * np.float32(kidney.frame[i, a]) for i in range(3)) for a in range(3))
    u = u * np.float32(kidney.side)  # from the hilum outwards
    r = kidney.radii
    bend = u + 0.22 * w * w / r[2]  # the bean's curve
    outer = ellipsoid(bend - 3.5, v, w, [0, 0, 0], r) + 0.6 * canvas.rough[box]
    outer = smax(outer, 2.0 - torso.wall[box], 4.0)
    sinus = ellipsoid(u + 0.62 * r[0], v, w, [0, 0, 0], [0.85 * r[0], 0.36 * r[1], 0.50 * r[2]]) + 1.0 * canvas.rough[box]
    right = kidney.side < 0
    cortex, medulla = (
        (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA) if right else (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA)
    )
    pelvis = T.KIDNEY_RIGHT_PELVIS if right else T.KIDNEY_LEFT_PELVIS
    body = np.maximum(outer, -sinus)
    canvas.paint(box, body < 0, cortex, over=[T.FAT_VISCERAL, T.DIAPHRAGM])
    # Pyramids: columns of cortex between them, around the sinus.
    around = np.arctan2(v / r[1], u / r[0] + 0.3)
    columns = np.cos(5.5 * around + float(rng.uniform(0, 6))) * np.cos(w * np.float32(np.pi / (0.30 * r[2])) + float(rng.uniform(0, 6)))
    canvas.paint(box, (outer < -6.0 - 1.5 * columns) & (columns > -0.55), medulla, over=[cortex])
    tract = ellipsoid(u + 0.65 * r[0], v, w, [0, 0, 0], [0.55 * r[0], 0.16 * r[1], 0.24 * r[2]])
    canvas.paint(box, tract + 0.8 * canvas.rough[box] < 0, pelvis, over=[T.FAT_VISCERAL, cortex])
    if rng.random() < 0.25:
        at = kidney.centre + kidney.frame @ (rng.standard_normal(3) * 0.4 * r + [0.6 * kidney.side * r[0], 0, 0])
        bubble = ellipsoid(x, y, z, at, np.full(3, rng.uniform(5, 14)))
        canvas.paint(box, bubble < 0, T.RENAL_CYST_RIGHT if right else T.RENAL_CYST_LEFT, over=[cortex, medulla, T.FAT_VISCERAL])


def paint_spleen(canvas: Canvas, torso: Torso, ranges: Ranges, kidney: Kidney, rough: float) -> dict[str, NDArray[np.float64]]:
    """A crescent under the left dome against the wall behind; returns its lower tip."""
    rng, body = canvas.rng, torso.body
    half, back = body.half, float(body.spine_y(50))
    centre = np.array([0.80 * half, back - float(rng.uniform(0, 12)), body.dome_left - float(rng.uniform(48, 62))])
    box = canvas.box(centre - 95, centre + 95, margin=0)
    x, y, z = canvas.coordinates(box)
    yy, zz = y - centre[1], z - centre[2]
    slant = 0.45
    shape = ellipsoid(x, yy + slant * zz, zz, [centre[0], 0, 0], [38, 54, 50])
    hollow = ellipsoid(x, yy + 0.2 * zz, zz, [centre[0] - 58, -18, -4], [48, 52, 80])
    gap = torso.cavity[box] - 2.8
    cut = smin(hollow, ellipsoid(x, y, z, kidney.hull[0], kidney.hull[1] + 5), 6.0)
    shape = shape + rough * np.roll(canvas.rough[box], 7, axis=0)
    open_ = (gap > 0) & (cut > 0) & canvas.among(box, SOFT)
    iso = level(shape, open_, between(rng, ranges.spleen_ml) * 1000 / canvas.spacing**3, -16.0, 26.0)
    distance = smax(smax(shape - iso, -gap, 5.0), -cut, 4.0)
    mask = (distance < 0) & canvas.free(box, SOFT, 1)
    canvas.paint(box, mask, T.SPLEEN, over=SOFT)
    deep = np.argwhere(distance < -4)
    if not len(deep):
        return {}
    low = deep[np.argmin(deep[:, 2])] + np.array([s.start for s in box])
    return {"spleen_tip": canvas.grid.world(low)}


def paint_pancreas(canvas: Canvas, torso: Torso, spleen_hilum: NDArray[np.float64], rough: float) -> NDArray[np.float64]:
    """A lobulated, flattened tube from the duodenal loop over the spine to the spleen; returns its line."""
    rng, body = canvas.rng, torso.body
    back = body.spine_front
    tail = spleen_hilum + np.array([-14.0, -6.0, -4.0])
    line = np.array(
        [
            [-30, back - 22, -22 + rng.normal(0, 4)],
            [-29, back - 27, -6],
            [-20, back - 34, 8],
            [2, back - 40, 17 + rng.normal(0, 3)],
            [22, back - 36, 24],
            0.55 * np.array([22, back - 36, 24]) + 0.45 * tail + [0, -3, 2],
            tail,
        ]
    )
    size = float(rng.uniform(0.85, 1.15))
    radii = size * np.array([10, 17, 15.5, 12, 11.5, 12.5, 10])
    fine, radii = resample(line, 24, radii)
    box, distance, _ = canvas.tube(fine, radii, margin=5.0)
    distance += (0.5 + 0.45 * rough) * np.roll(canvas.rough[box], 5, axis=1)
    canvas.paint(box, (distance < 0) & canvas.free(box, SOFT, 1), T.PANCREAS, over=SOFT)
    return fine


def resample(line: NDArray[np.float64], count: int, radii: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth curve (Catmull-Rom) of `count` points through a few, and its radii."""
    t = np.linspace(0, len(line) - 1, count)
    i = np.minimum(t.astype(int), len(line) - 2)
    f = (t - i)[:, None]
    padded = np.concatenate([2 * line[:1] - line[1:2], line, 2 * line[-1:] - line[-2:-1]])
    a, b, c, d = (padded[i + k] for k in range(4))
    curve = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    return curve, np.interp(t, np.arange(len(line)), radii)


def paint_adrenals(canvas: Canvas, torso: Torso, kidneys: dict[int, Kidney]) -> None:
    """Thin inverted Ys in the fat above and in front of the upper poles."""
    for side, kidney in kidneys.items():
        top = kidney.pole(1)
        apex = np.array([side * 27.0, top[1] - 14 - (4 if side > 0 else 0), top[2] + (2 if side > 0 else 8)])
        for lateral, behind in ((14, 12), (4, 17)):
            end = apex + [side * lateral, behind, -16]
            middle = 0.5 * (apex + end) + [side * 1.5, 0, 0]
            for shift in (0.0, -7.0):
                canvas.paint_tube(np.stack([apex, middle, end]) + [0, 0, shift], [3.4, 3.0, 2.2], T.ADRENAL, SOFT)


def paint_psoas(canvas: Canvas, torso: Torso) -> None:
    """Psoas beside the lumbar spine, growing downwards; quadratus lumborum behind the kidneys; the crura."""
    body = torso.body
    size = 1.08 - 0.2 * float(canvas.rng.random())
    over = (T.FAT_VISCERAL, T.MUSCLE_FAT)
    z = np.array([0.0, -30, -65, -100, -140, -185])
    for side in (-1, 1):
        x = side * np.array([25.0, 31, 37, 42, 52, 62])
        y = body.spine_y(z) + [8, 5, 2, -2, -12, -24]
        canvas.paint_tube(np.stack([x, y, z], 1), size * np.array([5, 10, 15, 19, 21, 19]), T.MUSCLE, over, swell=0.8)
        z2 = np.array([22.0, -20, -80])
        for off in (-10, 0, 10):
            line = np.stack([side * np.array([48.0 + off, 56 + off, 64 + off]), body.spine_y(z2) + 30, z2], 1)
            canvas.paint_tube(line, size * np.array([6.0, 9, 9]), T.MUSCLE, over, swell=0.6)
        crus = np.array([[side * 12.0, body.spine_front + 1, -18], [side * 15.0, body.spine_front - 3, 25], [side * 13, body.spine_front - 16, 66]])
        canvas.paint_tube(crus, [3.0, 5.0, 4.0], T.DIAPHRAGM, (T.FAT_VISCERAL, T.LUNG), swell=0.6)


def paint_heart(canvas: Canvas, torso: Torso) -> None:
    """Mediastinal fat, and the underside of the heart on the diaphragm."""
    rng, body = canvas.rng, torso.body
    back = float(body.spine_y(120))
    box = canvas.box([-70, body.front - 10, 40], [120, back + 30, 190], margin=4)
    x, y, z = canvas.coordinates(box)
    over = (T.LUNG,)
    column = smin(ellipsoid(x, y, z, [4, back - 26, 150], [30, 34, 150]), np.float32(1e3) * np.ones_like(x), 1.0)
    front = body.front
    heart = ellipsoid(x, y, z, [24, front + 48, min(body.dome_left, body.dome_right) + 24], [58, 43, 50]) + 1.5 * canvas.rough[box]
    canvas.paint(box, (smin(column, heart - 5, 12.0) < 0), T.FAT_VISCERAL, over)
    above = torso.dome[box] < -3
    ok = above & canvas.among(box, (T.FAT_VISCERAL, T.LUNG)) & (torso.wall[box] > 2)
    canvas.paint(box, ok & (heart < 0), T.MYOCARDIUM)
    base = np.array([24.0, front + 48, min(body.dome_left, body.dome_right) + 34])
    left = ellipsoid(x, y, z, base + [20, 8, 0], [25, 20, 34])
    right = ellipsoid(x, y, z, base + [-17, -9, -4], [30, 25, 37])
    canvas.paint(box, ok & (np.minimum(left, np.maximum(right, 9 - left)) + float(rng.normal(0, 1)) < 0), T.HEART_BLOOD, over=(T.MYOCARDIUM,))
    canvas.paint_tube([[14, back - 30, 190], [10, back - 32, 100], [22, back - 40, 84]], 6.0, T.OESOPHAGUS, (T.FAT_VISCERAL, T.DIAPHRAGM))
