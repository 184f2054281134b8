"""LapIRN: registration from coarse to fine with a Laplacian pyramid of networks (Mok and Chung, MICCAI 2020).

x moving, y fixed; x_l, y_l averaged to a quarter, a half and the whole of the size (l = 1, 2, 3).

    u_1 = Phi_1(x_1, y_1);  u_l = up(u_{l-1}) + Phi_l(up(u_{l-1})(x_l), y_l, up(u_{l-1}))
    ncc_l     sum_{k <= l} 2^-(l-k) (1 - LCC_{2k+1}[u_l(x_l), y_l] averaged to level k)     windows 3, 5, 7
    smooth_l  sum_v |grad u_l|^2

Each level is trained first with those below it frozen, then together with them: the recipe's stages say so. Fields are
displacements here, the authors' LapIRN_disp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.similarity import joint_mask, lncc
from jssr.losses.smoothness import diffusion
from jssr.nets.blocks import pad_to_multiple, upsample_to
from jssr.nets.lapirn import LapIRNLevel
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of

__all__ = ["LapIRN", "Measure", "Pyramid", "build", "field_of"]

_warp = full_precision(ff.warp)

Measure = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]
"""(moved, fixed, mask, level) to how unlike they are."""


class LapIRN(System):
    """The system of the module's docstring. Phi1, Phi2, Phi3: `LapIRNLevel`s from coarse to fine."""

    parts = ("Phi1", "Phi2", "Phi3")
    makes = {"tau": "Phi1"}

    def __init__(self, Phi1: nn.Module, Phi2: nn.Module, Phi3: nn.Module) -> None:
        super().__init__()
        self.Phi1, self.Phi2, self.Phi3 = Phi1, Phi2, Phi3

    @property
    def levels(self) -> tuple[nn.Module, ...]:
        return self.Phi1, self.Phi2, self.Phi3

    def losses(self, batch: Batch, player: str) -> Terms:
        """ncc1, ncc2, ncc3, smooth1, smooth2, smooth3."""
        terms: dict[str, Callable[[], Tensor]] = {}
        for level in (1, 2, 3):
            terms[f"ncc{level}"] = partial(self._distance, batch, level)
            terms[f"smooth{level}"] = partial(self._roughness, batch, level)
        return terms

    def _distance(self, batch: Batch, level: int) -> Tensor:
        return Pyramid.of(self.levels, batch).distance(level, _ncc)

    def _roughness(self, batch: Batch, level: int) -> Tensor:
        return diffusion(Pyramid.of(self.levels, batch).field(level))

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau, the field of the finest level; see Alignment."""
        return Alignment(field_of(self.levels, moving, fixed))


def _ncc(moved: Tensor, fixed: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return lncc(moved, fixed, mask, size=2 * level + 1)


def field_of(levels: Sequence[nn.Module], moving: Tensor, fixed: Tensor) -> Tensor:
    """The field of the finest level in voxels, from images (B, 1, *spatial) of any size."""
    x, cut = pad_to_multiple(moving, 8)
    return Pyramid(levels, x, pad_to_multiple(fixed, 8)[0]).field(3)[cut]


class Pyramid:
    """x_l, y_l and u_l of one pair, each computed once, when first asked for. Sizes are multiples of 8."""

    def __init__(self, levels: Sequence[nn.Module], x: Tensor, y: Tensor, *masks: Tensor | None) -> None:
        self.levels, self.x, self.y, self.masks = levels, x, y, masks
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def of(cls, levels: Sequence[nn.Module], batch: Batch) -> Pyramid:
        """That of a batch, padded at its far ends, kept in its memo."""
        if "pyramid" not in batch.memo:
            x, y = pair_of(batch)
            masks = [None if m is None else pad_to_multiple(m, 8)[0] for m in (batch.moving_mask, batch.fixed_mask)]
            batch.memo["pyramid"] = cls(levels, pad_to_multiple(x, 8)[0], pad_to_multiple(y, 8)[0], *masks)
        found: Pyramid = batch.memo["pyramid"]
        return found

    def field(self, level: int) -> Tensor:
        """u_l in voxels of level l."""
        return self._level(level)[0]

    def distance(self, level: int, measure: Measure) -> Tensor:
        """sum_{k <= l} 2^-(l-k) measure[u_l(x_l), y_l], both averaged to level k."""
        x, y = self.scales[level - 1]
        moved, mask = _warp(x, self.field(level)), self.mask(level)
        total = measure(moved, y, mask, level)
        for k in range(level - 1, 0, -1):
            moved, y = _half(moved), _half(y)
            mask = None if mask is None else _half(mask)
            total = total + 2.0 ** (k - level) * measure(moved, y, mask, k)
        return total

    @cached_property
    def scales(self) -> list[tuple[Tensor, Tensor]]:
        """(x_l, y_l) for l = 1, 2, 3."""
        pairs = [(self.x, self.y)]
        for _ in range(2):
            pairs.insert(0, (_half(pairs[0][0]), _half(pairs[0][1])))
        return pairs

    def mask(self, level: int) -> Tensor | None:
        """Where both scans have data, None where nothing is known of it."""
        moving, fixed = (None if m is None else upsample_to(m, self.scales[level - 1][0].shape[2:]) for m in self.masks)
        return joint_mask(None if moving is None else _warp(moving, self.field(level).detach()), fixed)

    def _level(self, level: int) -> tuple[Tensor, Tensor]:
        """u_l and the features handed up."""
        if level not in self._made:
            network = self.levels[level - 1]
            x, y = self.scales[level - 1]
            if level == 1:
                self._made[level] = network(x, y)
            else:
                coarse, features = self._level(level - 1)
                up = 2 * upsample_to(coarse, x.shape[2:])
                more, features = network(_warp(x, up), y, up, below=features)
                self._made[level] = up + more, features
        return self._made[level]


def _half(image: Tensor) -> Tensor:
    return (F.avg_pool3d if image.ndim == 5 else F.avg_pool2d)(image, 2)


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> LapIRN:
    """Make one from plain data: for each level `LapIRNLevel`'s numbers; there are no options."""
    made = [LapIRNLevel(inputs=2 if part == "Phi1" else 5, **networks[part]) for part in ("Phi1", "Phi2", "Phi3")]
    return LapIRN(*made, **options)
