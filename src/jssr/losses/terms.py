"""Plain loss terms: overlap of segmentations, roughness of displacement fields, and those of a GAN.

Probabilities are (B, K, *spatial), class 0 the background. Fields are (B, n, *spatial) in voxels.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field, training_kernels
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


def soft_dice_loss(p: Tensor, q: Tensor, mask: Tensor | None = None, least: float = 0.0) -> Tensor:
    """1 - mean soft Dice over the foreground classes, mean over the samples.

    Args:
        least: only classes of which a sample's `q` has at least so many voxels count in it. A class that is absent
            costs nearly 1 for a probability of 0.01 in a tenth of the voxels, so that with many classes the rare ones
            are never found.
    """
    dice: Tensor = soft_dice(p[:, 1:], q[:, 1:], mask)
    if least <= 0:
        return 1 - dice.mean()
    seen = q[:, 1:] if mask is None else q[:, 1:] * mask
    return _mean_loss(dice, seen.flatten(2).sum(dim=2), least)


def _mean_loss(dice: Tensor, count: Tensor, least: float) -> Tensor:
    """1 - the mean over samples and classes (B, K) of which there are enough voxels."""
    if least <= 0:
        return 1 - dice.mean()
    counts = (count >= least).float()
    each: Tensor = ((1 - dice) * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
    return each.mean()


@full_precision
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of class logits (B, K, *spatial) against indices (B, 1, *spatial)."""
    return F.cross_entropy(logits.float(), labels[:, 0].long())


class Taught:
    """Class logits (B, K, *spatial) float32 and the labels (B, 1, *spatial) they shall have, read once."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = logits, labels
        self.read = training_kernels.usable(logits)

    @cached_property
    @full_precision
    def _sums(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return training_kernels.overlap(self.logits, self.labels)

    def dice_loss(self, least: float = 0.0) -> Tensor:
        """`soft_dice_loss` of the probabilities and the labels."""
        if not self.read:
            labels = one_hot(self.labels, self.logits.shape[1])
            return soft_dice_loss(self.logits.softmax(dim=1), labels, least=least)
        met, square, count = (sums[:, 1:] for sums in self._sums[:3])
        return _mean_loss((2 * met + 1) / (square + count + 1), count, least)

    def cross_entropy(self) -> Tensor:
        """`cross_entropy` of both."""
        if not self.read:
            return cross_entropy(self.logits, self.labels)
        return self._sums[3].sum() / self.labels.numel()


def pooled_shares(logits: Tensor, size: int) -> Tensor:
    """Class probabilities of logits (B, K, *spatial), averaged over blocks of `size` voxels along every axis."""
    if size > 1 and training_kernels.usable(logits):
        return training_kernels.shares(logits, size)
    shares = logits.softmax(dim=1)
    return shares if size == 1 else field.pooled(shares, size, ceil_mode=True)


@full_precision
def diffusion(u: Tensor) -> Tensor:
    """Mean over the axes of the mean squared forward difference: JSSR eq. (5), as VoxelMorph computes it."""
    terms = [torch.diff(u.float(), dim=axis).pow(2).mean() for axis in range(2, u.ndim)]
    return torch.stack(terms).sum() / u.shape[1]


@full_precision
def laplacian(u: Tensor) -> Tensor:
    """|Laplacian of u|^2 of Cao et al. 2018, eq. (4): mean over the inner voxels, summed over the components."""
    u = u.float()
    n = u.shape[1]
    inner = tuple(slice(1, -1) for _ in range(n))
    total = u.new_zeros(())
    for axis in range(n):
        second = torch.diff(u, n=2, dim=axis + 2)
        total = total + second[(slice(None), slice(None), *inner[:axis], slice(None), *inner[axis + 1 :])]
    return total.pow(2).sum(dim=1).mean()


@full_precision
def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(y) - E log(1 - D(G(x, y))), from logits: JSSR eq. (1), whose print lacks the `1 -`."""
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


@full_precision
def generator_loss(fake: Tensor) -> Tensor:
    """-E log D(G(x, y)), from logits: the standard non-saturating form."""
    return F.softplus(-fake.float()).mean()
