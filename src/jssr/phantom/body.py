"""A body from neck to thighs: thorax, abdomen and pelvis of one patient joined, with arms and thighs added.

The parts are the phantoms of their own modules. Each is stretched in the plane until its outline fits the abdomen's
where they meet, and they meet along a wavy surface, so that no straight cut shows. Coordinates are the abdomen's: LPS
millimetres, z = 0 at the middle of L1. Shapes and sizes are plausible; no paper's numbers are in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from jssr.core.grid import Grid
from jssr.core.volume import Points
from jssr.phantom.anatomy import Anatomy, make_anatomy
from jssr.phantom.canvas import Array, Canvas, smooth_noise
from jssr.phantom.pelvis import make_pelvis
from jssr.phantom.ranges import TARGET_POPULATION, Ranges
from jssr.phantom.regions import LABELS, Tissue, body_labels_of
from jssr.phantom.thorax import make_thorax

__all__ = ["make_body"]

T = Tissue
TOP, BOTTOM = 318.0, -432.0
"""What is made, mm from the middle of L1: the neck, and the middle of the thighs."""
HIPS = -262.0
"""Height of the femoral heads."""
CROTCH = -82.0
"""Below the femoral heads: where the trunk ends."""
PELVIS_MM = (460.0, 360.0, 250.0)
THIGHS_MM = (460.0, 360.0, 190.0)
_NOT_BODY = [T.AIR, T.TABLE]


@dataclass(frozen=True)
class _Part:
    """Tissue codes of one part and where they lie: `to` maps body coordinates to the part's, factor and shift."""

    tissue: NDArray[np.uint8]
    grid: Grid
    to: NDArray[np.float64]  # (3, 2)

    def at(self, grid: Grid) -> NDArray[np.uint8]:
        """The nearest codes on the body's grid; air beyond the part."""
        index, beyond = [], []
        for axis in range(3):
            world = grid.origin[axis] + grid.spacing[axis] * np.arange(grid.shape[axis])
            place = (world * self.to[axis, 0] + self.to[axis, 1] - self.grid.origin[axis]) / self.grid.spacing[axis]
            number = np.rint(place).astype(np.int64)
            beyond.append((number < 0) | (number >= self.grid.shape[axis]))
            index.append(number.clip(0, self.grid.shape[axis] - 1))
        out = self.tissue[np.ix_(*index)]
        for axis, outside in enumerate(beyond):
            np.moveaxis(out, axis, 0)[outside] = T.AIR
        return out

    def points(self, points: Points) -> Points:
        """Points of the part in body coordinates."""
        return Points((points.xyz - self.to[:, 1]) / self.to[:, 0], points.names)


def make_body(rng: np.random.Generator, ranges: Ranges = TARGET_POPULATION) -> Anatomy:
    """Draw one patient from neck to thighs; the same generator state gives the same bytes.

    Args:
        rng: draws everything.
        ranges: of the abdomen; `height` is not used.

    Returns:
        As `make_anatomy`, with labels of `BODY_LABELS`; the cavity and the mobility are the abdomen's, continued.
    """
    streams = dict(zip(("abdomen", "thorax", "pelvis", "thighs", "join"), rng.spawn(5), strict=True))
    own = streams["join"]
    abdomen = make_anatomy(streams["abdomen"], replace(ranges, height=360.0, table=0.0))
    step = ranges.spacing
    grid = _grid(abdomen.grid, step)
    middle = _Part(abdomen.tissue, abdomen.grid, np.array([[1.0, 0.0]] * 3))
    dome = _dome(abdomen)
    high, low = dome + float(own.uniform(16, 34)), float(own.uniform(-164, -154))
    thorax, bones = _thorax(streams["thorax"], abdomen, dome, high, step)
    pelvis, marks = _pelvis(streams["pelvis"], abdomen, low, step)
    thighs = _thighs(streams["thighs"], pelvis, step)
    wave = [6.0 * smooth_noise(own, (*grid.shape[:2], 4), step, 60.0)[..., :1] for _ in range(3)]
    z = (grid.origin[2] + grid.spacing[2] * np.arange(grid.shape[2], dtype=np.float32))[None, None]
    tissue = middle.at(grid)
    for part, there in (
        (thorax, z > high + wave[0]),
        (pelvis, z < low + wave[1]),
        (thighs, z < HIPS + CROTCH + wave[2]),
    ):
        np.copyto(tissue, part.at(grid), where=there)
    if own.random() < 0.35:
        _paint_arms(tissue, grid, own)
    if own.random() < ranges.table:
        _paint_table(tissue, grid, own)
    points = _joined(grid, [(abdomen.landmarks, low, high), (bones, high, TOP), (marks, HIPS + CROTCH, low)])
    depth = _continued(abdomen.cavity_depth, abdomen.grid, grid, 0.8, 0.5)
    mobility = _continued(abdomen.mobility, abdomen.grid, grid, 0.004, 0.004)
    return Anatomy(grid, tissue, body_labels_of(tissue), points, depth, mobility.clip(0, 1))


