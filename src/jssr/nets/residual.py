"""JRS-Net's generator and discriminator (Mahapatra et al. 2018, figure 1), and its mask (section 2.3): no head makes
it, it is what the feature maps agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision

_BINS = 256
BEYOND = 2
"""Control points outside the image that a cubic B-spline reaches."""


@dataclass
class Generated:
    """What the generator makes of a pair: the image (B, 1, H, W) in -1..1, the field (B, 2, H, W) float32 in pixels,
    and the feature maps of every convolution but those two heads', (B, width, h, w) each, on the blocks' own grid."""

    image: Tensor
    field: Tensor
    features: list[Tensor]


class _Block(nn.Module):
    """Two 3 x 3 convolutions, each with normalisation and ReLU; the input is added."""

    def __init__(self, width: int, dilation: int, batch_norm: bool) -> None:
        super().__init__()
        self.first, self.second = (_layer(width, width, dilation, batch_norm) for _ in range(2))

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        one = self.first(features)
        two = self.second(one)
        return features + two, [one, two]


class ResidualGenerator(nn.Module):
    """Residual blocks at one size throughout: the reference, the floating image and the reference's mask in, the
    registered image, its mask's activations and the displacement out.

    The paper's blocks see some 2 pixels further each; a turn by 180 degrees moves the edge of an image by its whole
    width. `dilations` widen the view, `stem` lets the blocks work on a grid that many times coarser, whose pixels are
    blocks of the image's (no pixel is lost). A field whose every pixel is said by itself is rough and folds; with
    `control_points` each pixel votes, and the mean votes of blocks are the control points of a cubic B-spline. The
    paper's form is `width=64`, the three left at 1.

    Args:
        width: feature maps; blocks: residual blocks, SRGAN's 16 where the paper does not say.
        dilations: of the blocks, in turn.
        batch_norm: normalise over the batch as the paper does; otherwise each image by itself.
        reach: pixels of displacement that an output of 1 means.
        control_points: pixels between control points of the field, even and a multiple of `stem`; 1 gives each pixel
            its own.
    """

    def __init__(
        self,
        width: int = 64,
        blocks: int = 16,
        dilations: Sequence[int] = (1,),
        stem: int = 1,
        batch_norm: bool = True,
        reach: float = 16.0,
        control_points: int = 1,
    ) -> None:
        super().__init__()
        if control_points != 1 and (control_points % 2 or control_points % stem):
            raise ValueError(f"control_points must be 1, or even and a multiple of stem ({stem}), got {control_points}")
        self.stem, self.reach, self.control_points = stem, reach, control_points
        self.shrink, self.grow = nn.PixelUnshuffle(stem), nn.PixelShuffle(stem)
        self.entry = _layer(3 * stem**2, width, 1, batch_norm)
        self.blocks = nn.ModuleList(_Block(width, dilations[k % len(dilations)], batch_norm) for k in range(blocks))
        self.image = nn.Conv2d(width, stem**2, 3, padding=1)
        self.field = nn.Conv2d(width, 2 * (stem**2 if control_points == 1 else 1), 3, padding=1)
        with torch.no_grad():
            self.field.weight.mul_(1e-2)
            assert self.field.bias is not None
            self.field.bias.zero_()

    def forward(self, reference: Tensor, floating: Tensor, mask: Tensor) -> Generated:
        """Three times (B, 1, H, W), H and W multiples of `stem`: images in -1..1, the mask in 0..1."""
        features = self.entry(self.shrink(torch.cat([reference, floating, mask * 2 - 1], dim=1)))
        seen = [features]
        for block in self.blocks:
            features, more = block(features)
            seen += more
        field = self._spread(self.reach * self.field(features).float(), reference.shape[2:])
        return Generated(torch.tanh(self.grow(self.image(features))), field, seen)

    def _spread(self, votes: Tensor, shape: Sequence[int]) -> Tensor:
        """The field (B, 2, *shape) of what the blocks' pixels say."""
        if self.control_points == 1:
            return self.grow(votes)
        points = F.avg_pool2d(votes, self.control_points // self.stem, ceil_mode=True, count_include_pad=False)
        for axis in (2, 3):  # beyond the border it goes on as before it: turns and zooms do
            points = _continued(points, axis)
        field = ff.bspline_field(points, self.control_points, [s + 2 * BEYOND * self.control_points for s in shape])
        first = BEYOND * self.control_points
        return field[:, :, first : first + shape[0], first : first + shape[1]]


class VGGCritic(nn.Module):
    """Eight convolutions, the maps doubled from `width` to 8 `width` (64 to 512 in print) where the stride is 2, two
    dense layers, one logit an image.

    Args:
        width: of the first two convolutions.
        pooled: pixels along each side that the last maps are averaged to, so that any image size will do.
    """

    def __init__(self, width: int = 64, pooled: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for k in range(8):
            after = width * 2 ** (k // 2)
            stride = 2 if k % 2 == 0 and k else 1
            layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)]
            before = after
        dense = [nn.Linear(before * pooled**2, 16 * width), nn.LeakyReLU(0.2), nn.Linear(16 * width, 1)]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(pooled), nn.Flatten(), *dense)
        for layer in self.net:
            if isinstance(layer, nn.Conv2d):  # PyTorch's own start lets an image fade to nothing in eight layers
                nn.init.kaiming_normal_(layer.weight, 0.2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, 1) logits, float32."""
        logits: Tensor = self.net(image)
        return logits.float()


def _continued(points: Tensor, axis: int) -> Tensor:
    """Control points with `BEYOND` more at either end of an axis, along the line of the outermost two."""
    last = points.shape[axis] - 1
    ends = []
    for edge, inner in ((0, min(1, last)), (last, max(0, last - 1))):
        at, step = points.narrow(axis, edge, 1), points.narrow(axis, edge, 1) - points.narrow(axis, inner, 1)
        ends.append([at + k * step for k in range(1, BEYOND + 1)])
    return torch.cat([*reversed(ends[0]), points, *ends[1]], dim=axis)


def _layer(inputs: int, width: int, dilation: int, batch_norm: bool) -> nn.Sequential:
    norm = nn.BatchNorm2d(width) if batch_norm else nn.InstanceNorm2d(width, affine=True)
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation), norm, nn.ReLU())


@full_precision
def activation(features: Sequence[Tensor]) -> Tensor:
    """The feature maps of all layers, each scaled to 0..1 over its image and added: (B, 1, *spatial) in 0..1.

    Args:
        features: (B, C, *spatial) of one layer each, all of one size. A map of one value adds nothing.
    """
    total = torch.zeros((), device=features[0].device)
    for maps in features:
        flat = maps.float().flatten(2)
        low, high = (end.unsqueeze(-1) for end in flat.aminmax(dim=2))
        scaled = (flat - low) / (high - low).clamp(min=1e-6)
        total = total + scaled.mean(dim=1, keepdim=True).view(-1, 1, *maps.shape[2:])
    return total / len(features)


def otsu(image: Tensor) -> Tensor:
    """Otsu's threshold of each image (B, 1, *spatial), in 256 bins: (B, 1, 1, ...), without gradient.

    Where a gap between two classes leaves it open, the middle of the gap: an image that has come to be nearly of two
    values, as training wants it, is cut half-way and not at one of them.
    """
    return torch.stack([_threshold(one) for one in image.detach().float()]).view(-1, *[1] * (image.ndim - 1))


def _threshold(values: Tensor) -> Tensor:
    low, high = values.aminmax()
    if low == high:
        return low
    counts = torch.histc(values, _BINS, float(low), float(high)).double()
    below, every = counts.cumsum(0), counts * torch.arange(_BINS, device=values.device)
    mean, share = every.cumsum(0), below / below[-1]
    between = (mean[-1] * share - mean).square() / (share * (1 - share)).clamp(min=1e-12)
    best = between >= between.max() * (1 - 1e-9)
    middle = (best * (torch.arange(_BINS, device=values.device) + 1)).sum() / best.sum()
    return low + (high - low) * (middle / _BINS).to(values.dtype)


@full_precision
def soft_mask(image: Tensor, softness: float = 0.05) -> Tensor:
    """What lies above Otsu's threshold, with a gradient: a sigmoid there, `softness` of the image's range wide.

    Args:
        image: (B, 1, *spatial), as of `activation`.

    Returns:
        (B, 1, *spatial) in 0..1, 1/2 at the threshold; below 1/2 everywhere in an image of one value.
    """
    low, high = image.detach().flatten(1).aminmax(dim=1)
    reach = (high - low).clamp(min=1e-6).view(-1, *[1] * (image.ndim - 1))
    return torch.sigmoid((image - otsu(image)) / (softness * reach))
