"""What a Laplacian pyramid of registers makes of a pair, level by level (Mok and Chung, MICCAI 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.nets.blocks import pad_to_multiple, upsample_to

__all__ = ["Pyramid"]

_warp = full_precision(ff.warp)


class Pyramid:
    """x_l, y_l and u_l of one pair, each computed once, when first asked for.

    Args:
        levels: networks from coarse to fine, as `LapIRNLevel` is called.
        x, y: moving and fixed image (B, 1, *spatial) of any size; padded at their far ends to multiples of 8.
        masks: of both, None where nothing is known.
    """

    def __init__(self, levels: Sequence[nn.Module], x: Tensor, y: Tensor, *masks: Tensor | None) -> None:
        self.levels = levels
        self.x, self.cut = pad_to_multiple(x, 8)
        self.y = pad_to_multiple(y, 8)[0]
        self.masks = [None if m is None else pad_to_multiple(m, 8)[0] for m in masks]
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def kept(
        cls, memo: dict[str, Any], levels: Sequence[nn.Module], x: Tensor, y: Tensor, *masks: Tensor | None
    ) -> Pyramid:
        """That of a batch, made once and kept in its memo."""
        if "pyramid" not in memo:
            memo["pyramid"] = cls(levels, x, y, *masks)
        found: Pyramid = memo["pyramid"]
        return found

    @property
    def finest(self) -> Tensor:
        """u_3 on the images' own grid."""
        return self.field(3)[self.cut]

    def field(self, level: int) -> Tensor:
        """u_l in voxels of level l."""
        return self._level(level)[0]

    def distance(self, level: int, measure: Callable[[Tensor, Tensor, Tensor | None, int], Tensor]) -> Tensor:
        """sum_{k <= l} 2^-(l-k) measure[u_l(x_l), y_l, mask, k], everything averaged to level k."""
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
        if not self.masks or any(m is None for m in self.masks):
            return None
        moving, fixed = (upsample_to(m, self.scales[level - 1][0].shape[2:]) for m in self.masks if m is not None)
        return _warp(moving, self.field(level).detach()) * fixed

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
