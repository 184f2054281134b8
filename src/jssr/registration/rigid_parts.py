"""Parts of the fixed scan that stay rigid: bones, and tumours if asked.

A part moves by the rotation and the shift that come nearest to what the field says of its voxels (Kabsch 1976). Around
the parts their motions are weighed by the inverse square of the distance, after Little, Hill and Hawkes (1997), and
fade into the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement

REACH_MM = 10.0
"""How far the motion of a part reaches into the field around it."""
REACHES = 2
"""A field that folds around a part is given that many times the reach."""
LEAST = 0.05
"""A Jacobian determinant below it is taken for a fold."""
SEEN = 0.25
"""A part of which less lies in the moving scan is moved by all its voxels, not by those that can be compared."""
_ROUNDS = 40
_INVERSIONS = 12
JOINED = (
    "{n} rigid parts touch others and would have overlapped with them: they move as one. Is there a gap between them "
    "in the label map?"
)
OUTSIDE = "{n} of {all} rigid parts lie outside of the moving scan: they move with what is around them."
FOLDS = "{n} cells around the rigid parts fold: what is around them would have to move otherwise than they do."


@dataclass(frozen=True)
class Held:
    """A motion that is held while the field around it is optimised.

    Attributes:
        share: (1, 1, *spatial) in 0..1, how much of the displacement is the motion's; 1 in the parts.
        motion: (1, n, *spatial) mm, 0 where `share` is 0.
    """

    share: Tensor
    motion: Tensor

    def to(self, device: torch.device) -> Held:
        """The same on a device."""
        return Held(self.share.to(device), self.motion.to(device))

    def on(self, field: Tensor) -> Tensor:
        """A dense field (1, n, *spatial) in mm with the motion in its place."""
        return torch.lerp(field, self.motion, self.share)

    def at(self, where: Sequence[slice], axes: Sequence[Tensor], pool: int) -> Held:
        """The same on a lattice of an image whose voxels are averages of `pool` voxels: a slice and positions along
        each axis."""
        if pool == 1:
            there = (slice(None), slice(None), *where)
            return Held(self.share[there], self.motion[there])
        here = torch.stack(torch.meshgrid(*[a * pool + (pool - 1) / 2 for a in axes], indexing="ij"))[None]
        return Held(ff.sample(self.share, here), ff.sample(self.motion, here))


@dataclass(frozen=True)
class _Part:
    """Where one part is: a box around it, the distance (mm) to the part in it, and its voxels (N, n)."""

    box: tuple[slice, ...]
    distance: NDArray[np.float32]
    voxels: NDArray[np.int64]


class RigidParts:
    """Parts of a grid that stay rigid under the full transform.

    Args:
        parts: (1, 1, *grid.shape) integers, a number for each part, 0 elsewhere.
        grid: of the field.
        after, initial: what follows the field: the rigid or affine step, and the field that was known before.
    """

    def __init__(self, parts: Tensor, grid: Grid, after: Affine, initial: Displacement | None = None) -> None:
        self.grid = grid
        self.labels = parts[0, 0].cpu().numpy()
        n, turn = grid.ndim, grid.direction
        self.size = torch.from_numpy(grid.spacing).float().view(1, n, *[1] * n)
        self.linear = np.linalg.inv(turn) @ after.matrix[:n, :n] @ turn
        self.known = None if initial is None else Chain(after, initial)
        self._find()

    def _find(self) -> None:
        """The regions that move by each part, and distances from them."""
        from scipy import ndimage

        spacing = self.grid.spacing
        distance, nearest = ndimage.distance_transform_edt(
            self.labels == 0, sampling=spacing, return_indices=True
        )  # to the nearest part
        cells = tuple(slice(0, s - 1) for s in distance.shape)
        self.around = distance[cells] <= REACHES * REACH_MM
        # A ring of voxels around moves alike: then the field stays rigid up to the part's surface between voxels.
        region = np.where(distance <= 1.001 * np.linalg.norm(spacing), self.labels[tuple(nearest)], 0)
        # Where two rings meet, the field is left room between the parts.
        self.region = np.where((self.labels == 0) & _shared(region), 0, region).astype(np.int32)
        margin = np.ceil((REACHES * REACH_MM) / spacing).astype(int)
        self.parts: dict[int, _Part] = {}
        for number, box in enumerate(ndimage.find_objects(self.region), start=1):
            if box is None:
                continue
            wide = tuple(
                slice(max(0, b.start - m), min(s, b.stop + m))
                for b, m, s in zip(box, margin, self.region.shape, strict=True)
            )
            apart = ndimage.distance_transform_edt(self.region[wide] != number, sampling=spacing)
            self.parts[number] = _Part(wide, apart.astype(np.float32), np.argwhere(self.labels == number))

    def held(self, field: Tensor, moving_mask: Tensor | None = None, reach: float = REACH_MM) -> Held:
        """The motions of the parts that come nearest to a field.

        Args:
            field: (1, n, *grid.shape) mm along the grid's axes.
            moving_mask: (1, 1, *grid.shape), where the moving scan has data: only there the field is known.
            reach: mm.
        """
        shape = self.labels.shape
        total, share = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        motion = np.zeros((len(shape), *shape), np.float32)
        seen = None if moving_mask is None else ff.warp(moving_mask.float(), field / self.size, padding="zeros")
        exact = []
        for number, part in self.parts.items():
            near = np.argwhere(part.distance < reach)
            d = part.distance[tuple(near.T)]
            at = near + [b.start for b in part.box]
            u = self._motion(part, field, seen, at)
            fade = 1 - (d / reach) ** 2 * (3 - 2 * d / reach)
            weight = fade / (d**2 + 1e-4)
            where = tuple(at.T)
            total[where] += weight
            share[where] = np.maximum(share[where], fade)
            motion[(slice(None), *where)] += weight * u.T
            inside = self.region[where] == number
            exact.append((tuple(at[inside].T), u[inside].T))
        motion /= np.maximum(total, 1e-12)
        for where, u in exact:
            motion[(slice(None), *where)] = u
        return Held(torch.from_numpy(share)[None, None], torch.from_numpy(motion)[None])

    def _motion(self, part: _Part, field: Tensor, seen: Tensor | None, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """The displacements (N, n) in mm of voxels `at` (N, n) by the motion that comes nearest to a part's."""
        where = part.voxels
        if seen is not None:
            there = seen[0, 0].numpy()[tuple(where.T)] > 0.5
            where = where[there] if there.mean() >= SEEN else where
        p = where * self.grid.spacing
        u = field[0].numpy()[(slice(None), *where.T)].T.astype(np.float64)
        q = self._behind(p + u)
        centre, there_ = p.mean(0), q.mean(0)
        rotation = _rotation(p - centre, q - there_)
        here = at * self.grid.spacing
        return self._before((here - centre) @ rotation.T + there_) - here

    def _behind(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (mm along the grid's axes) behind the field where they end in the moving space, along the same axes.
        (Only distances there count, so that its origin is any.)"""
        if self.known is None:
            return x @ self.linear.T
        world = self.known(self.grid.world(x / self.grid.spacing))
        return world @ self.grid.direction  # its inverse is its transpose

    def _before(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `_behind`."""
        back = np.linalg.inv(self.linear).T
        if self.known is None:
            return y @ back
        x = y @ back
        for _ in range(_INVERSIONS):
            x = x + (y - self._behind(x)) @ back
        return x

    def settled(self, field: Tensor, moving_mask: Tensor | None = None) -> tuple[Tensor, tuple[str, ...]]:
        """A field with the parts rigid in it and, as far as they let it, without folds around them.

        Args:
            field, moving_mask: as in `held`.

        Returns:
            The field, and warnings: of parts that had to be joined, that lie outside, or around which the field folds.
        """
        joined = 0
        count = len(self.parts)
        outside = self._outside(field, moving_mask)
        while True:
            for times in range(1, REACHES + 1):
                held = self.held(field, moving_mask, times * REACH_MM)
                found = self._without_folds(held.on(field), held)
                folds = self._folds(found)
                if not folds.any():
                    break
            more = self._joined(folds) if folds.any() else 0
            if not more:
                break
            joined += more
        warnings = [OUTSIDE.format(n=outside, all=count)] if outside else []
        warnings += [JOINED.format(n=joined)] if joined else []
        worse = int(folds.sum()) - int(self._folds(field).sum())
        warnings += [FOLDS.format(n=worse)] if worse > 0 else []
        return found, tuple(warnings)

    def _outside(self, field: Tensor, moving_mask: Tensor | None) -> int:
        if moving_mask is None:
            return 0
        seen = ff.warp(moving_mask.float(), field / self.size, padding="zeros")[0, 0].numpy() > 0.5
        return sum(seen[tuple(part.voxels.T)].mean() < SEEN for part in self.parts.values())

    def _folds(self, field: Tensor) -> NDArray[np.bool_]:
        return (ff.jacobian_determinant(field / self.size)[0] < LEAST).numpy() & self.around

    def _without_folds(self, field: Tensor, held: Held) -> Tensor:
        """Smooth the field where it folds, with the parts held."""
        n = self.grid.ndim
        pool = F.max_pool3d if n == 3 else F.max_pool2d
        inside = torch.from_numpy(self.region > 0)[None, None]
        for _ in range(_ROUNDS):
            bad = torch.from_numpy(self._folds(field)).float()[None, None]
            if not bool(bad.any()):
                break
            near = ff.smooth(pool(F.pad(bad, [0, 1] * n), 5, stride=1, padding=2), 1.5)
            field = torch.where(inside, held.motion, field + near * (ff.smooth(field, 1.5) - field))
        return field

    def _joined(self, folds: NDArray[np.bool_]) -> int:
        """Give parts that meet in a fold one number.

        Returns:
            How many parts were given another's.
        """
        name = np.arange(int(self.labels.max()) + 1)
        for cell in np.argwhere(folds):
            corner = self.region[tuple(slice(max(0, c - 1), c + 3) for c in cell)]
            near = np.unique(name[corner[corner > 0]])
            for other in near[1:]:
                name[name == other] = near[0]
        more = int((name != np.arange(len(name))).sum())
        if more:
            self.labels = name[self.labels]
            self._find()
        return more


def kept(parts: Tensor) -> Tensor:
    """Where parts (1, 1, *spatial) move the field themselves, bool: it is not continued from around them."""
    pool = F.max_pool3d if parts.ndim == 5 else F.max_pool2d
    return pool((parts != 0).float(), 3, stride=1, padding=1) > 0


def _shared(region: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where voxels of two parts are among a voxel and its neighbours."""
    from scipy import ndimage

    most = ndimage.maximum_filter(region, 3)
    least = ndimage.minimum_filter(np.where(region == 0, np.iinfo(region.dtype).max, region), 3)
    return (most > 0) & (least != most)


def _rotation(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation (n, n) that brings points (N, n) around 0 nearest to others; of several the smallest, as for one
    point and around the axis of a line (Kabsch 1976)."""
    n = p.shape[1]
    both = q.T @ p
    both += 1e-6 * (np.abs(both).max() + 1e-6) * np.eye(n)
    a, _, b = np.linalg.svd(both)
    a[:, -1] *= np.sign(np.linalg.det(a @ b))
    return a @ b
