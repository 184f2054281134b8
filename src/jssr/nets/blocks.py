"""Pieces that several networks are made of. `dim` is 2 or 3 throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import training_kernels
from jssr.nets.convolutions import Conv3d, channels_last


def conv(dim: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    """A convolution that keeps the size (divided by the stride)."""
    kind = {2: nn.Conv2d, 3: Conv3d}[dim]
    return kind(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias=bias)


_EXACT = 1 << 18
"""Voxels up to which PyTorch's sums over channels-last features are good: it adds them up in float32, one by one. Of
64^3 voxels of noise the mean and the deviation are off by 3e-5, of 192^3 by 5e-3."""


class InstanceNorm3d(nn.InstanceNorm3d):
    """`nn.InstanceNorm3d` that leaves channels-last features as they lie on a CPU; the same but for rounding.

    PyTorch 2.13 normalises instances as one sample of more channels, laid out anew, and every convolution after it lays
    its input out again: 32 channels took 2.4 times as long, both ways.
    """

    def forward(self, input: Tensor) -> Tensor:
        if _can_vary(input) and training_kernels.usable(input) and self.affine and not self.track_running_stats:
            return training_kernels.activate(input, None, self.weight, self.bias, eps=self.eps)
        if self.track_running_stats or not channels_last(input) or input[0, 0].numel() > _EXACT:
            return super().forward(input)
        made = [F.batch_norm(one, None, None, self.weight, self.bias, True, eps=self.eps) for one in input.split(1)]
        return made[0] if len(made) == 1 else torch.cat(made)


class PReLU(nn.PReLU):
    """`nn.PReLU` in passes that a CPU does in vectors, several times as fast in training; the result is the same."""

    def forward(self, input: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or input.device.type != "cpu":
            return super().forward(input)
        if training_kernels.usable(input):
            return training_kernels.activate(input, self.weight)
        sloped: Tensor = _Sloped.apply(input, self.weight.to(input.dtype).view(-1, *[1] * (input.ndim - 2)))
        return sloped


class _Sloped(torch.autograd.Function):
    """PReLU of (B, C, *spatial), with slopes (C, 1, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return x.clamp(max=0).mul_(slope).add_(x.clamp(min=0))

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        passed = torch.ops.aten.leaky_relu_backward(above[0], x, 0.0, False)
        stopped = above[0] - passed
        spent = (stopped * x).sum(dim=(0, *range(2, x.ndim)), keepdim=True)[0].sum_to_size(slope.shape)
        return passed + stopped * slope, spent


def norm(dim: int, channels: int) -> nn.Module:
    """Instance normalisation with learned scale and shift: batches are 1 here, as in the JSSR paper (4.2)."""
    return {2: nn.InstanceNorm2d, 3: InstanceNorm3d}[dim](channels, affine=True)


def normalised(features: Tensor, norm: nn.Module, activation: nn.Module, beside: Tensor | None = None) -> Tensor:
    """Features (B, C, *spatial) normalised, plus `beside`, through a PReLU or LeakyReLU."""
    if isinstance(norm, InstanceNorm3d) and _can_vary(features) and training_kernels.usable(features):
        slope = _slope(activation, features.shape[1])
        return training_kernels.activate(features, slope, norm.weight, norm.bias, beside, norm.eps)
    made: Tensor = activation(norm(features) if beside is None else norm(features) + beside)
    return made


def at_each_voxel(layers: nn.Sequential, a: Tensor, b: Tensor) -> Tensor:
    """A convolution of one voxel, a PReLU or LeakyReLU, and another such convolution, of the channels of a and b."""
    first, activation, second = layers
    if isinstance(first, Conv3d) and training_kernels.usable(a, b):
        assert isinstance(second, Conv3d) and first.bias is not None and second.bias is not None
        slope = _slope(activation, len(first.weight))
        return training_kernels.head(
            a, b, first.weight.flatten(1), first.bias, slope, second.weight.flatten(1), second.bias
        )
    made: Tensor = layers(torch.cat([a, b], dim=1))
    return made


def _can_vary(features: Tensor) -> bool:
    """Whether there is more than the one voxel that PyTorch refuses to normalise."""
    return features[0, 0].numel() > 1


def _slope(activation: nn.Module, channels: int) -> Tensor:
    """The slopes of a PReLU or LeakyReLU below 0, one for each channel."""
    if isinstance(activation, nn.PReLU):
        return activation.weight
    assert isinstance(activation, nn.LeakyReLU)
    return torch.full((channels,), activation.negative_slope)


class ConvBlock(nn.Sequential):
    """`count` times convolution + LeakyReLU(0.2), one normalisation after the last (P-HNN's VGG-like block)."""

    def __init__(
        self,
        dim: int,
        inputs: int,
        outputs: int,
        count: int = 1,
        kernel: int = 3,
        stride: int = 1,
        normalise: bool = True,
    ) -> None:
        layers: list[nn.Module] = []
        for i in range(count):
            layers.append(conv(dim, outputs if i else inputs, outputs, kernel, 1 if i else stride))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        super().__init__(*layers, *([norm(dim, outputs)] if normalise else ()))


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, tuple[slice, ...]]:
    """Repeat the border at the end of each axis until its size is a multiple.

    Returns:
        The padded image and the slices that cut the original out of anything of the padded size.
    """
    more = [-s % multiple for s in image.shape[2:]]
    cut = first_voxels(image.shape[2:])
    if not any(more):
        return image, cut
    return F.pad(image, [p for m in reversed(more) for p in (0, m)], mode="replicate"), cut


