"""V-Net (Milletari et al. 2016), the segmentor of JSSR, with its width, kernel and depth as arguments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jssr.nets.blocks import PReLU, at_each_voxel, conv, norm, normalised, pad_to_multiple, upsample_to
from jssr.nets.convolutions import Conv3d, ConvTranspose3d


class _Residual(nn.Module):
    """`count` convolutions with normalisation and activation; the input is added before the last activation."""

    def __init__(self, dim: int, inputs: int, width: int, count: int, kernel: int, leaky: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(count):
            layers += [conv(dim, inputs if i == 0 else width, width, kernel), norm(dim, width)]
            if i < count - 1:
                layers.append(_activation(width, leaky))
        self.body = nn.Sequential(*layers)
        self.match = nn.Identity() if inputs == width else conv(dim, inputs, width, 1, bias=False)
        self.last = _activation(width, leaky)

    def forward(self, features: Tensor) -> Tensor:
        made, layers = features, list(self.body)
        for k in range(0, len(layers) - 2, 3):
            made = normalised(layers[k](made), layers[k + 1], layers[k + 2])
        return normalised(layers[-2](made), layers[-1], self.last, self.match(features))


def _activation(width: int, leaky: bool) -> nn.Module:
    return nn.LeakyReLU(0.2) if leaky else PReLU(width)


class VNet(nn.Module):
    """Residual encoder and decoder with 2^3 stride-2 convolutions down and up.

    The paper's form is `widths=(16, 32, 64, 128, 256)`, `convs=(1, 2, 3, 3, 3)`, `kernel=5`, `stem=1`. With a `stem`
    above 1 the stages work on a grid that many times coarser; their features are brought back to the input's size and
    classified there voxel by voxel, together with the image itself, which sharpens the borders at little cost.

    Args:
        classes: including the background, at least 2.
        widths, convs: channels and convolutions of each stage.
        kernel: size of the stages' convolutions.
        stem: stride of the first convolution.
        head: channels of the features that are brought back to the input's size when `stem` is above 1.
        leaky: LeakyReLU(0.2) in place of PReLU, whose gradient takes several times as long on a CPU.
        shuffle: those features are made as channels at the coarse grid and laid out (pixel shuffle), in place of
            interpolated.
    """

    def __init__(
        self,
        classes: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        convs: Sequence[int] = (1, 2, 3, 3, 3),
        kernel: int = 5,
        stem: int = 1,
        head: int = 8,
        dim: int = 3,
        leaky: bool = False,
        shuffle: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a segmentor needs a background and at least one class, got {classes}")
        self.stem, self.multiple = stem, stem * 2 ** (len(widths) - 1)
        up = {2: nn.ConvTranspose2d, 3: ConvTranspose3d}[dim]
        down = {2: nn.Conv2d, 3: Conv3d}[dim]
        first = [nn.Identity()] if stem == 1 else [down(1, widths[0], stem, stride=stem), _activation(widths[0], leaky)]
        self.first = nn.Sequential(*first)
        inner = [1 if stem == 1 else widths[0], *widths[1:]]
        self.encode = nn.ModuleList(
            _Residual(dim, a, w, c, kernel, leaky) for a, w, c in zip(inner, widths, convs, strict=True)
        )
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Sequential(down(a, b, 2, stride=2), _activation(b, leaky)) for a, b in pairs)
        self.up = nn.ModuleList(nn.Sequential(up(b, a, 2, stride=2), _activation(a, leaky)) for a, b in reversed(pairs))
        self.decode = nn.ModuleList(
            _Residual(dim, 2 * a, a, c, kernel, leaky)
            for (a, _), c in zip(reversed(pairs), reversed(convs[:-1]), strict=True)
        )
        self.shuffle = stem**dim if shuffle and stem > 1 else 1
        self.classify = conv(dim, widths[0], classes if stem == 1 else head * self.shuffle, 1)
        if stem > 1:
            between = _activation(head, leaky)
            self.sharpen = nn.Sequential(conv(dim, head + 1, head, 1), between, conv(dim, head, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, *spatial) of any size to class logits (B, classes, *spatial), float32."""
        padded, cut = pad_to_multiple(image, self.multiple)
        features = self.first(padded)
        skips = []
        for i, stage in enumerate(self.encode):
            features = stage(features if i == 0 else self.down[i - 1](features))
            skips.append(features)
        for up, stage, skip in zip(self.up, self.decode, reversed(skips[:-1]), strict=True):
            features = stage(torch.cat([up(features), skip], dim=1))
        logits = self.classify(features)
        if self.stem > 1:
            fine = _laid_out(logits, self.stem) if self.shuffle > 1 else upsample_to(logits, padded.shape[2:])
            logits = at_each_voxel(self.sharpen, fine, padded.to(fine.dtype))
        return logits.float()[cut]


def _laid_out(features: Tensor, by: int) -> Tensor:
    """Pixel shuffle: (B, c * by^n, *spatial) to (B, c, *spatial * by)."""
    shape, n = features.shape[2:], features.ndim - 2
    parts = features.reshape(len(features), -1, *[by] * n, *shape)
    order = [axis for a in range(n) for axis in (2 + n + a, 2 + a)]
    return parts.permute(0, 1, *order).reshape(len(features), -1, *[s * by for s in shape])
