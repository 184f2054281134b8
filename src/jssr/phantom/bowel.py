"""Stomach, duodenum, colon and small bowel: tubes that take the room the solid organs leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.canvas import Array, Box, Canvas, grown
from jssr.phantom.ranges import Ranges
from jssr.phantom.regions import Tissue
from jssr.phantom.torso import Torso
from jssr.phantom.viscera import resample

__all__ = ["paint_colon", "paint_small_bowel", "paint_stomach"]

T = Tissue
FAT = (T.FAT_VISCERAL,)


def paint_stomach(canvas: Canvas, torso: Torso, rough: float) -> NDArray[np.float64]:
    """From the left dome forward, across the midline to the pylorus; fluid below, gas in front. Returns its line."""
    rng, body = canvas.rng, torso.body
    half, front, back = body.half, body.front, body.spine_front
    full = float(rng.uniform(0.60, 0.95))
    low = float(rng.uniform(-25, 22))
    line = np.array(
        [
            [0.40 * half, 0.12 * front + 0.88 * (back + 12), body.dome_left - 6 - 36 * full],
            [0.52 * half, 0.45 * front + 0.55 * back, body.dome_left - 46],
            [0.47 * half, 0.68 * front + 0.32 * back, 38],
            [0.30 * half, 0.78 * front + 0.22 * back, low + 12],
            [0.02 * half, 0.76 * front + 0.24 * back, low],
            [-0.20 * half, 0.62 * front + 0.38 * back, low + 12],
        ]
    )
    fine, radii = resample(line, 26, full * np.array([36, 42, 37, 29, 21, 12]))
    box, distance, _ = canvas.tube(fine, radii, margin=6.0)
    distance += (1.0 + rough) * np.roll(canvas.rough[box], 9, axis=2)
    over = (T.FAT_VISCERAL, T.DIAPHRAGM)
    mask = (distance < 0) & canvas.free(box, over, 1) & (torso.cavity[box] > 2.5)
    canvas.paint(box, mask, T.STOMACH_WALL)
    inner = _shrink(distance, mask, 4.0 + 0.8 * np.roll(canvas.rough[box], 4, axis=0))
    canvas.paint(box, inner, T.STOMACH_CONTENT)
    y = canvas.y[box]
    depth = y[inner]
    if depth.size:
        surface = np.quantile(depth, float(rng.uniform(0.02, 0.55)))
        canvas.paint(box, inner & (y < surface), T.STOMACH_GAS)
    _duodenum(canvas, torso, line[-1])
    return line


def _shrink(distance: Array, mask: NDArray[np.bool_], wall: Array | float) -> NDArray[np.bool_]:
    """What lies inside the wall: far enough from the tube's own outline and from what cuts it."""
    return (distance < -wall) & ~grown(grown(~mask))


def _duodenum(canvas: Canvas, torso: Torso, pylorus: NDArray[np.float64]) -> None:
    back = torso.body.spine_front
    line = np.array(
        [
            pylorus,
            pylorus + [-14, 16, 6],
            [-46, back - 18, 5],
            [-47, back - 14, -28],
            [-28, back - 18, -44],
            [8, back - 24, -44],
            [34, back - 24, -20],
        ]
    )
    fine, radii = resample(line, 20, np.array([9, 11, 11.5, 12, 11, 10, 10]))
    canvas.guard()
    _loop(canvas, fine, radii, wall=2.6, gas=0.05)
    canvas.unguard()


def _loop(canvas: Canvas, line: NDArray[np.float64], radii: NDArray[np.float64], wall: float, gas: float) -> None:
    """One loop of small bowel with a plane of fat around it; the canvas must be guarded."""
    box, distance, _ = canvas.tube(line, radii, margin=2.0)
    mask = (distance < 0) & canvas.among(box, FAT)
    canvas.paint(box, distance < 1.9, T.FAT_PLANE, over=FAT)
    canvas.paint(box, mask, T.SMALL_BOWEL_WALL)
    inner = mask & (distance < -wall)
    canvas.paint(box, inner, T.SMALL_BOWEL_CONTENT)
    if canvas.rng.random() < gas and inner.any():
        y = canvas.y[box]
        canvas.paint(box, inner & (y < np.quantile(y[inner], canvas.rng.uniform(0.1, 0.6))), T.BOWEL_GAS)


