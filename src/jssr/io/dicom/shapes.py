"""The shape of a structure as an image of signed distances, made from its contours and cut into contours again.

Distances to a contour are exact near it, and planes between two contours lie between their distances (shape-based
interpolation, Raya and Udupa, IEEE Trans Med Imaging 9, 1990). So a shape can be pulled through a transform like an
image, and its border keeps a fraction of a voxel, which masks of whole voxels lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.errors import GeometryError

Array = NDArray[np.float64]
OFF_PLANE = 0.1  # mm that the points of one planar contour may lie off their plane; contours nearer than that share one
LEAST = 1e-3  # mm2 that a contour encloses, or it encloses nothing
BAND = 2.5  # pixels on both sides of a contour in which distances are exact
MARGIN = 4  # pixels around the contours
FAR = -1000.0
ACROSS = 24  # pixels at least across a structure
MOST = 500_000_000  # voxels of a working grid: 4 GB


@dataclass(frozen=True)
class Shape:
    """A structure's inside.

    Attributes:
        distance: an image of signed millimetres to its border, positive inside.
        ml: millilitres: the area of each plane times the distance of planes.
        warnings: what of the contours could not be used, or was filled in.
    """

    distance: Volume
    ml: float
    warnings: tuple[str, ...] = ()


def shape_of(contours: Sequence[Array], like: Grid, name: str = "structure") -> Shape | None:
    """The shape that closed planar contours enclose; None where none of them encloses anything.

    Contours of one plane are combined by exclusive or: a contour within another one is a hole, and a keyhole's channel
    has no width. Planes further apart than 2.5 times the usual distance end a part of the structure, half that distance
    beyond the last contour; nearer ones are filled in.

    Args:
        contours: (N, 3) LPS millimetres each, in parallel planes of any orientation.
        like: the grid of a scan, whose pixels are about the size of the shape's; one contour alone is as thick as its
            slices.
        name: of the structure, for messages.

    Raises:
        GeometryError: its working grid would have more than `MOST` voxels.
    """
    axes = _axes(contours, like)
    planes, skew = _planes(contours, axes)
    warnings = []
    if skew:
        warnings.append(f"{skew} contours lie in no plane parallel to the others; they are left out")
    if not planes:
        return None
    if abs(float(axes[:, 2] @ like.direction[:, 2])) < 0.999:
        warnings.append("its contours are not drawn on the slices of the scan")
    heights = np.array(sorted(planes))
    gaps = np.diff(heights)
    usual = float(np.median(gaps)) if len(gaps) else _thickness(like, axes[:, 2])
    joined = gaps <= 2.5 * usual
    filled = int((np.rint(gaps[joined] / usual) - 1).clip(0).sum())
    if filled:
        warnings.append(f"contours are missing on {filled} planes between others; they were filled in")
    us, vs = _pixels(np.concatenate([p for h in heights for p in planes[h]]), like)
    even = bool(len(gaps) == 0 or np.abs(gaps / usual - np.rint(gaps / usual)).max() < 0.02)
    step = usual if even else usual / 3
    _check_voxels(len(us), len(vs), (heights[-1] - heights[0]) / step + 3, name)
    distances = [_distances(planes[h], us, vs) for h in heights]
    ml = _volume(distances, gaps, joined, usual, us[1] - us[0])
    if not ml:
        return None
    levels = heights[0] + step * np.arange(-round(usual / step), round((heights[-1] - heights[0] + usual) / step) + 1)
    stack = np.stack([_between(level, heights, distances, joined, usual) for level in levels], axis=2)
    origin = axes @ np.array([us[0], vs[0], levels[0]])
    spacing = (us[1] - us[0], vs[1] - vs[0], step)
    grid = Grid.of(stack.shape, spacing, origin.tolist(), axes)
    return Shape(volume_of(stack.astype(np.float32), grid, "image", "shape"), ml, tuple(warnings))


def _check_voxels(columns: int, rows: int, levels: float, name: str) -> None:
    if columns * rows * levels > MOST:
        raise GeometryError(
            f"{name}: its contours need a grid of {columns} x {rows} x {levels:.0f} voxels, expected at most {MOST:.0e}"
            ": check them for damage, or take a coarser --reference"
        )


def _thickness(like: Grid, normal: Array) -> float:
    """How thick a scan's voxels are along a direction."""
    return float(np.linalg.norm((like.direction.T @ normal) * like.spacing))


