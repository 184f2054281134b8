"""The trunk: skin, fat, muscle wall, the cavity inside, the diaphragm's domes and the lungs above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from jssr.phantom.canvas import Array, Canvas, smin, smooth_noise
from jssr.phantom.ranges import Interval, Ranges
from jssr.phantom.regions import Tissue

__all__ = ["Body", "Torso", "draw_body", "paint_torso"]

ANGLES = 180  # of the polar tables; 0 = patient's left, a quarter turn = back


def between(rng: np.random.Generator, interval: Interval) -> float:
    return float(rng.uniform(*interval))


@dataclass(frozen=True)
class Body:
    """Measures of one patient (canonical mm, L1 at z = 0); `obesity` 0 lean .. 1 obese."""

    width: float
    depth: float
    obesity: float
    flank_fat: float
    front_fat: float
    back_fat: float
    wall: float  # muscle and ribs at the flank
    dome_right: float
    dome_left: float
    lordosis: float
    squareness: float
    recess: float  # how far the lung reaches down behind the dome

    @property
    def half(self) -> float:
        """Half width of the cavity."""
        return self.width / 2 - self.flank_fat - self.wall

    @property
    def front(self) -> float:
        """y of the cavity's front wall in the midline."""
        return -self.depth / 2 + self.front_fat + 12.0

    def spine_y(self, z: ArrayLike) -> NDArray[np.float64]:
        """y of the centre of the vertebral bodies at height z: lumbar lordosis, thoracic kyphosis."""
        base = self.depth / 2 - self.back_fat - 65.0
        return base - self.lordosis * np.cos((np.asarray(z, dtype=np.float64) + 70.0) / 75.0)

    @property
    def spine_front(self) -> float:
        return float(self.spine_y(20.0)) - 17.0


@dataclass(frozen=True)
class Torso:
    """Signed distances on the reference grid (mm, positive inside): to skin, wall and diaphragm."""

    body: Body
    skin: Array
    muscle: Array
    wall: Array  # depth inside the thoracic and abdominal wall, spine and psoas taken out
    dome: Array  # below the diaphragm: positive
    cavity: Array  # smooth minimum of the two: where organs slide


def draw_body(rng: np.random.Generator, ranges: Ranges) -> Body:
    """Draw the measures of one patient: width and depth go together, fat follows them."""
    obesity = float(np.clip(rng.beta(1.8, 2.2), 0.02, 0.98))

    def along(interval: Interval, noise: float) -> float:
        t = float(np.clip(obesity + noise * rng.standard_normal(), 0, 1))
        return interval[0] + t * (interval[1] - interval[0])

    width, depth = along(ranges.body_width, 0.12), along(ranges.body_depth, 0.12)
    lean, obese = between(rng, ranges.fat_lean), between(rng, ranges.fat_obese)
    # Men keep their fat inside, women under the skin: the same girth with a thin or a thick layer.
    layer = (lean + (obese - lean) * obesity) * float(rng.uniform(0.6, 1.05))
    right = between(rng, ranges.dome_z)
    return Body(
        width=width,
        depth=depth,
        obesity=obesity,
        flank_fat=layer,
        front_fat=layer * float(rng.uniform(0.6, 1.1)),
        back_fat=layer * float(rng.uniform(0.6, 1.0)) + 3,
        wall=float(rng.uniform(17, 22)),
        dome_right=right,
        dome_left=right - float(rng.uniform(4, 20)),
        lordosis=float(rng.uniform(5, 15)),
        squareness=float(rng.uniform(2.15, 2.6)),
        recess=float(rng.uniform(55, 92)),
    )


def _polar(table: NDArray[np.float64], angle: Array, z: Array, bottom: float, step: float) -> Array:
    at = np.stack([np.mod(angle, 2 * np.pi) * (ANGLES / (2 * np.pi)), (z - bottom) / step])
    wrapped = np.concatenate([table, table[:1]], axis=0)
    return map_coordinates(wrapped.astype(np.float32), at, order=1, mode="nearest", output=np.float32)


