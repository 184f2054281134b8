"""Gates that tell a network where to look: attention gates on skip connections, and scSE on channels and voxels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.nets.blocks import Conv3d, conv, norm, upsample_to


class AttentionGate(nn.Module):
    """Weighs a skip connection, voxel by voxel, by what the coarser level says (Oktay et al. 2018).

        alpha = sigmoid(psi(ReLU(theta(skip) + phi(gate)))),  out = norm(W(alpha * skip))

    Args:
        channels: of the skip connection.
        gate: channels of the coarser features.
        inner: channels of the comparison; half of the skip's by default.
    """

    def __init__(self, channels: int, gate: int, inner: int | None = None, dim: int = 3) -> None:
        super().__init__()
        inner = inner or max(1, channels // 2)
        kind = {2: nn.Conv2d, 3: Conv3d}[dim]
        self.theta = kind(channels, inner, 2, stride=2, bias=False)
        self.phi = conv(dim, gate, inner, 1)
        self.psi = conv(dim, inner, 1, 1)
        self.out = nn.Sequential(conv(dim, channels, channels, 1), norm(dim, channels))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """(B, channels, *spatial), sizes even, and (B, gate, *half of them) to (B, channels, *spatial)."""
        alpha = torch.sigmoid(self.psi(F.relu(self.theta(skip) + self.phi(gate))))
        found: Tensor = self.out(upsample_to(alpha, skip.shape[2:]) * skip)
        return found


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
