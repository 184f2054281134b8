"""The canvas a phantom is painted on: coordinates bent by the patient's own smooth warp, shapes as signed distances.

Canonical coordinates are LPS millimetres of a straight patient, z = 0 at the middle of L1. A voxel at world point `p`
shows the canonical point `p + d(p)`, `d` smooth. Thin things (vessels, ribs, bowel) are painted in the world around
centre lines that `to_world` has bent along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from jssr.core.grid import Grid
from jssr.phantom.regions import Tissue

__all__ = ["Array", "Box", "Canvas", "ellipsoid", "grown", "smax", "smin", "smooth_noise", "upsample"]

Array = NDArray[np.floating[Any]]  # float32 throughout: memory and speed
Box = tuple[slice, slice, slice]
FAR = np.float32(99.0)


def upsample(coarse: Array, shape: Sequence[int]) -> Array:
    """Interpolate linearly onto more voxels between the same outermost centres."""
    if all(n == 2 * m - 1 for n, m in zip(shape, coarse.shape, strict=True)):
        return _double(coarse)
    source = torch.from_numpy(np.ascontiguousarray(coarse))[None, None]
    return F.interpolate(source, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0].numpy()


def _double(coarse: Array) -> Array:
    """Put one voxel between every two: the common case of `upsample`, faster."""
    out = coarse
    for axis in (2, 1, 0):
        shape = list(out.shape)
        shape[axis] = 2 * shape[axis] - 1
        new = np.empty(shape, dtype=np.float32)
        view, old = np.moveaxis(new, axis, 0), np.moveaxis(out, axis, 0)
        view[::2] = old
        np.add(old[:-1], old[1:], out=view[1::2])
        view[1::2] *= np.float32(0.5)
        out = new
    return out


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], spacing: float, length: float) -> Array:
    """Random field of zero mean and about unit sd that varies over `length` mm."""
    step = max(length / 2.2, spacing)
    nodes = [max(4, int(np.ceil(s * spacing / step)) + 1) for s in shape]
    noise = gaussian_filter(rng.standard_normal(nodes).astype(np.float32), 0.9, mode="nearest")
    noise /= max(float(noise.std()), 1e-6)
    return upsample(noise, shape)


def ellipsoid(x: Array, y: Array, z: Array, centre: ArrayLike, radii: ArrayLike) -> Array:
    """Approximate signed distance (mm, negative inside) to an axis-aligned ellipsoid."""
    c, r = np.asarray(centre, dtype=np.float32), np.asarray(radii, dtype=np.float32)
    k0 = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z)), dtype=np.float32)
    k1 = np.full_like(k0, 1e-12)
    for value, middle, radius in zip((x, y, z), c, r, strict=True):
        u = value - middle
        u *= 1 / radius
        u *= u
        k0 += u
        u *= 1 / (radius * radius)
        k1 += u
    np.sqrt(k0, out=k0)
    np.sqrt(k1, out=k1)
    np.divide(k0, k1, out=k1)
    k0 -= 1
    k0 *= k1
    return k0


def smin(a: Array, b: Array, k: float) -> Array:
    """Smooth minimum: union of two signed distances, blended over `k` mm."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(0.25 * k)


