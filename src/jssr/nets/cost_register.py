"""A register that sees where the scans fit: cost volumes of descriptors, read by small U-Nets, coarse to fine.

Each level compares the fixed scan's descriptors with those of the moving scan, warped as found so far, under every
displacement of a small cube (cost volume), and a U-Net shared by the level's rounds weighs them:

    C(p, d)  = mean over channels and the voxels around p of |f - m(. + d)|^2
    r(p)     = sum_d d softmax_d(-a C(p, d) + N(C, u, x, y)(p, d))        a residual within the cube
    u        <- r + u(id + r)

With N = 0 that is a soft dense search, so the network begins where the costs are least and learns when not to trust
them. No gradient flows through the costs (after RAFT, Teed and Deng, ECCV 2020), only from field to field. The costs
are those of Heinrich et al. (MICCAI 2013) where the descriptor is MIND-SSC. Own form; no paper has it as it is here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.descriptors import descriptor_of
from jssr.nets.blocks import conv, first_voxels, norm, pad_to_multiple, start_small, upsample_to

_warp = full_precision(ff.warp)
_compose = full_precision(ff.compose)


class SearchLevel(NamedTuple):
    """One level of the search.

    Attributes:
        stride: voxels of the images that descriptors are averaged over, and between the displacements tried.
        radius: displacements that are tried in each direction.
        pool: the costs are averaged over so many strides, and the network works on that grid.
        rounds: times that the level is applied.
        thin: only each so many-th stride is compared; a divisor of `pool`.
    """

    stride: int
    radius: int
    pool: int
    rounds: int
    thin: int = 1


LEVELS = (SearchLevel(4, 3, 1, 1), SearchLevel(2, 2, 2, 2), SearchLevel(1, 2, 2, 1, 2), SearchLevel(1, 1, 2, 1))
_SLAB = 1 << 17
"""Numbers that are compared at a time."""
SHARPNESS = 60.0
"""`a` at the start of training: a squared difference of 0.05 in the descriptor costs a factor of 20."""


class _Weigher(nn.Module):
    """N: a U-Net of three scales from costs, u and both images to a logit for each displacement."""

    def __init__(self, displacements: int, width: int) -> None:
        super().__init__()
        inputs = displacements + 5
        wide = 2 * width
        self.first = self._block(inputs, width, 1)
        self.down = nn.ModuleList((self._block(width, wide), self._block(wide, wide)))
        self.up = nn.ModuleList((self._block(2 * wide, wide), self._block(wide + width, width)))
        self.last = conv(3, width, displacements, 1)
        start_small(self.last, 1e-3)

    @staticmethod
    def _block(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
        layers: list[nn.Module] = []
        if kernel == 1:
            layers += [conv(3, inputs, outputs, 1), nn.LeakyReLU(0.1)]
            inputs = outputs
        for _ in range(2):
            layers += [conv(3, inputs, outputs), norm(3, outputs), nn.LeakyReLU(0.1)]
            inputs = outputs
        return nn.Sequential(*layers)

    def forward(self, seen: Tensor) -> Tensor:
        """(B, displacements + 5, *spatial) to (B, displacements, *spatial)."""
        padded, cut = pad_to_multiple(seen, 4)
        features = [self.first(padded)]
        for block in self.down:
            features.append(block(F.avg_pool3d(features[-1], 2)))
        out = features.pop()
        for block in self.up:
            finer = features.pop()
            out = block(torch.cat([upsample_to(out, finer.shape[2:]), finer], dim=1))
        logits: Tensor = self.last(out).float()[cut]
        return logits


class CostRegister(nn.Module):
    """The network of the module's docstring.

    Args:
        levels: from coarse to fine, as `SearchLevel`; later ones work on as fine a grid or a finer one.
        width: channels of the U-Nets' finest scale.
        descriptor: what is compared, of `jssr.losses.descriptors.DESCRIPTORS`.
    """

    def __init__(self, levels: Sequence[Sequence[int]] = LEVELS, width: int = 16, descriptor: str = "mind-ssc") -> None:
        super().__init__()
        self.levels = tuple(SearchLevel(*level) for level in levels)
        self.describe = descriptor_of(descriptor)
        self.multiple = max(level.stride * level.pool for level in self.levels)
        self.weighers = nn.ModuleList(_Weigher((2 * level.radius + 1) ** 3, width) for level in self.levels)
        self.sharpness = nn.Parameter(torch.full((len(self.levels),), SHARPNESS).log())

    def forward(self, pair: Tensor) -> Tensor:
        """Moving and fixed image (B, 2, *spatial) to a displacement (B, 3, *spatial) in voxels, float32."""
        size = pair.shape[2:]
        padded = [-(-s // self.multiple) * self.multiple for s in size]
        return on_grid(self.rounds(pair)[-1], padded)[first_voxels(size)]

    def rounds(self, pair: Tensor) -> list[Tensor]:
        """The displacement after every round, each in voxels of its level's own grid, of the padded images."""
        padded, _ = pad_to_multiple(pair.float(), self.multiple)
        moving, fixed = padded[:, :1], padded[:, 1:]
        with torch.no_grad():
            described = self.describe(moving), self.describe(fixed)
        u: Tensor | None = None
        found = []
        for k, level in enumerate(self.levels):
            grid = [s // (level.stride * level.pool) for s in padded.shape[2:]]
            with torch.no_grad():
                m, f = (ff.pooled(d, level.stride) for d in described)
                images = [ff.pooled(i, level.stride * level.pool) for i in (moving, fixed)]
            u = padded.new_zeros(len(padded), 3, *grid) if u is None else on_grid(u, grid)
            for _ in range(level.rounds):
                u = self._round(k, level, u, m, f, images)
                found.append(u)
        return found

    def _round(self, k: int, level: SearchLevel, u: Tensor, m: Tensor, f: Tensor, images: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            fine = on_grid(u.detach(), f.shape[2:])
            cost = cost_volume(_warp(m, fine), f, level)
            seen = torch.cat([10 * cost, u / 4, _warp(images[0], u), images[1]], dim=1)
        logits = self.weighers[k](seen) - self.sharpness[k].exp() * cost
        share = logits.softmax(dim=1)
        side = torch.arange(2 * level.radius + 1, device=u.device, dtype=torch.float32) - level.radius
        d = torch.cartesian_prod(side, side, side) / level.pool
        residual = torch.einsum("bkxyz,kn->bnxyz", share, d)
        return _compose(u, residual)


def on_grid(u: Tensor, grid: Sequence[int]) -> Tensor:
    """A field (B, 3, *spatial) in its voxels on a grid finer or coarser by one factor, in that grid's voxels.

    Grids are those of `pooled`: their outer edges agree, and not the centres of their outermost voxels.
    """
    return upsample_to(u, grid) * (grid[0] / u.shape[2])


@full_precision
def cost_volume(moving: Tensor, fixed: Tensor, level: SearchLevel) -> Tensor:
    """C(p, d) of features (B, C, *spatial): (B, (2 radius + 1)^3, *spatial / pool), d in the order of `cartesian_prod`.

    The moving features' border is repeated. The mean is over the channels and the voxels that are compared.
    """
    thin, pool, r = level.thin, level.pool // level.thin, level.radius
    around = F.pad(moving, [r] * 6, mode="replicate")
    # Every thin-th voxel from each first one, laid out anew: slices of these are read without gaps.
    firsts = list(itertools.product(range(thin), repeat=3))
    parts = {o: around[..., o[0] :: thin, o[1] :: thin, o[2] :: thin].contiguous() for o in firsts}
    mine = fixed[..., ::thin, ::thin, ::thin].contiguous()
    grid, places = mine.shape[2:], list(itertools.product(range(2 * r + 1), repeat=3))
    out = mine.new_empty(len(mine), len(places), *[s // pool for s in grid])
    # Slabs whose differences stay in the cache.
    thick = pool * max(1, _SLAB // (mine[0, :, 0].numel() * pool))
    for x in range(0, grid[0], thick):
        some = mine[:, :, x : x + thick]
        scratch = torch.empty_like(some)
        for k, d in enumerate(places):
            first = [x + d[0] // thin, d[1] // thin, d[2] // thin]
            where = [slice(o, o + s) for o, s in zip(first, some.shape[2:], strict=True)]
            there = parts[d[0] % thin, d[1] % thin, d[2] % thin][(slice(None), slice(None), *where)]
            apart = torch.sub(there, some, out=scratch).square_().mean(dim=1, keepdim=True)
            here = slice(x // pool, (x + some.shape[2]) // pool)
            out[:, k : k + 1, here] = ff.pooled(apart, pool) if pool > 1 else apart
    return out