def _axes(contours: Sequence[Array], like: Grid) -> Array:
    """(3, 3) the two directions of the contours' planes and their normal, a column each: those of the largest contour
    that lies in a plane."""
    normals = [_normal(contour) for contour in contours]
    sizes = [float(np.linalg.norm(n)) for n in normals]
    planar = [s > 0 and np.ptp(c @ n) <= 2 * OFF_PLANE * s for c, n, s in zip(contours, normals, sizes, strict=True)]
    largest = max(range(len(contours)), key=lambda k: (planar[k], sizes[k]))
    normal = normals[largest] / max(sizes[largest], 1e-12)
    own = int(np.argmax(np.abs(like.direction.T @ normal)))
    if abs(float(like.direction[:, own] @ normal)) > 0.9999 or not normal.any():
        own = own if normal.any() else 2
        order = [(own + 1) % 3, (own + 2) % 3, own]
        found = like.direction[:, order].copy()
    else:
        first = like.direction[:, (own + 1) % 3]
        first = first - (first @ normal) * normal
        first /= np.linalg.norm(first)
        found = np.stack([first, np.cross(normal, first), normal], axis=1)
    if np.linalg.det(found) < 0:
        found[:, 1] *= -1
    return np.asarray(found, dtype=np.float64)


def _normal(points: Array) -> Array:
    """The normal of a polygon, as long as twice its area (Newell)."""
    middle = points - points.mean(axis=0)
    return np.asarray(np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0))


def _planes(contours: Sequence[Array], axes: Array) -> tuple[dict[float, list[Array]], int]:
    """Height to the polygons (N, 2) there, and how many contours lie in no such plane."""
    planes: dict[float, list[Array]] = {}
    skew = 0
    for contour in contours:
        local = contour @ axes
        if abs(_area(local[:, :2])) < LEAST:
            continue
        if np.ptp(local[:, 2]) > 2 * OFF_PLANE:
            skew += 1
            continue
        height = float(local[:, 2].mean())
        near = next((h for h in planes if abs(h - height) <= OFF_PLANE), height)
        planes.setdefault(near, []).append(local[:, :2])
    return planes, skew


def _pixels(points: Array, like: Grid) -> tuple[Array, Array]:
    """Where a shape's pixels lie along both directions: as fine as the scan's, finer for what is small."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = float(min(like.spacing.min(), max((high - low).max() / ACROSS, 0.05)))
    count = np.ceil((high - low) / size).astype(int) + 2 * MARGIN
    start = (low + high) / 2 - (count - 1) / 2 * size
    return start[0] + size * np.arange(count[0]), start[1] + size * np.arange(count[1])


def _distances(polygons: Sequence[Array], us: Array, vs: Array) -> Array:
    """(columns, rows) signed millimetres to the polygons of one plane, positive inside."""
    size = us[1] - us[0]
    edges = np.concatenate([np.stack([p, np.roll(p, -1, axis=0)], axis=1) for p in polygons])
    inside = _inside(edges, us, vs)
    out = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside)) * size
    band = np.abs(out) <= BAND * size
    border = _sampled(_without_channels(edges), size / 8)
    if band.any() and len(border):
        at = np.stack(np.nonzero(band), axis=1)
        exact, _ = cKDTree(border).query(np.stack([us[at[:, 0]], vs[at[:, 1]]], axis=1))
        out[band] = np.where(inside[band], exact, -exact)
    return np.asarray(out, dtype=np.float64)


def _inside(edges: Array, us: Array, vs: Array) -> NDArray[np.bool_]:
    """Pixel centres within polygons by the rule of even and odd crossings, which is their exclusive or."""
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    edge, row = np.nonzero((y0[:, None] <= vs) != (y1[:, None] <= vs))
    x = x0[edge] + (vs[row] - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    column = np.clip(np.ceil((x - us[0]) / (us[1] - us[0])).astype(int), 0, len(us))
    crossings = np.zeros((len(us) + 1, len(vs)), np.int64)
    np.add.at(crossings, (column, row), 1)
    return np.asarray(np.cumsum(crossings, axis=0)[:-1] % 2 == 1)


def _without_channels(edges: Array) -> Array:
    """Edges but those that are there in both directions: a keyhole's channel is no border."""
    rounded = np.rint(edges * 200).astype(np.int64)
    there = {(*a, *b) for a, b in rounded.tolist()}
    keep = [(*b, *a) not in there for a, b in rounded.tolist()]
    return edges[np.array(keep, dtype=bool)]