def smax(a: Array, b: Array, k: float) -> Array:
    """Smooth maximum: intersection of two signed distances, rounded over `k` mm."""
    return -smin(-a, -b, k)


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and the six neighbours of each of its voxels."""
    out = mask.copy()
    for axis in range(3):
        view, old = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        view[1:] |= old[:-1]
        view[:-1] |= old[1:]
    return out


class Canvas:
    """Tissue codes on the reference grid, and where each voxel lies in the canonical patient."""

    def __init__(self, rng: np.random.Generator, size: Sequence[float], spacing: float, warp: float) -> None:
        # Odd counts: the coarse grid then shares every second voxel with the fine one.
        half = [int(np.ceil(s / spacing / 2)) for s in size]
        shape = tuple(2 * h + 1 for h in half)
        self.rng = rng
        self.spacing = float(spacing)
        self.grid = Grid.of(shape, spacing, [-h * spacing for h in half])
        self.shape = shape
        self.coarse_shape = tuple(h + 1 for h in half)
        self.origin = self.grid.origin.astype(np.float32)
        self.tissue: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
        self.displacement = self._warp(rng, warp)
        self.margin = float(np.abs(self.displacement).max()) + 2.0
        axes = [
            self.origin[a] + np.arange(n, dtype=np.float32) * (2 * self.spacing)
            for a, n in enumerate(self.coarse_shape)
        ]
        straight = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.coarse: tuple[Array, Array, Array] = tuple(straight[a] + self.displacement[a] for a in range(3))
        self.x, self.y, self.z = (upsample(c, shape) for c in self.coarse)
        self.rough = smooth_noise(rng, shape, self.spacing, 22.0)

    def _warp(self, rng: np.random.Generator, size: float) -> Array:
        step = 2 * self.spacing
        slow = [smooth_noise(rng, self.coarse_shape, step, 150.0) for _ in range(3)]
        fast = [smooth_noise(rng, self.coarse_shape, step, 60.0) for _ in range(3)]
        return np.stack(
            [np.float32(size / 2.2) * s + np.float32(size / 6) * f for s, f in zip(slow, fast, strict=True)]
        )

    def refine(self, coarse: Array) -> Array:
        """Bring a field from the coarse grid to the reference grid."""
        return upsample(coarse, self.shape)

    def to_world(self, points: ArrayLike, iterations: int = 4) -> NDArray[np.float64]:
        """Where canonical points (N, 3) lie in the world; four rounds leave less than 0.1 mm."""
        goal = np.atleast_2d(np.asarray(points, dtype=np.float64))
        at = goal.copy()
        for _ in range(iterations):
            at = goal - self._bend(at)
        return at

    def _bend(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """The displacement at world points (N, 3), linear between coarse voxels, constant beyond them."""
        last = np.array(self.coarse_shape) - 1
        at = np.clip((world - self.origin) / (2 * self.spacing), 0, last)
        low = np.minimum(at.astype(np.int64), last - 1)
        part = at - low
        out = np.zeros_like(world)
        i, j, k = low.T
        share = (1 - part.T, part.T)
        for a, b, c in np.ndindex(2, 2, 2):
            weight = share[a][0] * share[b][1] * share[c][2]
            out += (weight * self.displacement[:, i + a, j + b, k + c]).T
        return out

    def index(self, world: ArrayLike) -> NDArray[np.int64]:
        """Nearest voxels (N, 3), kept inside the grid."""
        at = np.rint((np.atleast_2d(world) - self.origin) / self.spacing).astype(np.int64)
        return np.clip(at, 0, np.array(self.shape) - 1)

    def box(self, low: ArrayLike, high: ArrayLike, margin: float | None = None) -> Box:
        """Voxels that hold the canonical box; `margin` (mm) covers the warp unless given."""
        margin = self.margin if margin is None else margin
        a = np.floor((np.asarray(low) - margin - self.origin) / self.spacing).astype(int)
        b = np.ceil((np.asarray(high) + margin - self.origin) / self.spacing).astype(int) + 1
        a = np.clip(a, 0, np.array(self.shape) - 1)
        b = np.clip(b, a + 1, np.array(self.shape))
        return tuple(slice(int(i), int(j)) for i, j in zip(a, b, strict=True))  # type: ignore[return-value]

    def coordinates(self, box: Box) -> tuple[Array, Array, Array]:
        """Canonical coordinates of the voxels in a box."""
        return self.x[box], self.y[box], self.z[box]

    def coarsened(self, box: Box) -> tuple[Box, Box]:
        """The box grown to begin and end on coarse voxels, and the coarse box: shapes worked out there cost 1/8."""
        low = [s.start // 2 for s in box]
        high = [min((s.stop - 1 + 1) // 2, n - 1) for s, n in zip(box, self.coarse_shape, strict=True)]
        fine = tuple(slice(2 * a, 2 * b + 1) for a, b in zip(low, high, strict=True))
        return fine, tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))  # type: ignore[return-value]

    def paint(self, box: Box, mask: NDArray[np.bool_], code: Tissue, over: Sequence[Tissue] | None = None) -> None:
        """Set voxels of a box to a tissue, only where one of `over` is now (None: anywhere)."""
        view = self.tissue[box]
        if over is not None:
            mask = mask & self.among(box, over)
        view[mask] = code

    def among(self, box: Box, codes: Sequence[Tissue]) -> NDArray[np.bool_]:
        """Where one of the tissues is now."""
        table = np.zeros(256, dtype=bool)
        table[[int(c) for c in codes]] = True
        return table[self.tissue[box]]

    def free(self, box: Box, over: Sequence[Tissue], gap: int = 1) -> NDArray[np.bool_]:
        """Where one of `over` is now and nothing else within `gap` voxels: a plane of fat stays between organs."""
        taken = ~self.among(box, over)
        for _ in range(gap):
            taken = grown(taken)
        return ~taken

    def guard(self) -> None:
        """Set apart the visceral fat that touches anything else, so that nothing painted over fat fills it."""
        fat = self.tissue == Tissue.FAT_VISCERAL
        self.tissue[fat & grown(~fat)] = Tissue.FAT_PLANE

    def unguard(self) -> None:
        """Make the fat set apart plain visceral fat again."""
        self.tissue[self.tissue == Tissue.FAT_PLANE] = Tissue.FAT_VISCERAL

    def tube(self, points: ArrayLike, radii: ArrayLike, margin: float = 4.0) -> tuple[Box, Array, Array]:
        """Signed distance to a tube around a canonical centre line.

        Args:
            points: (N, 3) canonical mm.
            radii: (N,) mm or a number.
            margin: how far outside the tube the distance is still right.

        Returns:
            box, distance there (mm, negative inside), and the place along the line (in points, fractional).
        """
        line = self.to_world(points).astype(np.float32)
        r = np.broadcast_to(np.asarray(radii, dtype=np.float32), (len(line),))
        reach = float(r.max()) + margin
        box = self.box(line.min(0), line.max(0), reach)
        shape = tuple(s.stop - s.start for s in box)
        distance = np.full(shape, FAR, dtype=np.float32)
        place = np.zeros(shape, dtype=np.float32)
        first = np.array([s.start for s in box])
        for i in range(len(line) - 1):
            self._segment(line[i : i + 2], r[i : i + 2], margin, i, first, distance, place)
        return box, distance, place

    def _segment(
        self,
        ends: Array,
        radii: Array,
        margin: float,
        number: int,
        first: NDArray[np.int64],
        distance: Array,
        place: Array,
    ) -> None:
        sub = self.box(ends.min(0), ends.max(0), float(radii.max()) + margin)
        inner = tuple(slice(s.start - f, s.stop - f) for s, f in zip(sub, first, strict=True))
        axes = [self.origin[a] + self.spacing * np.arange(s.start, s.stop, dtype=np.float32) for a, s in enumerate(sub)]
        dx, dy, dz = (axes[0] - ends[0, 0])[:, None, None], (axes[1] - ends[0, 1])[:, None], axes[2] - ends[0, 2]
        along = ends[1] - ends[0]
        length = float(along @ along) + 1e-6
        t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / np.float32(length), 0, 1)
        away = np.sqrt((dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2)
        away -= radii[0] + t * (radii[1] - radii[0])
        target = distance[inner]
        closer = away < target
        np.copyto(target, away, where=closer)
        np.copyto(place[inner], t + np.float32(number), where=closer)

    def paint_capsule(
        self, ends: ArrayLike, radii: ArrayLike, code: Tissue, over: Sequence[Tissue] | None = None
    ) -> None:
        """Paint a round-ended piece of vessel between two WORLD points; thinner than a voxel still leaves a line."""
        line = np.asarray(ends, dtype=np.float32)
        thick = np.maximum(np.asarray(radii, dtype=np.float32), np.float32(0.55 * self.spacing))
        box = self.box(line.min(0), line.max(0), float(thick.max()) + 1.0)
        shape = tuple(s.stop - s.start for s in box)
        distance, place = np.full(shape, FAR, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._segment(line, thick, 1.0, 0, np.array([s.start for s in box]), distance, place)
        self.paint(box, distance < 0, code, over)

    def paint_tube(
        self,
        points: ArrayLike,
        radii: ArrayLike,
        code: Tissue,
        over: Sequence[Tissue] | None = None,
        swell: float = 0.0,
    ) -> None:
        """Paint a tube; a tube thinner than a voxel still leaves a line. `swell`: bumps of the outline in mm."""
        box, distance, _ = self.tube(points, np.maximum(radii, 0.55 * self.spacing), margin=2.0)
        if swell:
            distance = distance + np.float32(swell) * self.rough[box]
        self.paint(box, distance < 0, code, over)
