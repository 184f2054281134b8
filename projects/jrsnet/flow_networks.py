"""The two small registers that JRS-Net is compared with: DIRNet's and FlowNet-S, for pairs of 2D images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jssr.core.field import bspline_field
from jssr.nets.blocks import pad_to_multiple, upsample_to


class DIRNetRegressor(nn.Module):
    """DIRNet's regressor (de Vos et al. 2017): 3 x 3 convolutions and 2 x 2 averages in turn, 1 x 1 convolutions, a
    control point's displacement for each block of pixels; cubic B-splines between them.

    Args:
        width: feature maps; head: those of the 1 x 1 convolutions.
        levels: averages; control points are 2^levels pixels apart.
        reach: pixels that an output of 1 means.
    """

    def __init__(self, width: int = 16, head: int = 64, levels: int = 4, reach: float = 8.0) -> None:
        super().__init__()
        self.spacing, self.reach = 2**levels, reach
        layers: list[nn.Module] = []
        before = 2
        for _ in range(levels):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ELU(), nn.AvgPool2d(2)]
            before = width
        for _ in range(2):
            layers += [nn.Conv2d(before, head, 1), nn.BatchNorm2d(head), nn.ELU()]
            before = head
        self.net = nn.Sequential(*layers, nn.Conv2d(head, 2, 1))
        nn.init.normal_(self.net[-1].weight, 0.0, 1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.net[-1].bias)  # type: ignore[arg-type]

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """(B, 1, H, W) each to a field (B, 2, H, W) in pixels, float32."""
        pair, _ = pad_to_multiple(torch.cat([moving, fixed], dim=1), self.spacing)
        return bspline_field(self.reach * self.net(pair).float(), self.spacing, fixed.shape[2:])


class FlowNetS(nn.Module):
    """FlowNet-S (Dosovitskiy et al. 2015): an encoder of strided convolutions of the stacked pair, a decoder that gives
    a flow at each scale from the features, the skip and the flow below; bilinear from the finest to full size.

    The paper's form is `widths=(64, 128, 256, 512, 512, 1024)`, the finest flow at a quarter of the size.

    Args:
        widths: feature maps after each halving, at least three.
        reach: pixels that an output of 1 means.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512, 1024), reach: float = 20.0) -> None:
        super().__init__()
        self.multiple, self.reach = 2 ** len(widths), reach
        kernels = (7, 5, 5, *[3] * len(widths))
        before = (2, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, k, stride=2, padding=k // 2), nn.LeakyReLU(0.1))
            for a, b, k in zip(before, widths, kernels, strict=False)
        )
        skips = list(reversed(widths[1:-1]))
        self.up, self.flows = nn.ModuleList(), nn.ModuleList([nn.Conv2d(widths[-1], 2, 3, padding=1)])
        below = widths[-1]
        for skip in skips:
            self.up.append(
                nn.Sequential(nn.ConvTranspose2d(below, skip // 2, 4, stride=2, padding=1), nn.LeakyReLU(0.1))
            )
            below = skip // 2 + skip + 2
            self.flows.append(nn.Conv2d(below, 2, 3, padding=1))

    def forward(self, moving: Tensor, fixed: Tensor) -> list[Tensor]:
        """(B, 1, H, W) each to the flows of all scales, coarsest first, in pixels of the full size, float32; the last
        one is (B, 2, H, W)."""
        features, cut = pad_to_multiple(torch.cat([moving, fixed], dim=1), self.multiple)
        whole = features.shape[2:]
        seen = []
        for block in self.down:
            features = block(features)
            seen.append(features)
        flows = [self.flows[0](features)]
        for level, up in enumerate(self.up):
            skip = seen[-2 - level]
            features = torch.cat([up(features), skip, upsample_to(flows[-1], skip.shape[2:])], dim=1)
            flows.append(self.flows[level + 1](features))
        flows = [self.reach * flow.float() for flow in flows]
        return [*flows, upsample_to(flows[-1], whole)[cut]]
