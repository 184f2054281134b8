"""How much two segmentations overlap. Probabilities are (B, K, *spatial), class 0 the background."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core.precision import full_precision


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class indices (B, 1, *spatial) as float32 (B, classes, *spatial)."""
    return F.one_hot(labels[:, 0].long(), classes).movedim(-1, 1).float()


@full_precision
def soft_dice(p: Tensor, q: Tensor, mask: Tensor | None = None, eps: float = 1.0) -> Tensor:
    """`2 p'q / (p'p + q'q)` for each class, JSSR eq. (8), (9): (B, K). `eps` voxels keep empty classes at 1."""
    p, q = p.float(), q.float()
    if mask is not None:
        p, q = p * mask, q * mask
    axes = tuple(range(2, p.ndim))
    return (2 * (p * q).sum(axes) + eps) / (p.pow(2).sum(axes) + q.pow(2).sum(axes) + eps)


def soft_dice_loss(p: Tensor, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - mean soft Dice over the foreground classes."""
    dice: Tensor = soft_dice(p[:, 1:], q[:, 1:], mask)
    return 1 - dice.mean()


@full_precision
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of class logits (B, K, *spatial) against indices (B, 1, *spatial)."""
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 0].long())