def _dome(abdomen: Anatomy) -> float:
    """Height of the liver's top, mm; of its label where the landmark was left out."""
    named = dict(zip(abdomen.landmarks.names, abdomen.landmarks.xyz, strict=True))
    if "liver_dome" in named:
        return float(named["liver_dome"][2])
    slices = np.flatnonzero((abdomen.labels == LABELS["liver"]).any(axis=(0, 1)))
    return float(abdomen.grid.origin[2] + abdomen.grid.spacing[2] * slices.max())


def _grid(abdomen: Grid, step: float) -> Grid:
    """Centred like the abdomen's, at least 424 x 300 mm in the plane."""
    half = [max(n // 2, int(np.ceil(mm / 2 / step))) for n, mm in zip(abdomen.shape[:2], (424.0, 300.0), strict=True)]
    first = [-half[0] * step, -half[1] * step, np.ceil(BOTTOM / step) * step]
    return Grid.of((2 * half[0] + 1, 2 * half[1] + 1, int((TOP - first[2]) / step) + 1), [step] * 3, first)


def _outline(tissue: NDArray[np.uint8], grid: Grid, z: float) -> NDArray[np.float64]:
    """Left, right, front and back of the trunk at a height, mm: of the piece round the middle, without arms."""
    k = int(np.clip(np.rint((z - grid.origin[2]) / grid.spacing[2]), 0, grid.shape[2] - 1))
    body = ~np.isin(tissue[:, :, k], _NOT_BODY)
    found = []
    for axis in (0, 1):
        line = body[:, body.shape[1] // 2] if axis == 0 else body[body.shape[0] // 2]
        gaps = np.flatnonzero(~line)
        at = len(line) // 2
        below, above = gaps[gaps < at], gaps[gaps > at]
        ends = below.max() + 1 if len(below) else 0, above.min() - 1 if len(above) else len(line) - 1
        found += [grid.origin[axis] + grid.spacing[axis] * end for end in ends]
    return np.array(found, dtype=np.float64)


def _fit(part: NDArray[np.float64], abdomen: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    """`_Part.to` so that the part's outline becomes the abdomen's; `shift` is the part's height at body height 0."""
    rows = []
    for a in (0, 2):
        factor = float(np.clip((part[a + 1] - part[a]) / max(abdomen[a + 1] - abdomen[a], 1.0), 0.75, 1.3))
        rows.append([factor, part[a : a + 2].mean() - factor * abdomen[a : a + 2].mean()])
    return np.array([*rows, [1.0, shift]])


def _thorax(rng: np.random.Generator, abdomen: Anatomy, dome: float, seam: float, step: float) -> tuple[_Part, Points]:
    made = make_thorax(rng, float(rng.uniform(0.0, 0.6)), step)
    marks = dict(zip(made.landmarks.names, made.landmarks.xyz, strict=True))
    shift = float(marks["dome_right"][2]) - dome - 4.0
    tissue = made.tissue
    # Below its diaphragm this phantom is crude; where that rises above the seam there is lung instead.
    tissue[np.isin(tissue, [T.LIVER, T.SPLEEN, T.STOMACH_GAS])] = T.LUNG
    bone = np.isin(tissue, [T.FEMUR_CORTEX, T.FEMUR_MARROW])
    flesh = binary_dilation(~bone & ~np.isin(tissue, _NOT_BODY), iterations=2)
    tissue[bone & ~flesh] = T.AIR  # its arms have no flesh
    to = _fit(_outline(tissue, made.grid, seam + shift), _outline(abdomen.tissue, abdomen.grid, seam), shift)
    part = _Part(tissue, made.grid, to)
    named = Points(made.landmarks.xyz, tuple(f"thorax_{n}" for n in made.landmarks.names))
    return part, part.points(named)


def _pelvis(rng: np.random.Generator, abdomen: Anatomy, seam: float, step: float) -> tuple[_Part, Points]:
    made = make_pelvis(rng, step, PELVIS_MM)
    to = _fit(_outline(made.tissue, made.grid, seam - HIPS), _outline(abdomen.tissue, abdomen.grid, seam), -HIPS)
    part = _Part(made.tissue, made.grid, to)
    return part, part.points(made.landmarks)


def _thighs(rng: np.random.Generator, pelvis: _Part, step: float) -> _Part:
    """Two legs below the trunk: skin, fat, muscles with fat between them, the femur and its vessels."""
    canvas = Canvas(rng, THIGHS_MM, step, float(rng.uniform(3, 7)))
    right, left, front, back = _outline(pelvis.tissue, pelvis.grid, CROTCH)
    z = canvas.z - canvas.z.max()  # 0 at the top
    fat, slim = float(rng.uniform(6, 26)), float(rng.uniform(0.0010, 0.0022))
    thin = (1 + slim * z).astype(np.float32)
    for side in (-1, 1):
        half = 0.25 * (left - right) - 1.5
        centre = np.array([(left + right) / 2 + side * (half + 3), (front + back) / 2])
        x, y = (canvas.x - np.float32(centre[0])) / thin, (canvas.y - np.float32(centre[1])) / thin
        deep = min(0.46 * (back - front), 1.25 * half)
        skin = (1 - np.sqrt((x / half) ** 2 + (y / deep) ** 2)) * np.float32(min(half, deep)) + 0.8 * canvas.rough
        whole = (slice(None),) * 3
        canvas.paint(whole, skin > 0, T.SKIN)
        canvas.paint(whole, skin > 1.8, T.FAT_SUBCUTANEOUS)
        canvas.paint(whole, skin > fat, T.MUSCLE)
        streak = canvas.rough + np.roll(canvas.rough, (9, 6, 4), (0, 1, 2))
        canvas.paint(whole, (np.abs(streak) < 0.14) & (skin > fat + 2), T.MUSCLE_FAT)
        _paint_femur(canvas, centre, side)
    to = pelvis.to.copy()
    to[2] = [1.0, float(canvas.z.max()) - (HIPS + CROTCH) - 14.0]
    return _Part(canvas.tissue, canvas.grid, to)


def _paint_femur(canvas: Canvas, centre: NDArray[np.float64], side: int) -> None:
    ends = float(canvas.grid.centre[2]) + np.array([0.5, -0.5]) * (THIGHS_MM[2] + 8)
    shaft = np.array([[centre[0] + side * 16, centre[1] + 2, ends[0]], [centre[0] + side * 2, centre[1] - 6, ends[1]]])
    thick = float(canvas.rng.uniform(13, 16))
    canvas.paint_tube(shaft, thick, T.FEMUR_CORTEX)
    canvas.paint_tube(shaft, thick - float(canvas.rng.uniform(4, 7)), T.FEMUR_MARROW)
    groin = shaft + [-side * 42.0, -18, 0]
    canvas.paint_tube(groin, 4.5, T.VENA_CAVA)
    canvas.paint_tube(groin + [side * 10.0, -3, 0], 3.8, T.ARTERY)


def _paint_arms(tissue: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> None:
    """Upper arms and forearms beside the trunk, only where there is air."""
    axes = [grid.origin[a] + grid.spacing[a] * np.arange(n, dtype=np.float32) for a, n in enumerate(grid.shape)]
    wide = max(abs(_outline(tissue, grid, -40.0)[:2]))
    thick, fat = float(rng.uniform(34, 44)), float(rng.uniform(4, 12))
    for side in (-1, 1):
        out = side * (wide + thick + float(rng.uniform(0, 12)))
        along = (axes[2] - 210.0) / -440.0  # 0 at the shoulder, 1 at the wrist
        there = (along > -0.02) & (along < 1)
        x = axes[0][:, None, None] - (side * 186 + (out - side * 186) * np.clip(4 * along, 0, 1))[None, None]
        y = axes[1][None, :, None] - (4 + float(rng.uniform(-20, 30)) * along)[None, None]
        radius = np.sqrt(x**2 + y**2)
        edge = (thick * (1 - 0.35 * np.clip(along, 0, 1)))[None, None]
        free = (tissue == T.AIR) & there[None, None]
        for inset, code in ((0.0, T.SKIN), (1.8, T.FAT_SUBCUTANEOUS), (fat, T.MUSCLE)):
            tissue[free & (radius < edge - inset)] = code
        for inset, code in ((11.0, T.FEMUR_CORTEX), (6.0, T.FEMUR_MARROW)):
            tissue[free & (radius < inset)] = code


def _paint_table(tissue: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> None:
    """A thin plate under the back."""
    body = ~np.isin(tissue, _NOT_BODY)
    lowest = int(np.flatnonzero(body.any(axis=(0, 2))).max())
    at = min(lowest + int(rng.integers(1, 4)), grid.shape[1] - 1)
    plate = tissue[:, at]
    plate[plate == T.AIR] = T.TABLE


def _joined(grid: Grid, parts: Sequence[tuple[Points, float, float]]) -> Points:
    """The points of each part that lie between its seams, 8 mm off them."""
    xyz, names = [], []
    for points, low, high in parts:
        keep = (points.xyz[:, 2] > low + 8) & (points.xyz[:, 2] < high - 8) & grid.contains(points.xyz)
        xyz.append(points.xyz[keep])
        names += [n for n, k in zip(points.names, keep, strict=True) if k]
    return Points(np.concatenate(xyz), tuple(names))


def _continued(field: NDArray[np.float32], own: Grid, grid: Grid, above: float, below: float) -> Array:
    """A field of the abdomen on the body's grid: its border continues, less by `above` and `below` a mm."""
    index, beyond = [], []
    for axis in range(3):
        world = grid.origin[axis] + grid.spacing[axis] * np.arange(grid.shape[axis])
        number = np.rint((world - own.origin[axis]) / own.spacing[axis])
        index.append(number.clip(0, own.shape[axis] - 1).astype(np.int64))
        beyond.append((number - index[-1]) * own.spacing[axis])
    out = field[np.ix_(*index)]
    up, down = np.maximum(beyond[2], 0), np.maximum(-beyond[2], 0)
    return (out - (above * up + below * down).astype(np.float32)).astype(np.float32)
