"""A plain U-Net: VoxelMorph's register, Pix2Pix's generator, and the other choice of JSSR's generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jssr.nets.blocks import ConvBlock, conv, pad_to_multiple, start_small, upsample_to


class UNet(nn.Module):
    """Encoder of stride-2 convolutions, decoder with skips, head of plain convolutions.

    VoxelMorph (Balakrishnan et al. 2019) is `encoder=(16, 32, 32, 32)`, `decoder=(32, 32, 32, 32)`,
    `head=(32, 16, 16)` without normalisation.

    Args:
        inputs, outputs: channels.
        encoder: channels after each halving of the size.
        decoder: channels after each doubling, as many as `encoder`.
        head: channels of the convolutions at the input's size.
        normalise: instance normalisation in each block.
        small: scale of the last layer's initial weights; None leaves the library's.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32),
        head: Sequence[int] = (32, 16, 16),
        normalise: bool = False,
        small: float | None = None,
        dim: int = 3,
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(encoder)
        before = [inputs, *encoder[:-1]]
        self.down = nn.ModuleList(
            ConvBlock(dim, a, b, stride=2, normalise=normalise) for a, b in zip(before, encoder, strict=True)
        )
        skips = [*reversed(encoder[:-1]), inputs]
        below = [encoder[-1], *[d + s for d, s in zip(decoder[:-1], skips[:-1], strict=True)]]
        self.up = nn.ModuleList(ConvBlock(dim, a, b, normalise=normalise) for a, b in zip(below, decoder, strict=True))
        tops = [decoder[-1] + inputs, *head]
        self.head = nn.Sequential(
            *[ConvBlock(dim, a, b, normalise=normalise) for a, b in zip(tops[:-1], tops[1:], strict=True)]
        )
        self.last = conv(dim, tops[-1], outputs, 3)
        start_small(self.last, small)

    def forward(self, *images: Tensor) -> Tensor:
        """(B, c, *spatial) images, concatenated, to (B, outputs, *spatial), float32, linear."""
        top, cut = pad_to_multiple(torch.cat(images, dim=1), self.multiple)
        skips, features = [top], top
        for block in self.down:
            features = block(features)
            skips.append(features)
        for level, block in enumerate(self.up):
            features = block(features)
            skip = skips[len(self.down) - 1 - level]
            features = torch.cat([upsample_to(features, skip.shape[2:]), skip.to(features.dtype)], dim=1)
        return self.last(self.head(features)).float()[cut]
