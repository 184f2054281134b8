"""Pieces that several networks are made of. `dim` is 2 or 3 throughout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ONEDNN_FROM = 20480
"""Batch x channels x depth x height above which PyTorch takes oneDNN's convolution for one float32 sample on a CPU."""


def _doubled(image: Tensor) -> bool:
    """Whether a convolution of this input should be done twice over.

    PyTorch (ATen/native/Convolution.cpp, `use_mkldnn`) sends a single small float32 volume to its im2col code, which
    was measured several times slower here than oneDNN's (docs/notebook); batches of two always go to oneDNN.
    """
    return (
        image.device.type == "cpu"
        and image.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and image.shape[0] == 1
        and image.shape[:4].numel() <= _ONEDNN_FROM
    )


def _misread(input: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether oneDNN's bfloat16 convolution would give a wrong gradient of the weights.

    It did, up to NaN, for volumes thinner than the kernel along the first axis, unless one voxel thin, and under a
    stride for those one voxel thin along another axis (PyTorch 2.13, a CPU with AVX512-BF16).
    """
    if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    return 1 < input.shape[2] < kernel[0] or (max(stride) > 1 and 1 in input.shape[3:])


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that stays on the fast path for one small volume on a CPU; the result is the same. Volumes that CPUs
    get wrong in bfloat16 are computed in float32."""

    def forward(self, input: Tensor) -> Tensor:
        if _misread(input, self.kernel_size, self.stride):
            with torch.autocast("cpu", enabled=False):
                return self.forward(input.float())
        if _doubled(input):
            return super().forward(input.expand(2, -1, -1, -1, -1))[:1]
        return super().forward(input)


class ConvTranspose3d(nn.ConvTranspose3d):
    """`nn.ConvTranspose3d`, likewise."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _doubled(input):
            return super().forward(input.expand(2, -1, -1, -1, -1), output_size)[:1]
        return super().forward(input, output_size)


def conv(dim: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    """A convolution that keeps the size (divided by the stride)."""
    kind = {2: nn.Conv2d, 3: Conv3d}[dim]
    return kind(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias=bias)


def norm(dim: int, channels: int) -> nn.Module:
    """Instance normalisation with learned scale and shift: batches are 1 here, as in the JSSR paper (4.2)."""
    return {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dim](channels, affine=True)


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
    return F.interpolate(image, size=tuple(size), mode="trilinear" if image.ndim == 5 else "bilinear")