def _sampled(edges: Array, step: float) -> Array:
    """Points on edges, no further apart than `step`."""
    if not len(edges):
        return np.zeros((0, 2))
    counts = np.maximum(1, np.ceil(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1) / step).astype(int))
    which = np.repeat(np.arange(len(edges)), counts)
    place = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[which]
    return np.asarray(edges[which, 0] + place[:, None] * (edges[which, 1] - edges[which, 0]))


def _volume(distances: Sequence[Array], gaps: Array, joined: NDArray[np.bool_], usual: float, size: float) -> float:
    """Millilitres: each plane's area as far as half the way to its neighbours, or half the usual distance at an end."""
    half = np.where(joined, gaps, usual) / 2
    thick = np.r_[usual / 2, half] + np.r_[half, usual / 2]
    areas = [float(np.clip(d / size + 0.5, 0, 1).sum()) * size**2 if (d > 0).any() else 0.0 for d in distances]
    return float(np.dot(areas, thick)) / 1000


def _between(
    level: float, heights: Array, distances: Sequence[Array], joined: NDArray[np.bool_], usual: float
) -> Array:
    """The distances at one level from those of the planes below and above it."""
    k = int(np.searchsorted(heights, level + 1e-6, side="right")) - 1
    if 0 <= k < len(heights) - 1 and joined[k]:
        t = (level - heights[k]) / (heights[k + 1] - heights[k])
        return np.asarray((1 - t) * distances[k] + t * distances[k + 1])
    out = np.full(distances[0].shape, FAR)
    for at in (k, k + 1):
        if 0 <= at < len(heights) and abs(level - heights[at]) <= usual + 1e-6:
            # An end is flat: half the usual distance beyond the last contour everything is outside.
            fade = 1 - 2 * abs(level - heights[at]) / usual
            out = np.maximum(out, np.where(distances[at] > 0, fade * distances[at], distances[at]))
    return out


def contours_of(distance: Volume, least: float = 0.0) -> list[tuple[int, Array]]:
    """The border of a shape on the slices of its grid: (slice, (N, 3) LPS millimetres), holes joined to their outline
    by a keyhole (C.8.8.6.3). Pieces of less than `least` square millimetres are left out."""
    found = []
    values, grid = distance.array.astype(np.float64), distance.grid
    area = float(np.prod(grid.spacing[:2]))
    for k in range(values.shape[2]):
        if not (values[..., k] > 0).any():
            continue
        # What the grid cuts is closed half a voxel beyond its outermost voxel centres.
        padded = np.pad(values[..., k], 1, mode="edge")
        for side in (padded[0], padded[-1], padded[:, 0], padded[:, -1]):
            side[:] = -np.abs(side)
        lines = [np.asarray(line, dtype=np.float64) for line in contour_generator(z=padded.T).lines(0.0)]
        rings = [line[:-1] - 1 for line in lines if len(line) > 3]
        rings = [r for r in rings if abs(_area(r)) * area > least]
        for ring in _keyholed(rings):
            found.append((k, grid.world(np.c_[ring, np.full(len(ring), float(k))])))
    return found


def _area(ring: Array) -> float:
    """Signed area of a polygon (N, 2)."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _keyholed(rings: Sequence[Array]) -> list[Array]:
    """Polygons without holes: each hole is joined to the smallest ring around it by a channel without width."""
    by_size = sorted(rings, key=lambda r: -abs(_area(r)))
    outer: list[Array] = []
    for ring in by_size:
        around = [n for n, one in enumerate(outer) if _holds(one, ring[0])]
        if not around:
            outer.append(ring)
            continue
        n = around[-1]
        ring = ring if _area(ring) * _area(outer[n]) < 0 else ring[::-1]
        apart = np.linalg.norm(outer[n][:, None] - ring[None], axis=2)
        a, b = np.unravel_index(int(apart.argmin()), apart.shape)
        turned = np.roll(ring, -int(b), axis=0)
        outer[n] = np.concatenate([outer[n][: a + 1], turned, turned[:1], outer[n][a:]])
    return outer


def _holds(ring: Array, point: Array) -> bool:
    """Whether a point lies in a polygon, by even and odd crossings."""
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    crosses = (y0 <= point[1]) != (y1 <= point[1])
    x = x0[crosses] + (point[1] - y0[crosses]) * (x1[crosses] - x0[crosses]) / (y1[crosses] - y0[crosses])
    return bool((x < point[0]).sum() % 2)