def first_voxels(size: Sequence[int]) -> tuple[slice, ...]:
    """The slices that cut the first `size` voxels of each axis out of (B, C, *spatial)."""
    return (slice(None), slice(None), *[slice(0, s) for s in size])


def start_small(layer: nn.Module, scale: float | None) -> None:
    """Initial weights of a convolution near zero, without a shift; None leaves the library's."""
    assert isinstance(layer, nn.Conv2d | nn.Conv3d)
    if scale is not None:
        nn.init.normal_(layer.weight, 0.0, scale)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def upsample_to(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize features linearly, aligned like strided convolutions and pooling align them (voxel edges kept)."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    if training_kernels.usable(image):
        return training_kernels.resize(image, size, corners=False)
    if image.ndim == 5 and image.requires_grad and image.device.type == "cpu":
        resized: Tensor = _Resized.apply(image, tuple(size))
        return resized
    return F.interpolate(image, size=tuple(size), mode="trilinear" if image.ndim == 5 else "bilinear")


class _Resized(torch.autograd.Function):
    """`F.interpolate` of (B, C, X, Y, Z) as a product of matrices along each axis: there and back in less than
    half of the time on a CPU. The same but for rounding between the axes."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, size: tuple[int, ...]) -> Tensor:
        ctx.along = [
            F.interpolate(torch.eye(old, dtype=torch.float64)[None], size=new, mode="linear")[0].t().to(image.dtype)
            for old, new in zip(image.shape[2:], size, strict=True)
        ]
        x, y, z = ctx.along
        with torch.autocast("cpu", enabled=False):  # products of a field would be rounded
            return _last_first(x @ (y @ (z @ _first_last(image)).flatten(3)).flatten(2), len(image), *size)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        x, y, z = (w.t() for w in ctx.along)
        size = len(x), len(y), len(z)
        back = (x @ _first_last(above[0]).flatten(2)).unflatten(2, above[0].shape[3:] + above[0].shape[1:2])
        back = (y @ back.flatten(3)).unflatten(3, (above[0].shape[4], -1))
        return _last_first(z @ back, len(back), *size), None


def _first_last(image: Tensor) -> Tensor:
    """(B, C, X, Y, Z) to (B, X, Y, Z, C)."""
    return image.permute(0, 2, 3, 4, 1).contiguous()


def _last_first(image: Tensor, batch: int, *size: int) -> Tensor:
    """(B, X, Y, Z, C), the last axes flat or not, to (B, C, X, Y, Z)."""
    return image.reshape(batch, *size, -1).permute(0, 4, 1, 2, 3)
