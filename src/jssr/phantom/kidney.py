"""Kidneys and adrenals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Array, Canvas, ellipsoid, smax
from jssr.phantom.ranges import Ranges
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Torso, between

__all__ = ["Kidney", "draw_kidneys", "paint_adrenals", "paint_kidney"]

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
        """The upper (1) or lower (-1) pole, 6 mm inside, on the bean's bent axis."""
        along = self.radii[2] - 6
        inwards = 0.22 * along**2 / self.radii[2] - 3.5
        return self.centre + sign * self.frame[:, 2] * along - self.side * self.frame[:, 0] * inwards

    def local(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Coordinates in the kidney's own frame: outwards from the hilum, to the back, along the axis (mm)."""
        p = [x - np.float32(self.centre[0]), y - np.float32(self.centre[1]), z - np.float32(self.centre[2])]
        u, v, w = (
            sum((p[i] * np.float32(self.frame[i, a]) for i in range(1, 3)), p[0] * np.float32(self.frame[0, a]))
            for a in range(3)
        )
        return u * np.float32(self.side), v, w

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance to its smooth outline (mm), the hilum filled."""
        u, v, w = self.local(x, y, z)
        return ellipsoid(u + np.float32(0.22 / self.radii[2]) * w * w - 3.5, v, w, [0, 0, 0], self.radii)


def draw_kidneys(canvas: Canvas, torso: Torso, ranges: Ranges) -> dict[int, Kidney]:
    """Place both kidneys beside the spine, upper poles nearer to it and further back; the right one lower."""
    rng, body, out = canvas.rng, torso.body, {}
    base = float(rng.normal(0, 7))
    for side in (-1, 1):
        length = between(rng, ranges.kidney_length) / 2
        radii = np.array([length * float(rng.uniform(0.50, 0.56)), length * float(rng.uniform(0.46, 0.52)), length])
        z = base + (10.0 if side > 0 else -6.0) + float(rng.normal(0, 5))
        apart = min(59 + 0.10 * body.half, 0.58 * body.half) + float(rng.normal(0, 2))
        # It lies on the back wall with a little fat between.
        y = (
            _back_wall(canvas, torso, side * apart, z)
            - radii[1]
            - 3.0
            - 5.0 * body.obesity
            - abs(float(rng.normal(0, 2)))
        )
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


def _back_wall(canvas: Canvas, torso: Torso, x: float, z: float) -> float:
    """Canonical y where the cavity ends behind (x, z)."""
    y = np.arange(torso.body.spine_front - 20, torso.body.depth / 2, 1.0)
    index = canvas.index(canvas.to_world(np.stack([np.full_like(y, x), y, np.full_like(y, z)], axis=1)))
    inside = np.flatnonzero(torso.wall[tuple(index.T)] > 0)
    return float(y[inside[-1]]) if len(inside) else float(torso.body.spine_y(z))


def paint_kidney(canvas: Canvas, torso: Torso, kidney: Kidney) -> None:
    """Cortex, medullary pyramids, the collecting system and the fat of the sinus."""
    rng = canvas.rng
    reach = np.abs(kidney.frame) @ kidney.radii
    box = canvas.box(kidney.centre - reach, kidney.centre + reach, margin=14)
    x, y, z = canvas.coordinates(box)
    u, v, w = kidney.local(x, y, z)
    r = kidney.radii
    outer = kidney.distance(x, y, z) + 0.6 * canvas.rough[box]
    outer = smax(outer, 2.0 - torso.wall[box], 4.0)
    sinus = (
        ellipsoid(u + 0.62 * r[0], v, w, [0, 0, 0], [0.85 * r[0], 0.36 * r[1], 0.50 * r[2]]) + 1.0 * canvas.rough[box]
    )
    right = kidney.side < 0
    cortex, medulla = (
        (T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA) if right else (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA)
    )
    pelvis = T.KIDNEY_RIGHT_PELVIS if right else T.KIDNEY_LEFT_PELVIS
    body = np.maximum(outer, -sinus)
    canvas.paint(box, body < 0, cortex, over=[T.FAT_VISCERAL, T.DIAPHRAGM])
    # Pyramids: columns of cortex between them, around the sinus.
    around = np.arctan2(v / r[1], u / r[0] + 0.3)
    columns = np.cos(5.5 * around + float(rng.uniform(0, 6))) * np.cos(
        w * np.float32(np.pi / (0.30 * r[2])) + float(rng.uniform(0, 6))
    )
    canvas.paint(box, (outer < -6.0 - 1.5 * columns) & (columns > -0.55), medulla, over=[cortex])
    tract = ellipsoid(u + 0.65 * r[0], v, w, [0, 0, 0], [0.55 * r[0], 0.16 * r[1], 0.24 * r[2]])
    canvas.paint(box, tract + 0.8 * canvas.rough[box] < 0, pelvis, over=[T.FAT_VISCERAL, cortex])
    if rng.random() < 0.25:
        at = kidney.centre + kidney.frame @ (rng.standard_normal(3) * 0.4 * r + [0.6 * kidney.side * r[0], 0, 0])
        bubble = ellipsoid(x, y, z, at, np.full(3, rng.uniform(5, 14)))
        canvas.paint(
            box, bubble < 0, T.RENAL_CYST_RIGHT if right else T.RENAL_CYST_LEFT, over=[cortex, medulla, T.FAT_VISCERAL]
        )


def paint_adrenals(canvas: Canvas, torso: Torso, kidneys: dict[int, Kidney]) -> None:
    """Thin inverted Ys in the fat above and in front of the upper poles."""
    for side, kidney in kidneys.items():
        top = kidney.pole(1)
        apex = np.array([side * 27.0, top[1] - 14 - (4 if side > 0 else 0), top[2] + (2 if side > 0 else 8)])
        for lateral, behind in ((14, 12), (4, 17)):
            end = apex + [side * lateral, behind, -16]
            middle = 0.5 * (apex + end) + [side * 1.5, 0, 0]
            for shift in (0.0, -7.0):
                canvas.paint_tube(np.stack([apex, middle, end]) + [0, 0, shift], [4.0, 3.6, 2.6], T.ADRENAL, SOFT)
