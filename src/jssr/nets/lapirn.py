"""One level of the Laplacian pyramid register LapIRN (Mok and Chung, MICCAI 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.nets.attention import AttentionGate
from jssr.nets.blocks import Conv3d, ConvTranspose3d, conv

LEVELS = ("Phi1", "Phi2", "Phi3")
"""Names of the levels, from coarse to fine."""
WIDTH = 28
"""Channels in the authors' code."""


class LapIRNLevel(nn.Module):
    """Features at the level's size, residual blocks at half of it, and a field of bounded size.

    Args:
        inputs: channels: 2 on the coarsest level, the field of the level below beside them on the others.
        width: channels throughout, the same on every level of a pyramid.
        blocks: pre-activation residual blocks; 5 in the authors' code.
        reach: largest displacement along an axis, in voxels of this level. In print it is 0.4 of half the axis, for
            networks that see one size only; a network that learns from patches must not take it from the size.
        attention: an attention gate on the skip connection, as macJNet's register has.
        small: scale of the field's initial weights; None leaves the library's, with which a level begins by spoiling
            what the level below has found.
    """

    def __init__(
        self,
        inputs: int,
        width: int = WIDTH,
        blocks: int = 5,
        reach: float = 16.0,
        attention: bool = False,
        small: float | None = None,
        dim: int = 3,
    ) -> None:
        super().__init__()
        self.reach = reach
        kind = {2: nn.Conv2d, 3: Conv3d}[dim]
        turned = {2: nn.ConvTranspose2d, 3: ConvTranspose3d}[dim]
        self.features = nn.Sequential(conv(dim, inputs, width), nn.LeakyReLU(0.2), conv(dim, width, width))
        self.down = kind(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_PreActivation(dim, width) for _ in range(blocks))
        self.gate = AttentionGate(width, width, dim=dim) if attention else None
        self.up = turned(width, width, 2, stride=2)
        last = conv(dim, width, dim, bias=False)
        if small is not None:
            nn.init.normal_(last.weight, 0.0, small)  # type: ignore[arg-type]
        self.field = nn.Sequential(conv(dim, 2 * width, width), nn.LeakyReLU(0.2), last, nn.Softsign())

    def forward(self, *images: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A field in voxels of this level (B, n, *spatial), float32, and the features for the level above.

        Args:
            images: (B, c, *spatial), concatenated; sizes are even.
            below: features of the level below, of half the size.
        """
        features = self.features(torch.cat(images, dim=1))
        x = self.down(features)
        x = x if below is None else x + below.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(x, 0.2)
        skip = features if self.gate is None else self.gate(features, x)
        x = self.up(x)
        unit = self.field(torch.cat([x, skip], dim=1)).float()
        return self.reach * unit, x


def make_levels(networks: Mapping[str, Mapping[str, Any]], shown: int = 0, **common: Any) -> tuple[LapIRNLevel, ...]:
    """The three levels of a pyramid, from each level's numbers: every one begins by adding next to nothing to the field
    of the level below, and reaches 16 voxels of the finest. `shown`: channels that each sees beside."""
    widths = {networks[part].get("width", WIDTH) for part in LEVELS}
    if len(widths) > 1 or min(widths) < 1:
        raise ValueError(f"the levels of a pyramid hand on their features: one width for all, at least 1, not {widths}")
    return tuple(
        LapIRNLevel(shown + (5 if k else 2), **{"reach": 4.0 * 2**k, "small": 1e-5, **common, **networks[part]})
        for k, part in enumerate(LEVELS)
    )


class _PreActivation(nn.Module):
    """LeakyReLU, convolution, LeakyReLU, convolution, added to the input."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(dim, width, width), conv(dim, width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
        return x + inner
