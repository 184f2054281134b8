"""A male pelvis between bladder and ischium: a second anatomy on the canvas of the first.

Canonical coordinates are LPS millimetres, 0 at the middle between the centres of the femoral heads. Shapes and sizes
are plausible, from textbooks' proportions; no paper's numbers are in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from jssr.core.grid import Grid
from jssr.core.volume import Points
from jssr.phantom.canvas import Array, Canvas, ellipsoid, smax
from jssr.phantom.regions import Tissue, pelvis_labels_of

__all__ = ["Pelvis", "make_pelvis"]

T = Tissue
SIZE_MM = (330.0, 280.0, 190.0)
"""Of the reference grid: the field of view, and room for what moves into it."""
SOFT = (T.FAT_VISCERAL, T.MUSCLE_FAT)


@dataclass(frozen=True, eq=False)
class Pelvis:
    """A patient in the reference state.

    Args:
        grid: LPS axis-aligned.
        tissue: codes of `Tissue`, (grid.shape).
        labels: `PELVIS_LABELS`, (grid.shape).
        landmarks: named points, LPS mm.
        bladder: centre and radii, LPS mm, (2, 3).
        rectum: centre line (N, 3) and radius (N,), LPS mm.
        mobility: 0..1, how freely a point gives way: bones do not, fat does; smooth.
    """

    grid: Grid
    tissue: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: Points
    bladder: NDArray[np.float64]
    rectum: tuple[NDArray[np.float64], NDArray[np.float64]]
    mobility: NDArray[np.float32]


def make_pelvis(rng: np.random.Generator, spacing: float = 2.0, size_mm: Sequence[float] = SIZE_MM) -> Pelvis:
    """Draw one patient on a grid of `size_mm`; the same generator state gives the same bytes."""
    canvas = Canvas(rng, size_mm, spacing, float(rng.uniform(3, 7)))
    size = float(rng.uniform(0.93, 1.07))
    _paint_body(canvas, size)
    marks = _paint_bones(canvas, size)
    bladder, organs = _paint_organs(canvas, size)
    line, radius = _paint_rectum(canvas, size)
    _paint_between(canvas, size)
    marks |= organs
    names = tuple(marks)
    points = canvas.to_world(np.array([marks[n] for n in names]), iterations=15)
    inside = canvas.grid.contains(points)
    return Pelvis(
        grid=canvas.grid,
        tissue=canvas.tissue,
        labels=pelvis_labels_of(canvas.tissue),
        landmarks=Points(points[inside], tuple(n for n, k in zip(names, inside, strict=True) if k)),
        bladder=np.stack([canvas.to_world(bladder[0])[0], bladder[1]]),
        rectum=(canvas.to_world(line), radius),
        mobility=_mobility(canvas),
    )


def _paint_body(canvas: Canvas, size: float) -> None:
    """Skin, fat, the muscles round the hips, and the fat of the pelvic cavity."""
    rng = canvas.rng
    half = np.array([rng.uniform(172, 205), rng.uniform(104, 128)]) * size
    fat = float(rng.uniform(14, 34))
    x, y, z = canvas.x, canvas.y, canvas.z
    outline = (np.abs(x / half[0]) ** 2.4 + np.abs(y / half[1]) ** 2.4) ** np.float32(1 / 2.4)
    skin = (1 - outline) * np.float32(half.min()) + 0.8 * canvas.rough
    canvas.tissue[skin > 0] = T.SKIN
    canvas.tissue[skin > 1.8] = T.FAT_SUBCUTANEOUS
    buttocks = np.maximum(y, 0) * 0.16 * np.exp(-((x / 45) ** 2))  # the cleft behind has more fat
    muscle = skin - fat - buttocks
    canvas.tissue[muscle > 0] = T.MUSCLE
    streak = (canvas.rough + np.roll(canvas.rough, (9, 6, 4), (0, 1, 2))) * 0.7
    planes = (np.abs(streak) < 0.10) & (muscle > 2)
    canvas.tissue[planes] = T.MUSCLE_FAT
    # The cavity: wide above, narrow at the pelvic floor.
    narrow = np.interp(z, [-75, -45, 10, 70], [0.28, 0.62, 0.95, 1.2]).astype(np.float32)
    cavity = ellipsoid(
        x / narrow, y / np.maximum(narrow, 0.8), np.zeros_like(z), [0, 12, 0], [66 * size, 66 * size, 99]
    )
    canvas.tissue[(cavity + 1.5 * canvas.rough < 0) & (muscle > 6)] = T.FAT_VISCERAL


def _paint_bones(canvas: Canvas, size: float) -> dict[str, NDArray[np.float64]]:
    """Femoral heads in their sockets, rami, ischia, wings and sacrum; returns landmarks."""
    rng = canvas.rng
    marks: dict[str, NDArray[np.float64]] = {}
    head = float(rng.uniform(22, 26)) * size
    apart = float(rng.uniform(84, 92)) * size
    sacrum = [[0, 74, 90], [0, 86, 55], [0, 84, 22], [0, 70, -2], [0, 58, -14]]
    _bone(canvas, sacrum, [24, 21, 15, 9, 5])
    for side, name in ((-1, "right"), (1, "left")):
        centre = np.array([side * apart, 4.0, 0.0])
        socket = centre + [-side * 8.0, 0, 5]
        _bone(canvas, np.stack([socket, socket + [-side * 2.0, 4, 6]]), head + 7)
        _bone(
            canvas,
            [centre + [side * 2.0, 8, 30], centre + [side * 6.0, 18, 70], centre + [side * 2.0, 30, 105]],
            [17, 14, 17],
        )
        pubis = np.array([side * 9.0, -50 * size, -22.0])
        ramus = np.stack([centre + [-side * 16.0, -14, -8], [side * 45, -40 * size, -8], pubis])
        _bone(canvas, ramus, [11, 8, 10])
        tuber = np.array([side * 58 * size, 46.0, -66.0])
        _bone(canvas, [centre + [-side * 10.0, 20, -16], tuber], [14, 13])
        _bone(canvas, np.stack([tuber, [side * 34, -10, -58], pubis + [side * 4.0, 2, -6]]), [9, 6, 7])
        _femur(canvas, centre, side, head)
        marks |= {f"femoral_head_{name}": centre, f"ischium_{name}": tuber, f"pubis_{name}": pubis}
    marks["sacrum"] = np.array([0.0, 84, 22])
    canvas.paint_tube([[0, -50 * size, -32], [0, -50 * size, -12]], 4.5, T.CARTILAGE)
    return marks


def _bone(canvas: Canvas, points: ArrayLike, radii: ArrayLike) -> None:
    box, distance, _ = canvas.tube(points, radii, margin=3.0)
    distance = distance + 0.9 * canvas.rough[box]
    free = canvas.tissue[box] != T.AIR
    canvas.paint(box, (distance < 0) & free, T.PELVIS_CORTEX)
    canvas.paint(box, distance < -2.4, T.PELVIS_MARROW, over=[T.PELVIS_CORTEX])


def _femur(canvas: Canvas, centre: NDArray[np.float64], side: int, head: float) -> None:
    """The head with a gap of cartilage to its socket, the neck, the trochanter."""
    box = canvas.box(centre - (head + 6), centre + (head + 6))
    ball = ellipsoid(*canvas.coordinates(box), centre, [head] * 3) + 0.4 * canvas.rough[box]
    canvas.paint(box, ball < 2.6, T.CARTILAGE)
    neck = [centre + [side * 0.5 * head, 2, -6], centre + [side * 44.0, 10, -34], centre + [side * 50.0, 12, -75]]
    pieces = [canvas.tube(np.array(neck), np.array([0.72 * head, 0.78 * head, 0.66 * head]), margin=3.0)]
    for place, distance in [(box, ball), *[(b, d + 0.6 * canvas.rough[b]) for b, d, _ in pieces]]:
        canvas.paint(place, distance < 0, T.FEMUR_CORTEX)
    for place, distance in [(box, ball), *[(b, d + 0.6 * canvas.rough[b]) for b, d, _ in pieces]]:
        canvas.paint(place, distance < -2.2, T.FEMUR_MARROW, over=[T.FEMUR_CORTEX])


def _paint_organs(
    canvas: Canvas, size: float
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Bladder, prostate and seminal vesicles; returns the bladder's centre and radii, and landmarks."""
    rng = canvas.rng
    gland = np.array([rng.uniform(20, 28), rng.uniform(14, 19), rng.uniform(15, 21)]) * size
    apex = np.array([0.0, -6.0, -28.0 + gland[2] * 0.3])
    radii = np.array([rng.uniform(27, 42), rng.uniform(22, 33), rng.uniform(18, 28)]) * size
    centre = np.array([float(rng.normal(0, 2)), -16.0, apex[2] + gland[2] + 0.86 * radii[2]])
    _paint_bladder(canvas, centre, radii)
    _paint_prostate(canvas, apex, gland)
    for side in (-1, 1):
        vesicle = [apex + [side * 4.0, gland[1] * 0.8, gland[2]], apex + [side * 24.0, gland[1] + 8, gland[2] + 12]]
        canvas.paint_tube(vesicle, [4.5, 6.5], T.SEMINAL_VESICLE, SOFT, swell=1.2)
    marks = {
        "bladder_centre": centre,
        "bladder_dome": centre + [0, 0, 0.93 * radii[2]],
        "bladder_front": centre - [0, 0.93 * radii[1], 0],
        "prostate_centre": apex,
        "prostate_apex": apex - [0, 0, 0.9 * gland[2]],
        "prostate_right": apex - [0.9 * gland[0], 0, 0],
        "prostate_left": apex + [0.9 * gland[0], 0, 0],
    }
    return (centre, radii), marks


