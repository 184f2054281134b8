"""P-HNN (Harrison et al. 2017), the register of JSSR, and CoHeMIS, its generator: HeMIS fusion of the two scans on a
P-HNN trunk (after CHASe, Raju et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.nets.blocks import ConvBlock, at_each_voxel, conv, first_voxels, pad_to_multiple, start_small, upsample_to


class PHNN(nn.Module):
    """VGG-like blocks with a side output each, summed progressively from scale to scale.

    The paper's form is `widths=(64, 128, 256, 512, 512)`, `convs=(2, 2, 3, 3, 3)`, `stem=1`. A `stem` above 1 lets the
    first block work on a grid that many times coarser: the cost of the network falls by `stem**dim`.

    The sum `a_m = a_{m-1} + up(s_m)` is linear, so it is accumulated from the coarsest side output to the finest, with
    one small interpolation a level instead of one to full size.

    Args:
        inputs, outputs: channels.
        widths: channels of each block; between blocks the size halves.
        convs: convolutions of each block.
        stem: stride of the first convolution.
        small: scale of the side outputs' initial weights (near zero, so that a register starts at the identity).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        stem: int = 1,
        small: float | None = None,
        dim: int = 3,
    ) -> None:
        super().__init__()
        if len(widths) != len(convs):
            raise ValueError(f"P-HNN needs as many widths as convolution counts, got {len(widths)} and {len(convs)}")
        self.stem, self.dim = stem, dim
        self.multiple = stem * 2 ** (len(widths) - 1)
        before = [inputs, *widths[:-1]]
        self.blocks = nn.ModuleList(
            ConvBlock(dim, a, b, count, stride=stem if i == 0 else 1)
            for i, (a, b, count) in enumerate(zip(before, widths, convs, strict=True))
        )
        self.sides = nn.ModuleList(conv(dim, width, outputs, 1) for width in widths)
        for side in self.sides:
            start_small(side, small)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, *spatial) of any size to (B, outputs, *spatial / stem), float32, linear (no activation)."""
        size = [-(-s // self.stem) for s in image.shape[2:]]
        features, _ = pad_to_multiple(image, self.multiple)
        pool = F.max_pool3d if self.dim == 3 else F.max_pool2d
        logits = []
        for i, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            features = block(features if i == 0 else pool(features, 2))
            logits.append(side(features).float())
        total = logits[-1]
        for finer in reversed(logits[:-1]):
            total = upsample_to(total, finer.shape[2:]) + finer
        return total[first_voxels(size)]


class CoHeMIS(nn.Module):
    """`G(x, y)`: the moving scan x in the appearance of the fixed scan y.

    A block private to each scan; fusion by mean and variance over the two; a P-HNN trunk; a head that joins the trunk
    with the features of the SOURCE x alone (JSSR, fig. 3: the guard against `G = y`), then tanh.

    The guard of the paper stops nothing from copying y through the fusion. `fixed_pool` makes it tight: y's features
    are averaged over that many voxels of the trunk's grid before the fusion, so that y can say how tissue looks around
    here but not where its borders are. `fixed_pool=1` is the paper's form.

    Args:
        width: channels of each private block and of the head.
        trunk_widths, trunk_convs: the P-HNN trunk.
        stem: stride of the private blocks, the trunk's grid.
        fixed_pool: see above.
        residual: the network gives the change to x, cut off at -1 and 1, instead of the whole image: training then
            starts at G(x, y) = x, not at grey. The paper's form is without.
    """

    def __init__(
        self,
        width: int = 16,
        trunk_widths: Sequence[int] = (64, 128, 256, 512, 512),
        trunk_convs: Sequence[int] = (2, 2, 3, 3, 3),
        stem: int = 1,
        fixed_pool: int = 1,
        residual: bool = False,
        dim: int = 3,
    ) -> None:
        super().__init__()
        self.dim, self.fixed_pool, self.residual = dim, fixed_pool, residual
        self.of_moving = ConvBlock(dim, 1, width, stride=stem)
        self.of_fixed = ConvBlock(dim, 1, width, stride=stem)
        self.trunk = PHNN(2 * width, width, trunk_widths, trunk_convs, dim=dim)
        self.multiple = stem * self.trunk.multiple
        self.skip = ConvBlock(dim, 1, width, normalise=False)
        self.head = nn.Sequential(conv(dim, 2 * width, width, 1), nn.LeakyReLU(0.2), conv(dim, width, 1, 1))
        if residual:
            start_small(self.head[-1], 1e-3)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """(B, 1, *spatial) twice, any size, to (B, 1, *spatial) in -1..1, float32."""
        x, cut = pad_to_multiple(moving, self.multiple)
        y, _ = pad_to_multiple(fixed, self.multiple)
        a, b = self.of_moving(x), self._coarse(self.of_fixed(y))
        # The variance of two: biased, or a single modality would give NaN.
        fused = torch.cat([(a + b) / 2, ((a - b) / 2) ** 2], dim=1)
        trunk = upsample_to(self.trunk(fused), x.shape[2:])
        skip = self.skip(x)
        out = at_each_voxel(self.head, trunk.to(skip.dtype), skip)
        if self.residual:
            return (moving.float() + out.float()[cut]).clamp(-1, 1)
        return torch.tanh(out.float())[cut]

    def _coarse(self, features: Tensor) -> Tensor:
        if self.fixed_pool == 1:
            return features
        pool = F.avg_pool3d if self.dim == 3 else F.avg_pool2d
        window = [min(self.fixed_pool, s) for s in features.shape[2:]]
        return upsample_to(pool(features, window, ceil_mode=True), features.shape[2:])
