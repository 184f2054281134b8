"""The segmentor of macJNet: nnU-Net's network (MONAI's DynUNet) with scSE in its decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn

from jssr.nets.blocks import conv, pad_to_multiple
from jssr.nets.convolutions import Conv3d, ConvTranspose3d


class SCSE(nn.Module):
    """Concurrent squeeze and excitation of channels and of voxels (Roy et al. 2018).

    Args:
        channels: of the features.
        join: how the two are combined: "max", as in the authors' code, or "sum", as in some papers.
    """

    def __init__(self, channels: int, join: Literal["max", "sum"] = "max", dim: int = 3) -> None:
        super().__init__()
        if join not in ("max", "sum"):
            raise ValueError(f"join is 'max' or 'sum', not {join!r}")
        inner = max(1, channels // 2)
        self.join = join
        self.excite = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())
        self.point = conv(dim, channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, *spatial), the same out."""
        axes = tuple(range(2, features.ndim))
        by_channel = self.excite(features.mean(dim=axes)).view(*features.shape[:2], *[1] * len(axes)) * features
        by_voxel = torch.sigmoid(self.point(features)) * features
        return torch.maximum(by_channel, by_voxel) if self.join == "max" else by_channel + by_voxel


class SegNet(nn.Module):
    """DynUNet with stride 2 from stage to stage, instance normalisation, and deep supervision.

    Args:
        classes: including the background, at least 2.
        widths: channels of each stage, at least 3; nnU-Net's are 32, 64, 128, 256, 320.
        heads: decoder stages below the last that are supervised too (deep supervision); below `len(widths) - 1`.
        join: of scSE; None leaves it out.
    """

    def __init__(
        self,
        classes: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256, 320),
        heads: int = 2,
        join: Literal["max", "sum"] | None = "max",
        dim: int = 3,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a segmentor needs a background and at least one class, got {classes}")
        stages = len(widths)
        if min(widths, default=0) < 1:
            raise ValueError(f"a segmentor's widths are at least 1, got {list(widths)}")
        if stages < 3 or not 0 <= heads < stages - 1:
            raise ValueError(f"a segmentor of {stages} stages: at least 3, and fewer heads than decoder stages")
        self.net = _DynUNet(
            dim,
            in_channels=1,
            out_channels=classes,
            kernel_size=[3] * stages,
            strides=[1] + [2] * (stages - 1),
            upsample_kernel_size=[2] * (stages - 1),
            filters=list(widths),
            deep_supervision=heads > 0,
            deep_supr_num=max(heads, 1),
            join=join,
        )
        self.multiple, self.heads = 2 ** (stages - 1), heads
        for twice in ("input_block", "downsamples", "bottleneck", "upsamples", "deep_supervision_heads"):
            # MONAI keeps its blocks under two names; weights are stored and averaged by name, so once must do.
            if hasattr(self.net, twice):
                delattr(self.net, twice)
        for module in self.modules():  # see `Conv3d`: the same numbers, several times faster for one small volume
            module.__class__ = _FAST.get(type(module), type(module))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, *spatial) of any size to class logits (B, classes, *spatial), float32."""
        return self.scales(image)[:, 0]

    def scales(self, image: Tensor) -> Tensor:
        """Logits (B, 1 + heads, classes, *spatial) float32: the finest first, in training then the heads', resized."""
        padded, cut = pad_to_multiple(image, self.multiple)
        logits: Tensor = self.net(padded).float()
        if logits.ndim == image.ndim:
            logits = logits[:, None]
        return logits[(slice(None), *cut)]


class _DynUNet(DynUNet):
    def __init__(self, dim: int, *, join: Literal["max", "sum"] | None, **settings: Any) -> None:
        self.join, self.dim = join, dim
        super().__init__(dim, **settings)

    def get_upsamples(self) -> nn.ModuleList:
        """The decoder's stages, each with scSE behind it."""
        stages = super().get_upsamples()
        if self.join is None:
            return stages
        return nn.ModuleList(
            _Excited(s, w, self.join, self.dim) for s, w in zip(stages, reversed(self.filters[:-1]), strict=True)
        )


class _Excited(nn.Module):
    def __init__(self, stage: nn.Module, width: int, join: Literal["max", "sum"], dim: int) -> None:
        super().__init__()
        self.stage, self.excite = stage, SCSE(width, join, dim)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        found: Tensor = self.excite(self.stage(below, skip))
        return found


_FAST: dict[type, type] = {nn.Conv3d: Conv3d, nn.ConvTranspose3d: ConvTranspose3d}