def paint_colon(canvas: Canvas, torso: Torso) -> None:
    """The frame of large bowel; the right flexure stays under the liver."""
    rng, body = canvas.rng, torso.body
    h, front, back = body.half, body.front, body.spine_front
    sag = float(rng.uniform(5, 60))
    near = front + 26
    line = np.array(
        [
            [-0.52 * h, 0.5 * (front + back), -150],
            [-0.68 * h, 0.25 * front + 0.75 * back, -115],
            [-0.74 * h, back + 2, -75],
            [-0.70 * h, back - 8, -20],
            [-0.58 * h, 0.5 * (front + back), 0],
            [-0.30 * h, near + 4, -18 - 0.5 * sag],
            [0.02 * h, near, -22 - sag],
            [0.36 * h, near + 2, -8 - 0.5 * sag],
            [0.66 * h, near + 22, 22],
            [0.80 * h, 0.5 * (front + back) + 8, 48],
            [0.82 * h, back + 4, 22],
            [0.80 * h, back + 8, -40],
            [0.76 * h, back - 2, -95],
            [0.55 * h, 0.4 * front + 0.6 * back, -135],
            [0.15 * h, 0.3 * front + 0.7 * back, -160],
        ]
    )
    line[1:-1] += rng.normal(0, 4, (len(line) - 2, 3))
    line[3:6, 2] = np.minimum(line[3:6, 2], _below_liver(canvas, line[3:6]) - 22)
    size = float(rng.uniform(0.8, 1.2))
    fine, radii = resample(line, 130, size * np.array([30, 29, 27, 25, 24, 22, 21, 21, 21, 20, 16, 15, 15, 15, 14]))
    step = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    # Haustra every 30 mm or so.
    beat = np.cos(2 * np.pi * step / 29 + 2 * np.sin(step / 70))
    radii = radii * (1 + 0.13 * beat)
    box, distance, place = canvas.tube(fine, radii, margin=4.0)
    distance += 1.2 * canvas.rough[box]
    mask = (distance < 0) & canvas.free(box, FAT, 1) & (torso.cavity[box] > 2.0)
    canvas.paint(box, mask, T.COLON_WALL)
    inner = _shrink(distance, mask, 2.3)
    canvas.paint(box, inner, T.STOOL)
    _colon_gas(canvas, box, inner, place, fine, radii)


def _below_liver(canvas: Canvas, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """z of the lowest liver near the upright through each point; high up where there is none."""
    out = np.full(len(points), 90.0)
    index = canvas.index(canvas.to_world(points))
    for n, (i, j, _) in enumerate(index):
        column = canvas.tissue[max(i - 6, 0) : i + 7, max(j - 6, 0) : j + 7]
        levels = np.flatnonzero((column == T.LIVER).any(axis=(0, 1)))
        if len(levels):
            out[n] = canvas.origin[2] + canvas.spacing * levels[0]
    return out


def _colon_gas(
    canvas: Canvas,
    box: Box,
    inner: NDArray[np.bool_],
    place: Array,
    line: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> None:
    """Gas lies in front, more in some stretches than in others; bubbles in the stool."""
    rng = canvas.rng
    levels = rng.uniform(-1.4, 0.9, 14)
    fill = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, 14), levels)  # surface above the middle, in radii
    fill[45:75] = np.minimum(fill[45:75] + 0.5, 1.0)  # the transverse colon floats in front
    surface = (line[:, 1] + fill * radii - 0).astype(np.float32)
    index = np.clip(place, 0, len(line) - 1)
    level = np.interp(index[inner], np.arange(len(line)), surface)
    gas = np.zeros_like(inner)
    gas[inner] = canvas.y[box][inner] < level
    bubbles = inner & (np.roll(canvas.rough[box], 11, axis=0) * np.roll(canvas.rough[box], 3, axis=1) > 0.9)
    canvas.paint(box, gas | bubbles, T.BOWEL_GAS)


def paint_small_bowel(canvas: Canvas, torso: Torso, ranges: Ranges) -> None:
    """Short bent sausages thrown into the free fat of the middle and lower belly until they are packed."""
    rng, body = canvas.rng, torso.body
    h, front, back = body.half, body.front, body.spine_front
    count = int(rng.integers(ranges.small_bowel_loops[0], ranges.small_bowel_loops[1] + 1))
    canvas.guard()
    seeds = rng.uniform([-0.78 * h, front + 10, -178], [0.84 * h, back - 4, 22], (12 * count, 3))
    world = canvas.index(canvas.to_world(seeds))
    for at, index in zip(seeds, world, strict=True):
        if canvas.tissue[tuple(index)] != T.FAT_VISCERAL or torso.cavity[tuple(index)] < 9:
            continue
        along = rng.standard_normal(3) * [1, 1, 0.6]
        along /= np.linalg.norm(along)
        turn = np.cross(along, rng.standard_normal(3))
        turn /= np.linalg.norm(turn)
        s = np.linspace(-1, 1, 8)[:, None]
        length, bend = rng.uniform(25, 60), rng.uniform(-28, 28)
        line = at + s * length * along + (s**2 - 0.2) * bend * turn
        line[:, 1] = np.clip(line[:, 1], front + 10, back - 2)
        radius = float(rng.uniform(9.0, 15.5))
        radii = radius * (1 + 0.12 * np.sin(s[:, 0] * 5 + rng.uniform(0, 6)))
        collapsed = rng.random() < 0.35
        _loop(canvas, line, radii * (0.85 if collapsed else 1), 6.0 if collapsed else 2.6, gas=0.08)
        count -= 1
        if count == 0:
            break
    canvas.unguard()
