"""JRS-Net's mask (Mahapatra et al. 2018, section 2.3): no head makes it, it is what the feature maps agree on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jssr.core.precision import full_precision

_BINS = 256


@full_precision
def activation(features: Sequence[Tensor]) -> Tensor:
    """The feature maps of all layers, each scaled to 0..1 over its image and added: (B, 1, *spatial) in 0..1.

    Args:
        features: (B, C, *spatial) of one layer each, all of one size. A map of one value adds nothing.
    """
    total = torch.zeros((), device=features[0].device)
    for maps in features:
        flat = maps.float().flatten(2)
        low, high = (end.unsqueeze(-1) for end in flat.aminmax(dim=2))
        scaled = (flat - low) / (high - low).clamp(min=1e-6)
        total = total + scaled.mean(dim=1, keepdim=True).view(-1, 1, *maps.shape[2:])
    return total / len(features)


def otsu(image: Tensor) -> Tensor:
    """Otsu's threshold of each image (B, 1, *spatial), in 256 bins: (B, 1, 1, ...), without gradient.

    Where a gap between two classes leaves it open, the middle of the gap: an image that has come to be nearly of two
    values, as training wants it, is cut half-way and not at one of them.
    """
    return torch.stack([_threshold(one) for one in image.detach().float()]).view(-1, *[1] * (image.ndim - 1))


def _threshold(values: Tensor) -> Tensor:
    low, high = values.aminmax()
    if low == high:
        return low
    counts = torch.histc(values, _BINS, float(low), float(high)).double()
    below, every = counts.cumsum(0), counts * torch.arange(_BINS, device=values.device)
    mean, share = every.cumsum(0), below / below[-1]
    between = (mean[-1] * share - mean).square() / (share * (1 - share)).clamp(min=1e-12)
    best = between >= between.max() * (1 - 1e-9)
    middle = (best * (torch.arange(_BINS, device=values.device) + 1)).sum() / best.sum()
    return low + (high - low) * (middle / _BINS).to(values.dtype)


@full_precision
def soft_mask(image: Tensor, softness: float = 0.05) -> Tensor:
    """What lies above Otsu's threshold, with a gradient: a sigmoid there, `softness` of the image's range wide.

    Args:
        image: (B, 1, *spatial), as of `activation`.

    Returns:
        (B, 1, *spatial) in 0..1, 1/2 at the threshold; below 1/2 everywhere in an image of one value.
    """
    low, high = image.detach().flatten(1).aminmax(dim=1)
    reach = (high - low).clamp(min=1e-6).view(-1, *[1] * (image.ndim - 1))
    return torch.sigmoid((image - otsu(image)) / (softness * reach))


def hard_mask(image: Tensor) -> Tensor:
    """What lies above Otsu's threshold: (B, 1, *spatial) bool."""
    return image > otsu(image)
