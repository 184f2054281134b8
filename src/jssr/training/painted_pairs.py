"""Pairs of pictures of one body before and after it has moved, with the true displacement: what registers learn from.

Both are painted (`jssr.training.painting`), so that no two pairs have the same contrast; half of them are two CT phases
of one patient. Organs follow the breath as far as their tissue does in the phantoms, along a wall that stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.phantom.anatomy import mobility_table
from jssr.phantom.contrast import sample_contrast
from jssr.phantom.regions import Tissue
from jssr.training.painting import KINDS, Painter

__all__ = ["PaintedPair", "PairPainter"]

PAD = 12
"""Voxels round a picture, from which organs move into it."""
CT_PAIRS = 0.5
"""Share of pairs of two CT phases; in the others each picture's kind is drawn for itself."""
BREATH_MM = 28.0
"""Largest shift of the liver along the body."""
BREATHS, HARD_BREATHS = (0.2, 1.0), (0.6, 1.25)
"""Share of that which a breath reaches at most, drawn between the two."""
SMOOTH_MM = (0.6, 3.2)
"""Root mean square of each component of the smooth random displacement."""
SHIFT_MM, TURN = 5.0, 0.035
"""Largest rigid offset in every direction, and turn (radians) about z: what a rigid step may leave."""


@dataclass(frozen=True)
class PaintedPair:
    """Images (1, 1, *size) in -1..1; `truth` (1, 3, *size) in voxels takes the fixed picture's places to the moving
    one's; `mask` (1, 1, *size) is 1 in the body where they are in both pictures."""

    moving: Tensor
    fixed: Tensor
    truth: Tensor
    mask: Tensor


class PairPainter(Painter):
    """Draws pairs.

    Args:
        hard: larger breaths, and CT, MR and random grey values a third each in pairs of two kinds.
        others: as `Painter`.
    """

    def __init__(self, *args: Any, hard: bool = False, **others: Any) -> None:
        super().__init__(*args, **others)
        self.hard = hard

    def draw_pair(self) -> PaintedPair:
        """One pair of a place drawn at random."""
        size = self.size
        body = self.bodies[self.whole(0, len(self.bodies) - 1)]
        wide = self.where(body, [s + 2 * PAD for s in size])
        inner = (slice(None), *[slice(PAD, PAD + s) for s in size])
        codes = self.read(body, wide, int(Tissue.AIR))
        truth = self._motion(codes)[(slice(None), *inner)]
        at = ff.identity(size) + truth + PAD
        now = ff.sample(wide[None], at)[0]
        grain = self.grain(body.shape) if self.chance(0.8) else torch.zeros(body.shape)
        pictures = []
        patient = sample_contrast(self.numpy) if self.chance(CT_PAIRS) else None
        for there in (wide[inner], now):
            tissue, structure = self.read(body, there, int(Tissue.AIR)), self.read(grain, there, 0.0)
            structure = self.uniform(0.5, 1.5) * structure
            if patient is not None:
                image = self.ct(tissue, patient, structure)
            else:
                kind = KINDS[self.whole(0, 2)] if self.hard else None
                image = self.paint(tissue, structure, kind)[0]
            pictures.append((self._cut(image), tissue))
        last = torch.tensor(size).view(1, 3, 1, 1, 1) - 1
        place = at - PAD
        seen = ((place >= 0) & (place <= last)).all(dim=1, keepdim=True)
        mask = (seen & (pictures[1][1] > 0)[None, None]).float()
        return PaintedPair(pictures[0][0][None, None], pictures[1][0][None, None], truth, mask)

    def _motion(self, codes: Tensor) -> Tensor:
        """A displacement in voxels for tissue codes (*size): breath, smooth noise and a rigid offset, (1, 3, *size)."""
        size = codes.shape
        voxel = torch.tensor(self.voxel).view(1, 3, 1, 1, 1)
        mobile = ff.smooth(mobility_table()[codes][None, None], self.uniform(1.2, 2.4))
        breath = BREATH_MM * self.uniform(-1, 1) * self.uniform(*(HARD_BREATHS if self.hard else BREATHS))
        along = torch.tensor([0.04 * self.uniform(-1, 1), -self.uniform(0.0, 0.35), 1.0]).view(1, 3, 1, 1, 1)
        moved = breath * along * mobile
        extent = max(s * v for s, v in zip(size, self.voxel, strict=True))
        noise = self.noise(size, extent / self.uniform(35, 90), 3)[None]
        moved = moved + self.uniform(*SMOOTH_MM) * noise / noise.std()
        moved = moved + SHIFT_MM * torch.tensor([self.uniform(-1, 1) for _ in range(3)]).view(1, 3, 1, 1, 1)
        angle = TURN * self.uniform(-1, 1)
        x, y = (ff.identity(size)[0, a] * self.voxel[a] - size[a] * self.voxel[a] / 2 for a in (0, 1))
        turned = torch.stack(
            [x * (math.cos(angle) - 1) - y * math.sin(angle), x * math.sin(angle) + y * (math.cos(angle) - 1)]
        )
        moved[0, :2] += turned
        return moved / voxel

    def _cut(self, image: Tensor) -> Tensor:
        """Now and then a slab at one end that the scan does not show."""
        if self.chance(0.25):
            some = self.whole(1, max(1, image.shape[2] // 4))
            ends: Sequence[slice] = (slice(None, some), slice(-some, None))
            image = image.clone()
            image[:, :, ends[self.whole(0, 1)]] = -1.0
        return image
