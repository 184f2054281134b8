"""Progressive holistically nested network (Harrison et al. 2017), the register and the generator's trunk of JSSR."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from jssr.nets.blocks import ConvBlock, conv, pad_to_multiple, upsample_to


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
        if small is not None:
            for side in self.sides:
                nn.init.normal_(side.weight, 0.0, small)  # type: ignore[arg-type]
                nn.init.zeros_(side.bias)  # type: ignore[arg-type]

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
        return total[(slice(None), slice(None), *[slice(0, s) for s in size])]
