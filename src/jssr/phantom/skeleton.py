"""Bones: vertebrae, ribs and their cartilage, the wings of the pelvis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Canvas, ellipsoid, smax, smin
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Body, Torso

__all__ = ["paint_pelvis", "paint_ribs", "paint_spine"]

T = Tissue


def vertebra_heights() -> dict[str, float]:
    """Canonical z of the middle of each vertebral body, T4 to L5 and S1: lumbar ones are taller."""
    out = {"L1": 0.0}
    z = 0.0
    for number, pitch in zip(range(2, 6), (34, 35, 35, 34), strict=True):
        z -= pitch
        out[f"L{number}"] = z
    out["S1"] = z - 33
    out["S2"] = z - 58
    z = 0.0
    for number, pitch in zip(range(12, 2, -1), (31, 29, 27, 26, 25, 24, 23, 23, 22, 22), strict=True):
        z += pitch
        out[f"T{number}"] = z
    return out


def paint_spine(canvas: Canvas, body: Body) -> dict[str, NDArray[np.float64]]:
    """Paint the vertebral column; returns the canonical centres of the bodies that lie in the grid."""
    heights = vertebra_heights()
    centres = {}
    high = -float(canvas.origin[2])
    limit = canvas.grid.centre[2] + canvas.grid.shape[2] * canvas.spacing / 2 - 12
    scale = float(np.clip(canvas.rng.normal(1.0, 0.05), 0.9, 1.1))
    for name, z in heights.items():
        centre = np.array([0.0, float(body.spine_y(z)), z])
        size = scale * (1.0 if name[0] in "LS" else float(np.interp(z, [31, 180], [0.95, 0.74])))
        half = 0.5 * (z - heights.get(_below(name), z - 28.0))
        if abs(z) < high + half + 12:
            _vertebra(canvas, centre, size, half)
        if abs(z) < limit:
            centres[name] = centre
    return centres


def _below(name: str) -> str:
    if name == "T12":
        return "L1"
    if name == "L5":
        return "S1"
    return f"{name[0]}{int(name[1:]) + 1}"


def _vertebra(canvas: Canvas, centre: NDArray[np.float64], size: float, half: float) -> None:
    # Body: an ellipse with a waist; the disc fills the rest of the pitch.
    box = canvas.box(centre - [26, 19, half + 3], centre + [26, 19, half + 3])
    x, y, z = (c - np.float32(m) for c, m in zip(canvas.coordinates(box), centre, strict=True))
    waist = 1 - 0.09 * np.cos(np.clip(z / half, -1, 1) * np.float32(np.pi / 2)) ** 2
    radial = (np.sqrt((x / (24.0 * size)) ** 2 + (y / (17.0 * size)) ** 2) - waist) * (19.5 * size)
    column = smax(radial, np.abs(z) - (half - 4.2), 3.0) + 0.5 * canvas.rough[box]
    canvas.paint(box, np.maximum(radial + 0.8, np.abs(z) - half) < 0, T.DISC)
    canvas.paint(box, column < 0, T.VERTEBRA_CORTEX)
    canvas.paint(box, column < -1.4, T.VERTEBRA_MARROW, over=[T.VERTEBRA_CORTEX])
    _arch(canvas, centre, size, half)


def _arch(canvas: Canvas, centre: NDArray[np.float64], size: float, half: float) -> None:
    """What stands behind the body: pedicles and laminae round the canal, joints, transverse and spinous processes."""
    box = canvas.box(centre + [-48, 13 * size, -half - 2], centre + [48, 72 * size, half + 2])
    x, y, z = (c - np.float32(m) for c, m in zip(canvas.coordinates(box), centre, strict=True))
    side = np.abs(x)
    canal = np.sqrt((x / 1.25) ** 2 + (y - 25.0 * size) ** 2) - 8.0 * size
    ring = np.abs(np.sqrt((x / 1.15) ** 2 + (y - 26 * size) ** 2) - 13.0 * size) - 3.6
    ring = np.maximum(ring, np.abs(z - 2) - 0.62 * half)
    spinous = (
        np.sqrt(x * x + (0.24 * (y - 50 * size)) ** 2 + ((z + 0.35 * (y - 50 * size) + 8) * (8.0 / half)) ** 2) - 4.6
    )
    wing = np.sqrt(((side - 25 * size) * 0.28) ** 2 + (y - 31 * size) ** 2 + (z - 3) ** 2) - 5.5
    facet = np.sqrt((side - 15 * size) ** 2 + (y - 35 * size) ** 2 + ((z + 0.8 * half) * 0.55) ** 2) - 8.0 * size
    arch = np.minimum(np.minimum(ring, spinous), np.minimum(wing, facet)) + 0.5 * canvas.rough[box]
    arch = np.maximum(arch, -canal)
    body = (T.VERTEBRA_CORTEX, T.VERTEBRA_MARROW, T.DISC)
    behind = ~canvas.among(box, body)
    canvas.paint(box, behind & (canal < 0) & (np.abs(z) < half + 1.5), T.CANAL)
    canvas.paint(box, behind & (arch < 0), T.VERTEBRA_CORTEX)
    canvas.paint(box, behind & (arch < -2.4), T.VERTEBRA_MARROW, over=[T.VERTEBRA_CORTEX])


def paint_ribs(canvas: Canvas, torso: Torso) -> None:
    """Ribs 4 to 12 run in the wall, down and forward from their vertebrae; cartilage turns up towards the sternum."""
    heights, body = vertebra_heights(), torso.body
    for number in range(3, 13):
        ends = {12: 0.30, 11: 0.47, 10: 0.63, 9: 0.70, 8: 0.76, 7: 0.81}.get(number, 0.84)
        ends += float(canvas.rng.normal(0, 0.02))
        drop = float(np.interp(number, [3, 9, 12], [80, 108, 95])) + float(canvas.rng.normal(0, 4))
        for side in (-1, 1):
            _rib(canvas, torso, number, side, heights[f"T{number}"] + 8, ends, drop, body)


def _rib(canvas: Canvas, torso: Torso, number: int, side: int, z0: float, ends: float, drop: float, body: Body) -> None:
    t = np.linspace(0, 1, 26)
    turn = t * np.pi * 0.97 + 0.10  # 0 behind, pi in front
    bone = t <= ends
    z = z0 - drop * np.clip(t / 0.80, 0, 1) ** 1.1
    # Cartilage climbs to the sternum.
    rise = np.clip(t - ends, 0, None) * (170.0 if number >= 7 else 60.0)
    z = z + np.where(bone, 0, rise)
    path = np.stack([side * np.sin(turn), np.cos(turn), z], axis=-1)
    path = _onto_wall(canvas, torso, path)
    if number < 12:
        path = np.concatenate([[[side * 15.0, float(body.spine_y(z0)) + 12, z0]], path])
        bone = np.concatenate([[True], bone])
    line, gristle = path[bone], path[~bone]
    box, distance, _ = canvas.tube(line, 4.2, margin=2.0)
    canvas.paint(
        box, distance < 0, T.RIB_CORTEX, over=[T.MUSCLE, T.MUSCLE_FAT, T.FAT_SUBCUTANEOUS, T.LUNG, T.FAT_VISCERAL]
    )
    canvas.paint(box, distance < -2.2, T.RIB_MARROW, over=[T.RIB_CORTEX])
    if 3 <= number <= 10 and len(gristle) > 1:
        box, distance, _ = canvas.tube(np.concatenate([line[-1:], gristle]), 5.0, margin=2.0)
        canvas.paint(box, distance < 0, T.CARTILAGE, over=[T.MUSCLE, T.MUSCLE_FAT, T.FAT_SUBCUTANEOUS])


def _onto_wall(canvas: Canvas, torso: Torso, path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move points (direction x, direction y, z) outwards until they lie 7 mm behind the inner wall."""
    reach = np.arange(0.2, 1.02, 0.02) * torso.body.width / 2
    points = np.stack(
        [path[:, :1] * reach, path[:, 1:2] * reach, np.broadcast_to(path[:, 2:], (len(path), len(reach)))], axis=-1
    )
    index = canvas.index(canvas.to_world(points.reshape(-1, 3)))
    inner = torso.wall[tuple(index.T)].reshape(len(path), -1)
    # The last step still inside 7 mm of muscle; the spine's bulge near the middle does not count.
    inside = inner > -7.0
    last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    radius = np.where(inside.any(axis=1), reach[last], reach[0])
    return np.stack([path[:, 0] * radius, path[:, 1] * radius, path[:, 2]], axis=-1)


