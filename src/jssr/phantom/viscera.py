"""Spleen, pancreas, heart, and the muscles beside the spine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Canvas, ellipsoid, smax, smin
from jssr.phantom.kidney import Kidney
from jssr.phantom.liver import level
from jssr.phantom.ranges import Ranges
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Torso, between

__all__ = ["paint_heart", "paint_pancreas", "paint_psoas", "paint_spleen", "resample"]

T = Tissue
SOFT = (T.FAT_VISCERAL, T.DIAPHRAGM)


def paint_spleen(
    canvas: Canvas, torso: Torso, ranges: Ranges, kidney: Kidney, rough: float
) -> dict[str, NDArray[np.float64]]:
    """A crescent under the left dome against the wall behind; returns its lower tip."""
    rng, body = canvas.rng, torso.body
    half, back = body.half, float(body.spine_y(50))
    centre = np.array([0.80 * half, back - float(rng.uniform(0, 12)), body.dome_left - float(rng.uniform(44, 54))])
    box = canvas.box(centre - 95, centre + 95, margin=0)
    x, y, z = canvas.coordinates(box)
    yy, zz = y - centre[1], z - centre[2]
    slant = 0.45
    shape = ellipsoid(x, yy + slant * zz, zz, [centre[0], 0, 0], [38, 54, 50])
    hollow = ellipsoid(x, yy + 0.2 * zz, zz, [centre[0] - 58, -18, -4], [48, 52, 80])
    gap = torso.cavity[box] - 2.8
    cut = smin(hollow, kidney.distance(x, y, z) - (3.0 + 6.0 * body.obesity), 6.0)
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


def paint_pancreas(
    canvas: Canvas, torso: Torso, spleen_hilum: NDArray[np.float64], rough: float
) -> NDArray[np.float64]:
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
    canvas.paint(box, distance < 0, T.PANCREAS, over=SOFT)
    return fine


def resample(
    line: NDArray[np.float64], count: int, radii: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth curve (Catmull-Rom) of `count` points through a few, and its radii."""
    t = np.linspace(0, len(line) - 1, count)
    i = np.minimum(t.astype(int), len(line) - 2)
    f = (t - i)[:, None]
    padded = np.concatenate([2 * line[:1] - line[1:2], line, 2 * line[-1:] - line[-2:-1]])
    a, b, c, d = (padded[i + k] for k in range(4))
    curve = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    return curve, np.interp(t, np.arange(len(line)), radii)


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
            line = np.stack([side * np.array([48.0 + off, 56 + off, 64 + off]), body.spine_y(z2) + 36, z2], 1)
            canvas.paint_tube(line, size * np.array([6.0, 10, 11]), T.MUSCLE, over, swell=0.6)
        crus = np.array(
            [
                [side * 12.0, body.spine_front + 1, -18],
                [side * 15.0, body.spine_front - 3, 25],
                [side * 13, body.spine_front - 16, 66],
            ]
        )
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
    heart = (
        ellipsoid(x, y, z, [24, front + 48, min(body.dome_left, body.dome_right) + 24], [58, 43, 50])
        + 1.5 * canvas.rough[box]
    )
    canvas.paint(box, (smin(column, heart - 5, 12.0) < 0), T.FAT_VISCERAL, over)
    above = torso.dome[box] < -3
    ok = above & canvas.among(box, (T.FAT_VISCERAL, T.LUNG)) & (torso.wall[box] > 2)
    canvas.paint(box, ok & (heart < 0), T.MYOCARDIUM)
    base = np.array([24.0, front + 48, min(body.dome_left, body.dome_right) + 34])
    left = ellipsoid(x, y, z, base + [20, 8, 0], [25, 20, 34])
    right = ellipsoid(x, y, z, base + [-17, -9, -4], [30, 25, 37])
    canvas.paint(
        box,
        ok & (np.minimum(left, np.maximum(right, 9 - left)) + float(rng.normal(0, 1)) < 0),
        T.HEART_BLOOD,
        over=(T.MYOCARDIUM,),
    )
    canvas.paint_tube(
        [[14, back - 30, 190], [10, back - 32, 100], [22, back - 40, 84]],
        6.0,
        T.OESOPHAGUS,
        (T.FAT_VISCERAL, T.DIAPHRAGM),
    )