def _paint_bladder(canvas: Canvas, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
    box = canvas.box(centre - radii - 8, centre + radii + 8)
    x, y, z = canvas.coordinates(box)
    shape = ellipsoid(x, y, z, centre, radii) + 1.2 * canvas.rough[box]
    floor = (centre[2] - 0.78 * radii[2]) - z  # it rests on the prostate
    shape = smax(shape, floor, 6.0)
    free = canvas.among(box, (*SOFT, T.MUSCLE))
    canvas.paint(box, (shape < 0) & free, T.BLADDER_WALL)
    thick = float(canvas.rng.uniform(2.4, 4.2))
    canvas.paint(box, shape < -thick, T.URINE, over=[T.BLADDER_WALL])


def _paint_prostate(canvas: Canvas, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
    """A peripheral zone behind and beside the central gland, the urethra through it."""
    box = canvas.box(centre - radii - 8, centre + radii + 8)
    x, y, z = canvas.coordinates(box)
    shape = ellipsoid(x, y, z, centre, radii) + 0.9 * canvas.rough[box]
    free = canvas.among(box, (*SOFT, T.MUSCLE, T.SEMINAL_VESICLE))
    inside = (shape < 0) & free
    canvas.paint(box, inside, T.PROSTATE_PERIPHERAL)
    core = ellipsoid(x, y, z, centre - [0, 0.28 * radii[1], -0.12 * radii[2]], radii * [0.74, 0.66, 0.86])
    canvas.paint(box, inside & (core + 0.8 * canvas.rough[box] < 0), T.PROSTATE_CENTRAL)
    line = [centre + [0, -0.1 * radii[1], radii[2]], centre - [0, 0, 0], centre - [0, 0.1 * radii[1], radii[2] + 14]]
    canvas.paint_tube(line, 2.2, T.URETHRA, (T.PROSTATE_CENTRAL, T.PROSTATE_PERIPHERAL, *SOFT))


def _paint_rectum(canvas: Canvas, size: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A tube from the anus along the sacrum, wall round stool and gas; returns its line and radii."""
    rng = canvas.rng
    course = np.array(
        [[0, 30, -85], [0, 34, -60], [0, 30, -32], [1, 34, -8], [3, 44, 18], [6, 54, 45], [12, 52, 78]], float
    )
    course[:, 0] += np.cumsum(rng.normal(0, 1.6, len(course)))
    course[2:, 1] += rng.normal(0, 2)
    t = np.linspace(0, len(course) - 1, 30)
    line = np.stack([np.interp(t, np.arange(len(course)), course[:, a]) for a in range(3)], axis=1)
    line = gaussian_filter(line, (1.5, 0), mode="nearest")
    belly = rng.uniform(11.5, 17.5)
    radius = size * np.interp(t, range(len(course)), [7, 8, belly, belly + 1.5, belly, belly - 2, belly - 3])
    radius = radius * (1 + 0.08 * np.sin(t * 2.1 + rng.uniform(0, 6)))
    over = (*SOFT, T.MUSCLE, T.SEMINAL_VESICLE)
    box, distance, _ = canvas.tube(line, radius, margin=3.0)
    distance = distance + 0.8 * canvas.rough[box]
    canvas.paint(box, distance < 0, T.RECTUM_WALL, over)
    lumen = distance < -float(rng.uniform(2.4, 3.6))
    canvas.paint(box, lumen, T.RECTUM_CONTENT, over=[T.RECTUM_WALL])
    # Gas rises to the front of a patient who lies on his back, and only here and there.
    middle = np.interp(canvas.z[box], line[:, 2], line[:, 1])
    gas = (
        lumen
        & (canvas.y[box] < middle + rng.uniform(-9, 3))
        & (np.roll(canvas.rough[box], 8, axis=2) > rng.uniform(-0.6, 1.2))
    )
    canvas.paint(box, gas, T.RECTUM_GAS, over=[T.RECTUM_CONTENT])
    return line, radius


def _paint_between(canvas: Canvas, size: float) -> None:
    """The muscles inside the pelvic ring, femoral vessels, small vessels in the fat, loops of bowel above."""
    rng, deep = canvas.rng, (*SOFT, T.MUSCLE, T.FAT_SUBCUTANEOUS)
    for side in (-1, 1):
        wall = [[side * 52 * size, -14, -24], [side * 56 * size, 10, -6], [side * 55 * size, 30, 14]]
        canvas.paint_tube(wall, [7, 11, 8], T.MUSCLE, SOFT, swell=1.0)
        sling = [[side * 22.0, -22, -42], [side * 25.0, 12, -44], [side * 12.0, 44, -42]]
        canvas.paint_tube(sling, 4.0, T.MUSCLE, SOFT, swell=0.6)
        groin = np.array([[side * 62, -58, 60], [side * 68, -66, 0], [side * 72, -60, -80]]) * size
        canvas.paint_tube(groin, 5.5, T.VENA_CAVA, deep)
        canvas.paint_tube(groin + [side * 12.0, -2, 0], 4.5, T.ARTERY, deep)
    for _ in range(90):
        start = np.array([rng.uniform(-60, 60), rng.uniform(-40, 70), rng.uniform(-35, 80)])
        ends = canvas.to_world([start, start + rng.normal(0, 12, 3)])
        canvas.paint_capsule(ends, rng.uniform(0.8, 1.8, 2), T.MESENTERIC_VEIN, (T.FAT_VISCERAL,))
    for _ in range(int(rng.integers(3, 8))):
        middle = np.array([rng.uniform(-45, 45), rng.uniform(-40, 25), rng.uniform(62, 95)])
        loop = middle + np.cumsum(rng.normal(0, 13, (5, 3)), axis=0)
        canvas.paint_tube(loop, 11.0, T.SMALL_BOWEL_WALL, (T.FAT_VISCERAL,), swell=1.0)
        canvas.paint_tube(loop, 8.5, T.SMALL_BOWEL_CONTENT, (T.SMALL_BOWEL_WALL,))


_GIVES: tuple[tuple[float, tuple[Tissue, ...]], ...] = (
    (1.0, (T.BLADDER_WALL, T.URINE, T.FAT_VISCERAL, T.RECTUM_WALL, T.RECTUM_CONTENT, T.RECTUM_GAS)),
    (0.85, (T.SEMINAL_VESICLE, T.SMALL_BOWEL_WALL, T.SMALL_BOWEL_CONTENT, T.MESENTERIC_VEIN)),
    (0.7, (T.PROSTATE_CENTRAL, T.PROSTATE_PERIPHERAL, T.URETHRA)),
    (0.2, (T.MUSCLE, T.MUSCLE_FAT)),
    (0.1, (T.FAT_SUBCUTANEOUS, T.SKIN)),
    (0.0, (T.PELVIS_CORTEX, T.PELVIS_MARROW, T.FEMUR_CORTEX, T.FEMUR_MARROW, T.CARTILAGE)),
)


def _mobility(canvas: Canvas) -> NDArray[np.float32]:
    """Smooth, and nothing in the bones themselves."""
    value = np.zeros(256, np.float32)
    for gives, tissues in _GIVES:
        value[list(tissues)] = gives
    sigma = 5.0 / canvas.spacing
    field: Array = gaussian_filter(value[canvas.tissue], sigma)
    bone = canvas.among((slice(None),) * 3, [T.PELVIS_CORTEX, T.PELVIS_MARROW, T.FEMUR_CORTEX, T.FEMUR_MARROW])
    hard = gaussian_filter(bone.astype(np.float32), 0.6 * sigma)
    return np.clip(field * (1 - np.clip(1.6 * hard, 0, 1)), 0, 1).astype(np.float32)