def paint_pelvis(canvas: Canvas, torso: Torso) -> None:
    """The iliac wings: plates in the wall below their crest, and the sacrum's sides."""
    body = torso.body
    box = canvas.box([-230, -200, -400], [230, 200, -66])
    x, y, z = canvas.coordinates(box)
    angle = np.arctan2(y - 10, np.abs(x) + 1e-3)  # 0 at the flank, pi/2 behind, negative in front
    crest = -98 - 70 * (angle - 0.45) ** 2 - np.where(angle < -0.1, 60 * (angle + 0.1) ** 2, 0)
    depth = np.clip((crest - z) * 0.12, 0, 9) + 8.0
    plate = np.abs(torso.wall[box] + depth + 2.0 * canvas.rough[box]) - np.clip(3.6 + (crest - z) * 0.03, 3.2, 6.5)
    plate = smax(plate, z - crest, 4.0)
    plate = np.maximum(plate, np.maximum(angle - 1.05, -0.62 - angle) * 80)
    sacrum = ellipsoid(x, y, z, [0, float(body.spine_y(-170)) + 16, -178], [52, 24, 36])
    bone = smin(plate, sacrum, 3.0) + 0.5 * canvas.rough[box]
    over = [T.MUSCLE, T.MUSCLE_FAT, T.FAT_SUBCUTANEOUS, T.FAT_VISCERAL]
    canvas.paint(box, bone < 0, T.PELVIS_CORTEX, over)
    canvas.paint(box, bone < -2.2, T.PELVIS_MARROW, over=[T.PELVIS_CORTEX])
