"""What a Laplacian pyramid of registers makes of a pair, level by level (Mok and Chung, MICCAI 2020)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.nets.blocks import pad_to_multiple, upsample_to

Apart = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]
Describe = Callable[[Tensor], Tensor]
_warp = full_precision(ff.warp)


class Pyramid:
    """x_l, y_l and u_l of one pair, each computed once, when first asked for.

    Args:
        levels: networks from coarse to fine, as `LapIRNLevel` is called.
        x, y: moving and fixed image (B, 1, *spatial) of any size; padded at their far ends to multiples of 8.
        masks: of both, None where nothing is known.
        compared: what describes an image, (B, 1, *spatial) to (B, C, *spatial). With it every network is also shown
            the `costs` of the descriptors of x_l, moved by the level below, and y_l.
    """

    def __init__(
        self, levels: Sequence[nn.Module], x: Tensor, y: Tensor, *masks: Tensor | None, compared: Describe | None = None
    ) -> None:
        self.levels, self.compared = levels, compared
        self.x, self.cut = pad_to_multiple(x, 8)
        self.y = pad_to_multiple(y, 8)[0]
        self.masks = [None if m is None else pad_to_multiple(m, 8)[0] for m in masks]
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def kept(cls, memo: dict[str, Any], *pair: Any, **more: Any) -> Pyramid:
        """That of a batch, made once of the arguments above and kept in its memo."""
        if "pyramid" not in memo:
            memo["pyramid"] = cls(*pair, **more)
        found: Pyramid = memo["pyramid"]
        return found

    @property
    def finest(self) -> Tensor:
        """u_3 on the images' own grid."""
        return self.field(3)[self.cut]

    def field(self, level: int) -> Tensor:
        """u_l in voxels of level l."""
        return self._level(level)[0]

    def distance(
        self, level: int, apart: Apart, describe: Describe | None = None, where: Tensor | None = None
    ) -> Tensor:
        """sum_{k <= l} 2^-(l-k) apart[u_l(x_l), y_l, mask, k], everything brought to level k.

        Args:
            apart: of two images, a mask and the level's number.
            describe: what of an image is compared. With it, apart[u_l(D(x_k)), D(y_k), mask, k]: what describes x is
                moved, by u_l averaged to level k, in place of x itself; see `_carried`.
            where: (B, 1, *spatial) of the fixed image, 1 where it may be compared; everywhere by default.
        """
        field, mask = self.field(level), self.mask(level, where)
        moved, total = _warp(self.scales[level - 1][0], field), field.new_zeros(())
        for k in range(level, 0, -1):
            x, y = self.scales[k - 1]
            pair = (moved, y) if describe is None else _carried(describe(x), describe(y), field)
            total = total + 2.0 ** (k - level) * apart(*pair, mask, k)
            field, mask = _half(field) / 2, None if mask is None else _half(mask)
            moved = _half(moved)
        return total

    @cached_property
    def scales(self) -> list[tuple[Tensor, Tensor]]:
        """(x_l, y_l) for l = 1, 2, 3."""
        pairs = [(self.x, self.y)]
        for _ in range(2):
            pairs.insert(0, (_half(pairs[0][0]), _half(pairs[0][1])))
        return pairs

    def mask(self, level: int, where: Tensor | None = None) -> Tensor | None:
        """Where both scans have data, and `where` besides; None where nothing is known of either scan.

        Beyond its ends the moving image counts as it does at them: a field gains nothing by leaving the patch.
        """
        if not self.masks or any(m is None for m in self.masks):
            return None
        moving, fixed = (upsample_to(m, self.scales[level - 1][0].shape[2:]) for m in self.masks if m is not None)
        if where is not None:
            fixed = fixed * upsample_to(pad_to_multiple(where, 8)[0], fixed.shape[2:])
        return _warp(moving, self.field(level).detach()) * fixed

    def _level(self, level: int) -> tuple[Tensor, Tensor]:
        """u_l and the features handed up."""
        if level not in self._made:
            network = self.levels[level - 1]
            x, y = self.scales[level - 1]
            if level == 1:
                self._made[level] = network(x, y, *self._costs(x, y, None))
            else:
                coarse, features = self._level(level - 1)
                up = 2 * upsample_to(coarse, x.shape[2:])
                more, features = network(_warp(x, up), y, up, *self._costs(x, y, up), below=features)
                self._made[level] = up + more, features
        return self._made[level]

    @torch.no_grad()
    def _costs(self, x: Tensor, y: Tensor, up: Tensor | None) -> tuple[Tensor, ...]:
        if self.compared is None:
            return ()
        there, here = self.compared(x), self.compared(y)
        return (costs(there if up is None else _warp(there, up), here),)


@full_precision
def costs(x: Tensor, y: Tensor) -> Tensor:
    """How unlike y at a voxel is to x at that voxel and at its neighbours, (B, C, *spatial) both, as registers with a
    cost volume are shown it: (B, 3^n, *spatial), the displacements -1, 0, 1 along each axis, the last axis fastest.

    Mean squares over the channels and over three voxels along each axis that has them, less their mean over the
    displacements, in units of the whole's standard deviation.
    """
    n = x.ndim - 2
    around = F.pad(x, [1, 1] * n, mode="replicate")
    mean = F.avg_pool3d if n == 3 else F.avg_pool2d
    wide = [3 if size > 2 else 1 for size in x.shape[2:]]  # pooling refuses what is thinner than its windows
    found = []
    for start in itertools.product(range(3), repeat=n):
        beside = around
        for axis, first in enumerate(start, start=2):
            beside = beside.narrow(axis, first, x.shape[axis])
        apart = (beside - y).square().mean(dim=1, keepdim=True)
        found.append(mean(apart, wide, 1, [w // 2 for w in wide], count_include_pad=False))
    out = torch.cat(found, dim=1)
    out = out - out.mean(dim=1, keepdim=True)
    return out / out.square().mean(dim=tuple(range(1, n + 2)), keepdim=True).sqrt().clamp(min=1e-6)


def _half(image: Tensor) -> Tensor:
    return (F.avg_pool3d if image.ndim == 5 else F.avg_pool2d)(image, 2)


def _carried(x: Tensor, y: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """x moved by the field, and y, both read at one random place within the voxels, the same in every voxel.

    What is read between voxels is a mean of them, in which noise is less: read at the voxels' middles, x would be
    likest y under a shift of half a voxel along each axis, wherever it belongs. So every shift pays the same.
    """
    n = field.shape[1]
    aside = (torch.rand(n) - 0.5).to(field).view(1, n, *[1] * n)
    return _warp(x, field + aside), _warp(y, aside.expand_as(field))
