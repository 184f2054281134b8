"""The Laplacian pyramid register LapIRN (Mok and Chung, MICCAI 2020): its networks, and what they make of a pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.nets.blocks import conv, norm, pad_to_multiple, start_small, upsample_to
from jssr.nets.convolutions import Conv3d, ConvTranspose3d

LEVELS = ("Phi1", "Phi2", "Phi3")
"""Names of the levels, from coarse to fine."""
WIDTH = 28
"""Channels in the authors' code."""
Apart = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]
Describe = Callable[[Tensor], Tensor]
_warp = full_precision(ff.warp)


class AttentionGate(nn.Module):
    """Weighs a skip connection, voxel by voxel, by what the coarser level says (Oktay et al. 2018).

        alpha = sigmoid(psi(ReLU(theta(skip) + phi(gate)))),  out = norm(W(alpha * skip))

    Args:
        channels: of the skip connection.
        gate: channels of the coarser features.
        inner: channels of the comparison; half of the skip's by default.
    """

    def __init__(self, channels: int, gate: int, inner: int | None = None, dim: int = 3) -> None:
        super().__init__()
        inner = inner or max(1, channels // 2)
        kind = {2: nn.Conv2d, 3: Conv3d}[dim]
        self.theta = kind(channels, inner, 2, stride=2, bias=False)
        self.phi = conv(dim, gate, inner, 1)
        self.psi = conv(dim, inner, 1, 1)
        self.out = nn.Sequential(conv(dim, channels, channels, 1), norm(dim, channels))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """(B, channels, *spatial), sizes even, and (B, gate, *half of them) to (B, channels, *spatial)."""
        alpha = torch.sigmoid(self.psi(F.relu(self.theta(skip) + self.phi(gate))))
        found: Tensor = self.out(upsample_to(alpha, skip.shape[2:]) * skip)
        return found


class LapIRNLevel(nn.Module):
    """Features at the level's size, residual blocks at half of it, and a field of bounded size.

    Args:
        inputs: channels: 2 on the coarsest level, the field of the level below beside them on the others.
        width: channels throughout, the same on every level of a pyramid.
        blocks: pre-activation residual blocks; 5 in the authors' code.
        reach: largest displacement along an axis, in voxels of this level. In print it is 0.4 of half the axis, for
            networks that see one size only; a network that learns from patches must not take it from the size.
        attention: an attention gate on the skip connection, as macJNet's register has.
        small: scale of the field's initial weights; None leaves the library's, with which a level begins by spoiling
            what the level below has found.
    """

    def __init__(
        self,
        inputs: int,
        width: int = WIDTH,
        blocks: int = 5,
        reach: float = 16.0,
        attention: bool = False,
        small: float | None = None,
        dim: int = 3,
    ) -> None:
        super().__init__()
        self.reach = reach
        kind = {2: nn.Conv2d, 3: Conv3d}[dim]
        turned = {2: nn.ConvTranspose2d, 3: ConvTranspose3d}[dim]
        self.features = nn.Sequential(conv(dim, inputs, width), nn.LeakyReLU(0.2), conv(dim, width, width))
        self.down = kind(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_PreActivation(dim, width) for _ in range(blocks))
        self.gate = AttentionGate(width, width, dim=dim) if attention else None
        self.up = turned(width, width, 2, stride=2)
        last = conv(dim, width, dim, bias=False)
        start_small(last, small)
        self.field = nn.Sequential(conv(dim, 2 * width, width), nn.LeakyReLU(0.2), last, nn.Softsign())

    def forward(self, *images: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A field in voxels of this level (B, n, *spatial), float32, and the features for the level above.

        Args:
            images: (B, c, *spatial), concatenated; sizes are even.
            below: features of the level below, of half the size.
        """
        features = self.features(torch.cat(images, dim=1))
        x = self.down(features)
        x = x if below is None else x + below.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(x, 0.2)
        skip = features if self.gate is None else self.gate(features, x)
        x = self.up(x)
        unit = self.field(torch.cat([x, skip], dim=1)).float()
        return self.reach * unit, x


def make_levels(networks: Mapping[str, Mapping[str, Any]], shown: int = 0, **common: Any) -> tuple[LapIRNLevel, ...]:
    """The three levels of a pyramid, from each level's numbers: every one begins by adding next to nothing to the field
    of the level below, and reaches 16 voxels of the finest. `shown`: channels that each sees beside."""
    widths = {networks[part].get("width", WIDTH) for part in LEVELS}
    if len(widths) > 1 or min(widths) < 1:
        raise ValueError(f"the levels of a pyramid hand on their features: one width for all, at least 1, not {widths}")
    return tuple(
        LapIRNLevel(shown + (5 if k else 2), **{"reach": 4.0 * 2**k, "small": 1e-5, **common, **networks[part]})
        for k, part in enumerate(LEVELS)
    )


class _PreActivation(nn.Module):
    """LeakyReLU, convolution, LeakyReLU, convolution, added to the input."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(dim, width, width), conv(dim, width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
        return x + inner


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


class WholePyramid(Pyramid):
    """The same of a register that finds u_3 at once: u_2 and u_1 are its averages.

    Args:
        register: (B, 2, *spatial), moving and fixed, to a field (B, n, *spatial) in voxels.
        x, y, masks: as of `Pyramid`.
    """

    def __init__(self, register: nn.Module, x: Tensor, y: Tensor, *masks: Tensor | None) -> None:
        super().__init__((), x, y, *masks)
        self.register = register

    def _level(self, level: int) -> tuple[Tensor, Tensor]:
        if level not in self._made:
            found = self.register(torch.cat([self.x, self.y], dim=1)).float() if level == 3 else None
            u = _half(self._level(level + 1)[0]) / 2 if found is None else found
            self._made[level] = u, u
        return self._made[level]


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
