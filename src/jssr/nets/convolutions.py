"""3D convolutions on a CPU's fast paths in float32, in training and use: torch's results but for rounding.

PyTorch 2.13 leaves oneDNN (ATen/native/Convolution.cpp, `use_mkldnn`) for one small volume, whose im2col code was
measured several times slower here. oneDNN 3.12 itself leaves its fast code for the gradient of the weights on
processors with AVX2 alone, where the first axis is padded: a padded copy takes a third of the time (docs/benchmarks.md,
steps of training).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import training_kernels
from jssr.core.hardware import cpu_has_avx512

_ONEDNN_FROM = 20480
"""Batch x channels x depth x height above which PyTorch takes oneDNN's convolution for one float32 sample on a CPU."""
_WIDE = 8
"""Channels of the input below which the gradient of the weights takes no longer without oneDNN, or padded by it."""
_FEW = 2
"""Channels of the input up to which its gradient takes less time as a product of matrices."""
_LONG = 24
"""Voxels along the last axis from which the gradient of 3^3 weights takes less time by the loops of `core`."""
_backward = torch.ops.aten.convolution_backward


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` on the fast paths of a CPU. Volumes that CPUs get wrong in bfloat16 are computed in float32."""

    def forward(self, input: Tensor) -> Tensor:
        if _misread(input, self.kernel_size, self.stride):
            with torch.autocast("cpu", enabled=False):
                return self.forward(input.float())
        if not _plain(input) or self.groups > 1 or max(self.dilation) > 1 or isinstance(self.padding, str):
            return super().forward(input)
        if max(self.kernel_size) == max(self.stride) == 1 and not any(self.padding):
            return _at_each_voxel(input, self.weight, self.bias)
        if torch.is_grad_enabled() and (self.weight.requires_grad or input.requires_grad):
            made: Tensor = _Convolved.apply(input, self.weight, self.bias, self.stride, self.padding)
            return made
        if _left(input, self.kernel_size):
            return _convolved(input, self.weight, self.bias, self.stride, self.padding)
        return super().forward(input)


class ConvTranspose3d(nn.ConvTranspose3d):
    """`nn.ConvTranspose3d`; one small volume is done twice over, as batches of two always go to oneDNN."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _plain(input) and _left(input, self.kernel_size):
            return super().forward(input.expand(2, -1, -1, -1, -1), output_size)[:1]
        return super().forward(input, output_size)


def _plain(image: Tensor) -> bool:
    """Whether a volume is computed in float32 by oneDNN."""
    return (
        image.device.type == "cpu"
        and image.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    )


def _left(image: Tensor, kernel: Sequence[int]) -> bool:
    """Whether PyTorch leaves oneDNN for a convolution of this input."""
    return image.shape[0] == 1 and image.shape[:4].numel() <= _ONEDNN_FROM and min(kernel[-2:]) <= 3


def _misread(input: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether oneDNN's bfloat16 convolution would give a wrong gradient of the weights.

    It did, up to NaN, for volumes thinner than the kernel along the first axis, unless one voxel thin, and under a
    stride for those one voxel thin along another axis (PyTorch 2.13, a CPU with AVX512-BF16).
    """
    if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    return 1 < input.shape[2] < kernel[0] or (max(stride) > 1 and 1 in input.shape[3:])


def channels_last(image: Tensor) -> bool:
    """Whether a volume on a CPU lies in memory channel by channel of each voxel."""
    last = torch.channels_last_3d
    return image.device.type == "cpu" and image.is_contiguous(memory_format=last) and not image.is_contiguous()


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """A convolution by oneDNN, whatever PyTorch would choose."""
    last = channels_last(x) or channels_last(weight)
    layout = torch.channels_last_3d if last else torch.contiguous_format
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    made: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), 1)
    return made


def _at_each_voxel(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution of one voxel, as a product of matrices."""
    kernel = weight.flatten(1).expand(len(image), -1, -1)
    voxels = image.flatten(2)
    made = torch.bmm(kernel, voxels) if bias is None else torch.baddbmm(bias[None, :, None], kernel, voxels)
    return made.unflatten(2, image.shape[2:])


class _Convolved(torch.autograd.Function):
    """A convolution of (B, C, *spatial) by oneDNN, both ways."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        return _convolved(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (g,) = ctx.saved_tensors, above
        of_x = _of_input(g, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight, of_bias = None, None
        if any(ctx.needs_input_grad[1:3]):
            of_weight, of_bias = _of_weight(g, x, weight, ctx.stride, ctx.padding, ctx.biased)
        return of_x, of_weight, of_bias, None, None


def _by_loops() -> bool:
    """Whether the loops may take a gradient: of theirs there is none, which whoever keeps the graph wants."""
    return training_kernels.convolves() and not torch.is_grad_enabled()


def _of_input(g: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """The gradient by the input."""
    if x.shape[1] <= _FEW and _by_loops():
        return training_kernels.convolution_input(g, x.shape, weight, stride, padding)
    if not _left(x, weight.shape[2:]):
        return _gradients(g, x, weight, stride, padding, (True, False, False))[0]
    if max(stride) == 1:
        around = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
        turned = weight.flip(2, 3, 4).transpose(0, 1)
        return _convolved(g, turned, None, stride, around)
    g, x = g.expand(2, -1, -1, -1, -1), x.expand(2, -1, -1, -1, -1)
    return _gradients(g, x, weight, stride, padding, (True, False, False))[0][:1]


def _of_weight(
    g: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], biased: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients by the weights and by the bias."""
    cubes = weight.shape[2:] == (3, 3, 3) and tuple(stride) == (1, 1, 1) == tuple(padding)
    if cubes and x.shape[-1] >= _LONG and _by_loops():
        return training_kernels.convolution_weights(g, x), g.sum(dim=(0, 2, 3, 4)) if biased else None
    wide = x.shape[1] >= _WIDE
    parts = 2 if wide and _left(x, weight.shape[2:]) else 1
    if parts > 1 or (wide and padding[0] and not cpu_has_avx512()):
        # Two parts of one volume are a batch of two.
        length, by, kernel = -(-g.shape[2] // parts), stride[0], weight.shape[2]
        more = (parts * length - 1) * by + kernel - x.shape[2] - 2 * padding[0]
        x = F.pad(x, (0, 0, 0, 0, padding[0], padding[0] + more))
        g, padding = F.pad(g, (0, 0, 0, 0, 0, parts * length - g.shape[2])), (0, *padding[1:])
        if parts > 1:
            firsts = [part * length * by for part in range(parts)]
            x = torch.cat([x[:, :, first : first + (length - 1) * by + kernel] for first in firsts])
            g = torch.cat(g.chunk(parts, dim=2))
    _, of_weight, of_bias = _gradients(g, x, weight, stride, padding, (False, True, biased))
    return of_weight, of_bias


def _gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of input, weights and bias, those that are wanted."""
    found: tuple[Tensor, Tensor, Tensor | None] = _backward(
        g, x, weight, [weight.shape[0]], stride, padding, (1, 1, 1), False, (0, 0, 0), 1, wanted
    )
    return found
