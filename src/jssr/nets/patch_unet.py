"""The U-Net of unpadded convolutions that maps a patch to the field of its middle (Cao et al. 2018, fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jssr.nets.blocks import start_small
from jssr.nets.convolutions import Conv3d, ConvTranspose3d


class PatchUNet(nn.Module):
    """Two halvings, two doublings, two 3^n convolutions on each level, none padded: 68 voxels in, 28 out.

    In print: 68-66-64, 32-30-28, 14-12-10, 20-18-16, 32-30-28, each convolution followed by batch normalisation and
    ReLU, and a 1^n convolution at the end. No padding: tiles that begin at multiples of `step` and one pass over the
    whole give the same field, but for rounding.

    Args:
        inputs, outputs: channels.
        widths: channels of the three levels; the paper prints none.
        small: scale of the last layer's initial weights; None leaves the library's.
    """

    margin = 20
    """Voxels that the output is smaller on each side."""
    step = 4
    """Sizes of the input are multiples of this, from 44: others cannot be halved twice, smaller ones leave nothing."""

    def __init__(
        self,
        inputs: int = 2,
        outputs: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        small: float | None = None,
        dim: int = 3,
    ) -> None:
        super().__init__()
        top, middle, bottom = widths
        up = {2: nn.ConvTranspose2d, 3: ConvTranspose3d}[dim]
        self.down = nn.ModuleList([_twice(dim, inputs, top), _twice(dim, top, middle)])
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dim](2)
        self.bottom = _twice(dim, middle, bottom)
        self.up = nn.ModuleList([up(bottom, middle, 2, stride=2), up(middle, top, 2, stride=2)])
        self.merge = nn.ModuleList([_twice(dim, 2 * middle, middle), _twice(dim, 2 * top, top)])
        self.last = {2: nn.Conv2d, 3: Conv3d}[dim](top, outputs, 1)
        start_small(self.last, small)

    @classmethod
    def check(cls, shape: Sequence[int]) -> None:
        """Raises ValueError for an input of a shape that cannot be."""
        if any(s < 2 * cls.margin + cls.step or s % cls.step for s in shape):
            raise ValueError(f"a patch needs sizes of at least 44 that 4 divides, got {tuple(shape)}")

    def forward(self, *images: Tensor) -> Tensor:
        """(B, c, *spatial) images, concatenated, to (B, outputs, *spatial - 40), float32.

        Raises:
            ValueError: another size.
        """
        x = torch.cat(images, dim=1)
        self.check(x.shape[2:])
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = up(x)
            x = merge(torch.cat([x, _middle(skip, x.shape[2:])], dim=1))
        found: Tensor = self.last(x).float()
        return found


def _middle(image: Tensor, shape: Sequence[int]) -> Tensor:
    """The middle of an image, of a given shape."""
    for axis, size in enumerate(shape, start=2):
        image = image.narrow(axis, (image.shape[axis] - size) // 2, size)
    return image


def _twice(dim: int, inputs: int, outputs: int) -> nn.Sequential:
    conv, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (Conv3d, nn.BatchNorm3d)}[dim]
    # In use the statistics are those of about the last hundred patches: ten, the library's, are too few of one each.
    return nn.Sequential(
        conv(inputs, outputs, 3), norm(outputs, momentum=0.01), nn.ReLU(inplace=True),
        conv(outputs, outputs, 3), norm(outputs, momentum=0.01), nn.ReLU(inplace=True),
    )  # fmt: skip