def _tables(rng: np.random.Generator, body: Body, heights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Radius of skin, muscle and cavity by angle and height, (ANGLES, len(heights)) each."""
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)[:, None]
    z = heights[None]
    back, front = np.maximum(np.sin(angle), 0), np.maximum(-np.sin(angle), 0)
    hips = 1 / (1 + np.exp((z + 132) / 14))
    chest = 1 / (1 + np.exp(-(z - 70) / 25))
    waist = np.exp(-(((z + 35) / 45) ** 2)) * (0.07 - 0.09 * body.obesity)
    half_width = body.width / 2 * (1 - waist + 0.03 * hips - 0.02 * chest)
    half_depth = body.depth / 2 * (1 - 0.6 * waist * front)
    n = body.squareness + 0.35 * back
    skin = (np.abs(np.cos(angle) / half_width) ** n + np.abs(np.sin(angle) / half_depth) ** n) ** (-1 / n)
    groove = np.exp(-((np.cos(angle) / 0.17) ** 2))
    skin = skin - 5 * groove * (back > 0)
    # A flat back: the patient lies on it.
    skin = np.minimum(skin, (body.depth / 2 - 2) / np.maximum(np.sin(angle), 1e-3) * (back > 0.2) + 1e4 * (back <= 0.2))
    wave = gaussian_filter(rng.standard_normal(skin.shape), (14, 12), mode=("wrap", "nearest"))
    skin = skin + 3.0 * wave / wave.std()
    fat = body.flank_fat + (body.front_fat - body.flank_fat) * front**2 + (body.back_fat - body.flank_fat) * back**2
    # Less over the ribs, more over the hips.
    fat = fat * (1 - 0.35 * chest + 0.45 * hips * (1 - 0.5 * front))
    fat = np.maximum(fat * (1 + 0.10 * np.roll(wave, 40, axis=0) / wave.std()), 3.5)
    muscle = skin - fat
    paraspinal = 30 * np.exp(-(((np.abs(angle - np.pi / 2)) / 0.72) ** 2))
    # Iliac wings and the gluteal muscles outside them thicken the wall of the pelvis.
    wall = body.wall - (body.wall - 11) * front**3 + paraspinal + 24 * hips * (1 - front) ** 0.7
    cavity = muscle - wall
    smooth = [gaussian_filter1d(t, 1.5, axis=0, mode="wrap") for t in (skin, muscle, cavity)]
    return tuple(smooth)


def _dome(canvas: Canvas, body: Body, x: Array, y: Array, wall: Array) -> Array:
    """Height of the diaphragm over each point: two domes that fall off into the recess along the wall."""
    half = body.half
    right = np.exp(-(((x + 0.52 * half) / (0.62 * half)) ** 4))
    left = np.exp(-(((x - 0.54 * half) / (0.58 * half)) ** 4))
    middle = min(body.dome_left, body.dome_right) - 20
    top = middle + (body.dome_right - middle) * right + (body.dome_left - middle) * left
    crest = body.front + 0.40 * (body.depth / 2 - body.back_fat - 30 - body.front)
    top = top - 11 * ((y - crest) / 60) ** 2
    behind = 1 / (1 + np.exp(-(y - crest - 5) / 22))
    drop = 24 + (body.recess - 24) * behind
    inside = np.maximum(wall, 0)
    return top - drop * np.exp(-inside / 12.0) + 2.5 * smooth_noise(canvas.rng, x.shape, 2 * canvas.spacing, 45.0)


def paint_torso(canvas: Canvas, body: Body) -> Torso:
    """Fill the body: skin, fat, muscle, diaphragm, lung; inside the cavity everything is visceral fat at first."""
    x, y, z = canvas.coarse
    bottom, step = float(canvas.origin[2]) - 24, 8.0
    heights = np.arange(bottom, -bottom + step, step, dtype=np.float64)
    tables = _tables(canvas.rng, body, heights)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    # One tilt of the outline serves its layers: they are nearly parallel.
    tilt = np.gradient(tables[0], 2 * np.pi / ANGLES, axis=0) / tables[0]
    steep = 1 / np.sqrt(1 + _polar(tilt, angle, z, bottom, step) ** 2)
    depths: list[Array] = [(_polar(t, angle, z, bottom, step) - radius) * steep for t in tables]
    skin, muscle, inner = depths
    spine = body.spine_y(z).astype(np.float32)
    # Spine and the muscles beside it bulge into the cavity from behind.
    width = 27 + 16 / (1 + np.exp((z + 45) / 16))
    bulge = np.sqrt((x / width * 22) ** 2 + (y - spine - 6) ** 2) - 22
    wall = smin(inner, bulge, 10.0)
    dome = (_dome(canvas, body, x, y, wall) - z) * np.float32(0.85)
    cavity = gaussian_filter(smin(wall, dome, 6.0), 0.8)
    fine = Torso(body, *(canvas.refine(f) for f in (skin, muscle, wall, dome, cavity)))
    _fill(canvas, fine)
    return fine


def _fill(canvas: Canvas, torso: Torso) -> None:
    tissue = canvas.tissue
    tissue[torso.skin > 0] = Tissue.SKIN
    tissue[torso.skin > 1.8] = Tissue.FAT_SUBCUTANEOUS
    tissue[torso.muscle > 0] = Tissue.MUSCLE
    _muscle_fat(canvas, torso)
    inside = torso.wall > 0
    tissue[inside] = Tissue.FAT_VISCERAL
    tissue[inside & (torso.dome < 0) & (torso.wall > 1.2)] = Tissue.LUNG
    tissue[inside & (torso.dome > 0) & (torso.dome < 2.6) & (torso.wall > 1.2)] = Tissue.DIAPHRAGM


def _muscle_fat(canvas: Canvas, torso: Torso) -> None:
    """Fat planes between the layers of the wall, and streaks in the back muscles."""
    body = torso.body
    at = np.nonzero((canvas.tissue == Tissue.MUSCLE) & (torso.muscle > 1.5) & (torso.wall < -1))
    x, y, z = canvas.x[at], canvas.y[at], canvas.z[at]
    streak = (canvas.rough + np.roll(canvas.rough, (11, 7, 5), (0, 1, 2)))[at] * 0.7
    muscle = torso.muscle[at]
    share = muscle / np.maximum(muscle - torso.wall[at], 1)
    plane = (np.abs(share - 0.36) < 0.06) | (np.abs(share - 0.70) < 0.05)
    plane &= (y < 0.3 * body.depth) & (np.abs(x) > 0.35 * body.half) & (z < 40) & (streak > 0.1 - 0.8 * body.obesity)
    back = (y > body.spine_y(0.0) + 10) & (np.abs(streak) < 0.05 + 0.07 * body.obesity)
    front = (np.abs(x) < 4.5) & (y < 0)  # linea alba
    mask = plane | back | front
    canvas.tissue[tuple(a[mask] for a in at)] = Tissue.MUSCLE_FAT
